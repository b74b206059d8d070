"""CSV as in RFC 4180: a header, UTF-8, lines that end in CR LF. None and an empty text look the same."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from customers_async.export.records import FIELDS, Record, WritePage, restore_record, to_columns

__all__ = ["read", "write"]

_MAX_LENGTH = 2**31 - 1
"""The longest text that is read back, in characters. The csv module's own limit is 131,072."""


@contextmanager
def write(path: Path, fields: Sequence[str]) -> Iterator[WritePage]:
    """Open a file to write rows to."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)  # its line end is CR LF, so it quotes texts with either
        writer.writerow(fields)

        def write_page(body: bytes) -> int:
            columns = to_columns(body, fields)
            writer.writerows(zip(*columns, strict=True))
            return len(columns[0])

        yield write_page


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file.

    Raises:
        ValueError: A column is unknown, or a row has too many or too few values.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_LENGTH))
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if not {*(reader.fieldnames or [""])} <= {*FIELDS}:
            raise ValueError
        for record in reader:
            if None in record or None in record.values():  # too many values, or too few
                raise ValueError
            yield restore_record({name: value or None for name, value in record.items()})
