"""One pass over the list: which page to request next, and when to stop. No I/O."""

import heapq

from customers_async.checks import RESULT_CAP
from customers_async.errors import APIResponseError, APIStatusError
from customers_async.listing.verdict import Claims, Key, KeySet, Seen, find_verdict, is_proven, keys_of
from customers_async.models import Completeness, Page

__all__ = ["Walk"]

_EMPTY_PAGES = 2
"""This many empty pages in a row end a pass."""
_STALE_PAGES, _STALE_RECORDS = 10, 100
"""This many pages in a row without a new customer, with this many records in total, end a pass: a list may drift by a
few pages, but a server that repeats its last page does so forever."""


class Walk:
    """Plans the pages of one pass over the list, and collects what they contain. Pages are added in any order.

    Args:
        first_page: Where to begin.
        per_page: The page size that is requested.
        unique: Remember every customer and drop duplicates. Otherwise drop none, and remember the last few thousand.
        keys: Where to remember them; see `Seen`.

    Attributes:
        claims: What the responses claim about the list.
        seen: Which customers were seen.
        page_size: The size with which pages are planned: what the server applies.
    """

    def __init__(self, first_page: int, per_page: int, *, unique: bool, keys: KeySet | None = None) -> None:
        self.claims: Claims = Claims()
        self.seen: Seen = Seen(unique=unique, keys=keys)
        self._first_page = first_page
        self._unique = unique
        self._next = first_page  # the lowest page that was never requested
        self._requeued: list[int] = []  # a heap
        self._pending: set[int] = set()  # requested, and not received yet
        self._end: int | None = None  # request nothing from this page on
        self.page_size: int = per_page
        self._largest = per_page  # the largest page received
        self._first_keys: set[Key] | None = None  # of the first page, once it is received
        self._empty: set[int] = set()
        self._stale: set[int] = set()  # pages without a new customer
        self._highest: tuple[int, list[Key]] | None = None  # the highest page received, and its keys

    def next_number(self) -> int | None:
        """Return the page to request now, which is then pending.

        None means that there is none, or none before a pending page is received.
        """
        if self._requeued:
            number = heapq.heappop(self._requeued)
        elif self._is_wanted(self._next):
            number = self._next
            self._next += 1
        else:
            return None
        self._pending.add(number)
        return number

    def requeue_pending(self) -> None:
        """Plan to request the pending pages again."""
        for number in self._pending:
            heapq.heappush(self._requeued, number)
        self._pending.clear()

    @property
    def next_page(self) -> int:
        """The lowest page that has not been received."""
        return min([self._next, *self._requeued, *self._pending])

    @property
    def pages_left(self) -> int | None:
        """How many pages are still to be requested, by the total; None if that is unknown."""
        if self.claims.total is None:
            return None
        return max(0, self._last_planned + 1 - self._next) + len(self._requeued)

    @property
    def highest_page(self) -> int | None:
        """The highest page received that had records, or None."""
        return None if self._highest is None else self._highest[0]

    def add(self, page: Page, date: float | None = None, at: float | None = None) -> Page:
        """Add a page that was received; with ``unique``, return it without duplicates.

        Args:
            page: The page.
            date: The response's ``Date`` in Unix seconds, or None.
            at: When it was received, for the first page sent, Unix seconds by the local clock; None if unknown.

        Raises:
            APIResponseError: The page repeats the first one: the server ignores ``page``.
        """
        keys = keys_of(page)
        known = self.seen.find_known(keys)
        if self._first_keys is None:
            self._begin(page, keys)
        elif known and self._repeats_first(page, set(keys)):
            raise APIResponseError(
                f"page {page.number} holds the customers of page {self._first_page}: the server ignores page"
            )
        self._pending.discard(page.number)
        self.claims.add(page, date, at)
        fresh = self.seen.add(page, keys, known, old_before=self.claims.old_before)
        if keys:
            self._largest = max(self._largest, len(keys))
            if self._highest is None or page.number > self._highest[0]:
                self._highest = page.number, keys
        else:
            self._add_empty(page.number, page.total)
        self._look_for_end(page, len(keys), stale=not fresh.customers and not fresh.rejected)
        return fresh if self._unique else page

    def add_reread(self, page: Page, date: float | None = None, at: float | None = None) -> Page:
        """Add the highest page again, which was read a second time after a pause; return its new customers.

        If customers were deleted during the pause, others moved to this page from the next one. Without this second
        look the listing would miss them.
        """
        keys = keys_of(page)
        self.claims.add_headers(page, date, at)
        if self._highest is not None and self._highest[0] == page.number:
            self.claims.moved |= {*self._highest[1]} != {*keys}
        return self.seen.add(page, keys, self.seen.find_known(keys), old_before=self.claims.old_before, again=True)

    def refuse(self, number: int, error: APIStatusError) -> bool:
        """Add a page that the server refused, as if it were empty; return False if the error means something else."""
        beyond_cap = (number - 1) * self._largest >= RESULT_CAP
        if self._first_keys is None or not (error.status in (404, 422) or (error.status == 400 and beyond_cap)):
            return False
        self._pending.discard(number)
        total = self.claims.total
        self._add_empty(number, total)
        if total is None or number > self._last_planned:
            self._end_at(number)
        return True

    def skip(self, number: int) -> None:
        """Note that a page could not be fetched and will not be requested again."""
        self._pending.discard(number)

    def completeness(self) -> Completeness:
        """Return the verdict on what was received so far, with its figures."""
        claims, seen = self.claims, self.seen
        return Completeness(
            verdict=find_verdict(claims, seen, first_page=self._first_page),
            total=claims.total,
            first_total=claims.first_total,
            last_total=claims.total,
            distinct=seen.distinct,
            duplicates=seen.duplicates,
            pages=claims.pages,
            rejected=seen.rejected,
            newcomers=seen.newcomers,
            proven=is_proven(claims, seen, first_page=self._first_page),
        )

    def _is_wanted(self, number: int) -> bool:
        """Whether to request a page that was never requested."""
        if self._end is not None and number >= self._end:
            return False
        if self._first_keys is None:
            return number == self._first_page
        total = self.claims.total
        if total is None or number <= self._last_planned:
            # After an empty page, wait for the pending ones before looking further ahead.
            return not (self._pending and self._empty) or max(self._empty) <= self.seen.last_page
        # Beyond the total: one page at a time, while the page before promises more or records are missing.
        records_before = (self._first_page - 1) * self.page_size
        records_missing = records_before + self.seen.records < total
        return not self._pending and (records_missing or self.claims.more_after == number - 1)

    @property
    def _last_planned(self) -> int:
        """The last page by the total, at the page size that the server applies."""
        return -(-(self.claims.total or 0) // self.page_size)

    def _begin(self, page: Page, keys: list[Key]) -> None:
        self._first_keys = set(keys)
        # Trust the number of records rather than per_page, which a server may ignore; but a last page may be short.
        if keys and (page.has_more or (page.has_more is None and self._first_page == 1)):
            self.page_size = len(keys)

    def _repeats_first(self, page: Page, keys: set[Key]) -> bool:
        """Whether the server returned its first page again. A single record may have moved there."""
        first_keys = self._first_keys or set()
        if page.total != self.claims.first_total or keys.isdisjoint(first_keys):
            return False
        return page.current_page == self._first_page or (len(keys) > 1 and keys == first_keys)

    def _add_empty(self, number: int, total: int | None) -> None:
        if total is not None and (number - 1) * self._largest < total:
            self.claims.unmet = max(self.claims.unmet, number)
        self._empty.add(number)
        self._end_after_run(self._empty, number, _EMPTY_PAGES)
        self._add_stale(number)

    def _add_stale(self, number: int) -> None:
        self._stale.add(number)
        self._end_after_run(self._stale, number, max(_STALE_PAGES, -(-_STALE_RECORDS // self.page_size)))

    def _look_for_end(self, page: Page, records: int, *, stale: bool) -> None:
        """End the pass if this page is the last one: by the total, else by its headers, else by its length."""
        number = page.number
        if stale:
            self._add_stale(number)
        if self.claims.total is not None:
            if stale and number > self._last_planned:
                self._end_at(number)
        elif page.has_more is False or (
            page.has_more is None and (stale or (records < self.page_size and number > self._first_page))
        ):
            self._end_at(number + 1)

    def _end_after_run(self, pages: set[int], number: int, length: int) -> None:
        """End the pass at the first of `length` or more consecutive pages around this one."""
        first = last = number
        while first - 1 in pages:
            first -= 1
        while last + 1 in pages:
            last += 1
        if last - first + 1 >= length:
            self._end_at(first)

    def _end_at(self, number: int) -> None:
        self._end = number if self._end is None else min(self._end, number)
        self._requeued = [requeued for requeued in self._requeued if requeued < self._end]
        heapq.heapify(self._requeued)
