"""The list of customers as the service keeps it: who is on it, in which order, and what was changed since."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby, islice
from random import Random
from typing import Any

import msgspec

from customers_async.emulator.fake_customers import TIES, Customer, FakeCustomers
from customers_async.emulator.positions import Positions

__all__ = ["CustomerList"]

_CACHED_ROWS = 16_384


class CustomerList:
    """A population in list order, whose customers come, go and change.

    Args:
        size: How many customers there are at first.
        seed: Chooses the customers.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._seed = seed
        self._population = FakeCustomers(size, seed)
        self._roster = Positions(size)
        self._changes: dict[int, Customer] = {}
        self._encoder = msgspec.json.Encoder()
        self._unchanged = lru_cache(_CACHED_ROWS)(self._encoded)

    def insert(self, count: int, at: int) -> None:
        """Insert new customers at a position."""
        self._roster.insert(count, at)

    def delete(self, count: int, at: int) -> None:
        """Delete customers from a position on."""
        self._roster.delete(count, at)

    def __len__(self) -> int:
        return len(self._roster)

    def uuids(self, start: int, stop: int) -> Iterator[str]:
        """The uuids at the positions from ``start`` up to ``stop``, one by one."""
        return map(self._population.uuid, self._roster.numbers(start, stop))

    def find(self, uuid: str) -> bytes | None:
        """One customer as JSON, or None when nobody on the list has that uuid."""
        number = self._population.number(uuid)
        return self._row(number) if number is not None and number in self._roster else None

    def rows(self, start: int, stop: int) -> list[bytes]:
        """The customers at the positions from ``start`` up to ``stop``, each as JSON."""
        return [self._row(number) for number in self._roster.numbers(start, stop)]

    def shuffled_rows(self, start: int, stop: int, draw: int) -> list[bytes]:
        """As `rows`, but with those of equal ``created_at`` in an order that depends on ``draw``."""
        first = max(start - TIES, 0)
        ties = groupby(self._roster.numbers(first, stop + TIES), self._population.created_at)
        order = (number for created_at, tied in ties for number in self._shuffled(tied, f"{draw} {created_at}"))
        return [self._row(number) for number in islice(order, start - first, stop - first)]

    def change(self, position: int, now: int, fields: dict[str, Any]) -> None:
        """Give the customer at ``position`` other ``fields`` and a later ``updated_at``."""
        for number in self._roster.numbers(position, position + 1):
            customer = self._changes.get(number) or self._population.customer(number)
            updated_at = max(now, customer["updated_at"] + 1)
            self._changes[number] = {**customer, "updated_at": updated_at, **fields}

    def _shuffled(self, tied: Iterator[int], draw: str) -> list[int]:
        numbers = list(tied)
        Random(f"{self._seed} {draw}").shuffle(numbers)  # noqa: S311  # repeatable disorder, no secret
        return numbers

    def _row(self, number: int) -> bytes:
        changed = self._changes.get(number)
        return self._encoder.encode(changed) if changed else self._unchanged(number)

    def _encoded(self, number: int) -> bytes:
        return self._encoder.encode(self._population.customer(number))
