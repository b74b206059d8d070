"""What a sync of an SQLite mirror has seen, until it is committed."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from operator import attrgetter
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from customers_async.converter import to_unix_seconds
from customers_async.export.sqlite_errors import translate_sqlite_errors
from customers_async.mirror import schema
from customers_async.mirror.merge import Known
from customers_async.mirror.records import StagedCustomer, fold, is_same
from customers_async.mirror.store import Sync
from customers_async.models import FIELDS, Customer

__all__ = ["TYPES", "SqliteStaging"]

TYPES = schema.Types(
    key="TEXT",
    time="NUMERIC",
    blob="BLOB",
    flag="INTEGER",
    integer="INTEGER",
    counter="INTEGER PRIMARY KEY",
    real="REAL",
)
_INSERT = f"INSERT INTO staged VALUES ({', '.join('?' * (len(schema.COLUMNS) + 1))})"
_TIMES = tuple(FIELDS.index(name) for name in ("created_at", "updated_at"))
_get_fields = attrgetter(*FIELDS)


class SqliteStaging:
    """What a sync has seen, in temporary tables of a connection of its own.

    A sync that is cancelled may close it while another thread uses the connection, hence the lock.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], path: Path) -> None:
        self._connect = connect
        self._path = path
        self._lock = Lock()
        self._database: sqlite3.Connection  # set by `open`
        self._connections = ExitStack()
        self._is_closed = False

    def open(self) -> None:
        """Connect, unless this is closed already."""
        with self._lock, translate_sqlite_errors(self._path):
            if not self._is_closed:
                self._database = self._connections.enter_context(closing(self._connect()))
                for statement in schema.stage_tables(TYPES):
                    self._database.execute(statement)

    async def read_known(self) -> Known:
        """Return what the tables hold."""
        return await asyncio.to_thread(self._read_known)

    def clear(self) -> None:
        """Drop all that was staged."""
        with self._lock, translate_sqlite_errors(self._path):
            self._database.execute("DELETE FROM staged")

    def add(self, customers: Iterable[StagedCustomer]) -> None:
        """Stage customers."""
        with self._lock, translate_sqlite_errors(self._path):
            self._database.execute("BEGIN")
            self._database.executemany(_INSERT, map(_make_row, customers))
            self._database.execute("COMMIT")

    async def commit(self, sync: Sync) -> tuple[int, dict[str, int]]:
        """Write everything in one transaction."""
        return await asyncio.to_thread(self._commit, sync)

    def close(self) -> None:
        """Drop everything that is not committed."""
        with self._lock:
            self._is_closed = True
            self._connections.close()

    def _read_known(self) -> Known:
        with self._lock, translate_sqlite_errors(self._path):
            digests: dict[str, bytes] = dict(self._database.execute("SELECT uuid, digest FROM customers"))
            removed = self._database.execute("SELECT DISTINCT uuid FROM history WHERE kind = 'removed'")
            (written_at,) = self._database.execute(
                "SELECT max(coalesce((SELECT max(finished_at) FROM syncs), 0), "
                "coalesce((SELECT CAST(value AS REAL) FROM mirror_facts WHERE name = 'forgotten_at'), 0))"
            ).fetchone()
            return Known(digests, frozenset(uuid for (uuid,) in removed), written_at)

    def _commit(self, sync: Sync) -> tuple[int, dict[str, int]]:
        database = self._database
        with self._lock, translate_sqlite_errors(self._path):
            database.execute("BEGIN IMMEDIATE")
            self._drop_unchanged()
            for table, uuids in (("removed", sync.removed), ("suspects", sync.suspects)):
                database.executemany(f"INSERT INTO {table} VALUES (?)", [(uuid,) for uuid in uuids])
            (version,) = database.execute("SELECT coalesce(max(version), 0) + 1 FROM syncs").fetchone()
            for statement in schema.commit_statements(version):
                database.execute(statement)
            counts = database.execute("SELECT kind, count(*) FROM history WHERE version = ? GROUP BY kind", (version,))
            kinds: dict[str, int] = dict(counts.fetchall())
            columns = {"version": version, "seen_at": sync.seen_at, "finished_at": time.time(), **sync.columns, **kinds}
            names = list(schema.SYNC_COLUMNS)
            marks = ", ".join("?" * len(names))
            database.execute(f"INSERT INTO syncs VALUES ({marks})", [columns.get(name, 0) for name in names])
            database.executemany("INSERT OR REPLACE INTO mirror_facts VALUES (?, ?)", sync.facts.items())
            database.execute("COMMIT")
        return version, kinds

    def _drop_unchanged(self) -> None:
        """Drop records that are only spelled differently, but keep their digests."""
        pairs = self._database.execute(
            "SELECT staged.rowid, staged.uuid, staged.digest, customers.record, staged.record "
            "FROM staged JOIN customers ON customers.uuid = staged.uuid"
        )
        same = [(row, digest, uuid) for row, uuid, digest, before, after in pairs if is_same(before, after)]
        self._database.executemany("UPDATE customers SET digest = ? WHERE uuid = ?", [row[1:] for row in same])
        self._database.executemany("DELETE FROM staged WHERE rowid = ?", [(row,) for row, *_ in same])


def _make_row(staged: StagedCustomer) -> tuple[Any, ...]:
    customer: Customer = staged.customer
    values = list(_get_fields(customer))
    for position in _TIMES:
        if values[position] is not None:
            values[position] = to_unix_seconds(values[position])
    if customer.related_persons is not None:
        values[-1] = msgspec.json.encode(customer.related_persons).decode()
    return staged.kind, *values, staged.record, staged.digest, fold(customer.name or "")
