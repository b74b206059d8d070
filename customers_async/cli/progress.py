"""How far the work has come, on stderr: one live line on a terminal, a plain one every few seconds elsewhere."""

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
from customers_async.cli.output import message
from customers_async.client import internals
from customers_async.export import ExportProgress

__all__ = ["OnProgress", "Status", "Watch", "live_line", "plain_lines", "silence"]

OnProgress = Callable[[ExportProgress], None]
Watch = Callable[[CustomersClient], AbstractAsyncContextManager[OnProgress]]

_REFRESH = 0.1
_PLAIN_EVERY = 5.0


class Status:
    """What there is to say: pages, customers, speed, quota and the time that is left."""

    def __init__(self, client: CustomersClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)], maxlen=50)
        self.now: ExportProgress | None = None

    def take(self, progress: ExportProgress) -> None:
        """Note how far the work is."""
        if self.now is not None and (progress.stage, progress.walk) != (self.now.stage, self.now.walk):
            self._samples.clear()
        self.now = progress
        self._samples.append((self._clock(), progress.customers))

    def __str__(self) -> str:
        now = self.now
        if now is None:
            return self._quota()
        done = f"{now.customers:,} so far" if now.total is None else f"{now.customers:,} of {now.total:,}"
        if now.stage == "write":
            return f"writing {done}"
        again = f"walk {now.walk}: " if now.walk > 1 else ""
        quota = self._quota()
        speed = "" if quota.startswith("waiting") else f"{self._speed():,.0f}/s"
        parts = [f"{again}{now.pages:,} pages", done, speed, quota, self._left(now)]
        return ", ".join(filter(None, parts))

    def _speed(self) -> float:
        (begin, before), (_, after) = self._samples[0], self._samples[-1]
        return (after - before) / max(self._clock() - begin, 0.001)

    def _quota(self) -> str:
        quota = self._client.rate_limit
        if quota.remaining == 0 and quota.resets_in is not None:
            return f"waiting {quota.resets_in:.0f} s for the quota"
        return f"quota {quota.limit if quota.remaining is None else quota.remaining}/{quota.limit}"

    def _left(self, now: ExportProgress) -> str:
        """The time that is left: of the work, and of the windows of the quota that have to be waited for."""
        if now.total is None or now.customers >= now.total:
            return ""
        pages = -(-(now.total - now.customers) // MAX_PER_PAGE)
        seconds = internals(self._client).bulk_wait(pages)
        (begin, before), (end, after) = self._samples[0], self._samples[-1]
        if after > before and end > begin:  # what is pulled before the last wait is pulled meanwhile
            in_last_window = min(pages, self._client.rate_limit.limit)
            seconds += in_last_window * MAX_PER_PAGE * (end - begin) / (after - before)
        return f"{timedelta(seconds=round(seconds))} left"


@asynccontextmanager
async def live_line(client: CustomersClient) -> AsyncIterator[OnProgress]:
    """A line with a bar. It is drawn by the event loop, so no thread looks into the client."""
    status = Status(client)
    columns = BarColumn(8), TextColumn("{task.description}")
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, redirect_stdout=False) as line:
        bar = line.add_task("", total=None)

        def draw() -> None:
            done, total = (status.now.customers, status.now.total) if status.now is not None else (0, None)
            line.update(bar, description=f"{status}", completed=done, total=total, refresh=True)

        async def keep_drawing() -> None:
            while True:
                draw()
                await asyncio.sleep(_REFRESH)

        artist = asyncio.create_task(keep_drawing())
        try:
            yield status.take
        finally:
            artist.cancel()
            draw()


@asynccontextmanager
async def plain_lines(client: CustomersClient) -> AsyncIterator[OnProgress]:
    """A line every few seconds, also while nothing comes."""
    status = Status(client)

    async def keep_telling() -> None:
        while True:
            await asyncio.sleep(_PLAIN_EVERY)
            message(f"{status}")

    teller = asyncio.create_task(keep_telling())
    try:
        yield status.take
    finally:
        teller.cancel()


@asynccontextmanager
async def silence(_: CustomersClient) -> AsyncIterator[OnProgress]:
    """Nothing."""
    yield lambda _: None
