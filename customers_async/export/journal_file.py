"""The journal's SQLite file. Its contents may be damaged or forged, so nothing in it is used unchecked."""

import json
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from customers_async.calls.responses import Response
from customers_async.errors import ExportError
from customers_async.export.sqlite_errors import translate_sqlite_errors

__all__ = ["JournalFile", "Statement", "insert_fact", "insert_page", "journal_path", "remove_journal"]

_VERSION = 2
_BLOCK_SIZE = 32768
"""SQLite's page size, in bytes. A body is larger than that; smaller blocks take twice the time."""
_APPLICATION_ID = 0x43757374  # "Cust"
_SUFFIXES = ("-wal", "-journal")  # of the files that SQLite keeps beside its own
_TABLES = {
    "facts": "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID",
    "pages": (
        "CREATE TABLE pages (number INTEGER PRIMARY KEY, fetched_at REAL NOT NULL, headers TEXT NOT NULL, "
        "body BLOB NOT NULL, digest BLOB NOT NULL)"
    ),
}
_SCHEMA = {(b"table", name.encode(), name.encode(), sql.encode()) for name, sql in _TABLES.items()}
_HEADERS = (
    "X-Api-Total",
    "X-Api-Per-Page",
    "X-Api-Has-More-Pages",
    "X-Api-Current-Page",
    "X-Api-Page",
    "Content-Type",
    "Date",
    "Age",
)
"""The headers that parsing a page needs, and the response's time."""
_CLOCK_ERROR = 60.0
"""Seconds: a page that was received further in the future is of unknown age."""
_LAST_TIME = 253402300800.0  # the end of the year 9999, in Unix seconds

_log = logging.getLogger("customers_async")

Statement = tuple[str, tuple[Any, ...]]


class JournalFile:
    """A journal that is open and locked. Used in one thread.

    Args:
        path: The journal's path.
        target: The path of the finished export, for messages.
        purpose: What the pages are for, for messages.

    Attributes:
        times: When each of its pages was received, Unix seconds, by page number.
        facts: base_url, account and per_page, which identify the export; stats, as JSON; and ended_incomplete, yes or
            no.
    """

    def __init__(self, path: Path, target: Path, purpose: str = "export") -> None:
        self._path = path
        self._target = target
        self._purpose = purpose
        self._database: sqlite3.Connection | None = None
        self._is_own = False  # whether it is locked, and may be removed
        self.times: dict[int, float] = {}
        self.facts: dict[str, str] = {}

    def open(self, identity: Mapping[str, str], resume: timedelta | bool) -> None:
        """Open the file or create it, and lock it.

        Args:
            identity: The facts that must be equal, if the file has pages.
            resume: The age up to which pages are kept; True keeps all, False keeps none.

        Raises:
            ExportError: Another export is running, or the file is damaged or of another export.
            OSError: The file cannot be created.
        """
        with translate_sqlite_errors(self._path):
            is_new = self._connect()
            if not is_new and (resume is False or self._is_empty()):
                self.remove()
                self.close()
                is_new = self._connect()
                if not is_new:
                    raise self._in_use_error()
            if is_new:
                self._create_tables(identity)
            else:
                self._is_own = False  # until it is known to be of this export
                self._check_contents(identity)
                self._load_times(timedelta.max if isinstance(resume, bool) else resume)
                self._is_own = True

    def select(self, number: int) -> Response | None:
        """Return a page; None if it is missing or damaged."""
        with translate_sqlite_errors(self._path):
            statement = "SELECT fetched_at, headers, body, digest FROM pages WHERE number = ?"
            row = self._execute(statement, number).fetchone()
        if row is None:
            return None
        fetched_at, headers, body, digest = row
        if not isinstance(headers, bytes) or not isinstance(body, bytes):
            return None
        if _digest(_describe_page(number, fetched_at), headers, body) != digest:
            return None
        with suppress(ValueError, RecursionError):
            return Response(200, msgspec.json.decode(headers, type=dict[str, str]), body, received_at=fetched_at)
        return None

    def write(self, statements: Iterable[Statement]) -> None:
        """Execute statements in one transaction."""
        with translate_sqlite_errors(self._path):
            self._execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    self._execute(statement, *values)
                self._execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled it back already
                    self._execute("ROLLBACK")
                raise

    def remove(self) -> None:
        """Remove the file while it is locked, so that no other export is using it."""
        if not self._is_own:
            return
        self._is_own = False
        if os.name == "nt":
            self.close()  # Windows does not remove open files
        remove_journal(self._target)

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            with suppress(sqlite3.Error):  # the pages are on the disk already
                self._database.close()

    # Opening

    def _connect(self) -> bool:
        """Create the file or check the one found, open it and lock it; return whether it is new."""
        is_created = self._create_file()
        before = self._check_files(is_created)
        self._database = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",  # SQLite must not create it, readable by others
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
        )
        self._database.text_factory = bytes  # text in a damaged file may be anything
        try:
            is_new = self._lock()
        except sqlite3.DatabaseError as error:
            raise self._translate_lock_error(error) from None
        after = self._check_files(is_created)
        if (before.st_dev, before.st_ino) != (after.st_dev, after.st_ino):
            raise self._in_use_error()
        self._is_own = True
        return is_new

    def _create_file(self) -> bool:
        """Create the file unless there is one; return whether it was created."""
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:  # opened by SQLite only: closing another handle would release its lock
            return False
        except OSError as error:
            error.filename = str(self._target)  # the path that the user named
            raise
        for suffix in _SUFFIXES:  # left by a journal that is gone
            stale = Path(f"{self._path}{suffix}")
            if os.path.lexists(stale):
                stale.unlink()
        return True

    def _check_files(self, is_created: bool) -> os.stat_result:
        """Return the file's status.

        A file that was just created may belong to another user: some network file systems map users.

        Raises:
            ExportError: It or one of SQLite's files beside it is a link, of another user or open to others; or another
                export has just ended and removed it.
        """
        for suffix in _SUFFIXES:
            with suppress(FileNotFoundError):
                self._check_file(os.lstat(f"{self._path}{suffix}"), is_created)
        try:
            return self._check_file(os.lstat(self._path), is_created)
        except FileNotFoundError:
            raise self._in_use_error() from None

    def _check_file(self, status: os.stat_result, is_created: bool) -> os.stat_result:
        is_private = is_created or os.name != "posix"
        is_private = is_private or (status.st_uid == os.geteuid() and not status.st_mode & 0o077)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or not is_private:
            raise self._foreign_file_error()
        return status

    def _lock(self) -> bool:
        """Lock the file for as long as it is open, if it is a journal or new; return whether it is new."""
        for pragma in ("locking_mode = EXCLUSIVE", "trusted_schema = OFF", "cell_size_check = ON"):
            self._execute(f"PRAGMA {pragma}")
        self._execute("BEGIN EXCLUSIVE")
        (application_id,) = self._execute("PRAGMA application_id").fetchone()
        is_new = bool(application_id != _APPLICATION_ID)
        if is_new and self._execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None:
            raise self._foreign_file_error()
        self._execute("COMMIT")
        self._execute(f"PRAGMA page_size = {_BLOCK_SIZE}")
        self._execute("PRAGMA journal_mode = WAL")
        self._execute("PRAGMA synchronous = FULL")
        return is_new

    def _translate_lock_error(self, error: sqlite3.DatabaseError) -> Exception:
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return self._in_use_error()
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                return self._foreign_file_error()
        return error

    def _in_use_error(self) -> ExportError:
        return ExportError(f"another {self._purpose} to {self._target} is running")

    def _foreign_file_error(self) -> ExportError:
        return ExportError(f"{self._path} is not a journal: move it away")

    def _create_tables(self, identity: Mapping[str, str]) -> None:
        pragmas = (f"PRAGMA application_id = {_APPLICATION_ID}", f"PRAGMA user_version = {_VERSION}")
        facts = [insert_fact(name, value) for name, value in identity.items()]
        self.write([*((statement, ()) for statement in (*_TABLES.values(), *pragmas)), *facts])

    # Reading what was found

    def _is_empty(self) -> bool:
        try:
            return self._execute("SELECT 1 FROM pages LIMIT 1").fetchone() is None
        except sqlite3.Error:
            return False

    def _check_contents(self, identity: Mapping[str, str]) -> None:
        """Load the facts.

        Raises:
            ExportError: The file is damaged, or of another export or version.
        """
        (version,) = self._execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            raise self._other_export_error(f"of another version ({version}, not {_VERSION})")
        if {*self._execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")} != _SCHEMA:
            raise self._damaged_error()
        for name, value, digest in self._execute("SELECT name, value, digest FROM facts"):
            if isinstance(name, bytes) and isinstance(value, bytes) and _digest(name, value) == digest:
                self.facts[name.decode(errors="replace")] = value.decode(errors="replace")
        if not self.facts.keys() >= identity.keys():
            raise self._damaged_error()
        if self.facts.items() >= identity.items():
            return
        if {**self.facts, "account": identity["account"]}.items() >= identity.items():
            raise self._other_export_error("for another account")
        which = f"from {self.facts['base_url']} with {self.facts['per_page']} customers a page"
        raise self._other_export_error("".join(character for character in which if character.isprintable()))

    def _load_times(self, max_age: timedelta) -> None:
        """Load the pages' times, and delete pages that are too old: all of them if the first page is."""
        now = time.time()

        def is_recent(fetched_at: object) -> bool:
            if not isinstance(fetched_at, float) or not 0 <= fetched_at < _LAST_TIME:
                return False
            return max_age == timedelta.max or -_CLOCK_ERROR <= now - fetched_at <= max_age.total_seconds()

        found: dict[int, Any] = dict(self._execute("SELECT number, fetched_at FROM pages"))
        kept = {number: fetched_at for number, fetched_at in found.items() if is_recent(fetched_at)}
        if 1 in found and 1 not in kept:
            kept.clear()
        if len(kept) < len(found):
            self.facts.pop("ended_incomplete", None)
            deletions = [("DELETE FROM pages WHERE number = ?", (number,)) for number in found.keys() - kept.keys()]
            self.write([*deletions, insert_fact("ended_incomplete", "no")])
            _log.info("Pages in the journal that are too old and fetched again: %d of %d.", len(deletions), len(found))
        if not kept:
            self.facts.pop("stats", None)  # nothing of the earlier run is used
        self.times.update(kept)

    def _other_export_error(self, which: str) -> ExportError:
        left = f"{self._path} was left by an earlier {self._purpose} {which}"
        return ExportError(f"{left}; resume=False (--restart) discards it")

    def _damaged_error(self) -> ExportError:
        return ExportError(f"{self._path} is damaged: move it away")

    def _execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        assert self._database is not None  # noqa: S101  # it is open
        return self._database.execute(statement, values)


def insert_page(number: int, response: Response) -> Statement:
    """Return the statement that stores a page as received now."""
    fetched_at = time.time()
    stored = {name: value for name in _HEADERS if (value := response.headers.get(name)) is not None}
    headers = json.dumps(stored)
    digest = _digest(_describe_page(number, fetched_at), headers.encode(), response.body)
    values = (number, fetched_at, headers, response.body, digest)
    return "INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?)", values


def insert_fact(name: str, value: str) -> Statement:
    """Return the statement that stores a fact."""
    return "INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (name, value, _digest(name.encode(), value.encode()))


def journal_path(target: Path) -> Path:
    """Return the path of an export's journal."""
    return target.with_name(f"{target.name}.journal")


def remove_journal(target: Path) -> None:
    """Remove the journal beside ``target``, if there is one."""
    path = journal_path(target)
    for name in (f"{path.name}-wal", path.name):  # the file last: once it is gone, another export may create its own
        path.with_name(name).unlink(missing_ok=True)


def _describe_page(number: int, fetched_at: float) -> bytes:
    return f"{number} {fetched_at!r}".encode()


def _digest(*parts: bytes) -> bytes:
    """Return a digest of the parts and their lengths. For a page of 30 kB it takes 30 µs."""
    state = blake2b(digest_size=16)
    for part in parts:
        state.update(b"%d " % len(part))
        state.update(part)
    return state.digest()
