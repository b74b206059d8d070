"""Measures how much of a distant service's latency a listing hides."""

import asyncio
import statistics
import time

import attrs

from tests.benchmarks.contestants import client
from tests.benchmarks.service import Service, run_service

__all__ = ["IDEAL", "LATENCY", "PAGES", "ListingTime", "measure_listing"]

PAGES = 100
LATENCY = 0.05
"""Seconds that a response takes."""
IDEAL = 14
"""Round trips: page 1 alone, since it has the total, and 99 more pages, 8 at a time."""


@attrs.frozen
class ListingTime:
    """The time of a listing in round trips, and the time until its first customer."""

    whole: float
    first: float


def measure_listing(rounds: int) -> ListingTime:
    """Return the medians over that many listings, each with a connection of its own."""
    with run_service(pages=PAGES, latency=LATENCY) as service:
        times = [asyncio.run(_measure(service)) for _ in range(rounds)]
    return ListingTime(statistics.median(time.whole for time in times), statistics.median(time.first for time in times))


async def _measure(service: Service) -> ListingTime:
    async with client(service.url) as customers, customers.list_customers() as pager:
        started = time.perf_counter()
        await anext(aiter(pager))
        first = time.perf_counter()
        async for _ in pager:
            pass
    return ListingTime((time.perf_counter() - started) / LATENCY, (first - started) / LATENCY)
