"""The page path beside the floor, without a network: ``python -m tests.benchmarks.guard`` prints three figures.

They are the floor's CPU time for a page in microseconds, this client's as a multiple of it, and that of the same client
when its reader spends another 30 % on each page. Both ends live in one process and what one writes the other has at
once, so the kernel has no part in it. Whole walks of a short list take turns, and the medians of the ratios are taken:
they hardly move when other processes want the processor.
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
from tests.benchmarks.service import PER_PAGE, Answers

__all__ = ["Figures", "measure"]

PAGES, WALKS = 40, 16
SLOWER = 0.3
_URL = "http://127.0.0.1"


_answer = cache(Answers(PAGES).answer)


@attrs.frozen
class Figures:
    """Medians: the floor's microseconds a page, and two multiples of it."""

    floor: float
    ratio: float
    slowed_ratio: float


class _Wire(asyncio.Transport):
    """A connection whose other end answers in the next round of the loop."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._closing = False

    def write(self, data: Any) -> None:
        target = bytes(data).split(b" ", 2)[1]
        asyncio.get_running_loop().call_soon(self._protocol.data_received, _answer(target))

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
        """Nothing to hold back: an answer comes whole."""

    resume_reading = pause_reading


class _ClosedWorld(asyncio.SelectorEventLoop):
    """An event loop in which connections lead to a service inside this process."""

    async def create_unix_connection(  # type: ignore[override]  # as far as aiohttp calls it
        self, protocol_factory: Callable[[], asyncio.Protocol], path: str
    ) -> tuple[_Wire, asyncio.Protocol]:
        protocol = protocol_factory()
        wire = _Wire(protocol)
        protocol.connection_made(wire)
        return wire, protocol


def _session() -> aiohttp.ClientSession:
    return aiohttp_session(aiohttp.UnixConnector("anywhere", limit=0))


async def _walk_by_hand(session: aiohttp.ClientSession) -> int:
    return sum([len(loads(body)) async for body in read_bodies(session, _URL, PAGES)])


async def _walk(customers: CustomersClient, burden: float) -> int:
    """Read the list; spend so many seconds on each page."""
    read = 0
    async for page in customers.list_customers().pages():
        until = time.process_time() + burden
        while burden and time.process_time() < until:
            pass
        read += len(page.customers)
    return read


async def measure(walks: int = WALKS) -> Figures:
    """The figures of so many walks of each kind, after one that warms up."""
    costs: list[tuple[float, float, float]] = []
    async with _session() as floor, _session() as session, client(_URL, session) as customers:
        for _ in range(1 + walks):
            by_hand = await _cost(_walk_by_hand(floor))
            plain = await _cost(_walk(customers, 0.0))
            slowed = await _cost(_walk(customers, SLOWER * plain))
            costs.append((by_hand, plain / by_hand, slowed / by_hand))
    floors, ratios, slowed_ratios = (statistics.median(figures) for figures in zip(*costs[1:], strict=True))
    return Figures(floors * 1e6, ratios, slowed_ratios)


async def _cost(walk: Awaitable[int]) -> float:
    """Seconds of CPU for each page of a walk."""
    started = time.process_time()
    assert await walk == PAGES * PER_PAGE
    return (time.process_time() - started) / PAGES


def main() -> None:
    """Measure and print."""
    with asyncio.Runner(loop_factory=_ClosedWorld) as runner:
        figures = runner.run(measure())
    print(f"{figures.floor:.0f} {figures.ratio:.3f} {figures.slowed_ratio:.3f}")


if __name__ == "__main__":
    main()
