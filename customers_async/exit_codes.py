"""The exit codes of the command line, which the doctor also gives its findings."""

__all__ = ["API", "CREDENTIALS", "INCOMPLETE", "LOCAL", "REVIEW", "USAGE"]

LOCAL = 1
"""A local failure, such as a full disk; or ``verify`` found a difference."""
USAGE = 2
"""Wrong usage."""
CREDENTIALS = 3
"""There is no token, the service refuses the token or the address, or a certificate file cannot be used."""
API = 4
"""The API or the network."""
INCOMPLETE = 5
"""The list is incomplete."""
REVIEW = 6
"""A sync would remove too many customers, or ``diff --exit-code`` found differences."""
