"""The figures in words and tables, as Markdown, and in a picture."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks import chart, latency, memory
from tests.benchmarks.contest import Contest
from tests.benchmarks.contestants import CONTESTANTS, LOOK_UPS

__all__ = ["of_imports", "of_latency", "of_look_ups", "of_memory", "of_pages", "of_surroundings", "picture"]

_PACKAGES = (
    *("customers-async", "aiohttp", "attrs", "msgspec", "orjson", "pydantic", "httpx", "dlt"),
    *("openapi-generator-cli", "openapi-python-client"),
)
_COLOURS = {"bytes": "#999", "floor": "#777", "pages": "#2a7f62", "customers": "#2a7f62"}
_PEER = "#3566a8"


def of_surroundings(rounds: int, pages: int) -> str:
    """When, where and with what."""
    packages = ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name)))
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} in {rounds} rounds of {pages} pages, on {os.cpu_count()} processors "
        f"({_processor()}), {platform.system()} {platform.release()}, {platform.python_implementation()} "
        f"{platform.python_version()}. Packages: {packages}."
    )


def of_pages(contest: Contest, floor: str, excuses: Mapping[str, str], capacity: float) -> str:
    """Each contestant's CPU time a page."""
    lines = ["| a page of 100 customers | µs of CPU | times the floor | in the rounds |", "|---|--:|--:|--:|"]
    for name in contest.runs:
        ratios = contest.ratios(name, floor)
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        figures = f"{contest.median(name):,.0f} | {contest.ratio(name, floor):.2f} | {spread}"
        lines.append(f"| {CONTESTANTS[name].title} | {figures} |")
    lines += [f"| {CONTESTANTS[name].title} | – | – | {excuse} |" for name, excuse in excuses.items()]
    spent = contest.median(floor, "service")
    quickest = min(contest.median(name, "latency") for name in contest.runs)
    return "\n".join(lines) + (
        f"\n\nThe service, a process of its own, spends {spent:.0f} µs of CPU a page. To a client that only reads its "
        f"socket it gives {capacity:,.0f} pages a second; the quickest contestant took {1e6 / quickest:,.0f}."
    )


def of_look_ups(contest: Contest, excuses: Mapping[str, str]) -> str:
    """One customer at a time."""
    lines = ["| one customer | µs of CPU | times | µs of latency | times |", "|---|--:|--:|--:|--:|"]
    for name in contest.runs:
        cpu = f"{contest.median(name):,.0f} | {contest.ratio(name, 'look-up'):.2f}"
        passed = f"{contest.median(name, 'latency'):,.0f} | {contest.ratio(name, 'look-up', 'latency'):.2f}"
        lines.append(f"| {LOOK_UPS[name].title} | {cpu} | {passed} |")
    lines += [f"| {LOOK_UPS[name].title} | – | – | – | {excuse} |" for name, excuse in excuses.items()]
    return "\n".join(lines)


def of_latency(walk: latency.Walk) -> str:
    """A service that is far away."""
    return (
        f"{latency.PAGES} pages from a service {latency.FAR * 1000:.0f} ms away, 8 in flight: {walk.whole:.1f} round "
        f"trips, {walk.whole / latency.IDEAL:.2f} times the ideal {latency.IDEAL}. The first customer comes after "
        f"{walk.first:.2f} round trips."
    )


def of_memory(unique: list[int], repeating: list[int]) -> str:
    """What a walk grows by from its first 10,000 customers on."""
    first, *later = memory.MILESTONES
    lines = [
        f"| memory from {first:,} customers on | `unique=True` | a customer | `unique=False` |",
        "|---|--:|--:|--:|",
    ]
    for customers, remembering, forgetting in zip(later, unique[1:], repeating[1:], strict=True):
        grown, flat = remembering - unique[0], forgetting - repeating[0]
        figures = f"{grown / 2**20:.1f} MiB | {grown / (customers - first):.0f} bytes | {flat / 2**20:.1f} MiB"
        lines.append(f"| to {customers:,} | {figures} |")
    return "\n".join(lines)


def of_imports(aiohttp: float, customers_async: float) -> str:
    """The price of the import."""
    return (
        f"`import customers_async` takes {customers_async * 1000:.0f} ms of CPU, {customers_async / aiohttp:.2f} times "
        f"`import aiohttp`, which it includes."
    )


def picture(contest: Contest, floor: str) -> str:
    """The CPU time a page, as bars."""
    bars = [
        chart.Bar(
            CONTESTANTS[name].title,
            contest.ratio(name, floor),
            f"{contest.ratio(name, floor):.2f} ×",
            _COLOURS.get(name, _PEER),
        )
        for name in contest.runs
    ]
    return chart.draw(bars, unit=1.0, caption="CPU time for a page of 100 customers, as multiples of the floor")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    """The processor's name, as well as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
