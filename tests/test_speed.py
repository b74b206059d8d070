"""The page path stays as quick as it is, and the benchmarks go on running."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent

BOUND = 1.76
"""A page's CPU time as a multiple of the floor's, without a network: halfway, by ratio, between what
``python -m tests.benchmarks.guard`` prints for the page path as it is and for one that is 30 % slower."""
ATTEMPTS = 3


@attrs.frozen
class _Attempt:
    """Multiples of the floor: the page path as it is, and with 30 % more spent on each page."""

    ratio: float
    slowed_ratio: float


def _attempts() -> Iterator[_Attempt]:
    for _ in range(ATTEMPTS):
        _, ratio, slowed_ratio = _run("tests.benchmarks.guard").split()
        yield _Attempt(float(ratio), float(slowed_ratio))


def _run(*module: str) -> str:
    """What a module prints; without our environment, so that neither coverage nor the development mode slows it."""
    command = [sys.executable, "-m", *module]
    return subprocess.run(command, cwd=ROOT, env={}, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603  # ours


def test_a_page_costs_no_more_than_it_did() -> None:
    """The page path stays below a bound so tight that it would break it if it were 30 % slower."""
    assert any(attempt.ratio < BOUND < attempt.slowed_ratio for attempt in _attempts())


def test_the_benchmarks_run() -> None:
    """The suite measures this client beside the floor, and names what it has left out."""
    printed = _run("tests.benchmarks", "--rounds", "1", "--turns", "1", "--only", "pages", "--parts", "pages")
    assert "| aiohttp + orjson, untyped: the floor |" in printed
    assert "| customers_async, page by page |" in printed
    assert "pages a second" in printed
