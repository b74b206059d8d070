"""Measures reading pages beside the baseline, without a network: ``python -m tests.benchmarks.guard``.

It prints the baseline's CPU time for a page in microseconds, this client's as a multiple of it, and the multiple of the
same client if its caller spends another 30 % on each page. Client and service run in one process without sockets, so
the kernel does not count. Listings of a short list take turns, and the medians of the ratios are printed, which hardly
change under other load.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from typing import Any

import aiohttp
import attrs
from orjson import loads

from customers_async import CustomersClient
from tests.benchmarks.contestants import aiohttp_session, client, read_bodies
from tests.benchmarks.service import PER_PAGE, Responses

__all__ = ["PAGES", "URL", "Figures", "InProcessLoop", "make_session", "measure"]

PAGES, LISTINGS = 40, 16
SLOWER = 0.3
URL = "http://127.0.0.1"


_respond = cache(Responses(PAGES).respond)


@attrs.frozen
class Figures:
    """Medians: the baseline's microseconds for a page, and two multiples of it."""

    baseline: float
    ratio: float
    slowed_ratio: float


class _Connection(asyncio.Transport):
    """A connection whose other end responds in the next iteration of the loop."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._closing = False

    def write(self, data: Any) -> None:
        target = bytes(data).split(b" ", 2)[1]
        asyncio.get_running_loop().call_soon(self._protocol.data_received, _respond(target))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        """Do nothing: a response is sent as a whole."""

    resume_reading = pause_reading


class InProcessLoop(asyncio.SelectorEventLoop):
    """An event loop whose connections lead to a service in this process."""

    async def create_unix_connection(  # type: ignore[override]  # the arguments that aiohttp passes
        self, protocol_factory: Callable[[], asyncio.Protocol], path: str
    ) -> tuple[_Connection, asyncio.Protocol]:
        protocol = protocol_factory()
        connection = _Connection(protocol)
        protocol.connection_made(connection)
        return connection, protocol


def make_session() -> aiohttp.ClientSession:
    return aiohttp_session(aiohttp.UnixConnector("anywhere", limit=0))


async def _read_by_hand(session: aiohttp.ClientSession) -> int:
    return sum([len(loads(body)) async for body in read_bodies(session, URL, PAGES)])


async def _read(customers: CustomersClient, burden: float) -> int:
    """Read the list; spend ``burden`` seconds on each page."""
    read = 0
    async for page in customers.list_customers().pages():
        until = time.process_time() + burden
        while burden and time.process_time() < until:
            pass
        read += len(page.customers)
    return read


async def measure(listings: int = LISTINGS) -> Figures:
    """Return the figures of that many listings of each kind, after one that warms up."""
    costs: list[tuple[float, float, float]] = []
    async with make_session() as baseline, make_session() as session, client(URL, session) as customers:
        for _ in range(1 + listings):
            by_hand = await _measure_page(_read_by_hand(baseline))
            plain = await _measure_page(_read(customers, 0.0))
            slowed = await _measure_page(_read(customers, SLOWER * plain))
            costs.append((by_hand, plain / by_hand, slowed / by_hand))
    baselines, ratios, slowed_ratios = (statistics.median(figures) for figures in zip(*costs[1:], strict=True))
    return Figures(baselines * 1e6, ratios, slowed_ratios)


async def _measure_page(listing: Awaitable[int]) -> float:
    """Return the seconds of CPU time for each page of a listing."""
    started = time.process_time()
    assert await listing == PAGES * PER_PAGE
    return (time.process_time() - started) / PAGES


def main() -> None:
    """Measure and print."""
    with asyncio.Runner(loop_factory=InProcessLoop) as runner:
        figures = runner.run(measure())
    print(f"{figures.baseline:.0f} {figures.ratio:.3f} {figures.slowed_ratio:.3f}")


if __name__ == "__main__":
    main()
