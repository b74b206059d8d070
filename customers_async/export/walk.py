"""Reads the list with a journal: pages come from it or from the service, and go into it and into the output."""

import asyncio
import logging
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Literal, Protocol

import attrs

from customers_async.calls.api import Api
from customers_async.calls.responses import Response
from customers_async.checks import MAX_PER_PAGE
from customers_async.client import CustomersClient, internals
from customers_async.errors import CustomersError
from customers_async.events import Event, RequestAnswered, RequestSent
from customers_async.export.compact_set import CompactSet
from customers_async.export.journal import ExportStats, Journal
from customers_async.export.options import BadRecordPolicy, ExportProgress, OnProgress
from customers_async.export.records import RejectedRecord, select_records
from customers_async.listing.page_fetcher import OnIncomplete, PageFetcher, PageSource
from customers_async.listing.walk import Walk
from customers_async.models import Completeness, Page, Verdict

__all__ = ["ExportWalk", "PageOutput"]

_PAGES_AHEAD = 4
"""Pages that may be in flight or wait to be written, for each request that may be in flight."""

_REREAD = 2**40
"""Added to a page's number in the journal if the page was read a second time, after a pause."""

_log = logging.getLogger("customers_async")


class PageOutput(Protocol):
    """Where the customers of the list go. The methods are called in the journal's threads, one at a time.

    Attributes:
        rows: The number of customers added.
    """

    rows: int

    def begin(self) -> None:
        """Begin, or drop everything and begin again."""

    def add(self, page: Page) -> None:
        """Add the customers of a page; ``raw`` holds their records, in the same order."""

    def add_rejected(self, records: Iterable[RejectedRecord]) -> None:
        """Add records that do not fit the model."""


class ExportWalk:
    """Reads the list into the journal and the output.

    Attributes:
        api: The client's API, which counts the requests.
        resumed: The numbers of the pages that an earlier run left and that are used.
        numbers: The journal's numbers of the pages last read, in the list's order.
        walks: The number of passes over the list in this run.
        must_rewrite: Whether pages have records that do not go into the file.
    """

    def __init__(
        self,
        client: CustomersClient,
        journal: Journal,
        output: PageOutput,
        *,
        on_incomplete: OnIncomplete,
        on_bad_record: BadRecordPolicy,
        on_progress: OnProgress,
    ) -> None:
        api = internals(client).api
        self.api: Api = api.with_options({"on_event": (self._count_event, *api.options.on_event)})
        self._source = PageSource.of(self.api, MAX_PER_PAGE, tolerant=on_bad_record == "reject")
        self._journal = journal
        self._output = output
        self._on_incomplete: OnIncomplete = on_incomplete
        self._on_progress: Callable[[ExportProgress], object] = on_progress
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()
        self._stats = journal.stats
        self._seconds_before = journal.stats.seconds
        self.resumed: set[int] = set(journal.times)
        self._resumed_from = self.find_resumed_from()
        self.numbers: array[int] = array("Q")
        self.walks: int = 0
        self.must_rewrite: bool = False

    async def read_list(self) -> Completeness:
        """Read the list, again if ``on_incomplete`` is ``"reconcile"`` and that may help; return the last verdict.

        A pager that reconciles yields only what it missed. An export starts over with an empty journal instead: its
        file shows the list as it was read once, never a mixture.

        Raises:
            IncompleteListError: The list is incomplete, and ``on_incomplete`` says not to write it.
        """
        on_incomplete = self._on_incomplete
        strict = on_incomplete in ("reconcile", "raise")
        if self._journal.ended_incomplete and strict:
            await self._start_over()
        if self.resumed and await self._journal.get(1) is None:
            await self._start_over()  # the verdict begins with the first page's total and date: it must be the oldest
        if self.resumed:
            _log.info(
                "The listing resumes. Pages of an earlier run that are used: %d, the oldest from %s.",
                len(self.resumed),
                f"{self._resumed_from:%Y-%m-%d %H:%M:%S} UTC",
            )
        completeness = await self._read_once()
        for _ in range(PageFetcher.RECONCILIATIONS if on_incomplete == "reconcile" else 0):
            if completeness.verdict in (Verdict.COMPLETE, Verdict.CAPPED):
                break
            _log.info("The list is read again: %s.", completeness.describe())
            await self._start_over()
            completeness = await self._read_once()
        if strict:
            completeness.raise_if_incomplete()
        if on_incomplete == "warn" and completeness.verdict is not Verdict.COMPLETE:
            _log.warning("The list is not complete: %s.", completeness.describe())
        return completeness

    async def rewrite(self, total: int | None) -> None:
        """Write the output again from the journal, without duplicates and rejected records.

        Args:
            total: Customers on the list, for `ExportProgress`.
        """
        run_in_thread, output = self._journal.run_in_thread, self._output
        await run_in_thread(output.begin)
        selected, pages = self._select_pages(), 0
        while (page := await run_in_thread(next, selected, None)) is not None:
            await run_in_thread(output.add, page)
            pages += 1
            self._report_progress("write", pages, output.rows, total)

    def find_resumed_from(self) -> datetime | None:
        """Return when the oldest page that an earlier run left was received, UTC; None if no such page is used."""
        oldest = min((self._journal.times[number] for number in self.resumed), default=None)
        return None if oldest is None else datetime.fromtimestamp(oldest, UTC)

    def update_stats(self) -> ExportStats:
        """Return the figures of this run and those before it, up to now."""
        self._stats.seconds = self._seconds_before + self._clock() - self._started
        return self._stats

    def _report_progress(self, stage: Literal["walk", "write"], pages: int, customers: int, total: int | None) -> None:
        resumed, resumed_from = len(self.resumed), self._resumed_from
        result = self._on_progress(ExportProgress(stage, self.walks, pages, customers, total, resumed, resumed_from))
        if isinstance(result, Coroutine):
            result.close()
            raise TypeError("progress must be a plain function: it returned a coroutine")

    async def _start_over(self) -> None:
        self.resumed.clear()
        self._resumed_from = None
        await self._journal.clear()

    async def _read_once(self) -> Completeness:
        """Make one pass over the list, and return its verdict."""
        fetcher = self._make_fetcher()
        self.walks += 1
        self.numbers = array("Q")
        customers = 0
        async with aclosing(self._fetch_pages(fetcher)) as pages, self._writing() as write:
            async for page in pages:
                if not fetcher.walk.seen.omitted:  # else the output is written again anyway
                    await write(page)
                self.numbers.append(_stored_number(fetcher))
                customers += len(page.customers)
                self._report_progress("walk", len(self.numbers), customers, page.total)
        self.must_rewrite = bool(fetcher.walk.seen.omitted)
        completeness = fetcher.completeness
        assert completeness is not None  # noqa: S101  # there are no more pages
        if completeness.verdict is not Verdict.COMPLETE:
            await self._journal.mark_incomplete()
        return completeness

    async def _fetch_pages(self, fetcher: PageFetcher) -> AsyncGenerator[Page, None]:
        """Yield the pages; after an error, delete the page received last from the journal: it may not be parsable."""
        async with aclosing(fetcher.pages()) as pages:
            try:
                async for page in pages:
                    yield page
            except CustomersError:
                await self._journal.delete(_stored_number(fetcher), self.update_stats())
                raise

    def _make_fetcher(self) -> PageFetcher:
        options = self.api.options
        return PageFetcher(
            attrs.evolve(self._source, fetch=self._fetch, reread=self._reread),
            concurrency=_PAGES_AHEAD * options.concurrency,
            first_page=1,
            per_page=MAX_PER_PAGE,
            ordered=True,
            unique=True,
            on_incomplete="ignore",
            on_bad_record=None,
            retry_pages=options.retry.max_attempts > 1,
            on_event=options.on_event,
            keys=CompactSet(),
            rereads=[number - _REREAD for number in sorted(self._journal.times) if number >= _REREAD],
        )

    async def _fetch(self, number: int) -> Response:
        return await self._fetch_once(number, number)

    async def _reread(self, number: int) -> Response:
        return await self._fetch_once(number, number + _REREAD)

    async def _fetch_once(self, number: int, key: int) -> Response:
        """Return the page that the journal has as ``key``; if it has none, fetch the page and store it."""
        if key in self._journal.times:
            stored = await self._journal.get(key)
            if stored is not None:
                return stored
            self.resumed.discard(key)  # damaged: as if it had never been fetched
        response = await self._source.fetch(number)
        await self._journal.put(key, response, self.update_stats())
        return response

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Callable[[Page], Awaitable[None]]]:
        """Begin the output; yield a function that starts writing a page as soon as the page before is written."""
        await self._journal.run_beside(self._output.begin)
        writing: asyncio.Future[None] | None = None

        async def write(page: Page) -> None:
            nonlocal writing
            if writing is not None:
                await writing
            writing = asyncio.ensure_future(self._journal.run_beside(self._output.add, page))

        try:
            yield write
        except BaseException:
            if writing is not None:  # its own error must not replace this one
                await asyncio.gather(writing, return_exceptions=True)
            raise
        if writing is not None:
            await writing

    def _select_pages(self) -> Iterator[Page]:
        """Yield the pages with what belongs in the file, and write the rejected records to their own file."""
        walk = Walk(1, MAX_PER_PAGE, unique=True, keys=CompactSet())
        for number, response in self._journal.read_pages(self.numbers):
            page = self._source.decode(number % _REREAD, response)
            kept = walk.add_reread(page) if number >= _REREAD else walk.add(page)
            body, rejected = select_records(kept, page)
            if rejected:
                self._output.add_rejected(rejected)
            yield attrs.evolve(kept, raw=body)

    def _count_event(self, event: Event) -> None:
        stats = self._stats
        if isinstance(event, RequestSent):
            stats.requests += 1
            stats.retries += event.attempt > 1
        elif isinstance(event, RequestAnswered):
            stats.answers_429 += event.status == 429


def _stored_number(fetcher: PageFetcher) -> int:
    """Return the number that the journal has for the page received last."""
    return fetcher.number + _REREAD * fetcher.is_reread
