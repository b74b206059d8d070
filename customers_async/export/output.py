"""Writes the files of an export under temporary names, and moves them into place."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from customers_async.export.formats import Format
from customers_async.export.records import RejectedRecord, WritePage
from customers_async.export.target import manifest_path, partial_path, rejected_path
from customers_async.models import Page

__all__ = ["Output"]


class Output:
    """The file and, if records are rejected, a second file with those. Used in the journal's thread only.

    Args:
        target: The path of the finished file.
        format_: Its format.
        fields: What to write of each customer.
    """

    def __init__(self, target: Path, format_: Format, fields: tuple[str, ...]) -> None:
        self._target = target
        self._format, self._fields = format_, fields
        self._open_files = ExitStack()
        self._write_page: WritePage  # set by `begin`
        self._rejected: BinaryIO | None = None
        self.path: Path = self._partial("data")
        self.rows: int = 0

    def begin(self) -> None:
        """Begin the file, or begin it again."""
        self.drop()
        with self._naming_target():
            self._write_page = self._open_files.enter_context(self._format.write(create_file(self.path), self._fields))
        self.rows = 0

    def add(self, page: Page) -> None:
        """Write the records of a page."""
        with self._naming_target():
            self.rows += self._write_page(page.raw)

    def add_rejected(self, records: Iterable[RejectedRecord]) -> None:
        """Write rejected records to their own file."""
        with self._naming_target():
            if self._rejected is None:
                self._rejected = self._open_files.enter_context(create_file(self._partial("rejected")).open("wb"))
            self._rejected.writelines(msgspec.json.encode(record) + b"\n" for record in records)

    def end(self) -> None:
        """Complete the files and close them."""
        self._rejected = None
        with self._naming_target():
            self._open_files.close()

    def drop(self) -> None:
        """Remove the files that are not in place yet."""
        with suppress(Exception):  # a full disk may be the reason for the removal
            self.end()
        for part in ("data", "rejected", "manifest"):
            self._partial(part).unlink(missing_ok=True)

    def publish(self, manifest: str) -> None:
        """Move the files into place, the manifest last. Until then the journal can make them again."""
        data, rejected, about = map(self._partial, ("data", "rejected", "manifest"))
        with self._naming_target():
            with create_file(about).open("w", encoding="utf-8") as file:
                file.write(manifest)
            for part in (data, rejected, about):
                if part.exists():
                    _sync(part)
        data.replace(self._target)
        if rejected.exists():
            rejected.replace(rejected_path(self._target))
        else:
            rejected_path(self._target).unlink(missing_ok=True)  # left by an earlier export
        about.replace(manifest_path(self._target))
        if os.name == "posix":
            _sync(self._target.parent)

    def _partial(self, part: str) -> Path:
        return partial_path(self._target, part)

    @contextmanager
    def _naming_target(self) -> Iterator[None]:
        """Add the target's path to errors that name no path."""
        try:
            yield
        except OSError as error:
            if error.filename is not None:
                raise
            code = error.errno or errno.EIO
            raise OSError(code, os.strerror(code), str(self._target)) from None


def create_file(path: Path) -> Path:
    """Create an empty file that only its owner can read, in place of any that exists; return its path."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


def _sync(path: Path) -> None:
    """Wait until the file or directory is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
