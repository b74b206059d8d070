"""Translates SQLite's errors."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from customers_async.errors import ExportError

__all__ = ["translate_sqlite_errors"]


@contextmanager
def translate_sqlite_errors(path: Path) -> Iterator[None]:
    """Raise an OSError where SQLite reports a problem with the disk, and an ExportError where it reports damage.

    Args:
        path: The database, for the message.
    """
    code: int | None = None
    damaged = False
    try:
        yield
    except sqlite3.DatabaseError as error:
        reason = getattr(error, "sqlite_errorcode", 0) & 0xFF
        damaged = reason == sqlite3.SQLITE_CORRUPT
        code = {
            sqlite3.SQLITE_FULL: errno.ENOSPC,
            sqlite3.SQLITE_READONLY: errno.EROFS,
            sqlite3.SQLITE_CANTOPEN: errno.EACCES,
            sqlite3.SQLITE_IOERR: errno.EIO,
        }.get(reason)
        if code is None and not damaged:
            raise
    if damaged:
        raise ExportError(f"{path} is damaged: move it away")
    if code is not None:
        raise OSError(code, os.strerror(code), str(path))
