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
        code = _DISK_ERRORS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    else:
        return
    if code is not None:  # outside the try statement: the original error may quote a value
        raise OSError(code, os.strerror(code), str(path))
    raise ExportError(f"{path} is damaged: move it away")
