"""An SQLite database with the table ``customers``, whose key is the uuid."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from customers_async.export.records import TIMES, Record, WritePage, restore_record, to_columns
from customers_async.export.sqlite_errors import translate_sqlite_errors

__all__ = ["read", "write"]


@contextmanager
def write(path: Path, fields: Sequence[str]) -> Iterator[WritePage]:
    """Open a database to write rows to. Of rows with one uuid, which ``fields`` must include, the last one is kept."""
    declared = [f"{field} {'INTEGER' if field in TIMES else 'TEXT'}" for field in fields]
    declared[fields.index("uuid")] = "uuid TEXT PRIMARY KEY NOT NULL"
    updates = ", ".join(f"{field} = excluded.{field}" for field in fields)
    insert = (
        f"INSERT INTO customers VALUES ({', '.join('?' * len(fields))}) "  # noqa: S608  # names from a fixed list
        f"ON CONFLICT (uuid) DO UPDATE SET {updates}"
    )
    with (
        translate_sqlite_errors(path),
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as database,
    ):
        for pragma in ("journal_mode = OFF", "synchronous = OFF"):  # a file that is not completed is not used
            database.execute(f"PRAGMA {pragma}")
        database.execute(f"CREATE TABLE customers ({', '.join(declared)})")
        database.execute("BEGIN")

        def write_page(body: bytes) -> int:
            return database.executemany(insert, zip(*to_columns(body, fields), strict=True)).rowcount

        yield write_page
        database.execute("COMMIT")


def read(path: Path) -> Iterator[Record]:
    """Yield the records of the table.

    Raises:
        ValueError: ``customers`` is not a table but a view or virtual, and may have no end.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with (
        translate_sqlite_errors(path),
        closing(sqlite3.connect(uri, uri=True, check_same_thread=False)) as database,
    ):
        is_table = "SELECT 1 FROM sqlite_master WHERE name LIKE 'customers' AND type = 'table' AND rootpage > 0"
        if database.execute(is_table).fetchone() is None:
            raise ValueError
        database.row_factory = sqlite3.Row
        for row in database.execute("SELECT * FROM customers ORDER BY rowid"):
            yield restore_record(dict(row))
