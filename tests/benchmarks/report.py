"""The figures in words and tables, as Markdown, and in a picture."""

import os
import platform
import statistics
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks import chart, latency, memory
from tests.benchmarks.contest import Score
from tests.benchmarks.contestants import CONTESTANTS, FLOOR, GET_CUSTOMER, LOOK_UP_FLOOR
from tests.benchmarks.service import PER_PAGE

__all__ = ["of_imports", "of_latency", "of_look_ups", "of_memory", "of_pages", "of_surroundings", "picture"]

_PACKAGES = (
    *("customers-async", "aiohttp", "attrs", "msgspec", "orjson", "pydantic", "httpx", "dlt"),
    *("openapi-generator-cli", "openapi-python-client"),
)
_PLAIN, _PEER = "#888", "#3566a8"
_COLOURS = {"bytes": _PLAIN, "pages": "#2a7f62", "customers": "#2a7f62"}


def of_surroundings(rounds: int, turns: int) -> str:
    """When, where and with what."""
    packages = ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name)))
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {rounds} rounds of {turns} turns, on {os.cpu_count()} processors "
        f"({_processor()}), {platform.system()} {platform.release()}, {platform.python_implementation()} "
        f"{platform.python_version()}. Packages: {packages}."
    )


def of_pages(scores: Mapping[str, Score | str], service: float, capacity: float) -> str:
    """Each contestant's CPU time for a page.

    Args:
        scores: By contestant.
        service: Seconds of CPU that the service spends on a page.
        capacity: Pages that it can give in a second.
    """
    measured = [score for score in scores.values() if isinstance(score, Score)]
    floor = statistics.median(score.floor.cpu for score in measured) * PER_PAGE
    quickest = min(cost.passed for score in measured for cost in (score.cost, score.floor)) * PER_PAGE
    lines = ["| a page of 100 customers | µs of CPU | times the floor | in the rounds |", "|---|--:|--:|--:|"]
    lines.append(f"| {FLOOR.title} | {floor:,.0f} | 1.00 | |")
    for name, score in scores.items():
        figures = f"– | – | {score}" if isinstance(score, str) else _cpu_of(score)
        lines.append(f"| {CONTESTANTS[name].title} | {figures} |")
    return "\n".join(lines) + (
        f"\n\nThe service, a process of its own, spends {service * 1e6:.0f} µs of CPU a page. To a client that only "
        f"reads its socket it gives {capacity:,.0f} pages a second; the quickest contestant took {1e6 / quickest:,.0f}."
    )


def _cpu_of(score: Score) -> str:
    ratios = [ratio.cpu for ratio in score.ratios]
    return f"{score.cost.cpu * PER_PAGE:,.0f} | {score.ratio.cpu:.2f} | {min(ratios):.2f} to {max(ratios):.2f}"


def of_look_ups(score: Score | str) -> str:
    """One customer at a time."""
    if isinstance(score, str):
        return f"{GET_CUSTOMER.title}: {score}"
    return "\n".join(
        (
            "| one customer | µs of CPU | times the floor | µs of latency | times the floor |",
            "|---|--:|--:|--:|--:|",
            f"| {LOOK_UP_FLOOR.title} | {score.floor.cpu:.0f} | 1.00 | {score.floor.passed:.0f} | 1.00 |",
            f"| {GET_CUSTOMER.title} | {score.cost.cpu:.0f} | {score.ratio.cpu:.2f} "
            f"| {score.cost.passed:.0f} | {score.ratio.passed:.2f} |",
        )
    )


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
        f"`from customers_async import CustomersClient` takes {customers_async * 1000:.0f} ms of CPU, "
        f"{customers_async / aiohttp:.2f} times `import aiohttp`, which it includes."
    )


def picture(scores: Mapping[str, Score | str]) -> str:
    """The CPU time for a page, as bars."""
    ratios = {name: score.ratio.cpu for name, score in scores.items() if isinstance(score, Score)}
    bars = [chart.Bar(FLOOR.title, 1.0, "1", _PLAIN)] + [
        chart.Bar(CONTESTANTS[name].title, ratio, f"{ratio:.2f}", _COLOURS.get(name, _PEER))
        for name, ratio in ratios.items()
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
