"""Finds out what stands between this machine and the first customer."""
