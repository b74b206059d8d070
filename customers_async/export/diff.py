"""Compares two exports: the service cannot list what changed since a point in time."""

import json
import os
import sqlite3
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import starmap
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from customers_async.checks import is_uuid
from customers_async.client import CustomersClient, internals
from customers_async.errors import ExportError
from customers_async.export.formats import Format, format_of
from customers_async.export.manifest import ExportReport, compute_sha256
from customers_async.export.records import Record
from customers_async.export.removals import Removal, RemovalStatus, look_up_suspects
from customers_async.export.sqlite_errors import translate_sqlite_errors
from customers_async.export.target import check_file
from customers_async.models import Verdict

__all__ = ["Change", "Changes", "diff_exports"]


class _Fields(dict[str, tuple[Any, Any]]):
    """The fields of a change. Rich, which prints the attributes of objects, shows their number only."""

    def __rich_repr__(self) -> Iterator[object]:
        yield len(self)


@attrs.frozen(repr=False)
class Change:
    """One customer that differs. The repr shows the uuid only.

    Attributes:
        uuid: The customer.
        fields: The old and the new value of each field that differs. A missing field counts as None, and so does an
            empty text if one of the exports is CSV, which does not distinguish them.
    """

    uuid: str
    fields: dict[str, tuple[Any, Any]] = attrs.field(converter=_Fields, hash=False, repr=False)

    def __repr__(self) -> str:
        return f"Change(uuid={self.uuid!r}, fields=<{len(self.fields)}>)"

    def __rich_repr__(self) -> Iterator[object]:
        yield "uuid", self.uuid


class Changes:
    """The differences between two exports, in the order of the uuids.

    They are read from a temporary file, so memory use does not depend on their number. Use it in a ``with`` block,
    which removes that file.

    Attributes:
        unproven: Why customers in `not_seen` may still be on the list; None if the newer export is proven complete.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        compared: frozenset[str] | None,
        unproven: str | None,
        *,
        keeps_empty: bool = True,
    ) -> None:
        self._database = database
        self._compared = compared
        self._keeps_empty = keeps_empty
        self._confirmed: set[str] = set()
        self.unproven = unproven

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.close()

    def added(self) -> Iterator[Record]:
        """Yield the customers that are only in the newer export, in the form in which the service sends them."""
        rows = self._database.execute("SELECT record FROM new WHERE uuid NOT IN (SELECT uuid FROM old) ORDER BY uuid")
        yield from map(_load_record, rows)

    def changed(self) -> Iterator[Change]:
        """Yield the customers that are in both exports and differ in a field that both exports have."""
        rows = self._database.execute(
            "SELECT uuid, old.record, new.record FROM old JOIN new USING (uuid)"
            " WHERE old.record <> new.record ORDER BY uuid"
        )
        for change in starmap(self._compare, rows):  # no local variable holds a record
            if change.fields:
                yield change

    def _compare(self, uuid: str, old: str, new: str) -> Change:
        before, after = json.loads(old), json.loads(new)
        names = [name for name in {**before, **after} if self._compared is None or name in self._compared]
        pairs = {name: (self._normalize(before.get(name)), self._normalize(after.get(name))) for name in names}
        return Change(uuid, {name: values for name, values in pairs.items() if values[0] != values[1]})

    def _normalize(self, value: Any) -> Any:
        return None if value == "" and not self._keeps_empty else value

    def not_seen(self) -> Iterator[str]:
        """Yield the uuids that are only in the older export.

        The newer one may have missed them: see `unproven`, and use `confirm` before you delete anything.
        """
        for (uuid,) in self._database.execute(
            "SELECT uuid FROM old WHERE uuid NOT IN (SELECT uuid FROM new) ORDER BY uuid"
        ):
            yield uuid

    async def confirm(self, client: CustomersClient) -> AsyncGenerator[Removal, None]:
        """Look up each customer that was not seen, and yield what is known of it then.

        The look-ups leave priority to other calls, and several are in flight. After an error, call it again: customers
        that were REMOVED or ALIVE are not looked up again.

        Raises:
            CustomersError: An error that would affect every customer, such as a rejected token.

        Example:
            >>> from customers_async import export_customers
            >>> report = await export_customers(client, "monday.csv")
            >>> report = await export_customers(client, "tuesday.jsonl")
            >>> with diff_exports("monday.csv", "tuesday.jsonl") as changes:
            ...     print([removal.status async for removal in changes.confirm(client)])
            []
        """
        suspects = [uuid for uuid in self.not_seen() if uuid not in self._confirmed]
        async with aclosing(look_up_suspects(internals(client).api, suspects)) as removals:
            async for removal in removals:
                if removal.status is not RemovalStatus.UNKNOWN:
                    self._confirmed.add(removal.uuid)
                yield removal


def diff_exports(old: str | os.PathLike[str], new: str | os.PathLike[str]) -> Changes:
    """Compare two exports. Each may be of any format, which its suffix names.

    That a customer was not seen in the newer export does not prove that it is gone: see `Changes.confirm`.

    Raises:
        ExportError: A file is damaged, does not match its manifest, or has no uuids; or they are of two services.
        OSError: A file cannot be read, or SQLite's temporary directory is full.
        ValueError: A suffix names no format, or a format that needs pyarrow, which is not installed.

    Example:
        >>> from customers_async import export_customers
        >>> report = await export_customers(client, "monday.csv")
        >>> report = await export_customers(client, "tuesday.jsonl")
        >>> with diff_exports("monday.csv", "tuesday.jsonl") as changes:
        ...     print(len(list(changes.added())), len(list(changes.not_seen())), changes.unproven)
        0 0 None
    """
    exports = {"old": Path(old), "new": Path(new)}
    formats = {table: format_of(path) for table, path in exports.items()}
    for path in exports.values():
        check_file(path)
    unproven = _check_manifests(*exports.values())
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # a private temporary file
    try:
        database.execute("PRAGMA journal_mode = OFF")
        with translate_sqlite_errors(Path("SQLite's temporary directory")):
            columns = [_load(database, table, exports[table], format_) for table, format_ in formats.items()]
        known = [names for names in columns if names is not None]
        compared = frozenset.intersection(*known) if known else None
        keeps_empty = all(format_.keeps_empty for format_ in formats.values())
        return Changes(database, compared, unproven, keeps_empty=keeps_empty)
    except BaseException:
        database.close()
        raise


def _load_record(row: tuple[str]) -> Record:
    record: Record = json.loads(row[0])
    return record


def _load(database: sqlite3.Connection, table: str, path: Path, format_: Format) -> frozenset[str] | None:
    """Load an export into a table; return its fields, or None if records may have any."""
    database.execute(f"CREATE TABLE {table} (uuid TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID")
    fields: set[str] = set()

    def convert(record: Record) -> tuple[str, str]:
        uuid = record.get("uuid")
        if isinstance(uuid, str) and is_uuid(uuid):
            fields.update(record)
            return uuid, json.dumps(record, sort_keys=True)
        record.clear()  # a traceback with locals must not show a customer
        raise ExportError(f"{path} has no uuids to compare by")

    database.execute("BEGIN")
    database.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", map(convert, format_.read(path)))  # noqa: S608  # this module names the tables
    database.execute("COMMIT")
    return None if format_.keeps_unknown else frozenset(fields)


def _check_manifests(old: Path, new: Path) -> str | None:
    """Return why the newer export may lack customers that are on the list, or None if it is proven complete.

    Raises:
        ExportError: A file does not match its manifest, so its contents prove nothing; or they are of two services.
    """
    reports: dict[Path, ExportReport] = {}
    unproven: str | None = None
    for path in (old, new):
        try:
            reports[path] = ExportReport.read(path)
        except ExportError as error:
            unproven = f"{error}" if path is new else None
    if len({report.base_url for report in reports.values()}) > 1:
        raise ExportError(f"{old} and {new} are exports of different services")
    for path, report in reports.items():
        if compute_sha256(path) != report.sha256:
            raise ExportError(f"{path} does not match its manifest")
    if new in reports:
        completeness = reports[new].completeness
        if completeness.verdict is not Verdict.COMPLETE:
            return f"the verdict of {new} is {completeness.verdict}"
        if not completeness.proven:
            return f"{new} is not proven complete"
    return unproven
