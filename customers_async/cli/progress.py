"""Shows progress on stderr: one live line on a terminal, else a line every few seconds."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from customers_async import CustomersClient
from customers_async.checks import MAX_PER_PAGE
from customers_async.cli.output import count, print_message
from customers_async.client import internals
from customers_async.export import ExportProgress

__all__ = ["Display", "OnProgress", "Status", "print_lines", "show_live_line", "show_nothing"]

OnProgress = Callable[[ExportProgress], None]
Display = Callable[[CustomersClient], AbstractAsyncContextManager[OnProgress]]

_LIVE_INTERVAL = 0.1
_PLAIN_INTERVAL = 5.0
_LONGEST_WAIT = 365 * 86400.0
"""Seconds of remaining time that are still shown."""


class Status:
    """The progress as text: pages, customers, speed, rate limit and remaining time."""

    def __init__(self, client: CustomersClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)], maxlen=50)
        self.latest: ExportProgress | None = None

    def update(self, progress: ExportProgress) -> None:
        """Record the progress."""
        if self.latest is not None and (progress.stage, progress.walk) != (self.latest.stage, self.latest.walk):
            self._samples.clear()
        self.latest = progress
        self._samples.append((self._clock(), progress.customers))

    def __str__(self) -> str:
        progress = self.latest
        rate_limit, waiting = self._describe_rate_limit()
        if progress is None:
            return rate_limit
        done = f"{progress.customers:,} " + ("so far" if progress.total is None else f"of {progress.total:,}")
        if progress.stage == "write":
            return f"writing {done}"
        again = f"pass {progress.walk}: " if progress.walk > 1 else ""
        speed = "" if waiting else f"{self._speed():,.0f}/s"
        parts = [
            f"{again}{count(progress.pages, 'page')}",
            done,
            speed,
            rate_limit,
            self._describe_remaining_time(progress),
        ]
        return ", ".join(filter(None, parts))

    def _speed(self) -> float:
        (begin, before), (_, after) = self._samples[0], self._samples[-1]
        return (after - before) / max(self._clock() - begin, 0.001)

    def _describe_rate_limit(self) -> tuple[str, bool]:
        """Return the state of the rate limit, and whether requests wait for it."""
        known = self._client.rate_limit
        if known.remaining == 0 and known.resets_in is not None:
            return f"rate limit: waiting {known.resets_in:,.0f} s", True
        return f"rate limit {known.limit if known.remaining is None else known.remaining}/{known.limit}", False

    def _describe_remaining_time(self, progress: ExportProgress) -> str:
        """Estimate the time for the remaining pages and the waits for the rate limit."""
        if progress.total is None or progress.customers >= progress.total:
            return ""
        pages = -(-(progress.total - progress.customers) // MAX_PER_PAGE)
        seconds = internals(self._client).api.bulk_wait(pages)
        (begin, before), (end, after) = self._samples[0], self._samples[-1]
        if after > before and end > begin:  # the waits cover the windows before the last one
            in_last_window = min(pages, self._client.rate_limit.limit)
            seconds += in_last_window * MAX_PER_PAGE * (end - begin) / (after - before)
        return f"{timedelta(seconds=round(seconds))} left" if seconds < _LONGEST_WAIT else "more than a year left"


@asynccontextmanager
async def show_live_line(client: CustomersClient) -> AsyncIterator[OnProgress]:
    """Show a line with a bar. The event loop draws it, since the client is not thread-safe."""
    status = Status(client)
    columns = BarColumn(8), TextColumn("{task.description}")
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, redirect_stdout=False) as line:
        bar = line.add_task("", total=None)

        def draw() -> None:
            done, total = (status.latest.customers, status.latest.total) if status.latest is not None else (0, None)
            line.update(bar, description=f"{status}", completed=done, total=total, refresh=True)

        async def keep_drawing() -> None:
            while True:
                draw()
                await asyncio.sleep(_LIVE_INTERVAL)

        drawing = asyncio.create_task(keep_drawing())
        try:
            yield status.update
        finally:
            drawing.cancel()
            draw()


@asynccontextmanager
async def print_lines(client: CustomersClient) -> AsyncIterator[OnProgress]:
    """Print a line every few seconds, even while no page arrives."""
    status = Status(client)

    async def keep_printing() -> None:
        while True:
            await asyncio.sleep(_PLAIN_INTERVAL)
            print_message(f"{status}")

    printing = asyncio.create_task(keep_printing())
    try:
        yield status.update
    finally:
        printing.cancel()


@asynccontextmanager
async def show_nothing(_: CustomersClient) -> AsyncIterator[OnProgress]:
    """Show nothing."""
    yield lambda _: None
