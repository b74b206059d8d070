"""Changes to the list that happen while a client walks it."""

import attrs

from customers_async.emulator.customer_list import CustomerList

__all__ = ["Drift"]


@attrs.frozen
class _Change:
    insert: int
    delete: int
    at: int


class Drift:
    """Insertions and deletions that wait for a page to be asked for; each happens once."""

    def __init__(self, directory: CustomerList) -> None:
        self._directory = directory
        self._waiting: dict[int, list[_Change]] = {}

    def script(self, page: int, insert: int, delete: int, at: int) -> None:
        """Delete, then insert, right before ``page`` is answered."""
        self._waiting.setdefault(page, []).append(_Change(insert, delete, at))

    @property
    def pending(self) -> list[int]:
        """The pages that changes wait for."""
        return sorted(self._waiting)

    def happen(self, page: int) -> None:
        """Do what waits for ``page``."""
        for change in self._waiting.pop(page, ()):
            self._directory.delete(change.delete, at=change.at)
            self._directory.insert(change.insert, at=change.at)
