"""How much memory a walk of a long list takes, in a fresh process that does nothing else."""

import asyncio
import resource
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.contestants import client
from tests.benchmarks.service import PER_PAGE, serving

__all__ = ["MILESTONES", "grow"]

MILESTONES = (10_000, 100_000, 1_000_000)


def grow(*, unique: bool) -> list[int]:
    """Bytes of resident memory at each milestone of one walk."""
    with serving(pages=MILESTONES[-1] // PER_PAGE) as service:
        command = [sys.executable, "-m", __spec__.name, service.url, str(int(unique))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603  # ours
    return [int(size) for size in done.stdout.split()]


async def _walk(url: str, *, unique: bool) -> None:
    walked = 0
    async with client(url) as customers, customers.list_customers(unique=unique) as pager:
        async for page in pager.pages():
            walked += len(page.customers)
            if walked in MILESTONES:
                print(_resident())


def _resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    url, unique = sys.argv[1:]
    asyncio.run(_walk(url, unique=bool(int(unique))))
