"""The mirror in PostgreSQL, from version 14 on. Needs the extra: ``pip install 'customers-async[postgres]'``."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from customers_async.calls.tokens import hide
from customers_async.errors import ExportError, stripped
from customers_async.mirror import schema
from customers_async.mirror.postgres_staging import TYPES, PostgresStaging, asyncpg, translate_errors
from customers_async.mirror.store import (
    ALREADY_OPEN,
    NOT_OPEN,
    Facts,
    FoundCustomer,
    StoredChange,
    StoredCustomer,
    find_journal_target,
)

__all__ = ["PostgresStore"]

_LOCK = 0x43757374
"""The first key of the advisory locks; the second one is that of the schema."""
_LOCK_TIMEOUT = "1s"
"""How long to wait for another sync: the server takes a moment to end the session of a connection that was lost."""
_CONNECTIONS = 4
_CLOSING = 5.0
"""Seconds to wait for the server when a sync ends."""
_LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError)
"""The errors of a connection that is no more."""


class PostgresStore:
    """The tables in a schema of a PostgreSQL database: the first one of the search path.

    Args:
        url: ``postgresql://...``; other parameters of the URL than those of asyncpg are settings of the session, such
            as ``search_path``.
    """

    def __init__(self, url: str) -> None:
        try:
            url.encode()  # an argument of a command may be no UTF-8
            parts = urlsplit(url)
            host, port, query = parts.hostname or "", parts.port, parse_qs(parts.query)
        except ValueError:
            host, port, query = None, None, {}
        if host is None or "@" in parts.path:
            raise ValueError("the PostgreSQL URL cannot be parsed: percent-encode special characters of the password")
        self._url = hide(url)
        self._label = f"{host}{parts.path}"
        settings = {name: values for name, values in query.items() if name in ("host", "search_path")}
        self._database = f"{host}:{port}{parts.path} {settings}"
        self._pool: Any = None

    def __repr__(self) -> str:
        return f"PostgresStore({self._label!r})"

    def find_journal_target(self) -> Path:
        """Return a path in the user's cache, one for each database."""
        return find_journal_target(self._database)

    async def open(self) -> None:
        """Connect, and create the tables or bring them up to date.

        Raises:
            ExportError: The database refuses, or its tables are of a later version of this package, or others.
            OSError: There is no connection.
        """
        if self._pool is not None:
            raise RuntimeError(ALREADY_OPEN)
        with translate_errors():
            self._pool = await asyncpg.create_pool(self._url, min_size=1, max_size=_CONNECTIONS)
        try:
            await self._prepare()
        except BaseException:
            await self.close()
            raise

    async def _prepare(self) -> None:
        """Create the tables or bring them up to date."""
        with translate_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK}, hashtext(current_schema()))")
                version = await self._read_version(connection)
                if version < schema.VERSION:
                    for statement in schema.migrate(version, TYPES):
                        await connection.execute(statement)
                    for comment in _comments():
                        await connection.execute(comment)

    async def _read_version(self, connection: Any) -> int:
        """Return the version of the schema, or 0 if there is none."""
        if await connection.fetchval("SELECT current_schema()") is None:
            raise ExportError("the schema of the URL does not exist: CREATE SCHEMA makes it")
        in_schema = "SELECT to_regclass(quote_ident(current_schema()) || '.' || $1)"
        if await connection.fetchval(in_schema, "mirror_facts") is None:
            for table in ("customers", "changes", "syncs", "history"):
                if await connection.fetchval(in_schema, table) is not None:
                    raise ExportError(f"the database has another table {table}: choose another schema or database")
            return 0
        version = int(await connection.fetchval("SELECT value FROM mirror_facts WHERE name = 'schema'"))
        if version > schema.VERSION:
            raise ExportError("the database holds a mirror of a later version of this package")
        return version

    async def close(self) -> None:
        """Disconnect."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def read_versions(self) -> tuple[int, int]:
        """Return the last version, and the last one whose changes have been pruned; 0 if there is none."""
        [(last, pruned)] = await self._fetch(schema.READ_VERSIONS)
        return last, pruned

    async def read_facts(self) -> Facts:
        """Return which list the mirror is of."""
        return dict(await self._fetch(schema.READ_FACTS))

    @asynccontextmanager
    async def start_sync(self) -> AsyncIterator[PostgresStaging]:
        """Lock the mirror, and return where to stage what the sync sees.

        Raises:
            ExportError: Another sync is running.
        """
        with translate_errors():
            connection = await asyncpg.connect(self._url)
        try:
            with translate_errors():
                await self._lock(connection)
                for statement in schema.stage_tables(TYPES):
                    await connection.execute(statement)
            yield PostgresStaging(connection)
        finally:
            await asyncio.shield(_close(connection))

    async def get(self, uuid: str) -> StoredCustomer | None:
        """Return a customer."""
        rows = await self._fetch(schema.READ_CUSTOMER, uuid)
        return StoredCustomer(uuid, rows[0]["record"], rows[0]["seen_at"].timestamp()) if rows else None

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
            "SELECT found.search, found.uuid, customers.record FROM ("  # the index alone is searched
            "SELECT search, uuid FROM customers WHERE strpos(search, $1) > 0 AND (search, uuid) > ($2, $3) "
            + "".join(f"AND {column} = ${number} " for number, column in enumerate(columns, 5))
            + "ORDER BY search, uuid LIMIT $4) AS found JOIN customers USING (uuid) ORDER BY found.search, found.uuid",
            name,
            *((after.search, after.uuid) if after is not None else ("", "")),
            limit,
            *columns.values(),
        )
        return [FoundCustomer(*row) for row in rows]

    async def read_changes(self, since: int, after: int, limit: int) -> list[StoredChange]:
        """Return changes of versions after ``since``, in their order, from the change ``after`` on."""
        rows = await self._fetch(schema.READ_CHANGES, since, after, limit)
        return [StoredChange(**{**row, "seen_at": row["seen_at"].timestamp()}) for row in rows]

    async def forget(self, uuid: str) -> int:
        """Delete a customer and its history; return the number of rows."""
        with translate_errors():
            async with self._open_pool.acquire() as connection, connection.transaction():
                done = [
                    await connection.execute(f"DELETE FROM {table} WHERE uuid = $1", uuid)
                    for table in ("customers", "history")
                ]
                await connection.execute(
                    "INSERT INTO mirror_facts VALUES ('forgotten_at', $1) "
                    "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    f"{time.time()}",
                )
        return sum(int(status.split()[-1]) for status in done)

    async def prune(self, before: datetime) -> int:
        """Delete changes of syncs that began before that time; return the number of rows."""
        newest = "SELECT coalesce(max(version), 0) FROM syncs WHERE seen_at < $1"
        with translate_errors():
            async with self._open_pool.acquire() as connection, connection.transaction():
                status = await connection.execute(f"DELETE FROM history WHERE version <= ({newest})", before)
                await connection.execute(
                    f"INSERT INTO mirror_facts SELECT 'pruned', ({newest})::text "
                    "ON CONFLICT (name) DO UPDATE SET "
                    "value = greatest(excluded.value::bigint, mirror_facts.value::bigint)::text",
                    before,
                )
        return int(status.split()[-1])

    async def _lock(self, connection: Any) -> None:
        """Lock the mirror until the connection ends."""
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                await connection.execute(f"SELECT pg_advisory_lock({_LOCK + 1}, hashtext(current_schema()))")
        except asyncpg.LockNotAvailableError:
            raise ExportError(f"another sync to {self!r} is running") from None

    async def _fetch(self, statement: str, *values: Any) -> list[Any]:
        try:
            return await self._fetch_rows(statement, *values)
        except Exception as error:  # whatever it is: its frames may hold customer data, as the values do
            failure = stripped(error)
        del values
        raise failure

    async def _fetch_rows(self, statement: str, *values: Any) -> list[Any]:
        with translate_errors():
            try:
                rows: list[Any] = await self._open_pool.fetch(statement, *values)
            except _LOST:  # since it was last used: the pool has others, or makes one
                rows = await self._open_pool.fetch(statement, *values)
            return rows

    @property
    def _open_pool(self) -> Any:
        if self._pool is None:
            raise RuntimeError(NOT_OPEN)
        return self._pool


async def _close(connection: Any) -> None:
    """Close a connection; break it off if that fails, because a statement that was cancelled is still running."""
    try:
        await connection.close(timeout=_CLOSING)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        connection.terminate()


def _comments() -> Iterator[str]:
    """Yield the statements that describe tables and columns, for SQL clients."""
    yield "COMMENT ON TABLE customers IS 'the customers as the last sync saw them; a mirror of the customers API'"
    yield "COMMENT ON VIEW changes IS 'what each sync found, with the records before and after'"
    for table, columns in schema.describe_columns().items():
        for name, text in columns.items():
            yield f"COMMENT ON COLUMN {table}.{name} IS '{text.replace(chr(39), chr(39) * 2)}'"
