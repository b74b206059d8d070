"""The CPU time of a page has a bound, and the benchmarks run."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.benchmarks import instructions

ROOT = Path(__file__).parent.parent

BOUND = 1.76
"""The most CPU time for a page, as a multiple of the baseline's, without a network: halfway, by ratio, between what
``python -m tests.benchmarks.guard`` prints for this client as it is and for one that is 30 % slower."""
ATTEMPTS = 3


@attrs.frozen
class _Attempt:
    """Multiples of the baseline: this client as it is, and with 30 % more spent on each page."""

    ratio: float
    slowed_ratio: float


def _measure() -> Iterator[_Attempt]:
    for _ in range(ATTEMPTS):
        _, ratio, slowed_ratio = _run("tests.benchmarks.guard").split()
        yield _Attempt(float(ratio), float(slowed_ratio))


def _run(*module: str) -> str:
    """Run a module in an empty environment, without coverage and development mode; return its output."""
    command = [sys.executable, "-m", *module]
    return subprocess.run(command, cwd=ROOT, env={}, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603  # a fixed command


def test_page_is_as_fast_as_before() -> None:
    """Reading a page stays below a bound that it would exceed if it were 30 % slower."""
    assert any(attempt.ratio < BOUND < attempt.slowed_ratio for attempt in _measure())


@pytest.mark.slow
def test_benchmarks_run() -> None:
    """The benchmarks measure this client beside the baseline."""
    printed = _run("tests.benchmarks", "--rounds", "1", "--turns", "1", "--only", "pages", "--parts", "pages")
    assert "| aiohttp + orjson, untyped (baseline), 8 in flight |" in printed
    assert "| customers_async, page by page, 8 in flight |" in printed
    assert "pages a second" in printed


@pytest.mark.slow
@pytest.mark.parametrize("kind", instructions.COUNTED)
def test_programs_whose_instructions_are_counted_run(kind: str) -> None:
    """Each ends without an error; that valgrind is installed is not required."""
    assert _run("tests.benchmarks.instructions", kind, "1") == ""
