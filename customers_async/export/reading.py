"""Reading an export back, whatever its format, one record at a time."""

import csv
import gzip
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from customers_async.errors import ExportError
from customers_async.export.journal import sqlite_errors
from customers_async.export.records import FIELDS, TIMES, unix_seconds

__all__ = ["Record", "read_records"]

_LONGEST = 2**31 - 1
"""No text is too long to be read back: the module's own limit is 131,072 characters."""

Record = dict[str, Any]
"""A customer's fields as the service writes them: times in Unix seconds, ``related_persons`` as it came."""


def read_records(path: Path, format_: str) -> Iterator[Record]:
    """The records of an export, in its order.

    Raises:
        ExportError: The file is not of this format, or is damaged, or the format needs what is not installed.
        OSError: The file cannot be read.
    """
    problem = None
    try:
        yield from _READERS[format_](path)
    except ModuleNotFoundError:
        problem = f"to read {path} needs an extra: pip install 'customers-async[arrow]'"
    except Exception as error:  # there is no telling what the libraries raise
        if isinstance(error, OSError) and error.errno is not None:
            raise
        problem = f"{path} is not a whole {format_} export"
    if problem is not None:  # raised here: the cause may quote a customer
        raise ExportError(problem)


def _jsonl(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        yield from map(_with_seconds, map(_decode, file))


def _jsonl_gz(path: Path) -> Iterator[Record]:
    with gzip.open(path, "rb") as file:
        yield from map(_with_seconds, map(_decode, file))


_decode = msgspec.json.Decoder(Record).decode


def _csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if not {*(reader.fieldnames or [""])} <= {*FIELDS}:
            raise ValueError
        for record in reader:
            if None in record or None in record.values():  # too many values, or too few
                raise ValueError
            yield _plain({name: value or None for name, value in record.items()})


def _sqlite(path: Path) -> Iterator[Record]:
    with sqlite_errors(path):
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        try:
            database.row_factory = sqlite3.Row
            for row in database.execute("SELECT * FROM customers ORDER BY rowid"):
                yield _plain(dict(row))
        finally:
            database.close()


def _parquet(path: Path) -> Iterator[Record]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(1000):
            yield from _batch(batch)


def _arrow(path: Path) -> Iterator[Record]:
    import pyarrow

    with pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_file(file) as reader:
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            for start in range(0, batch.num_rows, 1000):
                yield from _batch(batch.slice(start, 1000))


def _batch(batch: Any) -> Iterator[Record]:
    return map(_plain, batch.to_pylist())


def _plain(record: Record) -> Record:
    """The record with times in Unix seconds and ``related_persons`` as the wire has them."""
    persons = record.get("related_persons")
    if persons is not None:
        record["related_persons"] = json.loads(persons)
    return _with_seconds(record)


def _with_seconds(record: Record) -> Record:
    for name in TIMES & record.keys():
        record[name] = unix_seconds(record[name])
    return record


_READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    "jsonl": _jsonl,
    "jsonl.gz": _jsonl_gz,
    "csv": _csv,
    "sqlite": _sqlite,
    "parquet": _parquet,
    "arrow": _arrow,
}
