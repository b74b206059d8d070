"""Converts the bodies of pages to what a file holds, raw records or columns of plain values, and back."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from math import isfinite
from operator import attrgetter
from types import NoneType
from typing import Any, TypeVar

import attrs
import msgspec

from customers_async import converter
from customers_async.models import FIELDS, Page

__all__ = [
    "FIELDS",
    "TIMES",
    "Record",
    "RejectedRecord",
    "WritePage",
    "check_fields",
    "convert_times",
    "load_json",
    "pick_fields",
    "restore_record",
    "select_records",
    "split_records",
    "to_columns",
    "to_unix_seconds",
]

TIMES = frozenset({"created_at", "updated_at"})

Record = dict[str, Any]
"""A customer's fields as the service sends them, times in Unix seconds."""

WritePage = Callable[[bytes], int]
"""Writes the records of a page, which is a JSON array of objects, and returns their number."""

_KINDS: dict[str, Any] = {**dict.fromkeys(TIMES, int | float | str | None), "related_persons": Any}
_Row: Any = msgspec.defstruct(
    "_Row",
    [("uuid", str), *((field, _KINDS.get(field, str | None), None) for field in FIELDS if field != "uuid")],
    gc=False,
)
"""A record that fits the model, with its values as JSON has them."""


class _Persons(msgspec.Struct):
    """The one field that may hold any value, undecoded."""

    related_persons: msgspec.Raw = msgspec.Raw(b"null")


_decode_rows = msgspec.json.Decoder(list[_Row]).decode
_decode_persons = msgspec.json.Decoder(list[_Persons]).decode
_decode_records = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_dicts = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode

_scan_value = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode
_MAX_DIGITS = 400
"""A longer integer stays text: the time to convert it grows with the square of its length."""

Result = TypeVar("Result")
Value = str | int | float | None


def check_fields(fields: Sequence[str] | None) -> tuple[str, ...]:
    """Return the fields to write, in the order given; all of them for None.

    Raises:
        TypeError: ``fields`` is a string, or holds something else than strings.
        ValueError: ``fields`` is empty, or names an unknown field, or one field twice.
    """
    if fields is None:
        return FIELDS
    if isinstance(fields, str) or not all(isinstance(field, str) for field in fields):
        raise TypeError("fields must be a list of names")
    if not fields:
        raise ValueError("fields must name at least one field")
    for index, field in enumerate(fields):
        if field not in FIELDS:
            raise ValueError(f"fields[{index}] is no field; there are {', '.join(FIELDS)}")
    if len(set(fields)) < len(fields):
        raise ValueError("fields names a field twice")
    return tuple(fields)


def split_records(body: bytes) -> list[msgspec.Raw]:
    """Return the records of a page undecoded, each on one line."""
    try:
        records = _decode_records(body)
    except msgspec.DecodeError:  # msgspec refuses half of a surrogate pair, even in a record that is rejected
        return _split_slowly(body)
    if b"\n" in body or b"\r" in body:  # only between tokens: JSON escapes line ends in text
        return [msgspec.Raw(msgspec.json.format(bytes(record), indent=-1)) for record in records]
    return records


def _split_slowly(body: bytes) -> list[msgspec.Raw]:
    """Split a page as `split_records` does, with the decoder of Python's own json module."""
    text, records = body.decode(), []
    index = _skip_separators(text, text.index("[") + 1)
    while text[index] != "]":
        _, end = _scan_value(text, index)
        records.append(msgspec.Raw(text[index:end].replace("\n", " ").replace("\r", " ").encode()))
        index = _skip_separators(text, end)
    return records


def _skip_separators(text: str, index: int) -> int:
    while text[index] in ", \t\r\n":
        index += 1
    return index


def pick_fields(body: bytes, fields: Sequence[str]) -> list[msgspec.Raw]:
    """Return the records of a page with these fields only, their values undecoded."""
    null = msgspec.Raw(b"null")
    return [
        msgspec.Raw(msgspec.json.encode({field: record.get(field, null) for field in fields}))
        for record in _decode_odd(_decode_dicts, body)
    ]


def to_columns(body: bytes, fields: Sequence[str]) -> list[Sequence[Value]]:
    """Return the values of a page, field by field: times in Unix seconds, related persons as JSON text."""
    rows = _decode_odd(_decode_rows, body)
    columns: dict[str, Sequence[Any]] = {field: list(map(attrgetter(field), rows)) for field in fields}
    for field in TIMES & columns.keys():
        if not {*map(type, columns[field])} <= {int, NoneType}:
            columns[field] = list(map(to_unix_seconds, columns[field]))
    if any(value is not None for value in columns.get("related_persons", ())):
        columns["related_persons"] = [_to_text(row.related_persons) for row in _decode_odd(_decode_persons, body)]
    return list(columns.values())


def _decode_odd(decode: Callable[[bytes], Result], body: bytes) -> Result:
    """Decode a page. Of a field that a record has twice the last value counts, and msgspec may refuse the first."""
    try:
        return decode(body)
    except msgspec.DecodeError:
        return decode(json.dumps(load_json(body.decode())).encode())


def restore_record(row: Record) -> Record:
    """Convert a row made by `to_columns` back into the service's form."""
    persons = row.get("related_persons")
    if persons is not None:
        row["related_persons"] = load_json(persons)
    return convert_times(row)


def load_json(text: str) -> Any:
    """Parse JSON that msgspec may refuse. A number that is out of range becomes its text."""
    return json.loads(text, parse_int=_parse_int, parse_float=_parse_float)


def _parse_int(text: str) -> int | str:
    return int(text) if len(text) <= _MAX_DIGITS else text


def _parse_float(text: str) -> float | str:
    return value if isfinite(value := float(text)) else text


def convert_times(record: Record) -> Record:
    """Convert the times of a record to Unix seconds."""
    for name in TIMES & record.keys():
        record[name] = to_unix_seconds(record[name])
    return record


def to_unix_seconds(value: float | str | datetime | None) -> float | None:
    """Convert a time to Unix seconds, an int if possible. A string holds a number or an RFC 3339 time.

    Raises:
        ValueError: The string holds neither.
    """
    if value is None or isinstance(value, int):
        return value
    moment = value if isinstance(value, datetime) else msgspec.convert(value, datetime, strict=False).astimezone(UTC)
    return converter.to_unix_seconds(moment)


@attrs.frozen(repr=False)
class RejectedRecord:
    """A record that does not fit the model.

    Attributes:
        page: The page that it was on.
        index: Its index on that page, from 0.
        reason: The message of its `RecordError`.
        record: The record, undecoded.
    """

    page: int
    index: int
    reason: str
    record: msgspec.Raw = attrs.field(repr=False)

    def __repr__(self) -> str:
        return f"RejectedRecord(page={self.page}, index={self.index}, ...)"

    def __rich_repr__(self) -> Iterator[object]:
        yield "page", self.page
        yield "index", self.index


def select_records(page: Page, original: Page) -> tuple[bytes, list[RejectedRecord]]:
    """Return the records of a page that belong in the file, as a JSON array, and the rejected ones.

    Args:
        page: The page without the customers and rejected records that came before.
        original: The page with all of them.
    """
    records = split_records(original.raw)
    bad = {error.index for _, error in original.rejected}
    good = [index for index in range(len(records)) if index not in bad]
    kept = set(map(id, page.customers))
    rows = (records[index] for index, customer in zip(good, original.customers, strict=True) if id(customer) in kept)
    rejected = [
        RejectedRecord(page.number, error.index, str(error), records[error.index])
        for _, error in page.rejected
        if error.index is not None
    ]
    return b"[" + b",".join(rows) + b"]", rejected


def _to_text(value: msgspec.Raw) -> str | None:
    text = bytes(value).decode()
    return None if text == "null" else text
