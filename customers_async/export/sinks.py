"""The formats. Each sink is a context that opens a file and yields a function that writes a page's records."""

import csv
import gzip
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from customers_async.export.journal import sqlite_errors
from customers_async.export.records import FIELDS, TIMES, columns, raw_records, without_fields

__all__ = ["FORMATS", "Sink", "Write", "format_of", "new_file", "open_sink"]

Write = Callable[[bytes], int]
"""Writes the records of a page, given as a JSON array; returns how many."""
Sink = Callable[[Path, Sequence[str]], AbstractContextManager[Write]]

BATCH = 1_000
"""Rows that are turned into columns at once."""
ROW_GROUP = 20_000
"""Rows of a Parquet row group, and of an Arrow record batch."""


def format_of(path: str | os.PathLike[str], chosen: str | None) -> str:
    """The format: the chosen one, or what the suffix says; JSON Lines on stdout.

    Raises:
        ValueError: There is no such format, or the suffix tells of none.
    """
    known = ", ".join(f".{name}" for name in FORMATS)
    if chosen is None:
        name = Path(path).name
        chosen = next((format_ for format_ in FORMATS if name.endswith(f".{format_}")), None)
        chosen = "jsonl" if str(path) == "-" else chosen
        if chosen is None:
            raise ValueError(f"the file's suffix tells no format: use one of {known}, or name the format")
    elif chosen not in FORMATS:
        raise ValueError(f"there is no format {chosen!r}: use one of {known.replace('.', '')}")
    if chosen in ("parquet", "arrow"):
        _import_pyarrow(chosen)
    return chosen


def _import_pyarrow(format_: str) -> None:
    """Now rather than in the middle of the work: it takes a while, and may be missing."""
    try:
        for module in ("pyarrow", "pyarrow.parquet"):
            import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
    else:
        return
    raise ValueError(f"{format_} needs an extra: pip install 'customers-async[arrow]'")


def open_sink(path: Path, format_: str, fields: Sequence[str]) -> AbstractContextManager[Write]:
    """A new file of mode 0600, and the function that writes to it; whole when the context ends well."""
    return FORMATS[format_](new_file(path), fields)


def new_file(path: Path) -> Path:
    """Make the file, empty and readable by its owner only, in the place of any that is there."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


@contextmanager
def _jsonl(path: Path, fields: Sequence[str]) -> Iterator[Write]:
    with path.open("wb") as file:
        yield _write_lines(file, fields)


@contextmanager
def _jsonl_gz(path: Path, fields: Sequence[str]) -> Iterator[Write]:
    # No time and no name in it, so that the same records are the same bytes.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file:
        yield _write_lines(file, fields)


def _write_lines(file: Any, fields: Sequence[str]) -> Write:
    def write(body: bytes) -> int:
        records = raw_records(body) if tuple(fields) == FIELDS else without_fields(body, fields)
        file.write(b"\n".join([*records, b""]))
        return len(records)

    return write


@contextmanager
def _csv(path: Path, fields: Sequence[str]) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)  # which quotes whatever stands in its own line ends: both \r and \n
        writer.writerow(fields)

        def write(body: bytes) -> int:
            values = columns(body, fields)
            writer.writerows(zip(*values, strict=True))
            return len(values[0])

        yield write


@contextmanager
def _sqlite(path: Path, fields: Sequence[str]) -> Iterator[Write]:
    declared = [f"{field} {'INTEGER' if field in TIMES else 'TEXT'}" for field in fields]
    declared[fields.index("uuid")] = "uuid TEXT PRIMARY KEY NOT NULL"
    updates = ", ".join(f"{field} = excluded.{field}" for field in fields)
    insert = (
        f"INSERT INTO customers VALUES ({', '.join('?' * len(fields))}) "  # noqa: S608  # names from a fixed list
        f"ON CONFLICT (uuid) DO UPDATE SET {updates}"
    )
    with sqlite_errors(path):
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("journal_mode = OFF", "synchronous = OFF"):  # the file counts only once it is whole
                database.execute(f"PRAGMA {pragma}")
            database.execute(f"CREATE TABLE customers ({', '.join(declared)})")
            database.execute("BEGIN")

            def write(body: bytes) -> int:
                return database.executemany(insert, zip(*columns(body, fields), strict=True)).rowcount

            yield write
            database.execute("COMMIT")
        finally:
            database.close()


@contextmanager
def _parquet(path: Path, fields: Sequence[str]) -> Iterator[Write]:
    from pyarrow import parquet

    schema = _schema(fields)
    repeated = [field for field in fields if field not in ("uuid", "identity_uuid")]  # those are worth a dictionary
    with (
        parquet.ParquetWriter(str(path), schema, compression="zstd", use_dictionary=repeated) as writer,
        _grouped(schema, lambda table: writer.write_table(table, row_group_size=ROW_GROUP)) as write,
    ):
        yield write


@contextmanager
def _arrow(path: Path, fields: Sequence[str]) -> Iterator[Write]:
    import pyarrow

    schema = _schema(fields)
    options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
    with (
        pyarrow.OSFile(str(path), "wb") as file,
        pyarrow.ipc.new_file(file, schema, options=options) as writer,
        _grouped(schema, lambda table: writer.write_table(table.combine_chunks())) as write,
    ):
        yield write


def _schema(fields: Sequence[str]) -> Any:
    import pyarrow

    kinds = {field: pyarrow.timestamp("us", "UTC") if field in TIMES else pyarrow.string() for field in fields}
    return pyarrow.schema([pyarrow.field(field, kinds[field], nullable=field != "uuid") for field in fields])


@contextmanager
def _grouped(schema: Any, write_group: Callable[[Any], None]) -> Iterator[Write]:
    """Turns records into columns a thousand at a time, so that no step takes long, and writes them by the row group."""
    import pyarrow

    pending: list[list[Any]] = [[] for _ in schema]
    batches: list[Any] = []

    def convert() -> None:
        arrays = [_array(values, field.type) for values, field in zip(pending, schema, strict=True)]
        batches.append(pyarrow.RecordBatch.from_arrays(arrays, schema=schema))
        for values in pending:
            values.clear()

    def flush() -> None:
        write_group(pyarrow.Table.from_batches(batches, schema))
        batches.clear()

    def write(body: bytes) -> int:
        values = columns(body, schema.names)
        for held, more in zip(pending, values, strict=True):
            held.extend(more)
        if len(pending[0]) >= BATCH:
            convert()
        if sum(map(len, batches)) >= ROW_GROUP:
            flush()
        return len(values[0])

    yield write
    if pending[0]:
        convert()
    if batches:
        flush()


def _array(values: list[Any], kind: Any) -> Any:
    import pyarrow

    if not pyarrow.types.is_timestamp(kind):
        return pyarrow.array(values, kind)
    return pyarrow.array([None if value is None else round(value * 1_000_000) for value in values], kind)


FORMATS: dict[str, Sink] = {
    "jsonl": _jsonl,
    "jsonl.gz": _jsonl_gz,
    "csv": _csv,
    "sqlite": _sqlite,
    "parquet": _parquet,
    "arrow": _arrow,
}
