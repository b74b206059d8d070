"""Which page of the list comes next, what was seen, and what to think of it. Bookkeeping without any I/O."""

import heapq
from collections.abc import Iterable, Sequence

import attrs

from customers_async.errors import APIResponseError, APIStatusError
from customers_async.models import Completeness, Customer, Page, Verdict
from customers_async.protocol import RESULT_CAP

__all__ = ["Walk"]


class Walk:
    """What is known of the list while it is walked. Told of each page once, in whatever order they come.

    Args:
        first_page: Where to begin.
        per_page: Customers a page, as asked for.
        unique: Remember every uuid and drop repetitions; else only those of the page before are compared.
    """

    def __init__(self, first_page: int, per_page: int, *, unique: bool) -> None:
        self._first_page = first_page
        self._per_page = per_page
        self._unique = unique
        self._next = first_page
        self._again: list[int] = []
        self._outstanding: set[int] = set()
        self._end: int | None = None  # no rows from this page on
        self._first: Page | None = None
        self._first_uuids: list[str] = []
        self._page_size = self._largest = 0
        self._last_total: int | None = None
        self._total_missing = self._total_changed = self._contradicted = self._refused_below_total = False
        self._empty: set[int] = set()
        self._empty_below_total = 0  # the highest such page
        self._last_with_rows = 0
        self._says_more: int | None = None  # the highest page that says so
        self._says_done: int | None = None  # the lowest page that says so
        self._rows = self._duplicates = self._rejected = self._pages = 0
        self.seen: set[str] = set()

    def take(self) -> int | None:
        """The page to ask for now; None when there is none, or none before another has come."""
        if self._again:
            number = heapq.heappop(self._again)
        elif self._wants(self._next):
            number = self._next
            self._next += 1
        else:
            return None
        self._outstanding.add(number)
        return number

    def give_back(self, numbers: Iterable[int]) -> None:
        """These pages were taken and did not come: they will be taken again."""
        for number in numbers:
            self._outstanding.discard(number)
            heapq.heappush(self._again, number)

    @property
    def next_page(self) -> int:
        """The lowest page that has not come."""
        return min([self._next, *self._again, *self._outstanding])

    def add(self, page: Page) -> Sequence[Customer]:
        """Note a page; returns those of its customers that are to be handed on.

        Raises:
            APIResponseError: The page repeats the first one: the server ignores ``page``.
        """
        uuids = [customer.uuid for customer in page.customers]
        if self._first is None:
            self._begin(page, uuids)
        elif uuids and uuids == self._first_uuids and page.total == self._first.total:
            raise APIResponseError(
                f"page {page.number} holds the customers of page {self._first_page}: the server ignores page"
            )
        self._outstanding.discard(page.number)
        self._pages += 1
        self._note_total(page)
        fresh = self._note_customers(page.customers, uuids)
        rows = len(uuids) + page.rejected
        self._rows += rows
        self._largest = max(self._largest, rows)
        self._rejected += page.rejected
        self._note_claims(page)
        if rows:
            self._last_with_rows = max(self._last_with_rows, page.number)
        self._note_end(page, rows, nothing_new=not fresh and not page.rejected)
        return fresh

    def refuse(self, number: int, error: APIStatusError) -> bool:
        """Note that the server refused a page; False if that means something else than the end of the list."""
        before = (number - 1) * max(self._largest, self._page_size)
        if self._first is None or not (error.status in (404, 422) or (error.status == 400 and before >= RESULT_CAP)):
            return False
        self._outstanding.discard(number)
        self._end_at(number)
        self._refused_below_total |= self._last_total is not None and before < self._last_total
        return True

    def completeness(self) -> Completeness:
        """The verdict on what has come so far."""
        distinct = self._rows - self._duplicates - self._rejected
        return Completeness(
            verdict=self._verdict(distinct + self._rejected),
            total=self._last_total,
            first_total=self._first.total if self._first is not None else None,
            last_total=self._last_total,
            distinct=distinct,
            duplicates=self._duplicates,
            pages=self._pages,
            rejected=self._rejected,
        )

    def _verdict(self, distinct: int) -> Verdict:
        if self._refused_below_total or self._empty_below_total > self._last_with_rows:
            return Verdict.CAPPED
        if self._total_changed or self._duplicates:
            return Verdict.DRIFTED
        denied = self._says_done is not None and self._says_done < self._last_with_rows
        promised = self._says_more is not None and self._says_more >= self._last_with_rows
        if self._total_missing or self._contradicted or denied or promised or distinct != self._last_total:
            return Verdict.INCONSISTENT
        return Verdict.COMPLETE

    def _wants(self, number: int) -> bool:
        """Whether a page not yet asked for should be."""
        if self._end is not None and number >= self._end:
            return False
        if self._first is None:
            return number == self._first_page
        if self._last_total is None or number <= self._planned:
            # After an empty page look no further ahead until the pages in flight have come.
            return not self._outstanding or max(self._empty, default=0) <= self._last_with_rows
        # Beyond the total: one page at a time, while the page before promises more or rows are missing.
        missing = (self._first_page - 1) * self._page_size + self._rows < self._last_total
        return not self._outstanding and (missing or self._says_more == number - 1)

    @property
    def _planned(self) -> int:
        """The last page by the total, at the size that the server really gives."""
        return -(-(self._last_total or 0) // self._page_size)

    def _begin(self, page: Page, uuids: list[str]) -> None:
        self._first, self._first_uuids = attrs.evolve(page, customers=(), raw=b""), uuids
        rows = len(uuids) + page.rejected
        # Trust the rows rather than per_page, which a server may ignore; but a last page may be short.
        self._page_size = rows if rows and page.has_more is not False else self._per_page

    def _note_total(self, page: Page) -> None:
        if page.total is None:
            self._total_missing = True
            return
        self._total_changed |= self._last_total is not None and page.total != self._last_total
        self._last_total = page.total

    def _note_customers(self, customers: Sequence[Customer], uuids: list[str]) -> Sequence[Customer]:
        own = set(uuids)
        if len(own) == len(uuids) and own.isdisjoint(self.seen):
            fresh = customers
        else:
            fresh = [customer for customer in _latest(customers) if customer.uuid not in self.seen]
            self._duplicates += len(customers) - len(fresh)
        if self._unique:
            self.seen |= own
            return fresh
        self.seen = own
        return customers

    def _note_claims(self, page: Page) -> None:
        if page.current_page is not None and page.current_page != page.number:
            self._contradicted = True
        if page.has_more:
            self._says_more = max(self._says_more or 0, page.number)
        elif page.has_more is False:
            self._says_done = min(self._says_done or page.number, page.number)

    def _note_end(self, page: Page, rows: int, *, nothing_new: bool) -> None:
        number = page.number
        if self._last_total is None:
            short = rows < self._page_size and number > self._first_page
            if page.has_more is False or (page.has_more is None and (short or nothing_new)):
                self._end_at(number + 1)
        elif number > self._planned and nothing_new:
            self._end_at(number)
        if rows == 0 and page.total is not None and (number - 1) * max(self._largest, self._page_size) < page.total:
            self._empty_below_total = max(self._empty_below_total, number)
        if rows == 0 or (nothing_new and self._last_total is None):
            self._empty.add(number)
            for lower in (number - 1, number):
                if {lower, lower + 1} <= self._empty:
                    self._end_at(lower)

    def _end_at(self, number: int) -> None:
        self._end = number if self._end is None else min(self._end, number)
        self._again = [again for again in self._again if again < self._end]
        heapq.heapify(self._again)


def _latest(customers: Sequence[Customer]) -> list[Customer]:
    """Each uuid once; of repetitions the one updated last."""
    latest: dict[str, Customer] = {}
    for customer in customers:
        known = latest.get(customer.uuid)
        if known is None or _is_newer(customer, known):
            latest[customer.uuid] = customer
    return list(latest.values())


def _is_newer(customer: Customer, known: Customer) -> bool:
    if customer.updated_at is None or known.updated_at is None:
        return known.updated_at is None and customer.updated_at is not None
    return customer.updated_at > known.updated_at
