"""Measures exports: ``python -m tests.benchmarks.export`` prints the figures and writes them into the docs.

Each run is a new process, against an emulator without a rate limit in another process. The baseline reads the list and
discards it; runs alternate, and the median counts. The longest stall of the event loop is the longest delay of a
heartbeat of 1 ms; the baseline has stalls, too, because processes that share the machine delay each other. The peak of
memory is that of the run's process.
"""

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from customers_async import CustomersClient
from customers_async.emulator import Emulator

TARGET = Path(__file__).parents[2] / "docs" / "howto" / "export-figures.md"
CUSTOMERS, MANY, FEW = 100_000, 1_000_000, 10_000
UNLIMITED = 10**9
BEAT = 0.001
BASELINE = "baseline"


async def measure_stall() -> float:
    """Beat until cancelled; return the longest delay in seconds."""
    longest = 0.0
    try:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(BEAT)
            longest = max(longest, time.perf_counter() - before - BEAT)
    except asyncio.CancelledError:
        return longest


async def read_list(client: CustomersClient) -> None:
    """Read the list and discard it."""
    async with client.list_customers(on_incomplete="raise") as pager:
        async for _ in pager.pages():
            pass


async def measure(url: str, token: str, what: str) -> None:
    """Run once; print the seconds, the longest stall and the peak of memory."""
    from customers_async.export import export_customers
    from customers_async.export.formats import format_of

    async with CustomersClient(token, base_url=url) as client:
        await client.count_customers()
        if what != BASELINE:
            format_of(what)  # imports pyarrow if the format needs it
        heartbeat = asyncio.create_task(measure_stall())
        await asyncio.sleep(0)
        started = time.perf_counter()
        await (read_list(client) if what == BASELINE else export_customers(client, what))
        seconds = time.perf_counter() - started
        heartbeat.cancel()
        stall = await heartbeat
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([seconds, stall, peak]))


async def serve(customers: int) -> None:
    """Run the emulator until stdin is closed. It makes each page once, for all runs."""
    async with Emulator(customers=customers, limit=UNLIMITED, gzip=False) as emulator:
        print(emulator.url, emulator.token, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def run(url: str, token: str, what: str) -> tuple[float, float, int]:
    """Measure once, in a new process."""
    command = (sys.executable, "-m", "tests.benchmarks.export", url, token, what)
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  # our own command
    seconds, stall, peak = json.loads(done.stdout)
    return seconds, stall, peak


class Service:
    """An emulator in another process."""

    def __init__(self, customers: int) -> None:
        command = (sys.executable, "-m", "tests.benchmarks.export", f"{customers}")
        self._process = subprocess.Popen(  # noqa: S603  # our own command
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> tuple[str, str]:
        assert self._process.stdout is not None
        url, token = self._process.stdout.readline().split()
        return url, token

    def __exit__(self, *_: object) -> None:
        self._process.communicate("")


def report(rounds: int = 5) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| 100,000 customers | seconds | times the baseline | longest stall of the event loop |",
        "|---|---|---|---|",
    ]
    with TemporaryDirectory() as directory:
        runs: dict[str, list[tuple[float, float, int]]] = {}
        kinds = [BASELINE, *(f"customers.{format_}" for format_ in ("jsonl", "csv", "sqlite", "parquet", "arrow"))]
        with Service(CUSTOMERS) as (url, token):
            run(url, token, BASELINE)
            for _ in range(rounds):
                for kind in kinds:
                    what = kind if kind == BASELINE else str(Path(directory, kind))
                    runs.setdefault(kind, []).append(run(url, token, what))
        baseline = statistics.median(seconds for seconds, _, _ in runs[BASELINE])
        for kind in kinds:
            seconds = statistics.median(seconds for seconds, _, _ in runs[kind])
            stall = statistics.median(stall for _, stall, _ in runs[kind])
            name = "baseline: read and discarded" if kind == BASELINE else f"to {kind.partition('.')[2]}"
            lines.append(f"| {name} | {seconds:.2f} | {seconds / baseline:.2f} | {stall * 1e3:.0f} ms |")
        peaks = {}
        for customers in (FEW, MANY):
            with Service(customers) as (url, token):
                peaks[customers] = run(url, token, str(Path(directory, "many.parquet")))[2]
    growth = (peaks[MANY] - peaks[FEW]) / 2**20
    lines += ["", f"The peak of memory grows by {growth:.0f} MB from {FEW:,} to {MANY:,} customers (to parquet)."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what the arguments name; without arguments, print the figures and write them into the docs."""
    match sys.argv[1:]:
        case [url, token, what]:
            asyncio.run(measure(url, token, what))
        case [customers]:
            asyncio.run(serve(int(customers)))
        case _:
            figures = report()
            TARGET.write_text(figures, encoding="utf-8")
            print(figures, end="")


if __name__ == "__main__":
    main()
