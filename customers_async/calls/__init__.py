"""One API call, from the token to the parsed response."""
