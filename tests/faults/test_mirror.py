"""Row 49, for the mirror: what fails in it shows no customer."""

import sqlite3
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import asyncpg  # type: ignore[import-untyped]  # it has no types
import pytest

from customers_async import CustomersClient, ExportError
from customers_async.emulator import Emulator
from customers_async.mirror import Mirror
from customers_async.mirror.store import PAGE
from tests.faults.canary import DATA, Canary
from tests.test_mirror import mirror, postgres, real_time, target

__all__ = ["mirror", "postgres", "real_time", "target"]


async def execute(target: str, statement: str) -> None:
    """Change the database behind the mirror's back."""
    if target.startswith("postgresql:"):
        connection = await asyncpg.connect(target)
        await connection.execute(statement)
        await connection.close()
    else:
        database = sqlite3.connect(target)
        database.executescript(statement)
        database.close()


@pytest.mark.parametrize("read", ["get", "get_customer", "find", "changes"])
async def test_fault_49_damaged_mirror_leaks_nothing(
    target: str, mirror: Mirror, client: CustomersClient, emulator: Emulator, canary: Canary, read: str
) -> None:
    """A record that something else has changed is an error that names the customer's uuid only."""
    await mirror.sync(client)
    uuid = next(iter(emulator.uuids()))
    record = f'{{"name": "{DATA}"}}'
    await execute(target, f"UPDATE customers SET record = '{record}', search = '{DATA}' WHERE uuid = '{uuid}'")  # noqa: S608  # our own values
    calls: dict[str, Callable[[], Any]] = {
        "get": lambda: mirror.get(uuid),
        "get_customer": lambda: mirror.get_customer(uuid, client),
        "find": lambda: anext(mirror.find("", limit=1)),
        "changes": lambda: collect(mirror.changes()),
    }
    with pytest.raises(ExportError, match=f"record of {uuid} is not a customer's") as caught:
        await calls[read]()
    canary.scan_error(caught.value)


async def collect(iterator: Any) -> list[Any]:
    return [value async for value in iterator]


@pytest.mark.parametrize("failure", ["the tables are gone", "the mirror is closed", "out of memory"])
async def test_fault_49_search_that_fails_half_way_leaks_nothing(
    target: str,
    mirror: Mirror,
    client: CustomersClient,
    canary: Canary,
    failure: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To continue, it passes the folded name of the last customer to the database."""
    canary.secrets.append(DATA.lower())
    await mirror.sync(client)
    found = mirror.find("", limit=None)
    for _ in range(PAGE):
        await anext(found)
    if failure == "the tables are gone":
        await execute(target, "ALTER TABLE customers RENAME TO others")
    elif failure == "the mirror is closed":
        await mirror._store.close()
    else:
        module = "postgres" if target.startswith("postgresql:") else "sqlite"
        translate = "translate_errors" if module == "postgres" else "translate_sqlite_errors"
        monkeypatch.setattr(f"customers_async.mirror.{module}.{translate}", Mock(side_effect=MemoryError))
    with pytest.raises((ExportError, RuntimeError, MemoryError)) as caught:
        await anext(found)
    canary.scan_error(caught.value)


@pytest.mark.parametrize("failure", ["in the database", "in Python", "in the staging"])
async def test_fault_49_failing_sync_leaks_nothing(
    target: str,
    mirror: Mirror,
    client: CustomersClient,
    emulator: Emulator,
    canary: Canary,
    failure: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever fails while customers are written; databases quote the row, and frames hold it."""
    await mirror.sync(client)
    emulator.touch(0, name=f"{DATA} {DATA}")
    module = "postgres_staging" if target.startswith("postgresql:") else "sqlite_staging"
    if failure == "in the database":
        trigger = "CREATE TRIGGER no BEFORE UPDATE ON customers BEGIN SELECT RAISE(ABORT, 'no'); END"
        check = f"ALTER TABLE customers ADD CHECK (name <> '{DATA} {DATA}') NOT VALID"
        await execute(target, check if module == "postgres_staging" else trigger)
    else:
        name = "is_same" if failure == "in Python" else "fold"
        monkeypatch.setattr(f"customers_async.mirror.{module}.{name}", Mock(side_effect=MemoryError))
    with pytest.raises((ExportError, MemoryError)) as caught:
        await mirror.sync(client)
    canary.scan_error(caught.value)
