"""The report of an export, and the manifest beside it that stores the report."""

import hashlib
import json
import os
import platform
from datetime import datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import attrs
import msgspec

from customers_async._version import __version__
from customers_async.errors import ExportError
from customers_async.export.compact_set import CompactSet
from customers_async.export.formats import FORMATS, Format
from customers_async.export.journal_file import journal_path
from customers_async.export.records import Record
from customers_async.export.target import check_file, follow_link, manifest_path, rejected_path
from customers_async.models import Completeness

__all__ = ["ExportReport", "compute_sha256", "find_versions", "verify_export"]


_TIMES = ("resumed_from", "first_page_at", "last_page_at")


@attrs.frozen(kw_only=True)
class ExportReport:
    """The result of an export. The manifest stores it.

    Attributes:
        path: The file; ``-`` for stdout.
        format: Its format.
        fields: What was written of each customer.
        rows: Customers in the file.
        completeness: The verdict and its figures. ``distinct``, ``rejected`` and ``duplicates`` add up to the
            records received.
        sha256: The file's SHA-256, in hexadecimal.
        size: The file's size in bytes.
        walks: The number of passes over the list in this run.
        pages_resumed: Pages that an earlier run left and that were not requested again.
        resumed_from: When the oldest of these pages was received, UTC; None if there are none.
        requests: Requests sent, over all runs of this export.
        retries: Those of them that repeated a failed one.
        answers_429: Responses with status 429.
        seconds: Running time, over all runs.
        first_page_at: When the oldest page in the file was received, UTC.
        last_page_at: When the newest page in the file was received, UTC.
        base_url: The service.
        versions: The versions of the software that wrote the file.
    """

    path: str
    format: str
    fields: tuple[str, ...]
    rows: int
    completeness: Completeness
    sha256: str
    size: int
    walks: int
    pages_resumed: int
    resumed_from: datetime | None = None
    requests: int
    retries: int
    answers_429: int
    seconds: float
    first_page_at: datetime | None
    last_page_at: datetime | None
    base_url: str
    versions: dict[str, str] = attrs.field(hash=False)

    @property
    def manifest(self) -> Path | None:
        """The path of the manifest; None for stdout."""
        return None if self.path == "-" else manifest_path(follow_link(Path(self.path)))

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, in the manifest's form."""
        document = attrs.asdict(self, recurse=False)
        completeness: Completeness = document.pop("completeness")
        for name in _TIMES:
            document[name] = None if document[name] is None else document[name].isoformat()
        document["fields"] = list(self.fields)
        document["seconds"] = round(self.seconds, 3)
        figures = attrs.asdict(completeness)
        figures["verdict"] = figures["verdict"].value
        del figures["total"]  # equals last_total
        return {**document, **figures}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        """Make a report from the result of `as_dict`.

        Raises:
            TypeError: The document is not a dict.
            ValueError: A value is missing, of the wrong type or out of range.
        """
        names = {field.name for field in attrs.fields(Completeness)} - {"total"}
        try:
            figures = {name: document[name] for name in names}
        except KeyError as error:
            raise ValueError(f"{error} is missing") from None
        rest = {field.name: document[field.name] for field in attrs.fields(cls) if field.name in document}
        completeness = {**figures, "total": figures["last_total"]}
        report = msgspec.convert({**rest, "completeness": completeness}, cls)
        if report.format not in FORMATS:
            raise ValueError(f"there is no format {report.format!r}")
        if any(time is not None and time.tzinfo is None for time in map(partial(getattr, report), _TIMES)):
            raise ValueError("a time has no zone")
        return report

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the report of the export ``path`` from its manifest.

        Raises:
            ExportError: The manifest is missing, or is not a manifest.
            OSError: The manifest cannot be read.
        """
        if not path.name:
            raise ExportError(f"{path} is not a file")
        manifest = manifest_path(follow_link(path))
        try:
            check_file(manifest)
            return cls.from_dict(json.loads(manifest.read_bytes()))
        except FileNotFoundError:
            problem = _explain_missing(follow_link(path), manifest)
        except (TypeError, ValueError, RecursionError):
            problem = f"{manifest} is not a manifest"
        raise ExportError(problem)


def _explain_missing(target: Path, manifest: Path) -> str:
    if journal_path(target).exists():
        return f"the export {target} is unfinished: run it again to resume"
    return f"{manifest} is missing"


def verify_export(path: str | os.PathLike[str]) -> dict[str, tuple[Any, Any]]:
    """Read an export and compare it with its manifest.

    Returns:
        The manifest's and the file's value for each name whose values differ. Empty if the file is what was written.

    Raises:
        ExportError: The manifest is missing, or is not a manifest; or pyarrow is needed and not installed.
        OSError: A file cannot be read.

    Example:
        >>> from customers_async import export_customers
        >>> report = await export_customers(client, "customers.csv")
        >>> verify_export("customers.csv")
        {}
    """
    path = Path(path)
    report = ExportReport.read(path)
    check_file(path)
    expected: dict[str, Any] = {"size": report.size, "sha256": report.sha256}
    actual: dict[str, Any] = {"size": path.stat().st_size, "sha256": compute_sha256(path)}
    if expected == actual:
        expected |= {"rows": report.rows, "rejected": report.completeness.rejected}
        actual |= {"rows": 0, "rejected": _count_lines(rejected_path(follow_link(path)))}
        uuids = CompactSet()
        for uuid in map(_find_uuid, FORMATS[report.format].read(path)):  # no local variable holds a record
            actual["rows"] += 1
            uuids.update([uuid])
        if "uuid" in report.fields:
            expected["distinct"] = report.completeness.distinct
            actual["distinct"] = len(uuids)
    return {name: (expected[name], actual[name]) for name in expected if expected[name] != actual[name]}


def _find_uuid(record: Record) -> str:
    return str(record.get("uuid", ""))


def _count_lines(path: Path) -> int:
    """Count the lines of a file; 0 if there is none."""
    try:
        check_file(path)
        with path.open("rb") as file:
            return sum(1 for _ in file)
    except FileNotFoundError:
        return 0


def compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_versions(format_: Format) -> dict[str, str]:
    """Return the versions of the software that determines the file's bytes."""
    libraries = ("pyarrow",) if format_.needs_pyarrow else ()
    return {
        "customers_async": __version__,
        "python": platform.python_version(),
        **{library: _find_version(library) for library in libraries},
    }


def _find_version(library: str) -> str:
    try:
        return metadata.version(library) or "unknown"
    except metadata.PackageNotFoundError:  # as in a frozen program
        return "unknown"
