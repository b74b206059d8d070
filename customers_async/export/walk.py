"""The walk of an export: from the journal as far as that reaches, into the journal and the draft, to a verdict."""

import asyncio
import logging
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager

import attrs

from customers_async.calls.responses import Response
from customers_async.checks import MAX_PER_PAGE
from customers_async.client import CustomersClient, internals
from customers_async.errors import CustomersError
from customers_async.events import Event, RequestAnswered, RequestSent
from customers_async.export.compact_set import CompactSet
from customers_async.export.journal import Cost, Journal
from customers_async.export.options import ExportOptions, ExportProgress, OnProgress
from customers_async.export.output import Output
from customers_async.export.records import accepted
from customers_async.listing.page_fetcher import PageFetcher, PageSource
from customers_async.listing.walk import Walk
from customers_async.models import Completeness, Verdict

__all__ = ["ExportWalk"]

_AHEAD = 4
"""So many pages for each that may be in flight wait at most to be written down or for their turn."""

_log = logging.getLogger("customers_async")


class ExportWalk:
    """Walks the list, from the journal as far as that reaches."""

    def __init__(
        self, client: CustomersClient, journal: Journal, draft: Output, order: ExportOptions, on_progress: OnProgress
    ) -> None:
        api = internals(client)
        self._listener = api.options.on_event
        self._api = api.with_options({"on_event": self._count})
        self._journal = journal
        self._draft = draft
        self._order = order
        self._on_progress = on_progress
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()
        self._cost = journal.cost
        self._seconds_before = journal.cost.seconds
        self.source: PageSource = PageSource.of(self._api, MAX_PER_PAGE, tolerant=order.on_bad_record == "reject")
        self.resumed: int = len(journal.numbers)
        self.walks: int = 0
        self.numbers: array[int] = array("Q")  # of the pages of the last walk, in the order of the list

    async def walk_until_whole(self) -> Completeness:
        """Walk, and again where that may help; returns the verdict on the last walk, if it is to be written.

        Raises:
            IncompleteListError: It is not to be written.
        """
        order, journal = self._order, self._journal
        again = PageFetcher.RECONCILIATIONS if order.on_incomplete == "reconcile" else 0
        if journal.concluded and order.on_incomplete in ("reconcile", "raise"):
            await self._begin_again()
        while (found := await self._walk()).verdict is not Verdict.COMPLETE:
            await journal.conclude()
            if found.verdict is Verdict.CAPPED or not again:
                break
            again -= 1
            _log.info("The list is walked again: %s.", found.describe())
            await self._begin_again()
        if order.on_incomplete in ("reconcile", "raise"):
            found.raise_if_incomplete()
        if order.on_incomplete == "warn" and found.verdict is not Verdict.COMPLETE:
            _log.warning("The list is not complete: %s.", found.describe())
        return found

    async def write_anew(self, found: Completeness) -> None:
        """Write what the last walk saw once more, without what must not be in the file, which the draft has."""
        in_thread, draft = self._journal.in_thread, self._draft
        await in_thread(draft.begin)
        bodies, pages = self._bodies(), 0
        while (body := await in_thread(next, bodies, None)) is not None:
            await in_thread(draft.add, body)
            pages += 1
            self._on_progress(ExportProgress("write", self.walks, pages, draft.rows, found.last_total, self.resumed))

    def _bodies(self) -> Iterator[bytes]:
        """What is to be written of each page; what does not fit is set aside."""
        walk = Walk(1, MAX_PER_PAGE, unique=True, seen=CompactSet())
        for number, answer in self._journal.pages(self.numbers):
            page = self.source.decode(number, answer)
            body, rejected = accepted(walk.add(page), page)
            if rejected:
                self._draft.set_aside(rejected)
            yield body

    async def _begin_again(self) -> None:
        self.resumed = 0
        await self._journal.begin_walk()

    async def _walk(self) -> Completeness:
        options = self._api.options
        reader = PageFetcher(
            attrs.evolve(self.source, fetch=self._fetch),
            concurrency=_AHEAD * options.concurrency,
            first_page=1,
            per_page=MAX_PER_PAGE,
            ordered=True,
            unique=True,
            on_incomplete="ignore",
            on_bad_record=None,
            persistent=options.retry.max_attempts > 1,
            on_event=options.on_event,
            seen=CompactSet(),
        )
        self.walks += 1
        self.numbers = array("Q")
        customers = 0
        try:
            async with aclosing(reader.pages()) as pages, self._drafting() as add:
                async for page in pages:
                    if not reader.walk.left_out:
                        await add(page.raw)
                    self.numbers.append(page.number)
                    customers += len(page.customers)
                    self._on_progress(
                        ExportProgress("walk", self.walks, len(self.numbers), customers, page.total, self.resumed)
                    )
        except CustomersError as error:
            if error.next_page is not None:  # should it be that page that cannot be read, another may come
                await self._journal.forget(error.next_page, self.cost)
            raise
        assert reader.completeness is not None  # noqa: S101  # the walk has come to its end
        return reader.completeness

    @asynccontextmanager
    async def _drafting(self) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        """Write pages in the journal's thread while the walk goes on: whoever adds one waits for the one before."""
        await self._journal.in_thread(self._draft.begin)
        adding: asyncio.Future[None] | None = None

        async def add(body: bytes) -> None:
            nonlocal adding
            if adding is not None:
                await adding
            adding = asyncio.ensure_future(self._journal.in_thread(self._draft.add, body))

        try:
            yield add
        finally:
            if adding is not None:
                await adding

    async def _fetch(self, number: int) -> Response:
        if number in self._journal.numbers:
            return await self._journal.get(number)
        answer = await self.source.fetch(number)
        await self._journal.put(number, answer, self.cost)
        return answer

    @property
    def cost(self) -> Cost:
        """What the export has cost until now, with the runs before this one."""
        self._cost.seconds = self._seconds_before + self._clock() - self._started
        return self._cost

    def _count(self, event: Event) -> None:
        cost = self._cost
        if isinstance(event, RequestSent):
            cost.requests += 1
            cost.retries += event.attempt > 1
        elif isinstance(event, RequestAnswered):
            cost.answers_429 += event.status == 429
        if self._listener is not None:
            self._listener(event)
