"""Measures the memory of a long listing, in a process of its own."""

import asyncio
import resource
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.contestants import client
from tests.benchmarks.service import PER_PAGE, run_service

__all__ = ["MILESTONES", "measure_memory"]

MILESTONES = (10_000, 100_000, 1_000_000)


def measure_memory(*, unique: bool) -> list[int]:
    """Return the bytes of resident memory at each milestone of one listing."""
    with run_service(pages=MILESTONES[-1] // PER_PAGE) as service:
        command = [sys.executable, "-m", __spec__.name, service.url, str(int(unique))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603  # a fixed command
    return [int(size) for size in done.stdout.split()]


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
    url, unique = sys.argv[1:]
    asyncio.run(_read(url, unique=bool(int(unique))))
