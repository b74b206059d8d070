"""The mirror in an SQLite file. All access to it is off the event loop."""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from datetime import datetime
from functools import partial
from operator import attrgetter
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import msgspec

from customers_async.converter import to_unix_seconds
from customers_async.errors import ExportError
from customers_async.export.sqlite_errors import translate_sqlite_errors
from customers_async.mirror import schema
from customers_async.mirror.merge import Known
from customers_async.mirror.records import StagedCustomer, fold, is_same
from customers_async.mirror.store import NOT_OPEN, Facts, StoredChange, StoredCustomer, Sync
from customers_async.models import FIELDS, Customer

__all__ = ["SqliteStore"]

_TYPES = schema.Types(
    key="TEXT",
    time="NUMERIC",
    blob="BLOB",
    flag="INTEGER",
    integer="INTEGER",
    counter="INTEGER PRIMARY KEY",
    real="REAL",
)
_APPLICATION_ID = 0x43757374 + 1
_BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that writes; a sync writes for less than a second per 100,000 customers."""
_CACHE = 16_384
"""SQLite's cache, in KiB. With its own 2 MiB the first sync of 100,000 customers takes twice as long."""
_INSERT = f"INSERT INTO staged VALUES ({', '.join('?' * (len(schema.COLUMNS) + 1))})"
_TIMES = tuple(FIELDS.index(name) for name in ("created_at", "updated_at"))
_get_fields = attrgetter(*FIELDS)

Result = TypeVar("Result")


class SqliteStore:
    """The tables in an SQLite file of mode 0600, which several processes may read while one syncs.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self.journal_target: Path = self._path
        self._thread: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None

    def __repr__(self) -> str:
        return f"SqliteStore({str(self._path)!r})"

    async def open(self) -> None:
        """Open the file or create it, and bring its tables up to date.

        Raises:
            ExportError: It is another file than a mirror, or of a later version of this package.
            OSError: It cannot be created.
        """
        self._thread = ThreadPoolExecutor(1, "customers-mirror")
        try:
            await self._run(self._open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            closing = asyncio.get_running_loop().run_in_executor(thread, self._close)  # after all that runs there
            thread.shutdown(wait=False)
            await asyncio.shield(closing)

    async def read_facts(self) -> Facts:
        """Return which list the mirror is of."""
        rows = await self._fetch("SELECT name, value FROM mirror_facts")
        return {name: value for name, value in rows if name != "schema"}

    @asynccontextmanager
    async def start_sync(self) -> AsyncIterator["_SqliteStaging"]:
        """Return where to stage what a sync sees; the lock on the journal keeps other syncs away."""
        staging = _SqliteStaging(self._connect, self._path)
        try:
            await self._run(staging.open)
            yield staging
        finally:
            await asyncio.shield(asyncio.to_thread(staging.close))

    async def get(self, uuid: str) -> StoredCustomer | None:
        """Return a customer."""
        rows = await self._fetch(
            "SELECT record, (SELECT max(seen_at) FROM syncs WHERE suspect_since IS NULL "
            "OR syncs.version < suspect_since) FROM customers WHERE uuid = ?",
            uuid,
        )
        return StoredCustomer(*rows[0]) if rows else None

    async def find(
        self,
        name: str,
        *,
        country: str | None,
        customer_type: str | None,
        after: tuple[str, str] | None,
        limit: int,
    ) -> list[tuple[str, str, str]]:
        """Return folded name, uuid and record of customers, in that order, from ``after`` on."""
        return await self._fetch(
            "SELECT search, uuid, (SELECT record FROM customers AS found WHERE found.uuid = customers.uuid) "
            "FROM customers WHERE instr(search, ?1) AND (search, uuid) > (?2, ?3) "
            "AND (?4 IS NULL OR registration_country_code = ?4) AND (?5 IS NULL OR type = ?5) "
            "ORDER BY search, uuid LIMIT ?6",
            name,
            *(after or ("", "")),
            country,
            customer_type,
            limit,
        )

    async def read_changes(self, since: int, after: int, limit: int) -> list[StoredChange]:
        """Return changes of versions after ``since``, in their order, from the change ``after`` on."""
        rows = await self._fetch(
            "SELECT id, version, kind, uuid, before, after, seen_at FROM changes "
            "WHERE version > ? AND id > ? ORDER BY id LIMIT ?",
            since,
            after,
            limit,
        )
        return [StoredChange(*row) for row in rows]

    async def forget(self, uuid: str) -> int:
        """Delete a customer and its history; return the number of rows."""
        return await self._delete([(f"DELETE FROM {table} WHERE uuid = ?", uuid) for table in ("customers", "history")])

    async def prune(self, before: datetime) -> int:
        """Delete changes of syncs that began before that time; return the number of rows."""
        newest = "SELECT coalesce(max(version), 0) FROM syncs WHERE seen_at < ?"
        note = (
            f"INSERT INTO mirror_facts SELECT 'pruned', max(({newest}), coalesce((SELECT CAST(value AS INTEGER) "
            "FROM mirror_facts WHERE name = 'pruned'), 0)) WHERE true "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        )
        at = before.timestamp()
        return await self._delete([(f"DELETE FROM history WHERE version <= ({newest})", at)], [(note, at)])

    async def _delete(self, deletions: list[tuple[str, Any]], others: list[tuple[str, Any]] | None = None) -> int:
        def delete() -> int:
            database = self._connect()
            try:
                with translate_sqlite_errors(self._path):
                    database.execute("PRAGMA secure_delete = ON")
                    database.execute("BEGIN IMMEDIATE")
                    rows = sum(database.execute(statement, (value,)).rowcount for statement, value in deletions)
                    for statement, value in others or ():
                        database.execute(statement, (value,))
                    database.execute("COMMIT")
                    return rows
            finally:
                database.close()

        return await self._run(delete)

    async def _fetch(self, statement: str, *values: Any) -> list[Any]:
        def fetch() -> list[Any]:
            assert self._database is not None  # noqa: S101  # the thread is there
            with translate_sqlite_errors(self._path):
                return self._database.execute(statement, values).fetchall()

        return await self._run(fetch)

    async def _run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        if self._thread is None:
            raise RuntimeError(NOT_OPEN)
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(function, *arguments))

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
        for pragma in ("trusted_schema = OFF", "synchronous = NORMAL", f"cache_size = -{_CACHE}"):
            database.execute(f"PRAGMA {pragma}")
        return database

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> None:
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with translate_sqlite_errors(self._path):
            database = self._connect()
            try:
                self._prepare(database)
            except BaseException:
                database.close()
                raise
        self._database = database

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Check that the file is a mirror or new, and bring its tables up to date."""
        database.execute("BEGIN IMMEDIATE")
        (application_id,) = database.execute("PRAGMA application_id").fetchone()
        is_new = database.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None
        if not is_new and application_id != _APPLICATION_ID:
            raise ExportError(f"{self._path} is not a mirror: choose another file")
        version = 0
        if not is_new:
            version = int(database.execute("SELECT value FROM mirror_facts WHERE name = 'schema'").fetchone()[0])
        if version > schema.VERSION:
            raise ExportError(f"{self._path} is a mirror of a later version of this package")
        if version < schema.VERSION:
            for statement in schema.migrate(version, _TYPES):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute("COMMIT")
        database.execute("PRAGMA journal_mode = WAL")


class _SqliteStaging:
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
                for statement in schema.stage_tables(_TYPES):
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
            (seen_at,) = self._database.execute("SELECT coalesce(max(seen_at), 0) FROM syncs").fetchone()
            return Known(digests, frozenset(uuid for (uuid,) in removed), seen_at)

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
