"""Scripted changes to the list while a client reads it."""

import attrs

from customers_async.emulator.customer_list import CustomerList

__all__ = ["Drift"]


@attrs.frozen
class _Change:
    insert: int
    delete: int
    at: int


class Drift:
    """Insertions and deletions, each applied once, when a certain page is requested."""

    def __init__(self, customer_list: CustomerList) -> None:
        self._customer_list = customer_list
        self._changes: dict[int, list[_Change]] = {}

    def script(self, page: int, insert: int, delete: int, at: int) -> None:
        """Schedule a deletion, then an insertion, for right before ``page`` is read."""
        self._changes.setdefault(page, []).append(_Change(insert, delete, at))

    @property
    def pending(self) -> list[int]:
        """The pages that still have changes scheduled."""
        return sorted(self._changes)

    def clear(self) -> None:
        """Remove all scheduled changes."""
        self._changes.clear()

    def apply(self, page: int) -> None:
        """Apply the changes scheduled for ``page``."""
        for change in self._changes.pop(page, ()):
            self._customer_list.delete(change.delete, at=change.at)
            self._customer_list.insert(change.insert, at=change.at)
