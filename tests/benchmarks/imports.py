"""What it costs to import the package, beside aiohttp alone."""

import os
import statistics
import subprocess
import sys

__all__ = ["import_costs"]

_SCRIPT = "import time; started = time.process_time(); {statement}; print(time.process_time() - started)"


STATEMENTS = ("import aiohttp", "from customers_async import CustomersClient")


def import_costs(rounds: int) -> list[float]:
    """Seconds of CPU for each statement: medians over fresh processes, in turn; the first of each fills the caches."""
    turns = [[_cost(statement) for statement in STATEMENTS] for _ in range(rounds + 1)][1:]
    return [statistics.median(costs) for costs in zip(*turns, strict=True)]


def _cost(statement: str) -> float:
    command = [sys.executable, "-c", _SCRIPT.format(statement=statement)]
    # An installed package has its bytecode; without leave to write it, a checkout would be compiled each time.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return float(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)  # noqa: S603  # ours
