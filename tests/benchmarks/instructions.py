"""Counts instructions: ``python -m tests.benchmarks.instructions``, where valgrind is installed.

They hardly depend on other load. Client and service run in one process without sockets, as in `guard`, and the kernel
does not count. Each figure is the difference between a long and a short run, divided by the pages.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable

from orjson import loads

from tests.benchmarks import guard
from tests.benchmarks.contestants import client, read_bodies

__all__ = ["count_instructions", "describe_instructions", "is_installed"]

KINDS = (
    *("baseline, 1 in flight", "pages, 1 in flight"),
    *("baseline, 8 in flight", "pages, 8 in flight", "customers, 8 in flight"),
)
SHORT, LONG = 2, 7
"""Listings in the two runs."""


def is_installed() -> bool:
    """Whether instructions can be counted here."""
    return shutil.which("valgrind") is not None


def count_instructions(kind: str) -> int:
    """Return the instructions for a page of 100 customers."""
    short, long = (_run(kind, listings) for listings in (SHORT, LONG))
    return (long - short) // ((LONG - SHORT) * guard.PAGES)


def _run(kind: str, listings: int) -> int:
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    command += [sys.executable, "-m", __spec__.name, kind, str(listings)]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603  # a fixed command
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1].replace(",", ""))


async def _read(kind: str, listings: int) -> None:
    what, _, in_flight = kind.removesuffix(" in flight").partition(", ")
    async with guard.make_session() as session, client(guard.URL, session) as whole:
        customers = whole.with_options(concurrency=int(in_flight))

        async def read_by_hand() -> int:
            bodies = read_bodies(session, guard.URL, guard.PAGES, in_flight=int(in_flight))
            return sum([len(loads(body)) async for body in bodies])

        async def read_pages() -> int:
            return sum([len(page.customers) async for page in customers.list_customers().pages()])

        async def read_customers() -> int:
            count = 0
            async for _ in customers.list_customers():
                count += 1
            return count

        readers: dict[str, Callable[[], Awaitable[int]]] = {
            "baseline": read_by_hand,
            "pages": read_pages,
            "customers": read_customers,
        }
        for _ in range(listings):
            await readers[what]()


def describe_instructions() -> str:
    """Return a table, or a sentence if valgrind is missing."""
    if not is_installed():
        return "Instructions were not counted: valgrind is not installed."
    counts = {kind: count_instructions(kind) for kind in KINDS}
    lines = ["| a page of 100 customers, in process | thousand instructions | times the baseline |", "|---|--:|--:|"]
    for kind, count in counts.items():
        baseline = counts[f"baseline, {kind.partition(', ')[2]}"]
        lines.append(f"| {kind} | {count / 1000:,.0f} | {count / baseline:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:]:
        with asyncio.Runner(loop_factory=guard.InProcessLoop) as runner:
            runner.run(_read(sys.argv[1], int(sys.argv[2])))
    else:
        print(describe_instructions())
