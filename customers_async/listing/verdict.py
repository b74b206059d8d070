"""The verdict on a listing: what the responses claim, what was seen, and what follows from both. No I/O."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import attrs
import msgspec

from customers_async.models import Customer, Page, Verdict

__all__ = ["Claims", "Key", "KeySet", "Seen", "find_verdict", "key_of", "keys_of"]

Key = str | bytes
"""Identifies a row: the uuid, or a whole record that has none."""

_REMEMBERED = 5_000
"""Without ``unique``, duplicates are noticed if they are at most this many customers apart."""


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
        unmet: The highest page that was empty or refused although the total promised rows on it, or 0.
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

    def add(self, page: Page) -> None:
        """Add what one response claims."""
        if self.pages == 0:
            self.first_total = page.total
        self.pages += 1
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

    def are_consistent(self, last_page: int) -> bool:
        """Whether the claims agree with one another and with `last_page`, the last page that had rows."""
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
        duplicates: Rows that repeated an earlier one.
        rejected: Different records that did not fit the model.
        last_page: The highest page that had rows, or 0.
    """

    def __init__(self, *, unique: bool, keys: KeySet | None = None) -> None:
        self._unique = unique
        self._keys: KeySet = set() if keys is None else keys
        self._older_keys: KeySet = set()  # without unique: the generation before
        self.distinct: int = 0
        self.duplicates: int = 0
        self.rejected: int = 0
        self.last_page: int = 0

    def __contains__(self, key: Key) -> bool:
        return key in self._keys or key in self._older_keys

    @property
    def rows(self) -> int:
        """All rows, with duplicates and rejected records."""
        return self.distinct + self.omitted

    @property
    def omitted(self) -> int:
        """Rows that are duplicates or did not fit the model."""
        return self.duplicates + self.rejected

    def find_known(self, keys: list[Key]) -> set[Key]:
        """Return the keys that were seen before."""
        # On most pages there are none, and isdisjoint finds that out without a loop in Python.
        if self._keys.isdisjoint(keys) and (not self._older_keys or self._older_keys.isdisjoint(keys)):
            return set()
        return {key for key in keys if key in self}

    def add(self, page: Page, keys: list[Key], known: set[Key]) -> Page:
        """Count the rows of a page, and return the page without duplicates.

        Args:
            page: The page.
            keys: Its `keys_of`.
            known: Those that were seen before.
        """
        rows = len(keys)
        if rows:
            self.last_page = max(self.last_page, page.number)
        if not self._unique and len(self._keys) >= _REMEMBERED:
            self._older_keys, self._keys = self._keys, set()
        size = len(self._keys)
        self._keys.update(keys)
        if known or len(self._keys) - size != rows:
            page = _without_duplicates(page, known)
        distinct, rejected = len(page.customers), len(page.rejected)
        self.distinct += distinct
        self.rejected += rejected
        self.duplicates += rows - distinct - rejected
        return page


def find_verdict(claims: Claims, seen: Seen, *, first_page: int) -> Verdict:
    """Return the verdict on a listing that began with ``first_page``.

    Where several hold, CAPPED comes before DRIFTED, and DRIFTED before INCONSISTENT.
    """
    if claims.unmet > seen.last_page:
        return Verdict.CAPPED
    if claims.total_changed or seen.duplicates:
        return Verdict.DRIFTED
    is_whole = first_page == 1 and seen.distinct + seen.rejected == claims.total
    return Verdict.COMPLETE if is_whole and claims.are_consistent(seen.last_page) else Verdict.INCONSISTENT


def keys_of(page: Page) -> list[Key]:
    """Return the key of each row."""
    keys: list[Key] = [customer.uuid for customer in page.customers]
    if page.rejected:
        keys += [key_of(record) for record, _ in page.rejected]
    return keys


def key_of(record: Any) -> Key:
    """Return the key of a raw record that does not fit the model: its uuid, or else all of it."""
    uuid = record.get("uuid") if isinstance(record, dict) else None
    return uuid if isinstance(uuid, str) else msgspec.json.encode(record)


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
