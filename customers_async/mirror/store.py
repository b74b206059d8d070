"""What the mirror needs of a database. `sqlite` and `postgres` provide it."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import attrs

from customers_async.mirror.merge import Known
from customers_async.mirror.models import Kind
from customers_async.mirror.records import StagedCustomer

__all__ = [
    "ALREADY_OPEN",
    "NOT_OPEN",
    "PAGE",
    "Facts",
    "FoundCustomer",
    "Staging",
    "Store",
    "StoredChange",
    "StoredCustomer",
    "Sync",
    "find_journal_target",
]

PAGE = 200
"""Rows that are read at once: to decode them holds the event loop for 5 ms."""
NOT_OPEN = "the mirror is not open: use it in an async with block"
ALREADY_OPEN = "the mirror is open already"

Facts = dict[str, str]
"""Which list a mirror is of: ``base_url`` and ``account``; empty before the first sync."""


@attrs.frozen
class StoredCustomer:
    """A customer as a store returns it.

    Attributes:
        uuid: The customer.
        record: The record, as JSON text.
        seen_at: When the service last showed the customer, Unix seconds.
    """

    uuid: str
    record: str = attrs.field(repr=False)
    seen_at: float


@attrs.frozen
class FoundCustomer:
    """A customer that a store has found: its folded name, its uuid, and its record as JSON text."""

    search: str = attrs.field(repr=False)
    uuid: str
    record: str = attrs.field(repr=False)


@attrs.frozen
class StoredChange:
    """A change as a store returns it: ``id`` is its number, records are JSON text, ``seen_at`` in Unix seconds."""

    id: int
    version: int
    kind: Kind
    uuid: str
    before: str | None = attrs.field(repr=False)
    after: str | None = attrs.field(repr=False)
    seen_at: float


@attrs.frozen(kw_only=True)
class Sync:
    """What a sync has found, to be written in one transaction.

    Attributes:
        facts: Which list it has read.
        seen_at: When the oldest page of its listing was received, Unix seconds.
        removed: Customers whose look-up was answered with a 404.
        suspects: Customers whose look-up failed.
        columns: Further columns of the row in ``syncs``: verdict, totals and figures.
    """

    facts: Facts
    seen_at: float
    removed: Sequence[str]
    suspects: Sequence[str]
    columns: dict[str, Any]


class Staging(Protocol):
    """What a sync has seen, beside the tables; made by `Store.start_sync`, and dropped at its end."""

    async def read_known(self) -> Known:
        """Return what the tables hold. Called once no other sync can be running."""
        ...

    def clear(self) -> None:
        """Drop all that was staged. Called in a thread."""

    def add(self, customers: Iterable[StagedCustomer]) -> None:
        """Stage customers; of one uuid the last counts. Called in a thread."""

    async def commit(self, sync: Sync) -> tuple[int, dict[str, int]]:
        """Write everything in one transaction; return the version, and how many changes of each kind there were."""
        ...


class Store(Protocol):
    """A database that holds the tables ``customers``, ``changes`` and ``syncs``."""

    def find_journal_target(self) -> Path:
        """Return the path beside which the journal of a sync lies."""
        ...

    async def open(self) -> None:
        """Connect, and create the tables or migrate them."""

    async def close(self) -> None:
        """Disconnect. Safe to repeat."""

    async def read_versions(self) -> tuple[int, int]:
        """Return the last version, and the last one whose changes have been pruned; 0 if there is none."""
        ...

    async def read_facts(self) -> Facts:
        """Return which list the mirror is of."""
        ...

    def start_sync(self) -> AbstractAsyncContextManager[Staging]:
        """Take the store's lock, if it has one, and return where to stage what the sync sees.

        Raises:
            ExportError: Another sync is running.
        """
        ...

    async def get(self, uuid: str) -> StoredCustomer | None:
        """Return a customer."""
        ...

    async def find(
        self,
        name: str,
        columns: Mapping[str, str],
        *,
        after: FoundCustomer | None,
        limit: int,
    ) -> list[FoundCustomer]:
        """Return customers in the order of folded name and uuid, from ``after`` on.

        Args:
            name: Part of the folded name.
            columns: Further columns, with the values that they must have.
            after: The last customer returned, or None.
            limit: The most customers to return.
        """
        ...

    async def read_changes(self, since: int, after: int, limit: int) -> list[StoredChange]:
        """Return changes of versions after ``since``, in their order, from the change ``after`` on."""
        ...

    async def forget(self, uuid: str) -> int:
        """Delete a customer and its history; return the number of rows."""
        ...

    async def prune(self, before: datetime) -> int:
        """Delete changes of syncs that began before that time; return the number of rows."""
        ...


def find_journal_target(database: str) -> Path:
    """Return the path beside which a sync's journal lies if the database is no file: in the user's cache.

    Args:
        database: The database's name, without secrets.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "customers-async")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"mirror-{blake2b(database.encode(), digest_size=8).hexdigest()}"
