"""The mirror in an SQLite file. All access to it is off the event loop."""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from customers_async.errors import ExportError, stripped
from customers_async.export.sqlite_errors import translate_sqlite_errors
from customers_async.mirror import schema
from customers_async.mirror.sqlite_staging import TYPES, SqliteStaging
from customers_async.mirror.store import (
    ALREADY_OPEN,
    NOT_OPEN,
    Facts,
    FoundCustomer,
    StoredChange,
    StoredCustomer,
)

__all__ = ["SqliteStore"]

_APPLICATION_ID = 0x43757374 + 1
_BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that writes; a sync writes for less than a second per 100,000 customers."""
_PRAGMAS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA secure_delete = ON",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA cache_size = -16384",  # KiB; with the usual 2 MiB the first sync of 100,000 customers takes twice as long
    "PRAGMA schema_version",  # reads the file
)

Result = TypeVar("Result")


class SqliteStore:
    """The tables in an SQLite file of mode 0600, which several processes may read while one syncs.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._thread: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None

    def __repr__(self) -> str:
        return f"SqliteStore({str(self._path)!r})"

    def find_journal_target(self) -> Path:
        """Return the path of the file."""
        return self._path

    async def open(self) -> None:
        """Open the file or create it, and bring its tables up to date.

        It may be opened once at a time.

        Raises:
            ExportError: It is another file than a mirror, or of a later version of this package.
            OSError: It cannot be created.
        """
        if self._thread is not None:
            raise RuntimeError(ALREADY_OPEN)
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

    async def read_versions(self) -> tuple[int, int]:
        """Return the last version, and the last one whose changes have been pruned; 0 if there is none."""
        [(last, pruned)] = await self._fetch(schema.READ_VERSIONS)
        return last, pruned

    async def read_facts(self) -> Facts:
        """Return which list the mirror is of."""
        return dict(await self._fetch(schema.READ_FACTS))

    @asynccontextmanager
    async def start_sync(self) -> AsyncIterator[SqliteStaging]:
        """Return where to stage what a sync sees; the lock on the journal keeps other syncs away."""
        staging = SqliteStaging(self._connect, self._path)
        try:
            await self._run(staging.open)
            yield staging
        finally:
            await asyncio.shield(asyncio.to_thread(staging.close))

    async def get(self, uuid: str) -> StoredCustomer | None:
        """Return a customer."""
        rows = await self._fetch(schema.READ_CUSTOMER, uuid)
        return StoredCustomer(uuid, *rows[0]) if rows else None

    async def find(
        self,
        name: str,
        columns: Mapping[str, str],
        *,
        after: FoundCustomer | None,
        limit: int,
    ) -> list[FoundCustomer]:
        """Return customers in the order of folded name and uuid, from ``after`` on."""
        rows = await self._fetch(
            "SELECT search, uuid, (SELECT record FROM customers AS found WHERE found.uuid = customers.uuid) "
            "FROM customers WHERE instr(search, $1) AND (search, uuid) > ($2, $3) "
            + "".join(f"AND {column} = ${number} " for number, column in enumerate(columns, 5))
            + "ORDER BY search, uuid LIMIT $4",
            name,
            *((after.search, after.uuid) if after is not None else ("", "")),
            limit,
            *columns.values(),
        )
        return [FoundCustomer(*row) for row in rows]

    async def read_changes(self, since: int, after: int, limit: int) -> list[StoredChange]:
        """Return changes of versions after ``since``, in their order, from the change ``after`` on."""
        rows = await self._fetch(schema.READ_CHANGES, since, after, limit)
        return [StoredChange(*row) for row in rows]

    async def forget(self, uuid: str) -> int:
        """Delete a customer and its history; return the number of rows."""
        deletions = [(f"DELETE FROM {table} WHERE uuid = ?", uuid) for table in ("customers", "history")]
        return await self._delete(
            deletions, [("INSERT OR REPLACE INTO mirror_facts VALUES ('forgotten_at', ?)", time.time())]
        )

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
                    database.execute("BEGIN IMMEDIATE")
                    rows = sum(database.execute(statement, (value,)).rowcount for statement, value in deletions)
                    for statement, value in others or ():
                        database.execute(statement, (value,))
                    database.execute("COMMIT")
                    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the old pages are in the log, too
                    return rows
            finally:
                database.close()

        return await self._run(delete)

    def _fetch(self, statement: str, *values: Any) -> Coroutine[Any, Any, list[Any]]:
        """Return the rows of a query, whose placeholders are $1, $2 and so on, as in PostgreSQL."""
        named = {f"{number}": value for number, value in enumerate(values, 1)}

        def fetch() -> list[Any]:
            assert self._database is not None  # noqa: S101  # the thread is there
            with translate_sqlite_errors(self._path):
                return self._database.execute(statement, named).fetchall()

        return self._run(fetch)  # no coroutine, whose frame would hold the values

    async def _run(self, function: Callable[[], Result]) -> Result:
        if self._thread is None:
            raise RuntimeError(NOT_OPEN)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except Exception as error:  # whatever it is: its frames may hold customer data
            failure = stripped(error)
        raise failure

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            for pragma in _PRAGMAS:
                database.execute(pragma)
        except sqlite3.Error as error:
            database.close()
            if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_NOTADB:
                raise
        else:
            return database
        raise self._not_a_mirror_error()

    def _not_a_mirror_error(self) -> ExportError:
        return ExportError(f"{self._path} is not a mirror: choose another file")

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
        if self._read_version(database) == schema.VERSION:
            return  # without a lock for writing, which another process may have
        database.execute("BEGIN IMMEDIATE")
        version = self._read_version(database)
        if version < schema.VERSION:
            if os.name == "posix":
                self._path.chmod(0o600)  # the file may have been there, and empty
            for statement in schema.migrate(version, TYPES):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute("COMMIT")
        database.execute("PRAGMA journal_mode = WAL")

    def _read_version(self, database: sqlite3.Connection) -> int:
        """Return the version of the schema, 0 for an empty file.

        Raises:
            ExportError: It is another file than a mirror, or of a later version.
        """
        (application_id,) = database.execute("PRAGMA application_id").fetchone()
        if database.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None:
            return 0
        if application_id != _APPLICATION_ID:
            raise self._not_a_mirror_error()
        version = int(database.execute("SELECT value FROM mirror_facts WHERE name = 'schema'").fetchone()[0])
        if version > schema.VERSION:
            raise ExportError(f"{self._path} is a mirror of a later version of this package")
        return version
