"""The mirror in PostgreSQL, from version 14 on. Needs the extra: ``pip install 'customers-async[postgres]'``."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from customers_async.errors import ExportError
from customers_async.mirror import schema
from customers_async.mirror.merge import Known
from customers_async.mirror.records import StagedCustomer, fold, is_same
from customers_async.mirror.store import NOT_OPEN, Facts, StoredChange, StoredCustomer, Sync, find_journal_target
from customers_async.models import FIELDS

try:
    import asyncpg  # type: ignore[import-untyped]  # it has no types
except ModuleNotFoundError:  # also raised by a sub-module that is missing
    raise ModuleNotFoundError(
        "a mirror in PostgreSQL needs its extra: pip install 'customers-async[postgres]'", name="asyncpg"
    ) from None

__all__ = ["PostgresStore"]

_TYPES = schema.Types(
    key='TEXT COLLATE "C"',
    time="TIMESTAMPTZ",
    blob="BYTEA",
    flag="BOOLEAN",
    integer="BIGINT",
    real="DOUBLE PRECISION",
    counter="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
)
_LOCK = 0x43757374
"""The first key of the advisory locks; the second one is that of the schema."""
_COPIED = 500
"""Rows that are copied at once: they hold the event loop for a few milliseconds."""
_LOADED = 2000
_MANY = 1000
"""Changes after which the table is vacuumed at once, not whenever the server does it: `find` is ten times faster."""
_CONNECTIONS = 4
_CLOSING = 5.0
"""Seconds to wait for the server when a sync ends."""
_STAGED = ("kind", *schema.COLUMNS)
_get_fields = attrgetter(*FIELDS)


class PostgresStore:
    """The tables in a schema of a PostgreSQL database: the first one of the search path.

    Args:
        url: ``postgresql://...``; other parameters of the URL than those of asyncpg are settings of the session, such
            as ``search_path``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: Any = None
        parts = urlsplit(url)
        settings = {name: values for name, values in parse_qs(parts.query).items() if name in ("host", "search_path")}
        self.journal_target: Path = find_journal_target(f"{parts.hostname}:{parts.port}{parts.path} {settings}")

    def __repr__(self) -> str:
        parts = urlsplit(self._url)
        return f"PostgresStore({f'{parts.hostname}{parts.path}'!r})"

    async def open(self) -> None:
        """Connect, and create the tables or bring them up to date.

        Raises:
            ExportError: The database refuses, or its tables are of a later version of this package, or others.
            OSError: There is no connection.
        """
        with _translate_errors():
            self._pool = await asyncpg.create_pool(self._url, min_size=1, max_size=_CONNECTIONS)
        try:
            await self._prepare()
        except BaseException:
            await self.close()
            raise

    async def _prepare(self) -> None:
        """Create the tables or bring them up to date."""
        with _translate_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK}, hashtext(current_schema()))")
                version = await self._read_version(connection)
                if version < schema.VERSION:
                    for statement in schema.migrate(version, _TYPES):
                        await connection.execute(statement)
                    for comment in _comments():
                        await connection.execute(comment)

    async def _read_version(self, connection: Any) -> int:
        """Return the version of the schema, or 0 if there is none."""
        if await connection.fetchval("SELECT to_regclass('mirror_facts')") is None:
            for table in ("customers", "changes", "syncs", "history"):
                if await connection.fetchval("SELECT to_regclass($1)", table) is not None:
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

    async def read_facts(self) -> Facts:
        """Return which list the mirror is of."""
        rows = await self._fetch("SELECT name, value FROM mirror_facts WHERE name <> 'schema'")
        return {row["name"]: row["value"] for row in rows}

    @asynccontextmanager
    async def start_sync(self) -> AsyncIterator["_PostgresStaging"]:
        """Lock the mirror, and return where to stage what the sync sees.

        Raises:
            ExportError: Another sync is running.
        """
        with _translate_errors():
            connection = await asyncpg.connect(self._url)
        try:
            with _translate_errors():
                lock = f"SELECT pg_try_advisory_lock({_LOCK + 1}, hashtext(current_schema()))"
                if not await connection.fetchval(lock):
                    raise ExportError(f"another sync to {self!r} is running")
                for statement in schema.stage_tables(_TYPES):
                    await connection.execute(statement)
            yield _PostgresStaging(connection)
        finally:
            await asyncio.shield(_close(connection))

    async def get(self, uuid: str) -> StoredCustomer | None:
        """Return a customer."""
        rows = await self._fetch(
            "SELECT record, (SELECT max(seen_at) FROM syncs WHERE suspect_since IS NULL "
            "OR syncs.version < suspect_since) AS seen_at FROM customers WHERE uuid = $1",
            uuid,
        )
        return StoredCustomer(rows[0]["record"], rows[0]["seen_at"].timestamp()) if rows else None

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
        rows = await self._fetch(
            "SELECT found.search, found.uuid, customers.record FROM ("  # the index alone is searched
            "SELECT search, uuid FROM customers WHERE strpos(search, $1) > 0 AND (search, uuid) > ($2, $3) "
            "AND ($4::text IS NULL OR registration_country_code = $4) AND ($5::text IS NULL OR type = $5) "
            "ORDER BY search, uuid LIMIT $6"
            ") AS found JOIN customers USING (uuid) ORDER BY found.search, found.uuid",
            name,
            *(after or ("", "")),
            country,
            customer_type,
            limit,
        )
        return [tuple(row) for row in rows]

    async def read_changes(self, since: int, after: int, limit: int) -> list[StoredChange]:
        """Return changes of versions after ``since``, in their order, from the change ``after`` on."""
        rows = await self._fetch(
            "SELECT id, version, kind, uuid, before, after, seen_at FROM changes "
            "WHERE version > $1 AND id > $2 ORDER BY id LIMIT $3",
            since,
            after,
            limit,
        )
        return [StoredChange(**{**row, "seen_at": row["seen_at"].timestamp()}) for row in rows]

    async def forget(self, uuid: str) -> int:
        """Delete a customer and its history; return the number of rows."""
        with _translate_errors():
            async with self._open_pool.acquire() as connection, connection.transaction():
                done = [
                    await connection.execute(f"DELETE FROM {table} WHERE uuid = $1", uuid)
                    for table in ("customers", "history")
                ]
        return sum(int(status.split()[-1]) for status in done)

    async def prune(self, before: datetime) -> int:
        """Delete changes of syncs that began before that time; return the number of rows."""
        newest = "SELECT coalesce(max(version), 0) FROM syncs WHERE seen_at < $1"
        with _translate_errors():
            async with self._open_pool.acquire() as connection, connection.transaction():
                status = await connection.execute(f"DELETE FROM history WHERE version <= ({newest})", before)
                await connection.execute(
                    f"INSERT INTO mirror_facts SELECT 'pruned', ({newest})::text "
                    "ON CONFLICT (name) DO UPDATE SET "
                    "value = greatest(excluded.value::bigint, mirror_facts.value::bigint)::text",
                    before,
                )
        return int(status.split()[-1])

    async def _fetch(self, statement: str, *values: Any) -> list[Any]:
        with _translate_errors():
            rows: list[Any] = await self._open_pool.fetch(statement, *values)
        return rows

    @property
    def _open_pool(self) -> Any:
        if self._pool is None:
            raise RuntimeError(NOT_OPEN)
        return self._pool


class _PostgresStaging:
    """What a sync has seen, in temporary tables of a connection of its own."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._rows: list[tuple[Any, ...]] = []

    async def read_known(self) -> Known:
        """Return what the tables hold."""
        digests: dict[str, bytes] = {}
        with _translate_errors():
            async with self._connection.transaction():
                cursor = await self._connection.cursor("SELECT uuid, digest FROM customers")
                while rows := await cursor.fetch(_LOADED):
                    digests.update((row["uuid"], row["digest"]) for row in rows)
            removed = await self._connection.fetch("SELECT DISTINCT uuid FROM history WHERE kind = 'removed'")
            seen_at = await self._connection.fetchval("SELECT max(seen_at) FROM syncs")
        # PostgreSQL rounds to microseconds.
        return Known(digests, frozenset(row["uuid"] for row in removed), seen_at.timestamp() + 1e-6 if seen_at else 0.0)

    def clear(self) -> None:
        """Drop all that was staged."""
        self._rows.clear()
        self._call(self._connection.execute("DELETE FROM staged"))

    def add(self, customers: Iterable[StagedCustomer]) -> None:
        """Stage customers."""
        self._rows += map(_make_row, customers)
        while len(self._rows) >= _COPIED:
            rows, self._rows = self._rows[:_COPIED], self._rows[_COPIED:]
            self._call(self._copy(rows))

    async def commit(self, sync: Sync) -> tuple[int, dict[str, int]]:
        """Write everything in one transaction."""
        with _translate_errors():
            await self._copy(self._rows)
            async with self._connection.transaction():
                version, kinds = await self._commit(sync)
        if sum(kinds.values()) >= _MANY:
            with suppress(ExportError), _translate_errors():
                await self._connection.execute("VACUUM ANALYZE customers")  # else `find` reads rows, not the index
        return version, kinds

    async def _commit(self, sync: Sync) -> tuple[int, dict[str, int]]:
        connection = self._connection
        await self._drop_unchanged()
        for table, uuids in (("removed", sync.removed), ("suspects", sync.suspects)):
            await connection.copy_records_to_table(table, records=[(uuid,) for uuid in uuids])
        version = await connection.fetchval("SELECT coalesce(max(version), 0) + 1 FROM syncs")
        for statement in schema.commit_statements(version):
            await connection.execute(statement)
        rows = await connection.fetch("SELECT kind, count(*) FROM history WHERE version = $1 GROUP BY kind", version)
        kinds: dict[str, int] = {row["kind"]: row["count"] for row in rows}
        seen_at, now = datetime.fromtimestamp(sync.seen_at, UTC), datetime.now(UTC)
        columns = {"version": version, **sync.columns, "seen_at": seen_at, "finished_at": now, **kinds}
        names = list(schema.SYNC_COLUMNS)
        marks = ", ".join(f"${number}" for number in range(1, len(names) + 1))
        await connection.execute(f"INSERT INTO syncs VALUES ({marks})", *(columns.get(name, 0) for name in names))
        await connection.executemany(
            "INSERT INTO mirror_facts VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [*sync.facts.items()],
        )
        await connection.execute("SELECT pg_notify('customers_changes', $1)", f"{version}")
        return version, kinds

    async def _drop_unchanged(self) -> None:
        """Drop records that are only spelled differently, but keep their digests."""
        pairs = (
            "SELECT staged.uuid, staged.digest, customers.record AS before, staged.record AS after "
            "FROM staged JOIN customers ON customers.uuid = staged.uuid"
        )
        unchanged: list[tuple[bytes, str]] = []
        cursor = await self._connection.cursor(pairs)
        while rows := await cursor.fetch(_COPIED):
            same = await asyncio.to_thread(lambda rows: [is_same(row["before"], row["after"]) for row in rows], rows)
            unchanged += [
                (row["digest"], row["uuid"]) for row, is_unchanged in zip(rows, same, strict=True) if is_unchanged
            ]
        await self._connection.executemany("UPDATE customers SET digest = $1 WHERE uuid = $2", unchanged)
        await self._connection.execute("DELETE FROM staged WHERE uuid = ANY($1)", [uuid for _, uuid in unchanged])

    async def _copy(self, rows: list[tuple[Any, ...]]) -> None:
        await self._connection.copy_records_to_table("staged", records=rows, columns=_STAGED)

    def _call(self, coroutine: Any) -> None:
        """Run a coroutine on the event loop, from the journal's thread."""
        with _translate_errors():
            asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def _close(connection: Any) -> None:
    """Close a connection; break it off if that fails, because a statement that was cancelled is still running."""
    try:
        await connection.close(timeout=_CLOSING)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


def _make_row(staged: StagedCustomer) -> tuple[Any, ...]:
    customer = staged.customer
    values = [value.replace("\0", "") if isinstance(value, str) else value for value in _get_fields(customer)]
    if customer.related_persons is not None:
        values[-1] = msgspec.json.encode(customer.related_persons).decode()
    return staged.kind, *values, staged.record, staged.digest, fold(customer.name or "").replace("\0", "")


def _comments() -> Iterator[str]:
    """Yield the statements that describe tables and columns to those who look at the database."""
    yield "COMMENT ON TABLE customers IS 'the customers as the last sync saw them; a mirror of the customers API'"
    yield "COMMENT ON VIEW changes IS 'what each sync found, with the records before and after'"
    for table, columns in schema.describe_columns().items():
        for name, text in columns.items():
            yield f"COMMENT ON COLUMN {table}.{name} IS '{text.replace(chr(39), chr(39) * 2)}'"


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise an ExportError for an error of the database, without its text, which may quote a customer."""
    try:
        yield
    except asyncpg.PostgresError as error:
        problem = f"the mirror's database failed: {type(error).__name__} ({error.sqlstate})"
    except asyncpg.InterfaceError as error:
        problem = f"the connection to the mirror's database failed: {type(error).__name__}"
    else:
        return
    raise ExportError(problem)  # outside the try statement: the original error may quote a customer
