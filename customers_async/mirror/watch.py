"""Syncs again and again, and yields the changes."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from customers_async.errors import CustomersError, ExportError
from customers_async.mirror.models import Change, MassRemovalError, SyncReport

__all__ = ["watch_changes"]

_FIRST_DELAY = 5.0
"""Seconds until the next sync after a failure; doubled after each further one."""

_log = logging.getLogger("customers_async")


async def watch_changes(
    sync: Callable[[], Awaitable[SyncReport]],
    read_changes: Callable[[int], AsyncGenerator[Change, None]],
    *,
    every: float,
    since: int | None,
    on_sync: Callable[[SyncReport], object] | None,
) -> AsyncGenerator[Change, None]:
    """Yield the changes; see `Mirror.watch`.

    Args:
        sync: Syncs once.
        read_changes: Yields the changes after a version.
        every: Seconds from the beginning of one sync to that of the next.
        since: The last version whose changes have all been handled.
        on_sync: Called with each report.
    """
    clock, failures = asyncio.get_running_loop().time, 0
    while True:
        started, delay = clock(), every
        try:
            report = await sync()
            if on_sync is not None:
                on_sync(report)
            last = since = report.version - 1 if since is None else since
            async with aclosing(read_changes(since)) as changes:
                async for change in changes:
                    if change.version > last:  # so the versions before it are handled
                        since, last = last, change.version
                    yield change
            since, failures = max(last, report.version), 0
        except (CustomersError, OSError) as error:
            delay = min(every, _FIRST_DELAY * 2**failures)
            failures = min(failures + 1, 30)
            _log.warning("The sync failed: %s; the next one begins in %.0f s.", _describe(error), delay)
        await asyncio.sleep(max(0.0, started + delay - clock()))


def _describe(error: Exception) -> str:
    """The message of an error that names no customer, else its type: this is logged."""
    return f"{error}" if isinstance(error, ExportError | MassRemovalError) else type(error).__name__
