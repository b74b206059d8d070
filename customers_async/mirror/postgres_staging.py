"""What a sync of a PostgreSQL mirror has seen, until it is committed."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec

from customers_async.errors import ExportError
from customers_async.mirror import schema
from customers_async.mirror.merge import Known
from customers_async.mirror.records import StagedCustomer, fold, is_same
from customers_async.mirror.store import Sync
from customers_async.models import FIELDS

try:
    import asyncpg  # type: ignore[import-untyped]  # it has no types
except ModuleNotFoundError:  # also raised by a sub-module that is missing
    raise ModuleNotFoundError(
        "a mirror in PostgreSQL needs its extra: pip install 'customers-async[postgres]'", name="asyncpg"
    ) from None

__all__ = ["TYPES", "PostgresStaging", "asyncpg", "translate_errors"]

TYPES = schema.Types(
    key='TEXT COLLATE "C"',
    time="TIMESTAMPTZ",
    blob="BYTEA",
    flag="BOOLEAN",
    integer="BIGINT",
    real="DOUBLE PRECISION",
    counter="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
)
_COPIED = 250
"""Rows that are copied at once: they hold the event loop for a few milliseconds."""
_LOADED = 500
_MANY = 1000
"""Changes after which the table is vacuumed at once, not whenever the server does it: `find` is ten times faster."""
_STAGED = ("kind", *schema.COLUMNS)
_get_fields = attrgetter(*FIELDS)


class PostgresStaging:
    """What a sync has seen, in temporary tables of a connection of its own."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._rows: list[tuple[Any, ...]] = []

    async def read_known(self) -> Known:
        """Return what the tables hold."""
        digests: dict[str, bytes] = {}
        with translate_errors():
            async with self._connection.transaction():
                cursor = await self._connection.cursor("SELECT uuid, digest FROM customers")
                while rows := await cursor.fetch(_LOADED):
                    digests.update((row["uuid"], row["digest"]) for row in rows)
            removed = await self._connection.fetch("SELECT DISTINCT uuid FROM history WHERE kind = 'removed'")
            written_at: float = await self._connection.fetchval(
                "SELECT greatest(coalesce((SELECT extract(epoch FROM max(finished_at)) FROM syncs), 0), "
                "coalesce((SELECT value::numeric FROM mirror_facts WHERE name = 'forgotten_at'), 0))::float8"
            )
        return Known(digests, frozenset(row["uuid"] for row in removed), written_at)

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
        with translate_errors():
            await self._copy(self._rows)
            async with self._connection.transaction():
                version, kinds = await self._commit(sync)
        if sum(kinds.values()) >= _MANY:
            with suppress(ExportError), translate_errors():
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
        with translate_errors():
            asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def _make_row(staged: StagedCustomer) -> tuple[Any, ...]:
    customer = staged.customer
    values = [value.replace("\0", "") if isinstance(value, str) else value for value in _get_fields(customer)]
    if customer.related_persons is not None:
        values[-1] = msgspec.json.encode(customer.related_persons).decode()
    return staged.kind, *values, staged.record, staged.digest, fold(customer.name or "")


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise an ExportError for an error of the database, without its text, which may quote a customer."""
    try:
        yield
    except asyncpg.PostgresError as error:
        problem = f"the mirror's database failed: {type(error).__name__} ({error.sqlstate})"
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        problem = f"the connection to the mirror's database failed: {type(error).__name__}"
    else:
        return
    raise ExportError(problem) from None  # which hides the original error: it may quote a customer
