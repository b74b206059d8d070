"""Many customers: listing all of them, and looking up a batch."""
