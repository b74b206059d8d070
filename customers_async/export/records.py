"""From the bodies of pages to what is written: raw records, and rows of plain values."""

from collections.abc import Sequence
from datetime import UTC, datetime
from operator import attrgetter
from types import NoneType
from typing import Any

import attrs
import msgspec

from customers_async.models import Customer, Page

__all__ = [
    "FIELDS",
    "TIMES",
    "Rejected",
    "accepted",
    "check_fields",
    "columns",
    "raw_records",
    "unix_seconds",
    "without_fields",
]

FIELDS: tuple[str, ...] = tuple(field.name for field in attrs.fields(Customer) if field.name != "extra")
"""Those of the API reference, in its order."""

TIMES = frozenset({"created_at", "updated_at"})


_KINDS: dict[str, Any] = {**dict.fromkeys(TIMES, int | float | str | None), "related_persons": Any}
_Row: Any = msgspec.defstruct(
    "_Row",
    [("uuid", str), *((field, _KINDS.get(field, str | None), None) for field in FIELDS if field != "uuid")],
    gc=False,
)
"""A record that the model has accepted, with its values as the wire has them."""


class _Persons(msgspec.Struct):
    """The one field that may hold anything, as it came."""

    related_persons: msgspec.Raw = msgspec.Raw(b"null")


_decode_rows = msgspec.json.Decoder(list[_Row]).decode
_decode_persons = msgspec.json.Decoder(list[_Persons]).decode
_decode_records = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_dicts = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode

Value = str | int | float | None


def check_fields(fields: Sequence[str] | None) -> tuple[str, ...]:
    """The fields to write, in the order asked for; all of them for None.

    Raises:
        TypeError: ``fields`` is a string, or holds something else.
        ValueError: There is none, an unknown one, or one twice.
    """
    if fields is None:
        return FIELDS
    if isinstance(fields, str) or not all(isinstance(field, str) for field in fields):
        raise TypeError("fields must be a list of names")
    if not fields:
        raise ValueError("fields must name at least one field")
    for field in fields:
        if field not in FIELDS:
            raise ValueError(f"there is no field {field!r}; there are {', '.join(FIELDS)}")
    if len(set(fields)) < len(fields):
        raise ValueError("fields names a field twice")
    return tuple(fields)


def raw_records(body: bytes) -> list[msgspec.Raw]:
    """The records of a page, each as it came, on one line."""
    records = _decode_records(body)
    if b"\n" in body or b"\r" in body:  # only between tokens: within text JSON escapes them
        return [msgspec.Raw(msgspec.json.format(bytes(record), indent=-1)) for record in records]
    return records


def without_fields(body: bytes, fields: Sequence[str]) -> list[msgspec.Raw]:
    """The records of a page with these fields only, each value as it came."""
    null = msgspec.Raw(b"null")
    return [
        msgspec.Raw(msgspec.json.encode({field: record.get(field, null) for field in fields}))
        for record in _decode_dicts(body)
    ]


def columns(body: bytes, fields: Sequence[str]) -> list[Sequence[Value]]:
    """The records of a page as plain values, field by field: times in Unix seconds, related persons as JSON text."""
    rows = _decode_rows(body)
    values: dict[str, Sequence[Any]] = {field: list(map(attrgetter(field), rows)) for field in fields}
    for field in TIMES & values.keys():
        if not {*map(type, values[field])} <= {int, NoneType}:
            values[field] = list(map(unix_seconds, values[field]))
    if any(value is not None for value in values.get("related_persons", ())):
        values["related_persons"] = [_text(row.related_persons) for row in _decode_persons(body)]
    return list(values.values())


@attrs.frozen(repr=False)
class Rejected:
    """A record that was set aside: its page, its place on it from 0, why, and all that came."""

    page: int
    index: int
    reason: str
    record: msgspec.Raw


def accepted(page: Page, original: Page) -> tuple[bytes, list[Rejected]]:
    """What a walk keeps of a page, as a body of its own, and the records set aside.

    Args:
        page: What the walk kept.
        original: What it was given.
    """
    records = raw_records(original.raw)
    refused = {error.index for _, error in original.rejected}
    places = [place for place in range(len(records)) if place not in refused]
    kept = set(map(id, page.customers))
    rows = (records[place] for place, customer in zip(places, original.customers, strict=True) if id(customer) in kept)
    aside = [
        Rejected(page.number, error.index, str(error), records[error.index])
        for _, error in page.rejected
        if error.index is not None
    ]
    return b"[" + b",".join(rows) + b"]", aside


def unix_seconds(value: float | str | datetime | None) -> float | None:
    """A time in Unix seconds, an int where that is exact. The service may send it as text, too: a number or RFC 3339.

    Raises:
        ValueError: It is no time.
    """
    if value is None or isinstance(value, int):
        return value
    moment = value if isinstance(value, datetime) else msgspec.convert(value, datetime, strict=False).astimezone(UTC)
    seconds = moment.timestamp()
    return int(seconds) if seconds.is_integer() else seconds


def _text(value: msgspec.Raw) -> str | None:
    text = bytes(value).decode()
    return None if text == "null" else text
