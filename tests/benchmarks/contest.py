"""The contest: every contestant in turn, round after round, each time in a fresh process.

A run warms up, so that imports, the connection and caches are not counted, and then counts the CPU time of its process,
user and system, over so many steps: a step is a page, or a look-up.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import attrs

from tests.benchmarks.contestants import CONTESTANTS, LOOK_UPS, Contestant
from tests.benchmarks.service import Service

__all__ = ["Contest", "Run", "hold", "ready"]

Figure = Literal["cpu", "latency", "service"]

WARM_UP = 100
_DESCRIPTION = Path(__file__).parents[2] / "customers_async" / "emulator" / "openapi.yaml"


@attrs.frozen
class Run:
    """What one step cost in one run, in microseconds.

    Attributes:
        cpu: CPU time of the contestant's process.
        latency: Time that passed.
        service: CPU time of the service's process.
    """

    cpu: float
    latency: float
    service: float


@attrs.frozen
class Contest:
    """What came of it: for each contestant one run a round."""

    runs: Mapping[str, list[Run]]

    def median(self, name: str, figure: Figure = "cpu") -> float:
        """The median over the rounds."""
        return statistics.median(self._figures(name, figure))

    def ratios(self, name: str, floor: str, figure: Figure = "cpu") -> list[float]:
        """The figure as a multiple of another contestant's in the same round, in ascending order."""
        pairs = zip(self._figures(name, figure), self._figures(floor, figure), strict=True)
        return sorted(mine / other for mine, other in pairs)

    def ratio(self, name: str, floor: str, figure: Figure = "cpu") -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios(name, floor, figure))

    def _figures(self, name: str, figure: Figure) -> list[float]:
        return [getattr(run, figure) for run in self.runs[name]]


def ready(contestants: Mapping[str, Contestant], directory: Path) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Those that can take part, with the generated clients in ``directory``, and why the others can't."""
    excuses: dict[str, str] = {}
    for name, contestant in contestants.items():
        if contestant.missing:
            excuses[name] = f"not installed: {', '.join(contestant.missing)}"
        elif contestant.generator and (failure := _generate(contestant, directory)):
            excuses[name] = f"not generated: {failure}"
    return {name: contestant for name, contestant in contestants.items() if name not in excuses}, excuses


def _generate(contestant: Contestant, directory: Path) -> str:
    """Run the generator; returns what went wrong, or nothing."""
    scripts = Path(sys.executable).parent
    program, *arguments = contestant.generator
    places = {"description": _DESCRIPTION, "directory": directory}
    command = [str(scripts / program), *(argument.format(**places) for argument in arguments)]
    path = {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, env=os.environ | path, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    return _last_line(done) if done.returncode else ""


def hold(
    contestants: Mapping[str, Contestant], service: Service, steps: int, rounds: int, directory: Path | None = None
) -> tuple[Contest, dict[str, str]]:
    """Let them run in turn, so many rounds; one whose run fails is out, and the reason is told.

    Args:
        contestants: By name.
        service: What they read.
        steps: How many pages, or look-ups, each run counts.
        rounds: How often each runs.
        directory: Where the generated clients are.
    """
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    excuses: dict[str, str] = {}
    for _ in range(rounds):
        for name in list(runs):
            outcome = _run(name, service, steps, directory)
            if isinstance(outcome, Run):
                runs[name].append(outcome)
            else:
                excuses[name] = f"failed: {outcome}"
                del runs[name]
    return Contest(runs), excuses


def _run(name: str, service: Service, steps: int, directory: Path | None) -> Run | str:
    """One run in a fresh process, or what it died of."""
    command = [sys.executable, "-m", __spec__.name, name, service.url, str(steps)]
    before = service.cpu_seconds()
    done = subprocess.run(  # noqa: S603  # ours
        command, env=os.environ | {"PYTHONPATH": str(directory or "")}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return _last_line(done)
    cpu, latency = map(float, done.stdout.split())
    return Run(cpu, latency, (service.cpu_seconds() - before) / (WARM_UP + steps) * 1e6)


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


async def _measure(contestant: Contestant, url: str, steps: int) -> tuple[float, float]:
    """CPU time and time passed for a step, in microseconds."""
    reading = contestant.read(url)
    for _ in range(WARM_UP):
        await anext(reading)
    began, spent = time.perf_counter(), time.process_time()
    for _ in range(steps):
        await anext(reading)
    spent, passed = time.process_time() - spent, time.perf_counter() - began
    await reading.aclose()
    return spent / steps * 1e6, passed / steps * 1e6


if __name__ == "__main__":
    name, url, steps = sys.argv[1:]
    print(*asyncio.run(_measure({**CONTESTANTS, **LOOK_UPS}[name], url, int(steps))))
