"""The journal beside an export: every page as it was received, so that no page is fetched twice.

An SQLite file of mode 0600, used by one thread; a second one writes the output. Pages that arrive during a transaction
are written together in the next one, so writing does not slow the reading of the list. SQLite's lock on the file, which
ends with the process even if that is killed, keeps a second export away.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs
import msgspec

from customers_async.calls.responses import Response
from customers_async.errors import ExportError, stripped
from customers_async.export.journal_file import (
    JournalFile,
    Statement,
    insert_fact,
    insert_page,
    journal_path,
    remove_journal,
)

__all__ = ["ExportStats", "Journal", "journal_path", "remove_journal"]

Result = TypeVar("Result")


@attrs.define
class ExportStats:
    """The figures of an export, summed over all its runs.

    Attributes:
        requests: Requests sent.
        retries: Those of them that repeated a failed one.
        answers_429: Responses with status 429.
        seconds: Running time.
    """

    requests: int = 0
    retries: int = 0
    answers_429: int = 0
    seconds: float = 0.0


class Journal:
    """The pages that an export has fetched. Made by `open`; used in one event loop.

    Args:
        path: The journal's path.
        target: The path of the finished export, for messages.
        purpose: What the pages are for, for messages.

    Attributes:
        times: When each page that it holds was received, Unix seconds, by the number that it was stored as.
        ended_incomplete: Whether the list was read to its end, with a verdict other than COMPLETE.
        stats: The figures of the export so far.
    """

    def __init__(self, path: Path, target: Path, purpose: str = "export") -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, f"customers-{purpose}")
        self._second_thread = ThreadPoolExecutor(1, f"customers-{purpose}-output")
        self._file = JournalFile(path, target, purpose)
        self._pending: list[tuple[Statement, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self.times: dict[int, float] = self._file.times
        self.ended_incomplete: bool = False
        self.stats: ExportStats = ExportStats()

    @classmethod
    async def open(
        cls,
        target: Path,
        *,
        base_url: str,
        account: str,
        per_page: int,
        resume: timedelta | bool,
        purpose: str = "export",
    ) -> Self:
        """Open the journal beside ``target``, or create one.

        Args:
            target: The path of the finished export.
            base_url: The service.
            account: The account whose list it is.
            per_page: Customers a page.
            resume: The age up to which pages of an earlier run are kept; True keeps all, False keeps none.
            purpose: What the pages are for, for messages.

        Raises:
            ExportError: Another export is running, or the journal is damaged, or of another service, account, page
                size or version.
            OSError: The file cannot be created.
        """
        journal = cls(journal_path(target), target, purpose)
        try:
            identity = {"base_url": base_url, "account": account, "per_page": f"{per_page}"}
            await journal._open(identity, resume)
        except BaseException:
            await journal.close()
            raise
        return journal

    def run_in_thread(self, function: Callable[..., Result], *arguments: object) -> Coroutine[Any, Any, Result]:
        """Run a function in the journal's thread, after the functions passed before."""
        return self._run(self._thread, partial(function, *arguments))  # no coroutine, whose frame would hold arguments

    def run_beside(self, function: Callable[..., Result], *arguments: object) -> Coroutine[Any, Any, Result]:
        """Run a function in a second thread, which does not wait for the disk while pages are stored."""
        return self._run(self._second_thread, partial(function, *arguments))

    async def _run(self, thread: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
        except Exception as error:  # whatever it is, such as a MemoryError: its frames hold customer data
            failure = stripped(error)
        del work
        raise failure

    async def put(self, number: int, response: Response, stats: ExportStats) -> None:
        """Store a page and the figures so far; both are on the disk when this returns."""
        self.stats = stats
        written = asyncio.get_running_loop().create_future()
        self._pending.append((insert_page(number, response), written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_pending())
        await written

    async def get(self, number: int) -> Response | None:
        """Return a stored page; None if it is damaged, and then it no longer counts as stored."""
        response = await self.run_in_thread(self._file.select, number)
        if response is None:
            self.times.pop(number, None)
        return response

    async def delete(self, number: int, stats: ExportStats) -> None:
        """Delete a page, so that it is fetched again, and store the figures so far."""
        self.stats = stats
        self.times.pop(number, None)
        deletion = ("DELETE FROM pages WHERE number = ?", (number,))
        await self.run_in_thread(self._file.write, [deletion, self._insert_stats()])

    async def clear(self) -> None:
        """Delete all pages, so that the list is read again."""
        self.times.clear()
        self.ended_incomplete = False
        await self.run_in_thread(self._file.write, [("DELETE FROM pages", ()), insert_fact("ended_incomplete", "no")])

    async def mark_incomplete(self) -> None:
        """Store that the list was read to its end, with a verdict other than COMPLETE."""
        self.ended_incomplete = True
        await self.run_in_thread(self._file.write, [insert_fact("ended_incomplete", "yes")])

    async def close(self, last: Callable[[], None] | None = None) -> None:
        """Close the file, even if this is cancelled. The pages stay; a file without pages is removed.

        Args:
            last: Called in the thread before the file is closed.
        """
        try:
            if self._writing is not None:
                await self._writing
        finally:
            closing_file = asyncio.get_running_loop().run_in_executor(self._thread, self._close, last)
            self._thread.shutdown(wait=False)
            self._second_thread.shutdown(wait=False)
            await asyncio.shield(closing_file)
            self._thread.shutdown()

    async def discard(self) -> None:
        """Remove the file, which is no longer needed."""
        await self.run_in_thread(self._file.remove)

    def read_pages(self, numbers: Iterable[int]) -> Iterator[tuple[int, Response]]:
        """Yield the pages of these numbers; for use in the journal's thread.

        Raises:
            ExportError: A page has changed since it was stored.
        """
        for number in numbers:
            response = self._file.select(number)
            if response is None:
                raise ExportError(f"{self._path} has changed during the export")
            yield number, response

    def find_fetch_times(self, numbers: Iterable[int]) -> tuple[float, float]:
        """Return when the oldest and the newest of these pages were received, Unix seconds."""
        times = [self.times[number] for number in numbers]
        return min(times), max(times)

    async def _open(self, identity: dict[str, str], resume: timedelta | bool) -> None:
        await self.run_in_thread(self._file.open, identity, resume)
        self.ended_incomplete = self._file.facts.get("ended_incomplete") == "yes"
        with suppress(ValueError, TypeError, RecursionError):  # not written by an export: start at zero
            self.stats = msgspec.json.decode(self._file.facts.get("stats", "{}"), type=ExportStats)

    async def _write_pending(self) -> None:
        """Write until no page is pending; each transaction holds the pages that arrived during the one before."""
        while self._pending:
            batch, self._pending = self._pending, []
            insertions = [insertion for insertion, _ in batch]
            failure: Exception | None = None
            try:
                await self.run_in_thread(self._file.write, [*insertions, self._insert_stats()])
                self.times.update((number, fetched_at) for _, (number, fetched_at, *_) in insertions)
            except Exception as error:  # raised in the tasks that wait
                failure = stripped(error)
            for _, written in batch:
                if not written.done():
                    written.set_result(None) if failure is None else written.set_exception(failure)
        self._writing = None

    def _insert_stats(self) -> Statement:
        return insert_fact("stats", json.dumps(attrs.asdict(self.stats)))

    def _close(self, last: Callable[[], None] | None) -> None:
        self._second_thread.shutdown()
        with ExitStack() as stack:
            stack.callback(self._file.close)
            if not self.times:
                stack.callback(self._file.remove)
            if last is not None:
                last()
