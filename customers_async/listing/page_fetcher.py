"""Reads the list, several pages at a time, and reports the verdict at the end.

The functions that fetch and decode a page are passed in; there is no HTTP here.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, Self

import attrs

from customers_async.calls.api import Api
from customers_async.calls.responses import Response, read_date
from customers_async.calls.slots import Lane
from customers_async.errors import APIStatusError, CustomersError, RecordError
from customers_async.events import Listener, PageFetched, WalkFinished, emit
from customers_async.listing.in_flight import InFlight
from customers_async.listing.verdict import Key, KeySet, Seen, key_of
from customers_async.listing.walk import Walk
from customers_async.models import Completeness, Page, Verdict

__all__ = ["OnBadRecord", "OnIncomplete", "PageFetcher", "PageSource"]

OnIncomplete = Literal["warn", "raise", "reconcile", "ignore"]
OnBadRecord = Callable[[Any, RecordError], None]
"""Called with the raw record, and the error that names its page, index and field."""

_Fetches = InFlight[tuple[int, bool], Response]  # by number, and whether the page is read a second time

_log = logging.getLogger("customers_async")


@attrs.frozen
class PageSource:
    """Where pages come from.

    Attributes:
        fetch: Fetches a page by its number.
        decode: Decodes a page, just before it is yielded: until then only its bytes are kept, and afterwards its
            objects are still in the processor's cache.
        reread: Fetches a page a second time, after a pause; None: as ``fetch`` does.
    """

    fetch: Callable[[int], Awaitable[Response]]
    decode: Callable[[int, Response], Page]
    reread: Callable[[int], Awaitable[Response]] | None = None

    @classmethod
    def of(cls, api: Api, per_page: int, *, tolerant: bool, lane: Lane = "bulk") -> Self:
        """Return the pages of the service; ``tolerant`` sets aside records that do not fit."""
        return cls(
            lambda number: api.fetch_page(number, per_page, lane),
            lambda number, response: api.read_page(number, response, tolerant=tolerant),
        )


class PageFetcher:
    """Fetches the pages of the list, several at a time, and reports the verdict at the end.

    Args:
        source: Where pages come from.
        concurrency: Pages in flight, or fetched and not yielded yet.
        first_page: Where to begin.
        per_page: Customers per page.
        ordered: Yield pages in the order of their numbers, otherwise as they arrive.
        unique: See `Walk`.
        on_incomplete: What to do when the verdict is not COMPLETE.
        on_bad_record: Called for each record that does not fit, once.
        retry_pages: Request a page again after its call has failed, if most other pages arrive.
        on_event: The client's listeners.
        keys: See `Walk`.
        rereads: Pages that earlier runs read a second time, and that ``reread`` returns from a journal.
        limit: Yield at most this many customers, and request no more pages than that takes; None for the whole list.

    Attributes:
        walk: The current pass over the list.
        completeness: The verdict; None before the end.
        per_page: The page size that is requested.
        number: The page received last, also if it could not be parsed; 0 before the first.
        is_reread: Whether that page was read a second time, after a pause.
    """

    PAUSE = 1.0
    """Seconds: after a longer pause between a response and the next request, the highest page is read again, because
    customers may have moved to it from the next page."""

    PAGE_RETRIES = 2
    """How often a page is requested again after its call has failed for good."""
    PAGES_PER_RETRY = 4
    """This many pages must have arrived for each such retry: a service that fails now and then is worth it, one that is
    down is not."""
    RECONCILIATIONS = 3
    """How often a list that is not COMPLETE is read again before `IncompleteListError`."""

    def __init__(
        self,
        source: PageSource,
        *,
        concurrency: int,
        first_page: int,
        per_page: int,
        ordered: bool,
        unique: bool,
        on_incomplete: OnIncomplete,
        on_bad_record: OnBadRecord | None,
        retry_pages: bool,
        on_event: Sequence[Listener],
        keys: KeySet | None = None,
        rereads: Iterable[int] = (),
        limit: int | None = None,
    ) -> None:
        self._source = source
        self._concurrency = concurrency
        self.per_page = per_page
        self._left = math.inf if limit is None else limit  # customers that may still be yielded
        self._truncated = False  # whether customers were received and not yielded
        self._ordered = ordered
        self._on_incomplete = on_incomplete
        self._on_bad_record = on_bad_record
        self._on_event = on_event
        self._max_page_retries = self.PAGE_RETRIES if retry_pages else 0
        self._pages_fetched = self._page_retries = 0
        self._reconciliations_left = self.RECONCILIATIONS if on_incomplete == "reconcile" else 0
        self._seen_earlier: list[Seen] = []  # by the passes before this one
        self._ready: Page | None = None  # added to the walk, and not yielded yet
        self._reported = 0  # of its rejected records
        self._rereads = [*rereads]  # to read a second time
        self._reread_numbers = set(self._rereads)
        self._last_arrival: float | None = None  # None after a page from a journal
        self._epoch = 0.0  # Unix time at the zero of the event loop's clock, which follows virtual time
        self.number: int = 0
        self.is_reread: bool = False
        self.walk: Walk = Walk(first_page, per_page, unique=unique, keys=keys)
        self.completeness: Completeness | None = None

    @property
    def next_page(self) -> int:
        """The lowest page that has not been yielded."""
        return min(self.walk.next_page, self._ready.number) if self._ready is not None else self.walk.next_page

    async def pages(self) -> AsyncGenerator[Page, None]:
        """Yield the pages that have not been yielded yet, each with its new customers.

        This is an async generator so that a consumer which leaves early needs no clean-up: when the generator is
        dropped, the event loop closes it, and its ``finally`` clause ends the fetches in flight.

        Raises:
            CustomersError: A page could not be fetched; call again to resume with it.
            IncompleteListError: At the end, if ``on_incomplete`` requires it.
        """
        in_flight: _Fetches = InFlight(self._concurrency, ordered=self._ordered)
        self._epoch = self._epoch or time.time() - asyncio.get_running_loop().time()
        try:
            while self.completeness is None:
                if self._ready is not None:
                    self._report_bad_records(self._ready)
                    page, self._ready = self._ready, None
                    yield page
                    continue
                self._start_fetches(in_flight)
                if in_flight and self._left:
                    await self._receive_page(in_flight)
                    self._start_fetches(in_flight)  # they run while the consumer uses the page
                elif self._left:
                    self._finish_pass()
                else:
                    self._finish_at_limit()
        except CustomersError as error:
            error.next_page = self.next_page
            raise
        finally:
            self.walk.requeue_pending()  # before anything is awaited, because that may be cancelled
            self._rereads.extend(number for number, is_reread in in_flight.pending if is_reread)
            await in_flight.cancel()
        if self._on_incomplete in ("raise", "reconcile"):
            self.completeness.raise_if_incomplete()

    def _start_fetches(self, in_flight: "_Fetches") -> None:
        """Start as many fetches as may be in flight; first those of pages to read a second time."""
        while self._rereads and self._wants_more(in_flight) and (number := self._next_reread()) is not None:
            in_flight.start((number, True), self._fetch(number, is_reread=True))
        while self._wants_more(in_flight) and (wanted := self.walk.next_number()) is not None:
            in_flight.start((wanted, False), self._fetch(wanted, is_reread=False))

    def _wants_more(self, in_flight: "_Fetches") -> bool:
        """Whether another page may be in flight, and those that are do not suffice for the limit."""
        return not in_flight.is_full and len(in_flight) * self.walk.page_size < self._left

    def _next_reread(self) -> int | None:
        """Return a page to read a second time, which must have been received once."""
        highest = self.walk.highest_page or 0
        number = next((number for number in self._rereads if number <= highest), None)
        if number is not None:
            self._rereads.remove(number)
        return number

    async def _fetch(self, number: int, *, is_reread: bool) -> Response:
        """Fetch a page. If its call fails while most pages arrive, request it again."""
        fetch = self._source.reread or self._source.fetch if is_reread else self._source.fetch
        retries = 0
        while True:
            try:
                response = await fetch(number)
            except CustomersError as error:
                is_affordable = self._page_retries < self._pages_fetched // self.PAGES_PER_RETRY
                if retries == self._max_page_retries or not is_affordable or not _may_succeed_now(error):
                    raise
                retries += 1
                self._page_retries += 1
            else:
                self._pages_fetched += 1
                if response.received_at is None:
                    response.received_at = self._epoch + asyncio.get_running_loop().time()
                if not is_reread:
                    self._look_for_pause(response)
                return response

    def _look_for_pause(self, response: Response) -> None:
        """After a pause, plan to read the highest page again: deletions may have moved customers there."""
        highest = self.walk.highest_page
        if response.sent_at is None:
            self._last_arrival = None
            return
        had_pause = self._last_arrival is None or response.sent_at - self._last_arrival > self.PAUSE
        self._last_arrival = asyncio.get_running_loop().time()
        if had_pause and highest is not None and highest not in self._reread_numbers:
            self._rereads.append(highest)
            self._reread_numbers.add(highest)

    async def _receive_page(self, in_flight: "_Fetches") -> None:
        """Receive the next page. It is ready, unless it was refused or earlier passes yielded all that it has."""
        (number, self.is_reread), task = await in_flight.next()
        self.number = number
        try:
            response = task.result()
            page = self._source.decode(number, response)
        except CustomersError as error:
            if self._is_refusal(number, error):
                return
            if self.is_reread:
                self._rereads.append(number)
            raise
        add = self.walk.add_reread if self.is_reread else self.walk.add
        page = add(page, read_date(response.headers), self._read_time(response))
        if self._seen_earlier:
            page = self._without_seen_earlier(page)
        page = self._within_limit(page)
        if page.customers or page.rejected or not (self._seen_earlier or self.is_reread):
            self._ready = page  # before the listener runs: what it raises must not lose the page
        if self._on_event:
            emit(self._on_event, PageFetched(page.number, len(page.customers), page.total))

    def _read_time(self, response: Response) -> float | None:
        """When a response was received, Unix seconds; the first one of a pass: when it was sent, if that is known."""
        if self.walk.claims.pages == 0 and response.sent_at is not None:
            return self._epoch + response.sent_at
        return response.received_at

    def _is_refusal(self, number: int, error: CustomersError) -> bool:
        """Whether the error means that the list has no such page; if so, add that to the walk."""
        if not isinstance(error, APIStatusError):
            return False
        return error.status in (404, 422) if self.is_reread else self.walk.refuse(number, error)

    def _report_bad_records(self, page: Page) -> None:
        """Call the listener once for each record; if it raises, the next call continues with the next record."""
        while self._on_bad_record is not None and self._reported < len(page.rejected):
            self._reported += 1
            # No local variable holds the record: a traceback from the listener may show the locals of this frame.
            self._on_bad_record(*page.rejected[self._reported - 1])
        self._reported = 0

    def _without_seen_earlier(self, page: Page) -> Page:
        return attrs.evolve(
            page,
            customers=tuple(customer for customer in page.customers if not self._was_seen_earlier(customer.uuid)),
            rejected=tuple(pair for pair in page.rejected if not self._was_seen_earlier(key_of(pair[0]))),
        )

    def _within_limit(self, page: Page) -> Page:
        count = len(page.customers)
        if count > self._left:
            self._truncated = True
            page = attrs.evolve(page, customers=page.customers[: int(self._left)])
        self._left = max(0, self._left - count)
        return page

    def _was_seen_earlier(self, key: Key) -> bool:
        return any(key in seen for seen in self._seen_earlier)

    def _finish_at_limit(self) -> None:
        """End the listing without a verdict on the list, unless all of it was yielded."""
        found = self.walk.completeness()
        if found.verdict is Verdict.COMPLETE and not self._truncated:
            self._finish_pass()
        else:
            self.completeness = attrs.evolve(found, verdict=Verdict.INCONSISTENT, proven=False)

    def _finish_pass(self) -> None:
        """Accept the verdict, or read the list again."""
        found = self.walk.completeness()
        incomplete = found.verdict is not Verdict.COMPLETE
        if incomplete and found.verdict is not Verdict.CAPPED and self._reconciliations_left:
            self._reconciliations_left -= 1
            self._seen_earlier.append(self.walk.seen)
            self._rereads.clear()
            self._reread_numbers.clear()
            self.walk = Walk(1, self.per_page, unique=True)
            _log.info("The list is read again: %s.", found.describe())
            return
        self.completeness = found
        if self._on_event:
            emit(self._on_event, WalkFinished(found))
        if incomplete and self._on_incomplete == "warn":
            _log.warning("The list is not complete: %s.", found.describe())


def _may_succeed_now(error: CustomersError) -> bool:
    """Whether another call may succeed at once: not if the service named a time to wait."""
    return error.retryable and error.retry_after is None
