"""Figures that the documentation states, each produced by a command: ``python -m tests.benchmarks.<name>``."""
