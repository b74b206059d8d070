"""Formats the figures as Markdown, and draws their picture."""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks import chart, latency, memory
from tests.benchmarks.contest import Score
from tests.benchmarks.contestants import BASELINE, BASELINES, CONTESTANTS, GET_CUSTOMER, LOOK_UP_BASELINE
from tests.benchmarks.service import PER_PAGE

__all__ = [
    "describe_environment",
    "describe_imports",
    "describe_latency",
    "describe_look_ups",
    "describe_memory",
    "describe_pages",
    "draw_pages",
]

_PACKAGES = (
    *("customers-async", "aiohttp", "attrs", "msgspec", "orjson", "pydantic", "httpx", "dlt"),
    *("openapi-generator-cli", "openapi-python-client"),
)
_PLAIN, _PEER = "#888", "#3566a8"
_OURS = dict.fromkeys(("pages-1", "pages", "customers", "pages-gzip"), "#2a7f62")
_COLOURS = {"bytes": _PLAIN, **_OURS}


def describe_environment(rounds: int, turns: int) -> str:
    """Describe the date, the machine and the packages."""
    packages = ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _find_version(name)))
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {rounds} rounds of {turns} turns, on {os.cpu_count()} processors "
        f"({_find_processor()}), {platform.system()} {platform.release()}, {platform.python_implementation()} "
        f"{platform.python_version()}. Packages: {packages}."
    )


def describe_pages(scores: Mapping[str, Score | str], service: str, capacity: float) -> str:
    """Describe each contestant's CPU time for a page, below that of its baseline.

    Args:
        scores: Scores by contestant.
        service: What sent the pages.
        capacity: Pages that it can send in a second.
    """
    measured = [score for score in scores.values() if isinstance(score, Score)]
    fastest = min(cost.elapsed for score in measured for cost in (score.cost, score.baseline)) * PER_PAGE
    lines = [
        "| a page of 100 customers | µs of CPU time | times the baseline | range over the rounds |",
        "|---|--:|--:|--:|",
    ]
    shown = set()
    for name, score in scores.items():
        baseline = BASELINES.get(name, BASELINE)
        if isinstance(score, Score) and baseline.title not in shown:
            shown.add(baseline.title)
            lines.append(f"| {baseline.title} | {score.baseline.cpu * PER_PAGE:,.0f} | 1.00 | |")
        figures = f"– | – | {score}" if isinstance(score, str) else _format_cpu(score)
        lines.append(f"| {CONTESTANTS[name].title} | {figures} |")
    return "\n".join(lines) + (
        f"\n\nThe service is {service}. It sends {capacity:,.0f} pages a second to a client that only reads its "
        f"socket; the fastest contestant read {1e6 / fastest:,.0f}."
    )


def _format_cpu(score: Score) -> str:
    ratios = [ratio.cpu for ratio in score.ratios]
    return f"{score.cost.cpu * PER_PAGE:,.0f} | {score.ratio.cpu:.2f} | {min(ratios):.2f} to {max(ratios):.2f}"


def describe_look_ups(score: Score | str) -> str:
    """Describe the look-ups of single customers."""
    if isinstance(score, str):
        return f"{GET_CUSTOMER.title}: {score}"
    return "\n".join(
        (
            "| one customer | µs of CPU time | times the baseline | µs of latency | times the baseline |",
            "|---|--:|--:|--:|--:|",
            f"| {LOOK_UP_BASELINE.title} | {score.baseline.cpu:.0f} | 1.00 | {score.baseline.elapsed:.0f} | 1.00 |",
            f"| {GET_CUSTOMER.title} | {score.cost.cpu:.0f} | {score.ratio.cpu:.2f} "
            f"| {score.cost.elapsed:.0f} | {score.ratio.elapsed:.2f} |",
        )
    )


def describe_latency(listing: latency.ListingTime) -> str:
    """Describe a listing from a distant service."""
    return (
        f"{latency.PAGES} pages from a service {latency.LATENCY * 1000:.0f} ms away, 8 in flight: "
        f"{listing.whole:.1f} round trips, {listing.whole / latency.IDEAL:.2f} times the ideal {latency.IDEAL}. "
        f"The first customer arrives after {listing.first:.2f} round trips."
    )


def describe_memory(unique: list[int], repeating: list[int], collected: int) -> str:
    """Describe how a listing's memory grows after its first 10,000 customers, and what `collect` holds."""
    first, *later = memory.MILESTONES
    lines = [
        f"| memory from {first:,} customers on | `unique=True` | a customer | `unique=False` |",
        "|---|--:|--:|--:|",
    ]
    for customers, with_uuids, without in zip(later, unique[1:], repeating[1:], strict=True):
        grown, flat = with_uuids - unique[0], without - repeating[0]
        figures = f"{grown / 2**20:.1f} MiB | {grown / (customers - first):.0f} bytes | {flat / 2**20:.1f} MiB"
        lines.append(f"| to {customers:,} | {figures} |")
    each = collected / memory.COLLECTED
    lines += ["", f"What `collect()` returns takes {each:,.0f} bytes a customer, for {memory.COLLECTED:,} customers."]
    return "\n".join(lines)


def describe_imports(aiohttp: float, customers_async: float) -> str:
    """Describe the time of the import."""
    return (
        f"`from customers_async import CustomersClient` takes {customers_async * 1000:.0f} ms of CPU time, "
        f"{customers_async / aiohttp:.2f} times `import aiohttp`, which it includes."
    )


def draw_pages(scores: Mapping[str, Score | str]) -> str:
    """Draw the CPU time for a page as bars."""
    ratios = {name: score.ratio.cpu for name, score in scores.items() if isinstance(score, Score)}
    bars = [chart.Bar("the baseline of each", 1.0, "1", _PLAIN)] + [
        chart.Bar(CONTESTANTS[name].title, ratio, f"{ratio:.2f}", _COLOURS.get(name, _PEER))
        for name, ratio in ratios.items()
    ]
    return chart.draw(bars, unit=1.0, caption="CPU time for a page of 100 customers, as multiples of the baseline")


def _find_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _find_processor() -> str:
    """Return the name of the processor, as far as the system has one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
