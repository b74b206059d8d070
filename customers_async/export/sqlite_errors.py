"""Translates SQLite's errors."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from customers_async.errors import ExportError

__all__ = ["translate_sqlite_errors"]

_DISK_ERRORS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
}


@contextmanager
def translate_sqlite_errors(path: Path) -> Iterator[None]:
    """Raise an OSError where SQLite reports a problem with the disk, and an ExportError for all other errors.

    Args:
        path: The database, for the message.
    """
    try:
        yield
    except sqlite3.Error as error:
        number = getattr(error, "sqlite_errorcode", 0) & 0xFF
    else:
        return
    # None hides the original error, which may quote a value.
    if number in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise ExportError(f"{path} is in use by another process: try again later") from None
    if (code := _DISK_ERRORS.get(number)) is not None:
        raise OSError(code, os.strerror(code), str(path)) from None
    raise ExportError(f"{path} is damaged: move it away") from None
