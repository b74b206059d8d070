"""Measures the mirror: ``python -m tests.benchmarks.mirror`` prints the figures and writes them into the docs.

Each run is a new process, against an emulator without a rate limit in another process. The walk reads the list and
discards it; runs alternate, and the median counts. PostgreSQL is a server of this package's tests, on the same machine.
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
from customers_async.mirror import Mirror
from tests.benchmarks.export import BASELINE, Service, measure_stall, read_list
from tests.postgres import run_server

TARGET = Path(__file__).parents[2] / "docs" / "howto" / "mirror-figures.md"
MANY, FEW = 100_000, 10_000
READS = 2_000


async def measure(url: str, token: str, target: str) -> None:
    """Read the list or sync once; print seconds, longest stall and peak of memory."""
    async with CustomersClient(token, base_url=url) as client:
        await client.count_customers()
        mirror = None if target == BASELINE else await Mirror.open(target).__aenter__()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        heartbeat = asyncio.create_task(measure_stall())
        await asyncio.sleep(0)
        started = time.perf_counter()
        await (read_list(client) if mirror is None else mirror.sync(client))
        seconds = time.perf_counter() - started
        heartbeat.cancel()
        stall = await heartbeat
        if mirror is not None:
            await mirror.__aexit__(None, None, None)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(json.dumps([seconds, stall, growth]))


async def measure_reads(target: str) -> tuple[float, float]:
    """Return the median seconds of `Mirror.get`, and the 99th percentile of `Mirror.find`."""
    gets, finds = [], []
    async with Mirror.open(target) as mirror:
        found = [customer async for customer in mirror.find("", limit=READS)]
        for customer in found:
            started = time.perf_counter()
            await mirror.get(customer.uuid)
            gets.append(time.perf_counter() - started)
        names = [(customer.name or "x")[2:6] for customer in found[:: READS // 200]] + ["no such name"] * 10
        for name in names:
            started = time.perf_counter()
            _ = [customer async for customer in mirror.find(name)]
            finds.append(time.perf_counter() - started)
    return statistics.median(gets), statistics.quantiles(finds, n=100)[-1]


def run(url: str, token: str, target: str) -> tuple[float, float, int]:
    """Measure once, in a new process."""
    command = (sys.executable, "-m", "tests.benchmarks.mirror", url, token, target)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603  # our own command
    seconds, stall, growth = json.loads(done.stdout.splitlines()[-1])
    return seconds, stall, growth


def report(rounds: int = 3) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| sync | seconds | the walk alone | ratio | longest stall | memory |",
        "|---|---|---|---|---|---|",
    ]
    with TemporaryDirectory() as directory, run_server() as server:
        for customers, again in ((MANY, False), (FEW, True)):
            runs: dict[str, list[tuple[float, float, int]]] = {}
            with Service(customers) as (url, token):
                run(url, token, BASELINE)
                for number in range(rounds):
                    targets = {
                        "SQLite": str(Path(directory, f"{customers}-{number}.db")),
                        "PostgreSQL": server.make_schema(),
                    }
                    runs.setdefault(BASELINE, []).append(run(url, token, BASELINE))
                    for name, target in targets.items():
                        if again:
                            run(url, token, target)
                        runs.setdefault(name, []).append(run(url, token, target))
            walk = statistics.median(seconds for seconds, _, _ in runs[BASELINE])
            for name in ("SQLite", "PostgreSQL"):
                seconds, stall, growth = (statistics.median(column) for column in zip(*runs[name], strict=True))
                what = f"{customers:,} customers, {'unchanged' if again else 'the first time'}, {name}"
                lines.append(
                    f"| {what} | {seconds:.2f} | {walk:.2f} | {seconds / walk:.2f} | {stall * 1e3:.0f} ms "
                    f"| +{growth / 2**20:.0f} MB |"
                )
        lines += ["", "| reading 100,000 customers | `get`, median | `find`, 99th percentile |", "|---|---|---|"]
        for name, target in (("SQLite", str(Path(directory, f"{MANY}-0.db"))), ("PostgreSQL", server.schemas[0])):
            get, find = asyncio.run(measure_reads(target))
            lines.append(f"| {name} | {get * 1e6:.0f} µs | {find * 1e3:.1f} ms |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what the arguments name; without arguments, print the figures and write them into the docs."""
    match sys.argv[1:]:
        case [url, token, target]:
            asyncio.run(measure(url, token, target))
        case _:
            figures = report()
            TARGET.write_text(figures, encoding="utf-8")
            print(figures, end="")


if __name__ == "__main__":
    main()
