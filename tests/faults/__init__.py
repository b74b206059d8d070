"""What must survive: each of the fifty rows of the fault matrix has tests that carry its number."""
