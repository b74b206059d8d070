"""The journal beside an export: every page as it came, so that nothing is fetched twice.

An SQLite file of mode 0600. One thread owns it; what many pages have to say while it writes goes into the next
transaction together, so writing does not slow the walk. SQLite's own lock on the file, which ends with the process
however that ends, keeps a second export away.
"""

import asyncio
import errno
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs

from customers_async.calls.responses import Response
from customers_async.errors import ExportError

__all__ = ["Cost", "Journal", "journal_path", "remove_journal", "sqlite_errors"]

Result = TypeVar("Result")

_VERSION = 1
_BLOCK = 32768
"""SQLite's page size: a body is larger than that, and small blocks would take twice the time."""
_APPLICATION = 0x43757374  # "Cust", by which SQLite files are told apart
_HEADERS = (
    "X-Api-Total",
    "X-Api-Per-Page",
    "X-Api-Has-More-Pages",
    "X-Api-Current-Page",
    "X-Api-Page",
    "Content-Type",
)
"""All that matters of an answer besides its body."""
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pages (number INTEGER PRIMARY KEY, fetched_at REAL NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL);
"""
_INSERT = "INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?)"
_NOTE = "INSERT OR REPLACE INTO facts VALUES (?, ?)"


@attrs.define
class Cost:
    """What an export has cost so far, over all its runs.

    Attributes:
        requests: Requests sent.
        retries: Those among them that repeated a failed one.
        answers_429: Answers that the quota was spent.
        seconds: Time at work.
    """

    requests: int = 0
    retries: int = 0
    answers_429: int = 0
    seconds: float = 0.0


class Journal:
    """What came of the present walk. Made by `open`; its methods are used in one event loop.

    Args:
        path: The journal's own path.
        target: The file that the export is to make, for messages.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self._path = path
        self._target = target
        self._thread = ThreadPoolExecutor(1, "customers-export")
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._database: sqlite3.Connection
        self.numbers: set[int] = set()
        self.concluded: bool = False
        self.cost: Cost = Cost()

    @classmethod
    async def open(cls, target: Path, *, base_url: str, account: str, per_page: int, resume: bool) -> Self:
        """Open the journal beside ``target``, or begin one.

        Args:
            target: The file that the export is to make.
            base_url: The service whose pages these are.
            account: Whose list it is.
            per_page: Customers a page.
            resume: Keep what an earlier run left; else discard it.

        Raises:
            ExportError: Another export is at work, or the journal is of another service, account, page size or version.
            OSError: The file cannot be made.
        """
        journal = cls(journal_path(target), target)
        try:
            identity = {"base_url": base_url, "account": account, "per_page": f"{per_page}"}
            await journal.in_thread(journal._open, identity, resume)
        except BaseException:
            await journal.close()
            raise
        return journal

    async def in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Run a function in the journal's thread, after all that was asked of it before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(function, *arguments))

    async def put(self, number: int, answer: Response, cost: Cost) -> None:
        """Keep a page, and what the export has cost until now; both are on the disk when this returns."""
        self.cost = cost
        headers = {name: value for name in _HEADERS if (value := answer.headers.get(name)) is not None}
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(((number, time.time(), json.dumps(headers), answer.body), written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_waiting())
        await written

    async def get(self, number: int) -> Response:
        """A page that was kept."""
        return await self.in_thread(self._select, number)

    async def forget(self, number: int, cost: Cost) -> None:
        """Drop a page that cannot be used, so that it is asked for again, and keep what asking has cost until now."""
        self.cost = cost
        self.numbers.discard(number)
        await self.in_thread(self._change, [("DELETE FROM pages WHERE number = ?", (number,)), self._cost_note()])

    async def begin_walk(self) -> None:
        """Drop all pages: the list is walked again."""
        self.numbers.clear()
        self.concluded = False
        await self.in_thread(self._change, [("DELETE FROM pages", ()), (_NOTE, ("concluded", "no"))])

    async def conclude(self) -> None:
        """Note that these pages are a whole walk, though one that did not see the whole list."""
        self.concluded = True
        await self.in_thread(self._change, [(_NOTE, ("concluded", "yes"))])

    async def close(self, last: Callable[[], None] | None = None) -> None:
        """Let go of the file, even where this is cancelled. What was kept stays.

        Args:
            last: Called in the thread before that.
        """
        try:
            if self._writing is not None:
                await self._writing
        finally:
            closing = asyncio.get_running_loop().run_in_executor(self._thread, self._close, last)
            self._thread.shutdown(wait=False)
            await asyncio.shield(closing)
            self._thread.shutdown()

    async def discard(self) -> None:
        """Remove the file: its work is done."""
        await self.in_thread(self._remove)

    def pages(self, numbers: Iterable[int]) -> Iterator[tuple[int, Response]]:
        """The pages of these numbers, one by one; for use in the journal's thread."""
        for number in numbers:
            yield number, self._select(number)

    def fetched_between(self) -> tuple[float, float]:
        """When the first and the last page came, in Unix seconds; for use in the journal's thread."""
        with sqlite_errors(self._path):
            first, last = self._database.execute("SELECT min(fetched_at), max(fetched_at) FROM pages").fetchone()
        return first, last

    async def _write_waiting(self) -> None:
        """Write until nobody waits: one transaction for all that came while the one before was written."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            rows = [row for row, _ in batch]
            failure: Exception | None = None
            try:
                await self.in_thread(self._change, [*((_INSERT, row) for row in rows), self._cost_note()])
                self.numbers.update(row[0] for row in rows)
            except Exception as error:  # it is for those who wait
                failure = error
            for _, written in batch:
                if not written.done():
                    written.set_result(None) if failure is None else written.set_exception(failure)
        self._writing = None

    def _cost_note(self) -> tuple[str, tuple[str, str]]:
        return _NOTE, ("cost", json.dumps(attrs.asdict(self.cost)))

    # In the journal's thread.

    def _open(self, identity: dict[str, str], resume: bool) -> None:
        self._make_file()
        inode = self._path.stat().st_ino
        with sqlite_errors(self._path):
            self._database = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                self._lock(inode)
            except sqlite3.DatabaseError as error:
                raise self._refusal(error) from None
            self._identify(identity, resume)
            self.numbers = {number for (number,) in self._database.execute("SELECT number FROM pages")}
            facts = dict(self._database.execute("SELECT * FROM facts"))
        self.concluded = facts.get("concluded") == "yes"
        self.cost = Cost(**json.loads(facts.get("cost", "{}")))

    def _make_file(self) -> None:
        target = self._target
        if target.exists() and not target.is_file():
            raise FileExistsError(errno.EEXIST, "it is there, and no file", str(target))
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:  # and must not be opened but by SQLite, whose lock that might undo
            return
        except OSError as error:
            error.filename = str(target)  # which the user knows
            raise

    def _lock(self, inode: int) -> None:
        """Take the file for as long as it is open, if it is a journal or new."""
        database = self._database
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = database.execute("PRAGMA application_id").fetchone()
        database.execute("COMMIT")
        if tables and application != _APPLICATION:
            raise ExportError(f"{self._path} is not an export's journal: move it away")
        database.execute(f"PRAGMA page_size = {_BLOCK}")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        try:
            same = self._path.stat().st_ino == inode
        except FileNotFoundError:
            same = False
        if not same:  # the other export ended at this very moment, and took the file along
            raise self._in_use()

    def _refusal(self, error: sqlite3.DatabaseError) -> Exception:
        match error.sqlite_errorcode & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return self._in_use()
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                return ExportError(f"{self._path} is not an export's journal: move it away")
        return error

    def _in_use(self) -> ExportError:
        return ExportError(f"another export to {self._target} is at work")

    def _identify(self, identity: dict[str, str], resume: bool) -> None:
        """Make sure that the journal is of this export, or begin one."""
        database = self._database
        (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if tables and resume:
            self._compare(identity, version)
            return
        script = "".join(f"DROP TABLE {name};" for (name,) in database.execute("SELECT name FROM sqlite_schema"))
        script += f"{_SCHEMA} PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION};"
        database.executescript(f"BEGIN; {script}")
        database.executemany(_NOTE, identity.items())
        database.execute("COMMIT")

    def _compare(self, identity: dict[str, str], version: int) -> None:
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
        with sqlite_errors(self._path):
            headers, body = self._database.execute(
                "SELECT headers, body FROM pages WHERE number = ?", (number,)
            ).fetchone()
        return Response(200, json.loads(headers), body)

    def _change(self, statements: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        database = self._database
        with sqlite_errors(self._path):
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
        try:
            if last is not None:
                last()
        finally:
            if hasattr(self, "_database"):
                self._database.close()

    def _remove(self) -> None:
        """While the file is locked, so that no other export has taken it over."""
        if os.name == "nt":
            self._database.close()  # there an open file cannot be removed
        remove_journal(self._target)


def journal_path(target: Path) -> Path:
    """Where the journal of an export is."""
    return target.with_name(f"{target.name}.journal")


def remove_journal(target: Path) -> None:
    """Remove the journal beside ``target``, if there is one."""
    path = journal_path(target)
    for name in (f"{path.name}-wal", path.name):  # in this order: with the file gone, another export may begin its own
        path.with_name(name).unlink(missing_ok=True)


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Raise what SQLite says of the disk as the OSError that it is, and of damage as an ExportError."""
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
