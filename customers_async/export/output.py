"""The files of an export while they grow, and how they get into their places."""

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from customers_async.export.manifest import manifest_path, rejected_path
from customers_async.export.records import Rejected
from customers_async.export.sinks import Write, new_file, open_sink

__all__ = ["Output"]


class Output:
    """The file, page by page, and beside it the records that were set aside. Used in the journal's thread only.

    Args:
        target: Where the file is to be.
        format_: Its format.
        fields: What to write of each customer.
    """

    def __init__(self, target: Path, format_: str, fields: tuple[str, ...]) -> None:
        self._target = target
        self._format, self._fields = format_, fields
        self.path: Path = self._partial("data")
        self.rows: int = 0
        self._sink: AbstractContextManager[Write] | None = None
        self._aside: BinaryIO | None = None

    def begin(self) -> None:
        """Begin the file, or begin it again."""
        self.drop()
        sink = open_sink(self.path, self._format, self._fields)
        self._write, self._sink, self.rows = sink.__enter__(), sink, 0

    def add(self, body: bytes) -> None:
        """Write the records of a page."""
        self.rows += self._write(body)

    def set_aside(self, rejected: Iterable[Rejected]) -> None:
        """Write records that do not fit into a file of their own."""
        if self._aside is None:
            self._aside = new_file(self._partial("rejected")).open("wb")
        self._aside.writelines(msgspec.json.encode(record) + b"\n" for record in rejected)

    def end(self) -> None:
        """Write what is left; the files are whole."""
        sink, self._sink = self._sink, None
        aside, self._aside = self._aside, None
        try:
            if sink is not None:
                sink.__exit__(None, None, None)
        finally:
            if aside is not None:
                aside.close()

    def drop(self) -> None:
        """Give up whatever has not got into its place."""
        with suppress(Exception):  # a full disk may be the reason for giving up
            self.end()
        for part in ("data", "rejected", "manifest"):
            self._partial(part).unlink(missing_ok=True)

    def publish(self, manifest: str) -> None:
        """Put the files in their places, the manifest last; the journal can make them again until then."""
        with new_file(self._partial("manifest")).open("w", encoding="utf-8") as file:
            file.write(manifest)
        data, aside, about = map(self._partial, ("data", "rejected", "manifest"))
        for part in (data, aside, about):
            if part.exists():
                _sync(part)
        data.replace(self._target)
        if aside.exists():
            aside.replace(rejected_path(self._target))
        else:
            rejected_path(self._target).unlink(missing_ok=True)  # of an earlier export
        about.replace(manifest_path(self._target))
        if os.name == "posix":
            _sync(self._target.parent)

    def _partial(self, part: str) -> Path:
        return self._target.with_name(f".{self._target.name}.{part}.partial")


def _sync(path: Path) -> None:
    """Let the disk have it, before anything relies on it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
