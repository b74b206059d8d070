"""What an export came to, and the manifest beside it that says so."""

import hashlib
import json
import os
import platform
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import attrs

from customers_async._version import __version__
from customers_async.errors import ExportError
from customers_async.export.compact_set import CompactSet
from customers_async.export.formats import FORMATS, Format
from customers_async.models import Completeness, Verdict

__all__ = ["ExportReport", "digest", "manifest_path", "rejected_path", "verify_export", "versions"]


def manifest_path(path: Path) -> Path:
    """Where the manifest of an export is."""
    return path.with_name(f"{path.name}.manifest.json")


def rejected_path(path: Path) -> Path:
    """Where the records are that an export set aside."""
    return path.with_name(f"{path.name}.rejected.jsonl")


@attrs.frozen(kw_only=True)
class ExportReport:
    """What an export came to. The manifest holds the same.

    Attributes:
        path: The file; ``-`` for stdout.
        format: Its format.
        fields: What was written of each customer.
        rows: Customers in the file.
        completeness: The verdict with its figures. Its rows, rejected records and duplicates add up to the rows that
            the service gave.
        sha256: Of the file, in hexadecimal.
        size: Of the file, in bytes.
        walks: How often this run walked the list.
        pages_resumed: Pages that an earlier run had left, for which nothing was asked.
        requests: Requests sent, over all runs that had a share in this export.
        retries: Those among them that repeated a failed one.
        answers_429: Answers that the quota was spent.
        seconds: Time at work, over all runs.
        first_page_at: When the oldest page in the file came, UTC.
        last_page_at: When the newest one came, UTC.
        base_url: The service.
        versions: Of what wrote the file.
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
        """Where the manifest is; None for stdout."""
        return None if self.path == "-" else manifest_path(Path(self.path))

    def as_dict(self) -> dict[str, Any]:
        """The report in plain values, as the manifest has it."""
        document = attrs.asdict(self, recurse=False)
        found: Completeness = document.pop("completeness")
        for name in ("first_page_at", "last_page_at"):
            document[name] = None if document[name] is None else document[name].isoformat()
        document["fields"] = list(self.fields)
        document["seconds"] = round(self.seconds, 3)
        figures = attrs.asdict(found)
        figures["verdict"] = figures["verdict"].value
        del figures["total"]  # the last one
        return {**document, **figures}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        """The report that `as_dict` told of.

        Raises:
            KeyError: Something is missing.
            TypeError: Something is of another type.
            ValueError: Something has an impossible value.
        """
        names = {field.name for field in attrs.fields(Completeness)} - {"total"}
        figures = {name: document[name] for name in names}
        figures |= {"verdict": Verdict(figures["verdict"]), "total": figures["last_total"]}
        rest = {field.name: document[field.name] for field in attrs.fields(cls) if field.name != "completeness"}
        for name in ("first_page_at", "last_page_at"):
            rest[name] = None if rest[name] is None else datetime.fromisoformat(rest[name])
        rest["fields"] = tuple(rest["fields"])
        if rest["format"] not in FORMATS:
            raise ValueError("unknown format")
        return cls(completeness=Completeness(**figures), **rest)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The report of the export ``path``, from its manifest.

        Raises:
            ExportError: There is no manifest, or it is none.
        """
        manifest = manifest_path(path)
        try:
            return cls.from_dict(json.loads(manifest.read_bytes()))
        except FileNotFoundError:
            problem = f"{manifest} is missing"
        except (KeyError, TypeError, ValueError):
            problem = f"{manifest} is not a manifest"
        raise ExportError(problem)


def verify_export(path: str | os.PathLike[str]) -> dict[str, tuple[Any, Any]]:
    """Compare an export with its manifest, by reading the whole file.

    Returns:
        For each name of the manifest that differs what it says, and what the file says. Empty if all is well.

    Raises:
        ExportError: The manifest is missing or none.
        OSError: A file cannot be read.

    Example:
        >>> from customers_async import export_customers
        >>> report = await export_customers(client, "customers.csv")
        >>> verify_export("customers.csv")
        {}
    """
    path = Path(path)
    report = ExportReport.read(path)
    said: dict[str, Any] = {"size": report.size, "sha256": report.sha256}
    found: dict[str, Any] = {"size": path.stat().st_size, "sha256": digest(path)}
    if said == found:
        said |= {"rows": report.rows, "rejected": report.completeness.rejected}
        found |= {"rows": 0, "rejected": _lines(rejected_path(path))}
        uuids = CompactSet()
        for record in FORMATS[report.format].read(path):
            found["rows"] += 1
            uuids.update([record.get("uuid", "")])
        if "uuid" in report.fields:
            said["distinct"] = report.completeness.distinct
            found["distinct"] = len(uuids)
    return {name: (said[name], found[name]) for name in said if said[name] != found[name]}


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(1 for _ in file)
    except FileNotFoundError:
        return 0


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions(format_: Format) -> dict[str, str]:
    """Of everything that has a part in what the file looks like."""
    libraries = ("pyarrow",) if format_.needs_pyarrow else ()
    return {
        "customers_async": __version__,
        "python": platform.python_version(),
        **{library: metadata.version(library) for library in libraries},
    }
