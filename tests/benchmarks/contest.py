"""The contest: each contestant takes turns with the baseline, in a fresh process for each round.

Both run in one process and read in turn, a few tenths of a second each, so other load on the machine slows both. What
counts is the ratio of one turn to the next. The CPU time is that of the process, user and system.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from tests.benchmarks.contestants import (
    BASELINE,
    BASELINES,
    CONTESTANTS,
    GET_CUSTOMER,
    LOOK_UP_BASELINE,
    Contestant,
    Turn,
)

__all__ = ["Cost", "Score", "run_contest"]

_DESCRIPTION = Path(__file__).parents[2] / "customers_async" / "emulator" / "openapi.yaml"
_PAIRS = {name: (BASELINES.get(name, BASELINE), contestant) for name, contestant in CONTESTANTS.items()}
_PAIRS["get_customer"] = (LOOK_UP_BASELINE, GET_CUSTOMER)


@attrs.frozen
class Cost:
    """The cost of one customer in one turn, in microseconds: CPU time and elapsed time."""

    cpu: float
    elapsed: float


@attrs.frozen
class Score:
    """The turns of one contestant and the baseline, for each round."""

    rounds: list[list[tuple[Cost, Cost]]] = attrs.field(factory=list)

    @property
    def baseline(self) -> Cost:
        """The medians of the baseline."""
        return _median(baseline for turns in self.rounds for baseline, _ in turns)

    @property
    def cost(self) -> Cost:
        """The medians of the contestant."""
        return _median(cost for turns in self.rounds for _, cost in turns)

    @property
    def ratios(self) -> list[Cost]:
        """For each round the median, over its turns, of the contestant's cost as a multiple of the baseline's."""
        return [
            _median(Cost(cost.cpu / baseline.cpu, cost.elapsed / baseline.elapsed) for baseline, cost in turns)
            for turns in self.rounds
        ]

    @property
    def ratio(self) -> Cost:
        """The median of the ratios."""
        return _median(self.ratios)


def _median(costs: Iterable[Cost]) -> Cost:
    every = list(costs)
    return Cost(statistics.median(cost.cpu for cost in every), statistics.median(cost.elapsed for cost in every))


def run_contest(names: Iterable[str], url: str, *, turns: int, rounds: int) -> dict[str, Score | str]:
    """Run the contestants, round after round; return each one's score, or why it has none.

    Args:
        names: Names of contestants.
        url: The service to read.
        turns: Turns of each contestant in a round.
        rounds: Number of rounds.
    """
    with TemporaryDirectory() as temporary:
        directory = Path(temporary)
        scores = {name: _prepare(_PAIRS[name][1], directory) or Score() for name in names}
        for _ in range(rounds):
            for name, score in scores.items():
                if isinstance(score, Score):
                    scores[name] = _run(name, score, url, turns, directory)
    return scores


def _prepare(contestant: Contestant, directory: Path) -> str:
    """Return why the contestant cannot run, or ""; generate its client into ``directory`` if it needs one."""
    if contestant.missing:
        return f"not installed: {', '.join(contestant.missing)}"
    if not contestant.generator:
        return ""
    scripts = Path(sys.executable).parent
    program, *arguments = contestant.generator
    values = {"description": _DESCRIPTION, "directory": directory}
    command = [str(scripts / program), *(argument.format(**values) for argument in arguments)]
    path = {"PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    done = subprocess.run(command, env=os.environ | path, capture_output=True, text=True, check=False)  # noqa: S603  # a fixed command
    return f"not generated: {_last_line(done)}" if done.returncode else ""


def _run(name: str, score: Score, url: str, turns: int, directory: Path) -> Score | str:
    """Run one round in a fresh process; return the score with its turns."""
    command = [sys.executable, "-m", __spec__.name, name, url, str(turns)]
    environment = os.environ | {"PYTHONPATH": str(directory)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  # a fixed command
    if done.returncode:
        return f"failed: {_last_line(done)}"
    figures = [[float(figure) for figure in line.split()] for line in done.stdout.splitlines()]
    score.rounds.append([(Cost(*line[:2]), Cost(*line[2:])) for line in figures])
    return score


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


async def _take_turns(baseline: Contestant, contestant: Contestant, url: str, turns: int) -> None:
    """Print a line for each turn of both, after one turn that warms up imports, connections and caches."""
    async with baseline.at(url) as first, contestant.at(url) as second:
        await first()
        await second()
        for _ in range(turns):
            print(*attrs.astuple(await _measure(first)), *attrs.astuple(await _measure(second)))


async def _measure(turn: Turn) -> Cost:
    began, spent = time.perf_counter(), time.process_time()
    customers = await turn()
    spent, elapsed = time.process_time() - spent, time.perf_counter() - began
    return Cost(spent / customers * 1e6, elapsed / customers * 1e6)


if __name__ == "__main__":
    name, url, turns = sys.argv[1:]
    asyncio.run(_take_turns(*_PAIRS[name], url, int(turns)))
