"""What changed from one export to another: the service has no "changed since"."""

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from customers_async.errors import ExportError
from customers_async.export.formats import Format, format_of
from customers_async.export.manifest import ExportReport, digest
from customers_async.export.records import Record
from customers_async.models import Verdict

__all__ = ["Change", "Changes", "diff_exports"]


@attrs.frozen(repr=False)
class Change:
    """One customer who differs. The repr shows the uuid only.

    Attributes:
        uuid: The customer.
        fields: For each field that differs what it was and what it is; a field that is missing counts as None.
    """

    uuid: str
    fields: dict[str, tuple[Any, Any]] = attrs.field(hash=False)

    def __repr__(self) -> str:
        return f"Change(uuid={self.uuid!r}, fields=<{len(self.fields)}>)"


class Changes:
    """The differences of two exports, by uuid, read from a temporary file: memory does not grow with them.

    Use it in a ``with`` block, which removes that file.

    Attributes:
        withheld: Why `removed` is empty though customers may be missing; None where it can be relied on.
    """

    def __init__(self, database: sqlite3.Connection, compared: frozenset[str] | None, withheld: str | None) -> None:
        self._database = database
        self._compared = compared
        self.withheld = withheld

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.close()

    def added(self) -> Iterator[Record]:
        """The customers who are in the newer export only, in the form in which the service writes them."""
        for (record,) in self._database.execute(
            "SELECT record FROM new WHERE uuid NOT IN (SELECT uuid FROM old) ORDER BY uuid"
        ):
            yield json.loads(record)

    def changed(self) -> Iterator[Change]:
        """The customers who are in both and differ in a field that both exports have."""
        for uuid, old, new in self._database.execute(
            "SELECT uuid, old.record, new.record FROM old JOIN new USING (uuid)"
            " WHERE old.record <> new.record ORDER BY uuid"
        ):
            before, after = json.loads(old), json.loads(new)
            names = [name for name in {**before, **after} if self._compared is None or name in self._compared]
            fields = {
                name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
            }
            if fields:
                yield Change(uuid, fields)

    def removed(self) -> Iterator[str]:
        """The uuids of those who are in the older export only; none where that is `withheld`."""
        if self.withheld is None:
            for (uuid,) in self._database.execute(
                "SELECT uuid FROM old WHERE uuid NOT IN (SELECT uuid FROM new) ORDER BY uuid"
            ):
                yield uuid


def diff_exports(old: str | os.PathLike[str], new: str | os.PathLike[str]) -> Changes:
    """Compare two exports, of whatever formats; the suffixes tell which.

    Customers who are missing count as removed only if both manifests say ``COMPLETE``: else they may merely have
    been missed.

    Raises:
        ExportError: A file is not a whole export, is not the one that its manifest tells of, or has no uuids.
        OSError: A file cannot be read.
        ValueError: A suffix tells of no format.

    Example:
        >>> from customers_async import export_customers
        >>> report = await export_customers(client, "monday.csv")
        >>> report = await export_customers(client, "tuesday.jsonl")
        >>> with diff_exports("monday.csv", "tuesday.jsonl") as changes:
        ...     print(len(list(changes.added())), changes.withheld)
        0 None
    """
    sides = {"old": Path(old), "new": Path(new)}
    withheld = _doubt(*sides.values())
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # a file that nobody else sees
    try:
        database.execute("PRAGMA journal_mode = OFF")
        columns = [_load(database, side, path, format_of(path)) for side, path in sides.items()]
        known = [names for names in columns if names is not None]
        compared = frozenset.intersection(*known) if known else None
        return Changes(database, compared, withheld)
    except BaseException:
        database.close()
        raise


def _load(database: sqlite3.Connection, side: str, path: Path, format_: Format) -> frozenset[str] | None:
    """Put an export into a table; returns its columns, or None where it is open to any."""
    database.execute(f"CREATE TABLE {side} (uuid TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID")
    columns: set[str] = set()

    def rows() -> Iterator[tuple[str, str]]:
        for record in format_.read(path):
            if not isinstance(record.get("uuid"), str):
                raise ExportError(f"{path} has no uuids to compare by")
            columns.update(record)
            yield record["uuid"], json.dumps(record, sort_keys=True)

    database.execute("BEGIN")
    database.executemany(f"INSERT OR REPLACE INTO {side} VALUES (?, ?)", rows())  # noqa: S608  # a fixed name
    database.execute("COMMIT")
    return None if format_.keeps_unknown else frozenset(columns)


def _doubt(old: Path, new: Path) -> str | None:
    """Why one of the two may lack customers who are on the list.

    Raises:
        ExportError: One is not the file of its manifest, and nothing that it lacks means anything.
    """
    doubts = []
    for path in (old, new):
        try:
            report = ExportReport.read(path)
        except ExportError as error:
            doubts.append(f"{error}")
            continue
        if digest(path) != report.sha256:
            raise ExportError(f"{path} is not the file that its manifest tells of")
        if report.completeness.verdict is not Verdict.COMPLETE:
            doubts.append(f"the manifest of {path} says {report.completeness.verdict}")
    return doubts[0] if doubts else None
