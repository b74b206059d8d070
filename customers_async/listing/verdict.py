"""The verdict on a listing: what the responses claim, what was seen, and what follows from both. No I/O."""

import marshal
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Protocol

import attrs

from customers_async.models import Customer, Page, Verdict

__all__ = ["Claims", "Key", "KeySet", "Seen", "find_verdict", "is_proven", "key_of", "keys_of"]

Key = str | bytes
"""Identifies a record: its uuid, or all of a record that has none."""

_CLOCK_MARGIN = 2.0
"""Seconds by which the service's clocks may differ, with those to which it rounds ``Date`` and ``created_at``."""
_DEEP = b"nested too deeply"
"""The key of all such records: those after the first count as its duplicates, so the list is not COMPLETE."""
_REMEMBERED = 5_000
"""Without ``unique``, duplicates are noticed if they are at most this many customers apart."""


_created_at = attrgetter("created_at")


class KeySet(Protocol):
    """Remembers keys, as a set does."""

    def __len__(self) -> int: ...
    def __contains__(self, key: object, /) -> bool: ...
    def isdisjoint(self, keys: Iterable[Key], /) -> bool:
        """Whether none of the keys is in the set."""
        ...

    def update(self, keys: Iterable[Key], /) -> None:
        """Add the keys."""
        ...


@attrs.define(eq=False)
class Claims:
    """What the responses claim about the list, most of it in their headers.

    Attributes:
        pages: Responses so far.
        first_total: The total in the first response, or None.
        total: The last total that was named, or None.
        total_missing: Whether a response named no total.
        total_changed: Whether two totals differ.
        misnumbered: Whether a response named another page than the one requested.
        more_after: The highest page whose response says that more pages follow, or None.
        done_at: The lowest page whose response says that no more pages follow, or None.
        unmet: The highest page that was empty or refused although the total promised records on it, or 0.
        moved: Whether a page that was read twice had other records the second time.
        old_before: Customers created before this time were on the list at the first response; others are newcomers.
            None if that response had no ``Date``.
        outdated: Whether a response is older than the first one or has no ``Date``, or the first one is older than the
            time between them explains: one of them may come from a cache.
    """

    pages: int = 0
    first_total: int | None = None
    total: int | None = None
    total_missing: bool = False
    total_changed: bool = False
    misnumbered: bool = False
    more_after: int | None = None
    done_at: int | None = None
    unmet: int = 0
    moved: bool = False
    old_before: datetime | None = None
    outdated: bool = False
    _first_date: float | None = None
    _first_at: float | None = None

    def add(self, page: Page, date: float | None = None, at: float | None = None) -> None:
        """Add what one response claims.

        Args:
            page: The page.
            date: The response's ``Date`` in Unix seconds, or None.
            at: When it was received, for the first page sent, Unix seconds by the local clock; None if unknown.
        """
        if self.pages == 0:
            self.first_total = page.total
            self.old_before = None if date is None else datetime.fromtimestamp(date - _CLOCK_MARGIN, UTC)
            self._first_date, self._first_at = date, at
        self.pages += 1
        self.add_headers(page, date, at)

    def add_headers(self, page: Page, date: float | None, at: float | None) -> None:
        """Add what the headers of one response claim."""
        self.outdated |= self._first_date is not None and not self._is_after_first(date, at)
        if page.current_page is not None and page.current_page != page.number:
            self.misnumbered = True
        if page.has_more:
            self.more_after = max(self.more_after or 0, page.number)
        elif page.has_more is False:
            self.done_at = min(self.done_at or page.number, page.number)
        if page.total is None:
            self.total_missing = True
        else:
            self.total_changed |= self.total is not None and page.total != self.total
            self.total = page.total

    def _is_after_first(self, date: float | None, at: float | None) -> bool:
        """Whether a response is later than the first one, by no more than the time that has passed between them."""
        if date is None or self._first_date is None:
            return False
        passed = math.inf if at is None or self._first_at is None else at - self._first_at
        return -_CLOCK_MARGIN <= date - self._first_date <= passed + _CLOCK_MARGIN

    def are_consistent(self, last_page: int) -> bool:
        """Whether the claims agree with one another and with `last_page`, the last page that had records."""
        too_early = self.done_at is not None and self.done_at < last_page
        too_late = self.more_after is not None and self.more_after >= last_page
        return not (too_early or too_late or self.misnumbered or self.total_missing)


class Seen:
    """Which customers were seen, and how many.

    Args:
        unique: Remember every key. Otherwise remember the last few thousand, so that memory does not grow.
        keys: Where to remember them; a new set unless given, for example a smaller one for a long list.

    Attributes:
        distinct: Different customers.
        duplicates: Records that repeated an earlier one.
        rejected: Different records that did not fit the model.
        repeated: Records that were seen before because their page was read again on purpose.
        newcomers: Customers that may have been added after the first response.
        undated: Customers without ``created_at``.
        last_page: The highest page that had records, or 0.
    """

    def __init__(self, *, unique: bool, keys: KeySet | None = None) -> None:
        self._unique = unique
        self._keys: KeySet = set() if keys is None else keys
        self._older_keys: KeySet = set()  # without unique: the generation before
        self.distinct: int = 0
        self.duplicates: int = 0
        self.rejected: int = 0
        self.repeated: int = 0
        self.newcomers: int = 0
        self.undated: int = 0
        self.last_page: int = 0

    def __contains__(self, key: Key) -> bool:
        return key in self._keys or key in self._older_keys

    @property
    def records(self) -> int:
        """All records, with duplicates and rejected ones."""
        return self.distinct + self.duplicates + self.rejected

    @property
    def omitted(self) -> int:
        """Records that do not go into an export's file: repetitions, and those that do not fit the model."""
        return self.duplicates + self.rejected + self.repeated

    @property
    def old(self) -> int | None:
        """Different customers that were on the list at the first response; None if they were not all remembered."""
        return self.distinct - self.newcomers - self.undated if self._unique else None

    def find_known(self, keys: list[Key]) -> set[Key]:
        """Return the keys that were seen before."""
        # On most pages there are none, and isdisjoint finds that out without a loop in Python.
        if self._keys.isdisjoint(keys) and (not self._older_keys or self._older_keys.isdisjoint(keys)):
            return set()
        return {key for key in keys if key in self}

    def add(
        self, page: Page, keys: list[Key], known: set[Key], *, old_before: datetime | None = None, again: bool = False
    ) -> Page:
        """Count the records of a page, and return the page without duplicates.

        Args:
            page: The page.
            keys: Its `keys_of`.
            known: Those that were seen before.
            old_before: Customers created before this time are not newcomers; None if that is unknown.
            again: The page was read again on purpose: known records are not duplicates.
        """
        records = len(keys)
        if records:
            self.last_page = max(self.last_page, page.number)
        if not self._unique and len(self._keys) >= _REMEMBERED:
            self._older_keys, self._keys = self._keys, set()
        size = len(self._keys)
        self._keys.update(keys)
        if known or len(self._keys) - size != records:
            page = _without_duplicates(page, known)
        distinct, rejected = len(page.customers), len(page.rejected)
        self.distinct += distinct
        self.rejected += rejected
        if again:
            is_yielded = bool(distinct or rejected)  # see `PageFetcher`
            self.repeated += records - distinct - rejected if is_yielded else 0
        else:
            self.duplicates += records - distinct - rejected
        if old_before is not None and distinct:
            self._count_ages(page.customers, old_before)
        return page

    def _count_ages(self, customers: Sequence[Customer], old_before: datetime) -> None:
        try:
            if max(map(_created_at, customers)) < old_before:  # true for most pages, and in 4 µs instead of 8
                return
        except TypeError:  # one has no created_at
            self.undated += sum(customer.created_at is None for customer in customers)
        self.newcomers += sum(
            customer.created_at is not None and customer.created_at >= old_before for customer in customers
        )


def is_proven(claims: Claims, seen: Seen, *, first_page: int) -> bool:
    """Whether every customer that was on the list at the first response, and still is, was seen.

    Let T be the ``Date`` of the first response, less two seconds, and N its total. A customer created before T is
    *old*. Every old customer seen was one of the N that were on the list then, because no customer becomes old later.
    So if N old customers were seen, all N were. The order of the list and later totals do not matter.

    A response that is older than the first one, such as one from a cache, may show customers that had been deleted
    before. If the first one is itself from a cache, customers may have been added since. More than N old customers
    cannot be: then ``created_at`` or the total is wrong. Records whose age is unknown might be old. In these cases
    nothing is proven.
    """
    if first_page > 1 or claims.old_before is None or claims.first_total is None:
        return False
    return seen.old == claims.first_total and not (claims.outdated or seen.undated or seen.rejected)


def find_verdict(claims: Claims, seen: Seen, *, first_page: int) -> Verdict:
    """Return the verdict on a listing that began with ``first_page``.

    A proof comes before all else. Where several others hold, CAPPED comes before DRIFTED, and DRIFTED before
    INCONSISTENT. With equal totals, a newcomer may have taken the place of a customer that was missed.
    """
    if is_proven(claims, seen, first_page=first_page):
        return Verdict.COMPLETE
    if claims.unmet > seen.last_page:
        return Verdict.CAPPED
    if claims.total_changed or claims.moved or seen.duplicates:
        return Verdict.DRIFTED
    is_whole = first_page == 1 and seen.distinct + seen.rejected == claims.total
    if not is_whole or not claims.are_consistent(seen.last_page):
        return Verdict.INCONSISTENT
    return Verdict.DRIFTED if seen.newcomers else Verdict.COMPLETE


def keys_of(page: Page) -> list[Key]:
    """Return the key of each record."""
    keys: list[Key] = [customer.uuid for customer in page.customers]
    if page.rejected:
        keys += [key_of(record) for record, _ in page.rejected]
    return keys


def key_of(record: Any) -> Key:
    """Return the key of a raw record that does not fit the model: its uuid, or else all of it."""
    uuid = record.get("uuid") if isinstance(record, dict) else None
    if isinstance(uuid, str):
        return uuid
    try:
        # Unlike encoders of JSON, marshal takes half characters. From its version 3 on, equal records may differ.
        return marshal.dumps(record, 2)
    except ValueError:  # nested more than 2,000 deep, as Python 3.12 can parse
        return _DEEP


def _without_duplicates(page: Page, known: set[Key]) -> Page:
    customers = [customer for customer in _latest(page.customers) if customer.uuid not in known]
    known = known | {customer.uuid for customer in customers}
    records = {key_of(pair[0]): pair for pair in page.rejected}
    rejected = [pair for key, pair in records.items() if key not in known]
    return attrs.evolve(page, customers=tuple(customers), rejected=tuple(rejected))


def _latest(customers: Sequence[Customer]) -> list[Customer]:
    """Return each customer once; of several versions, the one updated last."""
    latest: dict[str, Customer] = {}
    for customer in customers:
        other = latest.get(customer.uuid)
        if other is None or _is_newer(customer, other):
            latest[customer.uuid] = customer
    return list(latest.values())


def _is_newer(customer: Customer, other: Customer) -> bool:
    if customer.updated_at is None or other.updated_at is None:
        return other.updated_at is None and customer.updated_at is not None
    return customer.updated_at > other.updated_at
