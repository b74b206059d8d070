"""Measures the memory of a long listing, and of its customers, in processes of their own."""

import asyncio
import resource
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.contestants import client
from tests.benchmarks.service import PER_PAGE, run_service

__all__ = ["COLLECTED", "MILESTONES", "measure_collected", "measure_memory"]

MILESTONES = (10_000, 100_000, 1_000_000)
COLLECTED = 100_000


def measure_memory(*, unique: bool) -> list[int]:
    """Return the bytes of resident memory at each milestone of one listing."""
    return _run(MILESTONES[-1], "unique" if unique else "repeating")


def measure_collected() -> int:
    """Return the bytes of resident memory that `collect` takes for `COLLECTED` customers."""
    before, after = _run(COLLECTED, "collected")
    return after - before


def _run(customers: int, what: str) -> list[int]:
    with run_service(pages=customers // PER_PAGE) as service:
        command = [sys.executable, "-m", __spec__.name, service.url, what]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603  # a fixed command
    return [int(size) for size in done.stdout.split()]


async def _collect(url: str) -> None:
    async with client(url) as customers:
        await customers.list_customers(limit=PER_PAGE).collect()  # connects
        print(_resident_memory())
        held = await customers.list_customers().collect()
        print(_resident_memory())
        assert len(held) == COLLECTED


async def _read(url: str, *, unique: bool) -> None:
    read = 0
    async with client(url) as customers, customers.list_customers(unique=unique) as pager:
        async for page in pager.pages():
            read += len(page.customers)
            if read in MILESTONES:
                print(_resident_memory())


def _resident_memory() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    url, what = sys.argv[1:]
    asyncio.run(_collect(url) if what == "collected" else _read(url, unique=what == "unique"))
