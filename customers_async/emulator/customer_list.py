"""The service's list of customers: its order, its records, and the changes made to it."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count, groupby, islice
from random import Random
from typing import Any

import msgspec

from customers_async.emulator.fake_customers import TIES, FakeCustomers, Record
from customers_async.emulator.positions import Positions
from customers_async.emulator.records import GivenCustomers

__all__ = ["CustomerList"]


class CustomerList:
    """Customers in list order. They can be inserted, deleted, moved and changed.

    Args:
        customers: The customers by number.
        seed: Selects the order under ``unstable_order``.
        clock: Returns the current Unix time in seconds.
        cached: Records that are kept encoded.

    Attributes:
        draws: Numbers for `shuffled_rows`, one for each request.
    """

    def __init__(
        self, customers: FakeCustomers | GivenCustomers, seed: int, clock: Callable[[], float], cached: int = 16_384
    ) -> None:
        self._customers = customers
        self._seed = seed
        self._clock = clock
        self._encoder = msgspec.json.Encoder()
        self._encode_unchanged = lru_cache(cached)(self._encode)
        self.reset()

    def reset(self) -> None:
        """Return to the list as it was at first."""
        self._customers.reset()
        self._positions = Positions(self._customers.size)
        self._changed: dict[int, Record] = {}
        self.draws: Iterator[int] = count()
        self._encode_unchanged.cache_clear()

    def delete(self, count: int, at: int) -> None:
        """Delete ``count`` customers from position ``at`` on, or as many as there are."""
        self._positions.delete(count, at)

    def __len__(self) -> int:
        return len(self._positions)

    def uuids(self, start: int, stop: int) -> Iterator[str]:
        """Yield the uuids at the positions from ``start`` up to ``stop``."""
        return map(self._customers.uuid, self._positions.numbers(start, stop))

    def find(self, uuid: str) -> bytes | None:
        """Return the customer with that uuid as JSON, or None if the list has none."""
        number = self._customers.number(uuid)
        return self._row(number) if number is not None and number in self._positions else None

    def rows(self, start: int, stop: int) -> list[bytes]:
        """Return the customers at the positions from ``start`` up to ``stop``, each as JSON."""
        return [self._row(number) for number in self._positions.numbers(start, stop)]

    def shuffled_rows(self, start: int, stop: int, draw: int) -> list[bytes]:
        """Return `rows`, with neighbours of equal ``created_at`` in an order that depends on ``draw``."""
        first = max(start - TIES, 0)
        ties = groupby(self._positions.numbers(first, stop + TIES), self._tie)
        order = (number for tie, numbers in ties for number in self._shuffle(numbers, f"{draw} {tie[0]}"))
        return [self._row(number) for number in islice(order, start - first, stop - first)]

    def insert(self, count: int, at: int) -> None:
        """Insert ``count`` customers created now before position ``at``; beyond the end means at the end."""
        self._positions.insert(self._customers.create(count, int(self._clock())), at)

    def swap(self, first: int, second: int) -> None:
        """Let the customers at two positions change places."""
        self._positions.swap(first, second)

    def change(self, position: int, fields: dict[str, Any]) -> None:
        """Set ``fields`` of the customer at ``position``, and advance its ``updated_at``."""
        for number in self._positions.numbers(position, position + 1):
            record = self._changed.get(number) or self._customers.customer(number)
            updated_at = max(int(self._clock()), (record.get("updated_at") or 0) + 1)
            self._changed[number] = {**record, "updated_at": updated_at, **fields}

    def _tie(self, number: int) -> tuple[int, int]:
        # The second item keeps ties short: any number of customers can be inserted in one second.
        return self._customers.created_at(number), number // TIES

    def _shuffle(self, tied: Iterator[int], draw: str) -> list[int]:
        numbers = list(tied)
        Random(f"{self._seed} {draw}").shuffle(numbers)  # noqa: S311  # a seed must give the same order again; it is no secret
        return numbers

    def _row(self, number: int) -> bytes:
        changed = self._changed.get(number)
        return self._encoder.encode(changed) if changed else self._encode_unchanged(number)

    def _encode(self, number: int) -> bytes:
        return self._encoder.encode(self._customers.customer(number))
