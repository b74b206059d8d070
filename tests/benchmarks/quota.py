"""How well the limiter uses the quota: ``python -m tests.benchmarks.quota`` prints it, and writes it into the docs.

It takes about five minutes. Every row runs over real sockets against the emulator. Those on *virtual* time run under
the real quota of 500 requests in 60 s, on an event loop whose clock runs ahead while nothing happens, and their
"processes" are clients of one event loop, each with a limiter of its own. Those in *real* time wait for real, one
process under a window scaled down to 10 s, four processes of the operating system under the real one: whole seconds
of ``Retry-After`` do not scale. The ideal is one window after another, each spent at once, and the rest of the
requests at the speed of a server without a quota.
"""

import asyncio
import logging
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs

from customers_async import CustomersClient, RateLimiter
from customers_async.calls.slots import Slots
from customers_async.emulator import Emulator
from customers_async.testing import VirtualTimeLoop

TARGET = Path(__file__).parents[2] / "docs" / "explanation" / "quota.md"
LIMIT, WINDOW, SCALED_WINDOW = 500, 60.0, 10.0
UNLIMITED = 10**9
LATENCY = 0.04


@attrs.frozen
class Run:
    """One run: seconds from the first request to the last answer, and how many answers were 429."""

    seconds: float
    rejected: int
    windows: int

    @property
    def rejected_a_window(self) -> float:
        return self.rejected / max(1, self.windows - 1)


async def pull(
    requests: int, *, processes: int = 1, limit: int = LIMIT, window: float = WINDOW, latency: float = LATENCY
) -> Run:
    """Fetch so many pages, by so many clients that do not talk to one another."""
    started = asyncio.get_running_loop().time()
    async with Emulator(customers=requests, limit=limit, window=window, latency=latency) as emulator:
        work = (_work(emulator.url, emulator.token, requests // processes, window) for _ in range(processes))
        await asyncio.gather(*work)
        seconds = asyncio.get_running_loop().time() - started
        return Run(seconds, emulator.stats.rejected, -(-requests // limit))


async def pull_by_processes(requests: int, processes: int) -> Run:
    """The same by processes of the operating system, in real time and under the real window."""
    async with Emulator(customers=requests, limit=LIMIT, window=WINDOW, latency=LATENCY) as emulator:
        command = (sys.executable, "-m", __spec__.name, emulator.url, str(requests // processes))
        environment = {**os.environ, "CUSTOMERS_TOKEN": emulator.token}
        workers = [
            await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
            for _ in range(processes)
        ]
        printed = [(await worker.communicate())[0].split() for worker in workers]
        begun, ended = zip(*((float(begun), float(ended)) for begun, ended in printed), strict=True)
        return Run(max(ended) - min(begun), emulator.stats.rejected, -(-requests // LIMIT))


async def _work(url: str, token: str, requests: int, window: float) -> None:
    limiter = RateLimiter(window=window)
    async with CustomersClient(token, base_url=url, rate_limiter=limiter, max_rate_limit_wait=10_000) as client:
        pages = iter(range(requests))

        async def worker() -> None:
            for page in pages:
                await client.get_page(page % 100 + 1, per_page=1)

        await asyncio.gather(*(worker() for _ in range(8)))


def ideal(requests: int, *, processes: int = 1, window: float = WINDOW) -> float:
    """Whole windows, and the last one at the speed of a server without a quota."""
    full = (requests - 1) // LIMIT
    rest = virtually(lambda: pull(requests - full * LIMIT, processes=processes, limit=UNLIMITED))
    return full * window + rest.seconds


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


def row(clock: str, requests: int, processes: int, window: float, run: Run) -> str:
    """A line of the table."""
    best = ideal(requests, processes=processes, window=window)
    figures = (
        f"{run.seconds:.1f} | {best:.1f} | {run.seconds / best:.4f} | {run.rejected} | {run.rejected_a_window:.1f}"
    )
    return f"| {clock} | {window:g} s | {requests:,} | {processes} | {figures} |"


async def in_real_time() -> list[tuple[int, int, float, Run]]:
    """The runs in real time; the two longest side by side, since both do little but wait."""
    short = [(requests, 1, SCALED_WINDOW, await pull(requests, window=SCALED_WINDOW)) for requests in (600, 2_000)]
    alone, together = await asyncio.gather(pull(10_000, window=SCALED_WINDOW), pull_by_processes(2_000, 4))
    return [*short, (10_000, 1, SCALED_WINDOW, alone), (2_000, 4, WINDOW, together)]


def report() -> str:
    """The figures, as Markdown."""
    lines = [
        "| time | window | requests | processes | seconds | ideal | ratio | 429s | 429s a spent window |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for requests, processes in ((600, 1), (2_000, 1), (10_000, 1), (2_000, 4)):
        run = virtually(lambda r=requests, p=processes: pull(r, processes=p))  # type: ignore[misc]  # bound at once
        lines.append(row("virtual", requests, processes, WINDOW, run))
    lines += [row("real", *figures) for figures in asyncio.run(in_real_time())]
    lines += ["", f"400 requests take {burst_ratio():.2f} times as long as without a quota."]
    lines += [f"A permit costs {permit_cost():.1f} µs of CPU."]
    return "\n".join(lines) + "\n"


def work_as_a_process(url: str, requests: str) -> None:
    """What one of several processes does; prints when it began and ended, by the clock that they share."""
    begun = time.monotonic()
    asyncio.run(_work(url, os.environ["CUSTOMERS_TOKEN"], int(requests), WINDOW))
    print(begun, time.monotonic())


def main() -> None:
    """Print the figures, and write them into the docs."""
    logging.getLogger("customers_async").addHandler(logging.NullHandler())
    if sys.argv[1:]:
        work_as_a_process(*sys.argv[1:])
        return
    figures = report()
    TARGET.write_text(figures, encoding="utf-8")
    print(figures, end="")


if __name__ == "__main__":
    main()
