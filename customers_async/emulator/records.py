"""Customers that are given, by a file or as dicts, in place of invented ones."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from customers_async.emulator.fake_customers import FakeCustomers, Record

__all__ = ["GivenCustomers", "read_records"]

_is_uuid = re.compile(r"[a-zA-Z0-9]{8}(-[a-zA-Z0-9]{4}){3}-[a-zA-Z0-9]{12}").fullmatch
_TIMES = ("created_at", "updated_at")
_TEXTS = (
    "identity_uuid",
    "type",
    "name",
    "registration_country_code",
    "registration_address_line",
    "registration_address_index",
    "post_address_country_code",
    "post_address_line",
    "post_address_index",
)


def read_records(records: str | os.PathLike[str] | Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
    """Return the records by their uuids, each as JSON, in their order.

    Args:
        records: A path of JSON Lines or of a JSON array, or dicts in the service's form: times in Unix seconds. Only
            ``uuid`` is required; fields that the service does not document are kept.

    Raises:
        OSError: The file cannot be read.
        TypeError: ``records`` is neither a path nor an iterable.
        ValueError: A record is not in the service's form, or two have the same uuid. The message names its position
            and the field, never a value.
    """
    if isinstance(records, str | os.PathLike):
        located = _read_file(Path(records))
    elif isinstance(records, Iterable) and not isinstance(records, bytes | Mapping):
        located = ((f"records[{index}]", record) for index, record in enumerate(records))
    else:
        raise TypeError(f"records must be a path or an iterable of dicts, not {type(records).__name__}")
    encoded: dict[str, bytes] = {}
    for position, record in located:
        if problem := _find_problem(record):
            raise ValueError(f"{position}: {problem}")
        if record["uuid"] in encoded:
            raise ValueError(f"{position}: an earlier record has the same uuid")
        try:
            encoded[record["uuid"]] = msgspec.json.encode(record)
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"{position}: it cannot be written as JSON") from None
    return encoded


def _read_file(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield each record of a file, and where it is."""
    with path.open("rb") as file:
        begins_array = file.read(1024).lstrip().startswith(b"[")
        file.seek(0)
        if begins_array:
            for index, record in enumerate(_decode(file.read(), f"{path}")):
                yield f"{path}[{index}]", record
        else:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}, line {number}", _decode(line, f"{path}, line {number}")


def _decode(text: bytes, position: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        pass
    raise ValueError(f"{position}: it is not JSON")


def _find_problem(record: Any) -> str | None:
    """What is wrong with a record, without its values; None if nothing is."""
    if not isinstance(record, Mapping):
        return f"a record is an object, not {type(record).__name__}"
    uuid = record.get("uuid")
    if not isinstance(uuid, str) or not _is_uuid(uuid):
        return "uuid must be 8-4-4-4-12 ASCII letters and digits"
    for name in _TEXTS:
        if not isinstance(record.get(name), str | None):
            return f"{name} must be a string or null, not {type(record[name]).__name__}"
    for name in _TIMES:
        seconds = record.get(name)
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 0):
            return f"{name} must be a whole number of Unix seconds or null"
    return None


class GivenCustomers:
    """Given customers by number, from 0. Those that `create` adds are invented and have higher numbers.

    Args:
        records: The records by their uuids, each as JSON.
        seed: Selects the customers that `create` adds.

    Attributes:
        size: Number of customers at first.
    """

    def __init__(self, records: Mapping[str, bytes], seed: int | str) -> None:
        self.size: int = len(records)
        self._uuids = [*records]
        self._numbers = {uuid: number for number, uuid in enumerate(records)}
        self._records = records
        self._invented = FakeCustomers(1, seed)
        self._offset = self.size - 1  # number 0 of the invented ones is the customer of the API reference

    def reset(self) -> None:
        """Forget the customers that `create` added."""
        self._invented.reset()

    def create(self, count: int, now: int) -> range:
        """Create ``count`` customers at the Unix time ``now``; return their numbers."""
        numbers = self._invented.create(count, now)
        return range(numbers.start + self._offset, numbers.stop + self._offset)

    def uuid(self, number: int) -> str:
        """Return the uuid of customer ``number``."""
        return self._uuids[number] if number < self.size else self._invented.uuid(number - self._offset)

    def number(self, uuid: str) -> int | None:
        """Return the number with that uuid, created or not; None if there is none."""
        if (number := self._numbers.get(uuid)) is not None:
            return number
        invented = self._invented.number(uuid)
        return invented + self._offset if invented else None

    def created_at(self, number: int) -> int:
        """Return when customer ``number`` was created, in Unix seconds; 0 if its record does not say."""
        if number < self.size:
            return self.customer(number).get("created_at") or 0
        return self._invented.created_at(number - self._offset)

    def customer(self, number: int) -> Record:
        """Return the record of customer ``number``, a new dict each time."""
        if number < self.size:
            record: Record = msgspec.json.decode(self._records[self._uuids[number]])
            return record
        return self._invented.customer(number - self._offset)
