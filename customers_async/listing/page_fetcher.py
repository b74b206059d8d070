"""The walk of the list, several pages at a time. Knows a callable that fetches a page, and nothing of HTTP.

It keeps pages in flight, and passes the verdict at the end.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, Literal, Self

import attrs

from customers_async.calls.api import Api
from customers_async.calls.responses import Response
from customers_async.calls.retry import is_transient
from customers_async.checks import check_choice, check_flag
from customers_async.errors import APIStatusError, CustomersError, RecordError
from customers_async.events import Event, PageFetched, WalkFinished, emit
from customers_async.listing.walk import Memory, Walk, key_of
from customers_async.models import Completeness, Page, Verdict

__all__ = ["OnBadRecord", "OnIncomplete", "PageFetcher", "PageSource", "check_on_bad_record", "check_walk"]

OnIncomplete = Literal["warn", "raise", "reconcile", "ignore"]
OnBadRecord = Callable[[Any, RecordError], None]
"""Called with the raw record and the error that names its place."""

_Tasks = dict[asyncio.Task[Response], int]  # each with the number of its page, in the order of asking
_Done = asyncio.Queue[asyncio.Task[Response]]

_log = logging.getLogger("customers_async")


@attrs.frozen
class PageSource:
    """Where pages come from.

    Attributes:
        base_url: The service.
        fetch: Fetches a page by its number.
        decode: Reads it, when its turn has come: until then only the bytes are kept, and the objects are still in the
            processor's cache when they are used.
    """

    base_url: str
    fetch: Callable[[int], Awaitable[Response]]
    decode: Callable[[int, Response], Page]

    @classmethod
    def of(cls, api: Api, per_page: int, *, tolerant: bool) -> Self:
        """Pages of the service, in the bulk lane; ``tolerant`` sets aside records that do not fit."""
        return cls(
            api.base_url,
            lambda number: api.fetch_page(number, per_page),
            lambda number, response: api.read_page(number, response, tolerant=tolerant),
        )


class PageFetcher:
    """Fetches the pages of a walk, several at a time, and passes the verdict at its end.

    Args:
        source: Where pages come from.
        concurrency: Pages in flight or waiting to be consumed.
        first_page: Where to begin.
        per_page: Customers a page.
        ordered: Hand pages on in the order of their numbers, else as they come.
        unique: See `Walk`.
        on_incomplete: What to do about a verdict other than COMPLETE.
        on_bad_record: Takes each record that does not fit, once.
        persistent: Ask again for a page whose call failed, if most others came.
        on_event: The client's listener.
        seen: See `Walk`.
    """

    SECOND_CHANCES = 2
    """How often a page is asked for again after its call has failed for good."""
    PAGES_A_FAILURE = 4
    """So many pages must have come for each failure that is forgiven: that tells a service that stumbles from one
    that is down."""
    RECONCILIATIONS = 3
    """How often a list that is not COMPLETE is walked again before `IncompleteListError`."""

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
        persistent: bool,
        on_event: Callable[[Event], None] | None,
        seen: Memory | None = None,
    ) -> None:
        self._source = source
        self._second_chances = self.SECOND_CHANCES if persistent else 0
        self._fetched = self._forgiven = 0
        self._concurrency = concurrency
        self._per_page = per_page
        self._ordered = ordered
        self._on_incomplete = on_incomplete
        self._on_bad_record = on_bad_record
        self._on_event = on_event
        self._again = self.RECONCILIATIONS if on_incomplete == "reconcile" else 0
        self._handed_on: list[Memory] = []  # by the walks before this one
        self._held: Page | None = None  # noted, and still to be handed on
        self._reported = 0  # of its bad records
        self.walk: Walk = Walk(first_page, per_page, unique=unique, seen=seen)
        self.completeness: Completeness | None = None

    @property
    def next_page(self) -> int:
        """The lowest page that has not been handed on."""
        return min(self.walk.next_page, self._held.number) if self._held is not None else self.walk.next_page

    async def pages(self) -> AsyncGenerator[Page, None]:
        """The pages that have not been handed on yet, each with the customers that are new.

        Raises:
            CustomersError: A page could not be fetched; call again to go on with it.
            IncompleteListError: At the end, as ``on_incomplete`` says.
        """
        tasks: _Tasks = {}
        done: _Done = asyncio.Queue()
        try:
            while self.completeness is None:
                if self._held is not None:
                    self._report_bad_records(self._held)
                    page, self._held = self._held, None
                    yield page
                    continue
                self._fill(tasks, done)
                if tasks:
                    self._held = await self._next_page(tasks, next(iter(tasks)) if self._ordered else await done.get())
                    self._fill(tasks, done)
                else:
                    self._conclude()
        except CustomersError as error:
            error.next_page = self.next_page
            raise
        finally:
            self.walk.give_back(tasks.values())  # before anything is awaited: that may be cancelled
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._on_incomplete in ("raise", "reconcile"):
            self.completeness.raise_if_incomplete()

    def _fill(self, tasks: _Tasks, done: _Done) -> None:
        while len(tasks) < self._concurrency and (number := self.walk.take()) is not None:
            task = asyncio.create_task(self._fetch_patiently(number))
            if not self._ordered:
                task.add_done_callback(done.put_nowait)
            tasks[task] = number

    async def _fetch_patiently(self, number: int) -> Response:
        """Fetch a page. Where most pages come, one whose call failed is asked for again."""
        chances = self._second_chances
        while True:
            try:
                answer = await self._source.fetch(number)
            except CustomersError as error:
                if not chances or self._forgiven >= self._fetched // self.PAGES_A_FAILURE or not _may_pass(error):
                    raise
                chances -= 1
                self._forgiven += 1
            else:
                self._fetched += 1
                return answer

    async def _next_page(self, tasks: _Tasks, task: asyncio.Task[Response]) -> Page | None:
        """The page to hand on; None when it was refused, or holds nothing that a walk before did not."""
        try:
            answer = await task
        except APIStatusError as error:
            if not self.walk.refuse(tasks[task], error):
                raise
            del tasks[task]
            return None
        page = self.walk.add(self._source.decode(tasks[task], answer))
        del tasks[task]
        if self._handed_on:
            page = self._without_handed_on(page)
        if self._on_event is not None:
            emit(self._on_event, PageFetched(page.number, len(page.customers), page.total))
        return None if self._handed_on and not page.customers and not page.rejected else page

    def _report_bad_records(self, page: Page) -> None:
        """Call the listener once for each; where it raises, the next time goes on with the next record."""
        while self._on_bad_record is not None and self._reported < len(page.rejected):
            self._reported += 1
            # No local names the record: what the function raises may show the locals of this frame.
            self._on_bad_record(*page.rejected[self._reported - 1])
        self._reported = 0

    def _without_handed_on(self, page: Page) -> Page:
        return attrs.evolve(
            page,
            customers=tuple(customer for customer in page.customers if not self._was_handed_on(customer.uuid)),
            rejected=tuple(pair for pair in page.rejected if not self._was_handed_on(key_of(pair[0]))),
        )

    def _was_handed_on(self, key: str | bytes) -> bool:
        return any(key in seen for seen in self._handed_on)

    def _conclude(self) -> None:
        """Accept the verdict, or walk again."""
        found = self.walk.completeness()
        incomplete = found.verdict is not Verdict.COMPLETE
        if incomplete and found.verdict is not Verdict.CAPPED and self._again:
            self._again -= 1
            _log.info("The list is walked again: %s.", found.describe())
            self._handed_on.append(self.walk.seen)
            self.walk = Walk(1, self._per_page, unique=True)
            return
        self.completeness = found
        if self._on_event is not None:
            emit(self._on_event, WalkFinished(found))
        if incomplete and self._on_incomplete == "warn":
            _log.warning("The list is not complete: %s.", found.describe())


def check_walk(*, ordered: object, unique: object, on_incomplete: object) -> None:
    """Refuse settings of a walk that cannot be meant; see `CustomersClient.list_customers`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range.
    """
    check_flag("ordered", ordered)
    check_flag("unique", unique)
    check_choice("on_incomplete", on_incomplete, OnIncomplete)
    if on_incomplete == "reconcile" and not unique:
        raise ValueError("on_incomplete='reconcile' needs unique=True: it must know what was yielded")


def check_on_bad_record(on_bad_record: object) -> OnBadRecord | None:
    """The function to call, or None to raise.

    Raises:
        TypeError: It is neither ``"raise"`` nor a plain function.
    """
    if on_bad_record == "raise":
        return None
    if not callable(on_bad_record) or iscoroutinefunction(on_bad_record):
        raise TypeError("on_bad_record must be 'raise' or a plain function of the raw record and the error")
    return on_bad_record


def _may_pass(error: CustomersError) -> bool:
    """Whether another call may succeed at once; not so where the service asked to stay away for longer."""
    return is_transient(error) and not (isinstance(error, APIStatusError) and error.retry_after is not None)
