"""Measures how well the limiter uses the quota: ``python -m tests.benchmarks.quota`` prints and writes the figures.

It takes about five minutes. Every row runs over real sockets against the emulator. Rows on *virtual* time run under the
real limit of 500 requests in 60 s, on an event loop whose clock skips waiting times, and their "processes" are clients
in one event loop, each with a limiter of its own. Rows in *real* time run one process under a window of 10 s, and four
processes of the operating system under the real window, because whole seconds of ``Retry-After`` do not scale. The
ideal is full windows, each used up at once, and the rest of the requests at the speed of a server without a limit.

The second table is simulated, without sockets: what several processes, slow and lost responses, missing and false
headers cost.
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
from tests.simulation import Scenario, ScenarioSimulation

TARGET = Path(__file__).parents[2] / "docs" / "explanation" / "quota.md"
LIMIT, WINDOW, SCALED_WINDOW = 500, 60.0, 10.0
UNLIMITED = 10**9
LATENCY = 0.04


@attrs.frozen
class Run:
    """One run: seconds from the first request to the last response, and the number of 429s."""

    seconds: float
    rejected: int
    windows: int

    @property
    def rejected_a_window(self) -> float:
        return self.rejected / max(1, self.windows - 1)


async def fetch(
    requests: int, *, processes: int = 1, limit: int = LIMIT, window: float = WINDOW, latency: float = LATENCY
) -> Run:
    """Fetch that many pages, by clients with a limiter each."""
    started = asyncio.get_running_loop().time()
    async with Emulator(customers=requests, limit=limit, window=window, latency=latency) as emulator:
        work = (_work(emulator.url, emulator.token, requests // processes, window) for _ in range(processes))
        await asyncio.gather(*work)
        seconds = asyncio.get_running_loop().time() - started
        return Run(seconds, emulator.stats.rejected, -(-requests // limit))


async def fetch_by_processes(requests: int, processes: int) -> Run:
    """Fetch by several processes, in real time and under the real window."""
    async with Emulator(customers=requests, limit=LIMIT, window=WINDOW, latency=LATENCY) as emulator:
        command = (sys.executable, "-m", __spec__.name, emulator.url, str(requests // processes))
        environment = {**os.environ, "CUSTOMERS_TOKEN": emulator.token}
        workers = [
            await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
            for _ in range(processes)
        ]
        printed = [(await worker.communicate())[0].split() for worker in workers]
        starts, ends = zip(*((float(start), float(end)) for start, end in printed), strict=True)
        return Run(max(ends) - min(starts), emulator.stats.rejected, -(-requests // LIMIT))


async def _work(url: str, token: str, requests: int, window: float) -> None:
    limiter = RateLimiter(window=window)
    async with CustomersClient(token, base_url=url, rate_limiter=limiter, max_rate_limit_wait=10_000) as client:
        pages = iter(range(requests))

        async def worker() -> None:
            for page in pages:
                await client.get_page(page % 100 + 1, per_page=1)

        await asyncio.gather(*(worker() for _ in range(8)))


def ideal_seconds(requests: int, *, processes: int = 1, window: float = WINDOW) -> float:
    """Return the time of full windows, and of the last one without a rate limit."""
    full = (requests - 1) // LIMIT
    rest = run_virtually(lambda: fetch(requests - full * LIMIT, processes=processes, limit=UNLIMITED))
    return full * window + rest.seconds


def run_virtually(work: Callable[[], Awaitable[Run]]) -> Run:
    """Run on virtual time."""

    async def main() -> Run:
        return await work()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main())


def measure_burst(rounds: int = 5) -> float:
    """Return the median ratio of 400 requests within the limit to the same without one, in real time."""
    ratios = []
    for _ in range(rounds):
        limited = asyncio.run(fetch(400, latency=0.0)).seconds
        ratios.append(limited / asyncio.run(fetch(400, limit=UNLIMITED, latency=0.0)).seconds)
    return statistics.median(ratios)


def measure_permit(permits: int = 100_000) -> float:
    """Return the microseconds of CPU time to acquire and release a permit."""

    async def main() -> float:
        limiter, slots = RateLimiter(10**9), Slots(8)
        limiter.release(await limiter.acquire(slots, lane="bulk", max_wait=1), answered=True, remaining=10**9 - 1)
        started = time.process_time()
        for number in range(permits):
            permit = await limiter.acquire(slots, lane="bulk", max_wait=1)
            limiter.release(permit, answered=True, limit=10**9, remaining=10**9 - 2 - number)
        return (time.process_time() - started) / permits * 1e6

    return min(asyncio.run(main()) for _ in range(3))


def format_row(clock: str, requests: int, processes: int, window: float, run: Run) -> str:
    """Return a line of the table."""
    best = ideal_seconds(requests, processes=processes, window=window)
    figures = (
        f"{run.seconds:.1f} | {best:.1f} | {run.seconds / best:.4f} | {run.rejected} | {run.rejected_a_window:.1f}"
    )
    return f"| {clock} | {window:g} s | {requests:,} | {processes} | {figures} |"


async def run_in_real_time() -> list[tuple[int, int, float, Run]]:
    """Run in real time; the two longest at once, since both mostly wait."""
    short = [(requests, 1, SCALED_WINDOW, await fetch(requests, window=SCALED_WINDOW)) for requests in (600, 2_000)]
    alone, together = await asyncio.gather(fetch(10_000, window=SCALED_WINDOW), fetch_by_processes(2_000, 4))
    return [*short, (10_000, 1, SCALED_WINDOW, alone), (2_000, 4, WINDOW, together)]


SCENARIOS = {
    "a process alone": Scenario(),
    "2 processes of 75 requests in flight": Scenario(processes=2, slots=75),
    "4 processes of 75 requests in flight": Scenario(processes=4, slots=75),
    "8 processes of 75 requests in flight": Scenario(processes=8, slots=75),
    "8 processes of 600 requests in flight": Scenario(processes=8, slots=600),
    "4 processes that begin within 30 s": Scenario(processes=4, starts_within=30.0),
    "one response in 50 up to 3 s late": Scenario(slow=0.02),
    "the same, 4 processes of 75": Scenario(processes=4, slots=75, slow=0.02),
    "a third of the responses lost": Scenario(lost=0.33),
    "half of the responses name nothing": Scenario(unnamed=0.5),
    "no response names anything": Scenario(unnamed=1.0),
    "half name nothing, 4 processes of 75": Scenario(processes=4, slots=75, unnamed=0.5),
    "a false 0 in one response of 50": Scenario(false_zero=0.02),
    "the same, 4 processes": Scenario(processes=4, false_zero=0.02),
}


def simulate_scenarios(seeds: int = 12) -> list[str]:
    """Return a line of the second table for each scenario."""
    lines = []
    for name, scenario in SCENARIOS.items():
        runs = [ScenarioSimulation(scenario, seed) for seed in range(seeds)]
        for run in runs:
            run.run()
        ratios = [run.seconds / run.ideal_seconds for run in runs]
        lines.append(
            f"| {name} | {statistics.median(ratios):.3f} | {max(ratios):.3f} "
            f"| {statistics.median(run.most_rejected for run in runs):.0f} | {max(run.most_rejected for run in runs)} |"
        )
    return lines


def report() -> str:
    """Return the figures as Markdown."""
    lines = [
        "| time | window | requests | processes | seconds | ideal | ratio | 429s | 429s in a used-up window |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for requests, processes in ((600, 1), (2_000, 1), (10_000, 1), (2_000, 4)):
        run = run_virtually(lambda r=requests, p=processes: fetch(r, processes=p))  # type: ignore[misc]  # the values are bound
        lines.append(format_row("virtual", requests, processes, WINDOW, run))
    lines += [format_row("real", *figures) for figures in asyncio.run(run_in_real_time())]
    lines += [
        "",
        "2,200 requests, simulated 12 times; the 429s are those of the window with the most of them:",
        "",
        "| scenario | ratio, median | ratio, worst | 429s, median | 429s, worst |",
        "|---|---|---|---|---|",
        *simulate_scenarios(),
    ]
    lines += ["", f"400 requests take {measure_burst():.2f} times as long as without a rate limit."]
    lines += [f"A permit costs {measure_permit():.1f} µs of CPU time."]
    return "\n".join(lines) + "\n"


def run_process(url: str, requests: str) -> None:
    """Run one of several processes; print its start and end on their common clock."""
    start = time.monotonic()
    asyncio.run(_work(url, os.environ["CUSTOMERS_TOKEN"], int(requests), WINDOW))
    print(start, time.monotonic())


def main() -> None:
    """Print the figures, and write them into the docs."""
    logging.getLogger("customers_async").addHandler(logging.NullHandler())
    if sys.argv[1:]:
        run_process(*sys.argv[1:])
        return
    figures = report()
    TARGET.write_text(figures, encoding="utf-8")
    print(figures, end="")


if __name__ == "__main__":
    main()
