"""JSON Lines, one record a line; plain, or compressed with gzip."""

import gzip
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from customers_async.export.records import (
    FIELDS,
    Record,
    WritePage,
    convert_times,
    load_json,
    pick_fields,
    split_records,
)

__all__ = ["read", "read_gzip", "write", "write_gzip"]

_decode = msgspec.json.Decoder(Record).decode


@contextmanager
def write(path: Path, fields: Sequence[str]) -> Iterator[WritePage]:
    """Open a file to write records to: the bytes received if all fields are asked for."""
    with path.open("wb") as file:
        yield _line_writer(file, fields)


@contextmanager
def write_gzip(path: Path, fields: Sequence[str]) -> Iterator[WritePage]:
    """Open a compressed file to write records to. Its header holds no time: equal records give equal bytes."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file:
        yield _line_writer(file, fields)


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file."""
    with path.open("rb") as file:
        yield from _read_lines(file)


def read_gzip(path: Path) -> Iterator[Record]:
    """Yield the records of a compressed file."""
    with gzip.open(path, "rb") as file:
        yield from _read_lines(file)


def _line_writer(file: BinaryIO | gzip.GzipFile, fields: Sequence[str]) -> WritePage:
    def write_page(body: bytes) -> int:
        records = split_records(body) if tuple(fields) == FIELDS else pick_fields(body, fields)
        file.write(b"\n".join([*records, b""]))
        return len(records)

    return write_page


def _read_lines(lines: Iterable[bytes]) -> Iterator[Record]:
    return map(convert_times, map(_decode_line, lines))


def _decode_line(line: bytes) -> Record:
    """Decode a record. Fields that the model does not know are written undecoded, so they may hold odd values.

    Raises:
        TypeError: It is not an object.
        ValueError: It is not JSON.
    """
    try:
        return _decode(line)
    except ValueError:
        record = load_json(line.decode(errors="surrogateescape"))
    if not isinstance(record, dict):
        raise TypeError
    return record
