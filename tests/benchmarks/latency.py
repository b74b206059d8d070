"""How much of a far service's latency the walk hides."""

import asyncio
import statistics
import time

import attrs

from tests.benchmarks.contestants import client
from tests.benchmarks.service import Service, serving

__all__ = ["FAR", "IDEAL", "PAGES", "Walk", "walk_far"]

PAGES = 100
FAR = 0.05
"""Seconds that an answer takes."""
IDEAL = 14
"""Round trips: page 1 alone, since it tells the total, and 99 more, 8 at a time."""


@attrs.frozen
class Walk:
    """A walk of the list, in round trips: until its end, and until the first customer."""

    whole: float
    first: float


def walk_far(rounds: int) -> Walk:
    """The medians over so many walks, each with a connection of its own."""
    with serving(pages=PAGES, latency=FAR) as service:
        walks = [asyncio.run(_walk(service)) for _ in range(rounds)]
    return Walk(statistics.median(walk.whole for walk in walks), statistics.median(walk.first for walk in walks))


async def _walk(service: Service) -> Walk:
    async with client(service.url) as customers, customers.list_customers() as pager:
        started = time.perf_counter()
        await anext(aiter(pager))
        first = time.perf_counter()
        async for _ in pager:
            pass
    return Walk((time.perf_counter() - started) / FAR, (first - started) / FAR)
