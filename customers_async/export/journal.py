"""The journal beside an export: every page as it was received, so that no page is fetched twice.

An SQLite file of mode 0600, used by one thread. Pages that arrive during a transaction are written together in the
next one, so writing does not slow the reading of the list. SQLite's lock on the file, which ends with the process
even if that is killed, keeps a second export away.
"""

import asyncio
import errno
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs

from customers_async.calls.responses import Response
from customers_async.errors import ExportError
from customers_async.export.sqlite_errors import translate_sqlite_errors

__all__ = ["ExportStats", "Journal", "journal_path", "remove_journal"]

Result = TypeVar("Result")

_VERSION = 1
_BLOCK_SIZE = 32768
"""SQLite's page size, in bytes. A body is larger than that; smaller blocks take twice the time."""
_APPLICATION_ID = 0x43757374  # "Cust"
_HEADERS = (
    "X-Api-Total",
    "X-Api-Per-Page",
    "X-Api-Has-More-Pages",
    "X-Api-Current-Page",
    "X-Api-Page",
    "Content-Type",
)
"""The headers that parsing a page needs."""
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pages (number INTEGER PRIMARY KEY, fetched_at REAL NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL);
"""
"""The facts: base_url, account and per_page, which identify the export; stats, as JSON; and finished, yes or no."""
_INSERT_PAGE = "INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?)"
_INSERT_FACT = "INSERT OR REPLACE INTO facts VALUES (?, ?)"

_Statement = tuple[str, tuple[Any, ...]]


@attrs.define
class ExportStats:
    """The figures of an export, summed over all its runs.

    Attributes:
        requests: Requests sent.
        retries: Those of them that repeated a failed one.
        answers_429: Responses with status 429.
        seconds: Running time.
    """

    requests: int = 0
    retries: int = 0
    answers_429: int = 0
    seconds: float = 0.0


class Journal:
    """The pages that an export has fetched. Made by `open`; used in one event loop.

    Args:
        path: The journal's path.
        target: The path of the finished export, for messages.

    Attributes:
        numbers: The numbers of the pages that it holds.
        finished: Whether these pages are the whole list as it was read once, with a verdict other than COMPLETE.
        stats: The figures of the export so far.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self._path = path
        self._target = target
        self._thread = ThreadPoolExecutor(1, "customers-export")
        self._pending: list[tuple[tuple[Any, ...], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._database: sqlite3.Connection  # set by `_open`
        self._open_files = ExitStack()
        self.numbers: set[int] = set()
        self.finished: bool = False
        self.stats: ExportStats = ExportStats()

    @classmethod
    async def open(cls, target: Path, *, base_url: str, account: str, per_page: int, resume: bool) -> Self:
        """Open the journal beside ``target``, or create one.

        Args:
            target: The path of the finished export.
            base_url: The service.
            account: The account whose list it is.
            per_page: Customers a page.
            resume: Keep the pages that an earlier run left; False deletes them.

        Raises:
            ExportError: Another export is running, or the journal is of another service, account, page size or version.
            OSError: The file cannot be created.
        """
        journal = cls(journal_path(target), target)
        try:
            identity = {"base_url": base_url, "account": account, "per_page": f"{per_page}"}
            await journal.run_in_thread(journal._open, identity, resume)
        except BaseException:
            await journal.close()
            raise
        return journal

    async def run_in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Run a function in the journal's thread, after the functions passed before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(function, *arguments))

    async def put(self, number: int, response: Response, stats: ExportStats) -> None:
        """Store a page and the figures so far; both are on the disk when this returns."""
        self.stats = stats
        headers = {name: value for name in _HEADERS if (value := response.headers.get(name)) is not None}
        written = asyncio.get_running_loop().create_future()
        self._pending.append(((number, time.time(), json.dumps(headers), response.body), written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_pending())
        await written

    async def get(self, number: int) -> Response:
        """Return a stored page."""
        return await self.run_in_thread(self._select, number)

    async def delete(self, number: int, stats: ExportStats) -> None:
        """Delete a page, so that it is fetched again, and store the figures so far."""
        self.stats = stats
        self.numbers.discard(number)
        deletion = ("DELETE FROM pages WHERE number = ?", (number,))
        await self.run_in_thread(self._execute, [deletion, self._insert_stats()])

    async def clear(self) -> None:
        """Delete all pages, so that the list is read again."""
        self.numbers.clear()
        self.finished = False
        await self.run_in_thread(self._execute, [("DELETE FROM pages", ()), (_INSERT_FACT, ("finished", "no"))])

    async def mark_finished(self) -> None:
        """Store that the list was read to its end, with a verdict other than COMPLETE."""
        self.finished = True
        await self.run_in_thread(self._execute, [(_INSERT_FACT, ("finished", "yes"))])

    async def close(self, last: Callable[[], None] | None = None) -> None:
        """Close the file, even if this is cancelled. The pages stay.

        Args:
            last: Called in the thread before the file is closed.
        """
        try:
            if self._writing is not None:
                await self._writing
        finally:
            closing_file = asyncio.get_running_loop().run_in_executor(self._thread, self._close, last)
            self._thread.shutdown(wait=False)
            await asyncio.shield(closing_file)
            self._thread.shutdown()

    async def discard(self) -> None:
        """Remove the file, which is no longer needed."""
        await self.run_in_thread(self._remove)

    def read_pages(self, numbers: Iterable[int]) -> Iterator[tuple[int, Response]]:
        """Yield the pages of these numbers; for use in the journal's thread."""
        for number in numbers:
            yield number, self._select(number)

    def find_fetch_times(self) -> tuple[float, float]:
        """Return when the oldest and the newest page were received, Unix seconds; for use in the journal's thread."""
        with translate_sqlite_errors(self._path):
            first, last = self._database.execute("SELECT min(fetched_at), max(fetched_at) FROM pages").fetchone()
        return first, last

    async def _write_pending(self) -> None:
        """Write until no page is pending; each transaction holds the pages that arrived during the one before."""
        while self._pending:
            batch, self._pending = self._pending, []
            rows = [row for row, _ in batch]
            failure: Exception | None = None
            try:
                await self.run_in_thread(self._execute, [*((_INSERT_PAGE, row) for row in rows), self._insert_stats()])
                self.numbers.update(row[0] for row in rows)
            except Exception as error:  # raised in the tasks that wait
                failure = error
            for _, written in batch:
                if not written.done():
                    written.set_result(None) if failure is None else written.set_exception(failure)
        self._writing = None

    def _insert_stats(self) -> _Statement:
        return _INSERT_FACT, ("stats", json.dumps(attrs.asdict(self.stats)))

    # In the journal's thread.

    def _open(self, identity: dict[str, str], resume: bool) -> None:
        self._create_file()
        inode = self._path.stat().st_ino
        with translate_sqlite_errors(self._path):
            database = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
            self._database = self._open_files.enter_context(closing(database))
            try:
                self._lock(inode)
            except sqlite3.DatabaseError as error:
                raise self._translate_lock_error(error) from None
            self._prepare(identity, resume)
            self.numbers = {number for (number,) in self._database.execute("SELECT number FROM pages")}
            facts = dict(self._database.execute("SELECT * FROM facts"))
        self.finished = facts.get("finished") == "yes"
        self.stats = ExportStats(**json.loads(facts.get("stats", "{}")))

    def _create_file(self) -> None:
        target = self._target
        if target.exists() and not target.is_file():
            raise FileExistsError(errno.EEXIST, "exists and is not a file", str(target))
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:  # opened by SQLite only: closing another handle would release its lock
            return
        except OSError as error:
            error.filename = str(target)  # the path that the user named
            raise

    def _lock(self, inode: int) -> None:
        """Lock the file for as long as it is open, if it is a journal or new."""
        database = self._database
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application_id,) = database.execute("PRAGMA application_id").fetchone()
        database.execute("COMMIT")
        if tables and application_id != _APPLICATION_ID:
            raise self._foreign_file_error()
        database.execute(f"PRAGMA page_size = {_BLOCK_SIZE}")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        try:
            same = self._path.stat().st_ino == inode
        except FileNotFoundError:
            same = False
        if not same:  # the other export has just ended and removed the file
            raise self._in_use_error()

    def _translate_lock_error(self, error: sqlite3.DatabaseError) -> Exception:
        match error.sqlite_errorcode & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return self._in_use_error()
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                return self._foreign_file_error()
        return error

    def _in_use_error(self) -> ExportError:
        return ExportError(f"another export to {self._target} is running")

    def _foreign_file_error(self) -> ExportError:
        return ExportError(f"{self._path} is not an export's journal: move it away")

    def _prepare(self, identity: dict[str, str], resume: bool) -> None:
        """Check that the journal is of this export, or make it one."""
        database = self._database
        (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if tables and resume:
            self._check_identity(identity, version)
            return
        script = "".join(f"DROP TABLE {name};" for (name,) in database.execute("SELECT name FROM sqlite_schema"))
        script += f"{_SCHEMA} PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {_VERSION};"
        database.executescript(f"BEGIN; {script}")
        database.executemany(_INSERT_FACT, identity.items())
        database.execute("COMMIT")

    def _check_identity(self, identity: dict[str, str], version: int) -> None:
        if version != _VERSION:
            other = f"an export of another version ({version}, not {_VERSION})"
        else:
            facts = dict(self._database.execute("SELECT * FROM facts"))
            if facts.items() >= identity.items():
                return
            other = f"an export from {facts['base_url']} with {facts['per_page']} customers a page"
            if {**facts, "account": identity["account"]}.items() >= identity.items():
                other = "an export for another account"
        raise ExportError(f"{self._path} was left by {other}; resume=False (--restart) discards it")

    def _select(self, number: int) -> Response:
        with translate_sqlite_errors(self._path):
            headers, body = self._database.execute(
                "SELECT headers, body FROM pages WHERE number = ?", (number,)
            ).fetchone()
        return Response(200, json.loads(headers), body)

    def _execute(self, statements: Iterable[_Statement]) -> None:
        """Execute statements in one transaction."""
        database = self._database
        with translate_sqlite_errors(self._path):
            database.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    database.execute(statement, values)
                database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled it back already
                    database.execute("ROLLBACK")
                raise

    def _close(self, last: Callable[[], None] | None) -> None:
        with self._open_files:
            if last is not None:
                last()

    def _remove(self) -> None:
        """Remove the file while it is locked, so that no other export is using it."""
        if os.name == "nt":
            self._database.close()  # Windows does not remove open files
        remove_journal(self._target)


def journal_path(target: Path) -> Path:
    """Return the path of an export's journal."""
    return target.with_name(f"{target.name}.journal")


def remove_journal(target: Path) -> None:
    """Remove the journal beside ``target``, if there is one."""
    path = journal_path(target)
    for name in (f"{path.name}-wal", path.name):  # the file last: once it is gone, another export may create its own
        path.with_name(name).unlink(missing_ok=True)
