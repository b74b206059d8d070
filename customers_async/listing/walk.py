"""Which page of the list comes next, what was seen, and what to think of it. Bookkeeping without any I/O."""

import heapq
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import attrs
import msgspec

from customers_async.checks import RESULT_CAP
from customers_async.errors import APIResponseError, APIStatusError
from customers_async.models import Completeness, Customer, Page, Verdict

__all__ = ["Memory", "Walk"]

_EMPTY_PAGES = 2
"""So many empty pages in a row end a walk."""
_STALE_PAGES, _STALE_ROWS = 10, 100
"""So many pages in a row with nobody new, of so many rows together, end a walk: a list may drift by a few pages, a
server that repeats its last page does so for ever."""

_REMEMBERED = 5_000
"""Without ``unique``, repetitions are noticed when they are at most so many customers apart."""


class Memory(Protocol):
    """Remembers keys, as a set does."""

    def __len__(self) -> int: ...
    def __contains__(self, key: object, /) -> bool: ...
    def isdisjoint(self, keys: Iterable[str | bytes], /) -> bool:
        """Whether none of the keys is known."""
        ...

    def update(self, keys: Iterable[str | bytes], /) -> None:
        """Remember the keys."""
        ...


class Walk:
    """What is known of the list while it is walked. Told of each page once, in whatever order they come.

    Args:
        first_page: Where to begin.
        per_page: Customers a page, as asked for.
        unique: Remember everybody and drop repetitions; else drop nobody, and remember the last few thousand only.
        seen: Where to remember them; a set of its own unless given, as by a bulk job that needs a smaller one.
    """

    def __init__(self, first_page: int, per_page: int, *, unique: bool, seen: Memory | None = None) -> None:
        self._first_page = first_page
        self._per_page = per_page
        self._unique = unique
        # What to ask for.
        self._next = first_page
        self._again: list[int] = []
        self._outstanding: set[int] = set()
        self._end: int | None = None  # nothing from this page on
        self._page_size = self._largest = per_page
        # What came.
        self._first: Page | None = None
        self._first_keys: set[str | bytes] = set()
        self.seen: Memory = set() if seen is None else seen
        self._seen_before: Memory = set()  # without unique: by the generation before
        self._distinct = self._duplicates = self._rejected = self._pages = 0
        self._empty: set[int] = set()
        self._stale: set[int] = set()
        self._last_with_rows = 0
        # What the headers claim.
        self._total: int | None = None
        self._total_missing = self._total_changed = self._misnumbered = False
        self._says_more: int | None = None  # the highest page that says so
        self._says_done: int | None = None  # the lowest page that says so
        self._nothing_below_total = 0  # the highest page that was empty or refused below the total

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

    def requeue_pending(self) -> None:
        """Plan to request the pending pages again: those that were requested and have not arrived."""
        for number in self._outstanding:
            heapq.heappush(self._again, number)
        self._outstanding.clear()

    def skip(self, number: int) -> None:
        """Note a page that could not be fetched and will not be requested again."""
        self._outstanding.discard(number)

    @property
    def next_page(self) -> int:
        """The lowest page that has not come."""
        return min([self._next, *self._again, *self._outstanding])

    @property
    def left_out(self) -> int:
        """How many rows were repetitions, or did not fit."""
        return self._duplicates + self._rejected

    @property
    def total(self) -> int | None:
        """The last total that the server named."""
        return self._total

    @property
    def pages_left(self) -> int | None:
        """How many pages are still to be asked for, by the total; None as long as that is not known."""
        return None if self._total is None else max(0, self._planned + 1 - self._next) + len(self._again)

    def add(self, page: Page) -> Page:
        """Note a page; returns it with what is to be handed on: with ``unique``, who was not seen before.

        Raises:
            APIResponseError: The page repeats the first one: the server ignores ``page``.
        """
        keys: list[str | bytes] = [customer.uuid for customer in page.customers]
        if page.rejected:
            keys += [key_of(record) for record, _ in page.rejected]
        known = self._known(keys)
        if self._first is None:
            self._begin(page, keys)
        elif known and self._repeats_first(page, set(keys)):
            raise APIResponseError(
                f"page {page.number} holds the customers of page {self._first_page}: the server ignores page"
            )
        self._outstanding.discard(page.number)
        self._pages += 1
        self._note_claims(page)
        fresh = self._note_rows(page, keys, known)
        stale = not fresh.customers and not fresh.rejected
        rows = len(keys)
        if rows:
            self._largest = max(self._largest, rows)
            self._last_with_rows = max(self._last_with_rows, page.number)
        else:
            self._note_nothing(page.number, page.total)
        self._note_end(page, rows, stale=stale)
        return fresh if self._unique else page

    def refuse(self, number: int, error: APIStatusError) -> bool:
        """Note a page that the server refused, as if it were empty; False if the refusal means something else."""
        beyond_cap = (number - 1) * self._largest >= RESULT_CAP
        if self._first is None or not (error.status in (404, 422) or (error.status == 400 and beyond_cap)):
            return False
        self._outstanding.discard(number)
        self._note_nothing(number, self._total)
        if self._total is None or number > self._planned:
            self._end_at(number)
        return True

    def completeness(self) -> Completeness:
        """The verdict on what has come so far."""
        return Completeness(
            verdict=self._verdict(),
            total=self._total,
            first_total=self._first.total if self._first is not None else None,
            last_total=self._total,
            distinct=self._distinct,
            duplicates=self._duplicates,
            pages=self._pages,
            rejected=self._rejected,
        )

    def _verdict(self) -> Verdict:
        if self._nothing_below_total > self._last_with_rows:
            return Verdict.CAPPED
        if self._total_changed or self._duplicates:
            return Verdict.DRIFTED
        denied = self._says_done is not None and self._says_done < self._last_with_rows
        promised = self._says_more is not None and self._says_more >= self._last_with_rows
        doubts = denied or promised or self._misnumbered or self._total_missing
        if doubts or self._first_page > 1 or self._distinct + self._rejected != self._total:
            return Verdict.INCONSISTENT
        return Verdict.COMPLETE

    def _wants(self, number: int) -> bool:
        """Whether a page not yet asked for should be."""
        if self._end is not None and number >= self._end:
            return False
        if self._first is None:
            return number == self._first_page
        if self._total is None or number <= self._planned:
            # After an empty page look no further ahead until the pages in flight have come.
            return not self._outstanding or max(self._empty, default=0) <= self._last_with_rows
        # Beyond the total: one page at a time, while the page before promises more or rows are missing.
        before = (self._first_page - 1) * self._page_size
        missing = before + self._distinct + self._duplicates + self._rejected < self._total
        return not self._outstanding and (missing or self._says_more == number - 1)

    @property
    def _planned(self) -> int:
        """The last page by the total, at the size that the server really gives."""
        return -(-(self._total or 0) // self._page_size)

    def _begin(self, page: Page, keys: list[str | bytes]) -> None:
        self._first, self._first_keys = attrs.evolve(page, customers=(), rejected=(), raw=b""), set(keys)
        rows = len(keys)
        # Trust the rows rather than per_page, which a server may ignore; but a last page may be short.
        if rows and (page.has_more or (page.has_more is None and self._first_page == 1)):
            self._page_size = rows

    def _repeats_first(self, page: Page, keys: set[str | bytes]) -> bool:
        """Whether the server gave its first page again. One row alone may have slid there."""
        first = self._first
        if first is None or page.total != first.total or keys.isdisjoint(self._first_keys):
            return False
        says_so = page.current_page == self._first_page
        return says_so or (len(keys) > 1 and keys == self._first_keys)

    def _note_claims(self, page: Page) -> None:
        self._misnumbered |= page.current_page is not None and page.current_page != page.number
        if page.has_more:
            self._says_more = max(self._says_more or 0, page.number)
        elif page.has_more is False:
            self._says_done = min(self._says_done or page.number, page.number)
        if page.total is None:
            self._total_missing = True
        else:
            self._total_changed |= self._total is not None and page.total != self._total
            self._total = page.total

    def _known(self, keys: list[str | bytes]) -> set[str | bytes]:
        """Those of the keys that were seen before; mostly none, which is quickly told."""
        if self.seen.isdisjoint(keys) and (not self._seen_before or self._seen_before.isdisjoint(keys)):
            return set()
        return {key for key in keys if key in self.seen or key in self._seen_before}

    def _note_rows(self, page: Page, keys: list[str | bytes], known: set[str | bytes]) -> Page:
        """Count the rows; returns the page with those that are new."""
        rows = len(keys)
        if not self._unique and len(self.seen) >= _REMEMBERED:
            self._seen_before, self.seen = self.seen, set()
        seen_before = len(self.seen)
        self.seen.update(keys)
        if known or len(self.seen) - seen_before != rows:
            customers = [customer for customer in _latest(page.customers) if customer.uuid not in known]
            records = {key_of(pair[0]): pair for pair in page.rejected}
            known |= {customer.uuid for customer in customers}
            rejected = [pair for key, pair in records.items() if key not in known]
            page = attrs.evolve(page, customers=tuple(customers), rejected=tuple(rejected))
        self._distinct += len(page.customers)
        self._rejected += len(page.rejected)
        self._duplicates += rows - len(page.customers) - len(page.rejected)
        return page

    def _note_nothing(self, number: int, total: int | None) -> None:
        self._empty.add(number)
        if total is not None and (number - 1) * self._largest < total:
            self._nothing_below_total = max(self._nothing_below_total, number)
        self._end_after_run(self._empty, number, _EMPTY_PAGES)
        self._note_stale(number)

    def _note_stale(self, number: int) -> None:
        self._stale.add(number)
        self._end_after_run(self._stale, number, max(_STALE_PAGES, -(-_STALE_ROWS // self._page_size)))

    def _note_end(self, page: Page, rows: int, *, stale: bool) -> None:
        number = page.number
        if stale:
            self._note_stale(number)
        if self._total is not None:
            if stale and number > self._planned:
                self._end_at(number)
        elif page.has_more is False or (
            page.has_more is None and (stale or (rows < self._page_size and number > self._first_page))
        ):
            self._end_at(number + 1)

    def _end_after_run(self, pages: set[int], number: int, length: int) -> None:
        """End the walk at the first of so many consecutive pages around this one."""
        first = last = number
        while first - 1 in pages:
            first -= 1
        while last + 1 in pages:
            last += 1
        if last - first + 1 >= length:
            self._end_at(first)

    def _end_at(self, number: int) -> None:
        self._end = number if self._end is None else min(self._end, number)
        self._again = [again for again in self._again if again < self._end]
        heapq.heapify(self._again)


def key_of(record: Any) -> str | bytes:
    """What tells a raw record that does not fit from others: its uuid, or else all of it."""
    uuid = record.get("uuid") if isinstance(record, dict) else None
    return uuid if isinstance(uuid, str) else msgspec.json.encode(record)


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
