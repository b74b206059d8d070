"""The contest: each contestant takes turns with the floor, in a fresh process each round.

Both live in one process and read in alternation, a few tenths of a second each, so a busy neighbour slows both; what
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

from tests.benchmarks.contestants import CONTESTANTS, FLOOR, GET_CUSTOMER, LOOK_UP_FLOOR, Contestant, Turn
from tests.benchmarks.service import Service

__all__ = ["Cost", "Score", "hold"]

_DESCRIPTION = Path(__file__).parents[2] / "customers_async" / "emulator" / "openapi.yaml"
_PAIRS = {name: (FLOOR, contestant) for name, contestant in CONTESTANTS.items()}
_PAIRS["get_customer"] = (LOOK_UP_FLOOR, GET_CUSTOMER)


@attrs.frozen
class Cost:
    """What one customer cost in one turn, in microseconds: of CPU, and of time that passed."""

    cpu: float
    passed: float


@attrs.frozen
class Score:
    """What came of one contestant: turns beside the floor's, for each round."""

    rounds: list[list[tuple[Cost, Cost]]] = attrs.field(factory=list)

    @property
    def floor(self) -> Cost:
        """The floor's medians."""
        return _median(floor for turns in self.rounds for floor, _ in turns)

    @property
    def cost(self) -> Cost:
        """The contestant's medians."""
        return _median(cost for turns in self.rounds for _, cost in turns)

    @property
    def ratios(self) -> list[Cost]:
        """For each round the median, over its turns, of what the contestant cost as a multiple of the floor."""
        return [
            _median(Cost(cost.cpu / floor.cpu, cost.passed / floor.passed) for floor, cost in turns)
            for turns in self.rounds
        ]

    @property
    def ratio(self) -> Cost:
        """The median of the ratios."""
        return _median(self.ratios)


def _median(costs: Iterable[Cost]) -> Cost:
    every = list(costs)
    return Cost(statistics.median(cost.cpu for cost in every), statistics.median(cost.passed for cost in every))


def hold(names: Iterable[str], service: Service, *, turns: int, rounds: int) -> dict[str, Score | str]:
    """Let them run, round after round: each one's score, or why there is none.

    Args:
        names: Of contestants.
        service: What they read.
        turns: How often each reads in a run.
        rounds: How many runs each has.
    """
    with TemporaryDirectory() as temporary:
        directory = Path(temporary)
        scores = {name: _excuse(_PAIRS[name][1], directory) or Score() for name in names}
        for _ in range(rounds):
            for name, score in scores.items():
                if isinstance(score, Score):
                    scores[name] = _run(name, score, service, turns, directory)
    return scores


def _excuse(contestant: Contestant, directory: Path) -> str:
    """Why it can't take part, or nothing; a client that wants to be generated then is, into ``directory``."""
    if contestant.missing:
        return f"not installed: {', '.join(contestant.missing)}"
    if not contestant.generator:
        return ""
    scripts = Path(sys.executable).parent
    program, *arguments = contestant.generator
    places = {"description": _DESCRIPTION, "directory": directory}
    command = [str(scripts / program), *(argument.format(**places) for argument in arguments)]
    path = {"PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    done = subprocess.run(command, env=os.environ | path, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    return f"not generated: {_last_line(done)}" if done.returncode else ""


def _run(name: str, score: Score, service: Service, turns: int, directory: Path) -> Score | str:
    """One run in a fresh process, added to the score."""
    command = [sys.executable, "-m", __spec__.name, name, service.url, str(turns)]
    environment = os.environ | {"PYTHONPATH": str(directory)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    if done.returncode:
        return f"failed: {_last_line(done)}"
    figures = [[float(figure) for figure in line.split()] for line in done.stdout.splitlines()]
    score.rounds.append([(Cost(*line[:2]), Cost(*line[2:])) for line in figures])
    return score


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


async def _take_turns(floor: Contestant, contestant: Contestant, url: str, turns: int) -> None:
    """Print a line for each turn of both, after one that warms up: imports, connections and caches."""
    async with floor.at(url) as first, contestant.at(url) as second:
        await first()
        await second()
        for _ in range(turns):
            print(*attrs.astuple(await _cost(first)), *attrs.astuple(await _cost(second)))


async def _cost(turn: Turn) -> Cost:
    began, spent = time.perf_counter(), time.process_time()
    customers = await turn()
    spent, passed = time.process_time() - spent, time.perf_counter() - began
    return Cost(spent / customers * 1e6, passed / customers * 1e6)


if __name__ == "__main__":
    name, url, turns = sys.argv[1:]
    asyncio.run(_take_turns(*_PAIRS[name], url, int(turns)))
