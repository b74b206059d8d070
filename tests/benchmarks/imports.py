"""Measures the import of the package beside aiohttp alone."""

import os
import statistics
import subprocess
import sys

__all__ = ["measure_imports"]

_SCRIPT = "import time; started = time.process_time(); {statement}; print(time.process_time() - started)"


STATEMENTS = ("import aiohttp", "from customers_async import CustomersClient")


def measure_imports(rounds: int) -> list[float]:
    """Return the seconds of CPU time for each statement: medians over fresh processes that take turns."""
    turns = [[_measure(statement) for statement in STATEMENTS] for _ in range(rounds + 1)]
    return [statistics.median(costs[1:]) for costs in zip(*turns, strict=True)]  # the first turn fills the caches


def _measure(statement: str) -> float:
    command = [sys.executable, "-c", _SCRIPT.format(statement=statement)]
    # An installed package has bytecode; with this variable a checkout would be compiled each time.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return float(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)  # noqa: S603  # a fixed command
