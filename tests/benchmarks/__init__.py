"""Measures the figures in the documentation, each by a command: ``python -m tests.benchmarks.<name>``."""
