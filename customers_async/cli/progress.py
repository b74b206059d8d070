"""How far a walk of the list has come, on stderr: a live bar on a terminal, plain lines elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from customers_async import CustomersClient, Page
from customers_async.cli.output import message

__all__ = ["OnPage", "live_bar", "plain_lines", "silence"]

OnPage = Callable[[Page], None]

_REFRESH = 0.1


@asynccontextmanager
async def live_bar(client: CustomersClient) -> AsyncIterator[OnPage]:
    """A bar that also tells of the quota. It is drawn by the event loop, so no thread looks into the client."""
    columns = BarColumn(), TextColumn("{task.fields[status]}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, redirect_stdout=False) as progress:
        bar = progress.add_task("", total=None, status="")

        def draw() -> None:
            task = progress.tasks[0]
            status = f"{_count(task.completed, task.total)}, {task.speed or 0:,.0f} a second, {_quota(client)}"
            progress.update(bar, status=status, refresh=True)

        async def keep_drawing() -> None:
            while True:
                draw()
                await asyncio.sleep(_REFRESH)

        artist = asyncio.create_task(keep_drawing())
        try:
            yield lambda page: progress.update(bar, advance=len(page.customers), total=page.total)
        finally:
            artist.cancel()
            draw()


@asynccontextmanager
async def plain_lines(_: CustomersClient) -> AsyncIterator[OnPage]:
    """A line for each tenth of the list."""
    done = 0

    def on_page(page: Page) -> None:
        nonlocal done
        before, done = done, done + len(page.customers)
        tenth = max((page.total or 0) / 10, 1)
        if done // tenth > before // tenth:
            message(f"pulled {_count(done, page.total)}")

    yield on_page


@asynccontextmanager
async def silence(_: CustomersClient) -> AsyncIterator[OnPage]:
    """Nothing."""
    yield lambda _: None


def _count(done: float, total: float | None) -> str:
    return f"{done:,.0f} so far" if total is None else f"{done:,.0f} of {total:,.0f}"


def _quota(client: CustomersClient) -> str:
    quota = client.rate_limit
    if quota.remaining == 0 and quota.resets_in is not None:
        return f"waiting {quota.resets_in:.0f} s for the quota"
    return f"quota {quota.limit if quota.remaining is None else quota.remaining}/{quota.limit}"
