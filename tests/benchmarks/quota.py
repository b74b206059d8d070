"""How well the limiter uses the quota: ``python -m tests.benchmarks.quota`` prints it, and writes it into the docs.

Every row but the last two runs over real sockets against the emulator, under the real quota of 500 requests in 60 s, on
an event loop whose clock runs ahead while nothing happens. A "process" is a client with a limiter of its own: like
processes behind one address, such clients know of one another only through what remains. The ideal is one window
after another, each spent at once, and the rest of the requests at the speed of a server without a quota.
"""

import asyncio
import logging
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs

from customers_async import CustomersClient, RateLimiter
from customers_async.emulator import Emulator
from customers_async.rate_limiter import Slots
from customers_async.testing import VirtualTimeLoop

TARGET = Path(__file__).parents[2] / "docs" / "explanation" / "quota.md"
LIMIT, WINDOW = 500, 60.0
UNLIMITED = 10**9
LATENCY = 0.04


@attrs.frozen
class Run:
    """One run: seconds until the last answer, and how many answers were 429."""

    seconds: float
    rejected: int
    windows: int

    @property
    def rejected_a_window(self) -> float:
        return self.rejected / max(1, self.windows - 1)


async def pull(requests: int, *, processes: int = 1, limit: int = LIMIT, latency: float = LATENCY) -> Run:
    """Fetch so many pages, by so many clients that do not talk to one another."""
    started = asyncio.get_running_loop().time()
    async with Emulator(customers=requests, limit=limit, window=WINDOW, latency=latency) as emulator:
        await asyncio.gather(*(_work(emulator, requests // processes) for _ in range(processes)))
        seconds = asyncio.get_running_loop().time() - started
        return Run(seconds, emulator.stats.rejected, -(-requests // limit))


async def _work(emulator: Emulator, requests: int) -> None:
    async with CustomersClient(emulator.token, base_url=emulator.url, max_rate_limit_wait=10_000) as client:
        pages = iter(range(requests))

        async def worker() -> None:
            for page in pages:
                await client.get_page(page % 100 + 1, per_page=1)

        await asyncio.gather(*(worker() for _ in range(8)))


def ideal(requests: int, *, processes: int = 1) -> float:
    """Whole windows, and the last one at the speed of a server without a quota."""
    full = (requests - 1) // LIMIT
    rest = virtually(lambda: pull(requests - full * LIMIT, processes=processes, limit=UNLIMITED))
    return full * WINDOW + rest.seconds


def virtually(work: Callable[[], Awaitable[Run]]) -> Run:
    """Run on virtual time."""

    async def main() -> Run:
        return await work()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main())


def burst_ratio(rounds: int = 5) -> float:
    """400 requests within the quota against the same without one, in real time, alternating: the median ratio."""
    ratios = []
    for _ in range(rounds):
        limited = asyncio.run(pull(400, latency=0.0)).seconds
        ratios.append(limited / asyncio.run(pull(400, limit=UNLIMITED, latency=0.0)).seconds)
    return statistics.median(ratios)


def permit_cost(permits: int = 100_000) -> float:
    """Microseconds of CPU for one permit, taken and given back."""

    async def main() -> float:
        limiter, slots = RateLimiter(10**9), Slots(8)
        limiter.release(await limiter.acquire(slots, lane="bulk", max_wait=1), answered=True, remaining=10**9 - 1)
        started = time.process_time()
        for number in range(permits):
            permit = await limiter.acquire(slots, lane="bulk", max_wait=1)
            limiter.release(permit, answered=True, limit=10**9, remaining=10**9 - 2 - number)
        return (time.process_time() - started) / permits * 1e6

    return min(asyncio.run(main()) for _ in range(3))


def report() -> str:
    """The figures, as Markdown."""
    lines = [
        "| requests | processes | seconds | ideal | ratio | 429s | 429s a spent window |",
        "|---|---|---|---|---|---|---|",
    ]
    for requests, processes in ((600, 1), (2_000, 1), (10_000, 1), (2_000, 4)):
        run = virtually(lambda r=requests, p=processes: pull(r, processes=p))  # type: ignore[misc]  # bound at once
        best = ideal(requests, processes=processes)
        ratio = f"{run.seconds / best:.4f}"
        row = (f"{requests:,}", processes, f"{run.seconds:.1f}", f"{best:.1f}", ratio, run.rejected)
        lines.append(f"| {' | '.join(map(str, row))} | {run.rejected_a_window:.1f} |")
    lines += ["", f"400 requests take {burst_ratio():.2f} times as long as without a quota."]
    lines += [f"A permit costs {permit_cost():.1f} µs of CPU."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the figures, and write them into the docs."""
    logging.getLogger("customers_async").addHandler(logging.NullHandler())
    figures = report()
    TARGET.write_text(figures, encoding="utf-8")
    print(figures, end="")


if __name__ == "__main__":
    main()
