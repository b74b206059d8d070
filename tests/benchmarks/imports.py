"""What it costs to import the package, beside aiohttp alone."""

import statistics
import subprocess
import sys

__all__ = ["import_costs"]

_SCRIPT = "import time; started = time.process_time(); import {module}; print(time.process_time() - started)"


def import_costs(rounds: int, modules: tuple[str, ...] = ("aiohttp", "customers_async")) -> list[float]:
    """Seconds of CPU for each module: the medians over fresh processes, in turn. The first of each fills the caches."""
    turns = [[_import(module) for module in modules] for _ in range(rounds + 1)][1:]
    return [statistics.median(costs) for costs in zip(*turns, strict=True)]


def _import(module: str) -> float:
    command = [sys.executable, "-c", _SCRIPT.format(module=module)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)  # noqa: S603  # ours
