"""Faults of an export's files: damaged, forged and old journals, targets that cannot be written, foreign code."""

import asyncio
import codecs
import contextlib
import errno
import io
import json
import os
import random
import shutil
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
import rich
from aiohttp.web import StreamResponse
from rich.console import Console
from rich.pretty import Pretty
from rich.traceback import Traceback

from customers_async import (
    AuthenticationError,
    CustomersClient,
    CustomersError,
    ExportError,
    RecordError,
    ServerError,
    Verdict,
    customer_from_dict,
    customer_to_dict,
)
from customers_async.emulator import Emulator, Exchange
from customers_async.export import (
    ExportProgress,
    ExportReport,
    diff,
    diff_exports,
    export_customers,
    output,
    verify_export,
)
from customers_async.export.formats import FORMATS, arrow_tables, csv, jsonl, sqlite
from customers_async.export.journal_file import JournalFile, insert_page, journal_path
from customers_async.export.manifest import compute_sha256
from customers_async.export.records import RejectedRecord
from tests.faults.canary import Canary

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")


async def interrupt(client: CustomersClient, path: Path) -> Path:
    """Leave a journal of the first two pages; return its path."""

    def stop(progress: ExportProgress) -> None:
        if progress.pages == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await export_customers(client.with_options(concurrency=1), path, progress=stop)
    change(journal_path(path), "DELETE FROM pages WHERE number > 2")
    return journal_path(path)


def change(journal: Path, *statements: str) -> None:
    """Execute SQL on a journal."""
    with contextlib.closing(sqlite3.connect(journal, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def names(path: Path) -> set[str]:
    """The names in a directory."""
    return {entry.name for entry in path.iterdir()}


# A damaged or foreign journal


def flip_bits(data: bytearray, chance: random.Random) -> None:
    """Flip one to three bits."""
    for _ in range(chance.randint(1, 3)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def cut(data: bytearray, chance: random.Random) -> None:
    """Drop the end."""
    del data[chance.randrange(len(data)) :]


def overwrite(data: bytearray, chance: random.Random) -> None:
    """Overwrite a stretch with noise."""
    start, length = chance.randrange(len(data)), chance.choice((1, 16, 500, 40_000))
    data[start : start + length] = chance.randbytes(min(length, len(data) - start))


@pytest.mark.parametrize("damage", [flip_bits, cut, overwrite])
async def test_fault_57_damaged_journal_never_changes_the_export(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, damage: Callable[[bytearray, random.Random], None]
) -> None:
    """The result equals that of an undisturbed export, or it is an error of the documented kinds."""
    path, clean = tmp_path / "customers.jsonl", tmp_path / "clean.jsonl"
    await export_customers(client, clean)
    journal = await interrupt(client, path)
    whole, chance = journal.read_bytes(), random.Random(60)
    outcomes = {True: 0, False: 0}
    for _ in range(40):
        data = bytearray(whole)
        damage(data, chance)
        journal.write_bytes(data)
        journal.chmod(0o600)
        try:
            report = await export_customers(client, path)
        except (ExportError, OSError) as error:
            assert "sqlite3" not in repr(error)
            outcomes[False] += 1
        else:
            assert report.completeness.verdict is Verdict.COMPLETE
            assert path.read_bytes() == clean.read_bytes()
            outcomes[True] += 1
            path.unlink()
        for left in (journal, Path(f"{journal}-wal")):
            left.unlink(missing_ok=True)
    assert outcomes[True] > 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pages SET body = replace(body, 'John', 'Jane') WHERE number = 1",
        "UPDATE pages SET body = CAST('[]' AS BLOB) WHERE number = 2",
        "UPDATE pages SET body = 17, headers = 5",
        'UPDATE pages SET headers = \'{"X-Api-Total": "250"}\' WHERE number = 1',
        "UPDATE pages SET headers = 'no JSON'",
        "UPDATE pages SET fetched_at = fetched_at - 1 WHERE number = 2",
        "UPDATE pages SET fetched_at = 'yesterday'",
        "UPDATE pages SET fetched_at = 9e999",
        "UPDATE pages SET number = 9223372036854775807 WHERE number = 2",
        "UPDATE pages SET number = -1 WHERE number = 1",
        "UPDATE pages SET number = 3 WHERE number = 2",
        "UPDATE pages SET digest = 0",
        "UPDATE facts SET value = 'no JSON' WHERE name = 'stats'",
        "UPDATE facts SET value = x'ff' WHERE name = 'stats'",
        "UPDATE facts SET value = '[1]' WHERE name = 'stats'",
        "INSERT INTO facts VALUES ('ended_incomplete', 'yes', x'00')",
        "UPDATE facts SET value = 'https://example.com' WHERE name = 'base_url'",
        "DELETE FROM facts",
        "DROP TABLE facts",
        "DROP TABLE pages",
        "CREATE TRIGGER forged AFTER INSERT ON pages BEGIN DELETE FROM facts; END",
        'CREATE VIEW "x; DELETE FROM pages" AS SELECT 1',
        "PRAGMA user_version = 1",
    ],
)
async def test_fault_57_changed_journal_never_changes_the_export(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, statement: str
) -> None:
    """A page or a fact without its digest counts as missing; other contents are an ExportError."""
    path, clean = tmp_path / "customers.jsonl", tmp_path / "clean.jsonl"
    await export_customers(client, clean)
    journal = await interrupt(client, path)
    change(journal, statement)
    with contextlib.suppress(ExportError):
        await export_customers(client, path)
        assert path.read_bytes() == clean.read_bytes()
    if not path.exists():
        report = await export_customers(client, path, resume=False)
        assert (report.rows, report.pages_resumed) == (250, 0)


async def test_fault_57_names_in_the_file_are_not_executed(client: CustomersClient, tmp_path: Path) -> None:
    """resume=False discards a journal without executing a forged table name."""
    path = tmp_path / "customers.jsonl"
    journal, kept = await interrupt(client, path), tmp_path / "attached"
    change(journal, f"CREATE TABLE \"facts; ATTACH '{kept}' AS x; CREATE TABLE x.y(z); --\" (a)")
    assert (await export_customers(client, path, resume=False)).rows == 250
    assert not kept.exists()


async def test_fault_57_damaged_page_is_fetched_again(
    emulator: Emulator, client: CustomersClient, tmp_path: Path
) -> None:
    """The report counts the other page only, which is read again because others follow after the pause."""
    path = tmp_path / "customers.jsonl"
    change(await interrupt(client, path), "UPDATE pages SET body = CAST('[]' AS BLOB) WHERE number = 2")
    before = emulator.stats.requests
    report = await export_customers(client, path)
    assert (report.rows, report.pages_resumed, emulator.stats.requests - before) == (250, 1, 2 + 1)


@pytest.mark.parametrize("kind", ["symlink", "hard link", "mode", "group", "directory", "fifo", "wal", "dangling"])
@pytest.mark.parametrize("resume", [True, False])
async def test_fault_57_journal_that_others_may_have_made_is_refused(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, kind: str, resume: bool
) -> None:
    """Nothing is sent, and the file behind it is not changed."""
    path, other = tmp_path / "customers.jsonl", tmp_path / "other"
    journal = await interrupt(client, path)
    shutil.copy(journal, other)
    requests, before = emulator.stats.requests, other.read_bytes()
    if kind == "mode":
        journal.chmod(0o604)
    elif kind == "group":
        journal.chmod(0o620)
    elif kind == "wal":
        Path(f"{journal}-wal").unlink(missing_ok=True)
        Path(f"{journal}-wal").symlink_to(other)
    else:
        journal.unlink()
        make: dict[str, Callable[[], None]] = {
            "symlink": lambda: journal.symlink_to(other),
            "dangling": lambda: journal.symlink_to(tmp_path / "missing"),
            "hard link": lambda: journal.hardlink_to(other),
            "directory": journal.mkdir,
            "fifo": lambda: os.mkfifo(journal, 0o600),
        }
        make[kind]()
    with pytest.raises(ExportError, match="is not a journal: move it away"):
        await export_customers(client, path, resume=resume)
    assert emulator.stats.requests == requests
    assert other.read_bytes() == before
    assert not (tmp_path / "missing").exists()


async def test_fault_57_journal_of_another_user_is_refused(
    client: CustomersClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Except one that was just created, since some file systems map users."""
    path = tmp_path / "customers.jsonl"
    await interrupt(client, path)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(ExportError, match="is not a journal: move it away"):
        await export_customers(client, path)
    assert (await export_customers(client, tmp_path / "other.jsonl")).rows == 250


# A journal that blocks


async def test_fault_58_export_that_ends_before_its_first_page_leaves_nothing(
    emulator: Emulator, client: CustomersClient, tmp_path: Path
) -> None:
    """Another account exports to the same name afterwards."""
    path = tmp_path / "customers.jsonl"
    emulator.fail_next(401, times=None)
    with pytest.raises(AuthenticationError):
        await export_customers(client, path)
    assert names(tmp_path) == set()
    emulator.recover()
    async with Emulator(customers=120) as other, CustomersClient(other.token, base_url=other.url) as elsewhere:
        assert (await export_customers(elsewhere, path)).rows == 120


@pytest.mark.parametrize("version", [1, 2])
async def test_fault_58_journal_without_pages_blocks_no_export(
    client: CustomersClient, tmp_path: Path, version: int
) -> None:
    """Such as one left by a killed process, of any version, service and account."""
    path = tmp_path / "customers.jsonl"
    journal = await interrupt(client, path)
    change(journal, "DELETE FROM pages", f"PRAGMA user_version = {version}")
    async with Emulator(customers=120) as other, CustomersClient(other.token, base_url=other.url) as elsewhere:
        assert (await export_customers(elsewhere, path)).rows == 120
    assert not journal.exists()


async def test_fault_58_refused_export_keeps_the_journal_of_another(client: CustomersClient, tmp_path: Path) -> None:
    """An export removes its own journal only."""
    path = tmp_path / "customers.jsonl"
    journal = await interrupt(client, path)
    async with Emulator(customers=120) as other, CustomersClient(other.token, base_url=other.url) as elsewhere:
        with pytest.raises(ExportError, match="left by an earlier export from"):
            await export_customers(elsewhere, path)
    assert journal.exists()
    assert (await export_customers(client, path)).pages_resumed == 2


# Old pages


def travel(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Move the clock by which pages age."""
    moved = time.time() + seconds
    monkeypatch.setattr("customers_async.export.journal_file.time.time", lambda: moved)


async def test_fault_59_old_pages_are_fetched_again(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tonight's file shows tonight's list, and its requests."""
    path = tmp_path / "customers.jsonl"
    await interrupt(client, path)
    emulator.touch(0, name="Kan4ri tonight")
    travel(monkeypatch, 3700)
    report = await export_customers(client, path)
    assert (report.pages_resumed, report.resumed_from, report.requests) == (0, None, 3)
    assert json.loads(path.read_bytes().split(b"\n")[0])["name"] == "Kan4ri tonight"


@pytest.mark.parametrize(
    ("age", "resume", "kept"),
    [
        (3500, timedelta(hours=1), 2),
        (3700, timedelta(hours=1), 0),
        (3700, timedelta(hours=2), 2),
        (10**7, True, 2),
        (0, False, 0),
        (5, timedelta(), 0),
        (10**8, timedelta.max, 2),
        (-7200, timedelta(hours=1), 0),
        (-7200, True, 2),
    ],
)
async def test_fault_59_resume_limits_the_age_of_pages(
    client: CustomersClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    age: float,
    resume: timedelta | bool,
    kept: int,
) -> None:
    """True keeps every page, False none; a page from the future is of unknown age."""
    path = tmp_path / "customers.jsonl"
    started = datetime.now(UTC)
    await interrupt(client, path)
    travel(monkeypatch, age)
    report = await export_customers(client, path, resume=resume)
    assert report.pages_resumed == kept
    assert report.rows == 250
    if kept:
        assert report.resumed_from is not None
        assert started - timedelta(seconds=1) <= report.resumed_from <= datetime.now(UTC)
    else:
        assert report.resumed_from is None
    assert ExportReport.read(path) == ExportReport.from_dict(report.as_dict())


@pytest.mark.parametrize(("page", "kept"), [(1, 0), (2, 1)])
async def test_fault_59_nothing_is_used_if_the_first_page_is_old(
    client: CustomersClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int, kept: int
) -> None:
    """The total was read with the first page."""
    path = tmp_path / "customers.jsonl"
    file = JournalFile(await interrupt(client, path), path)
    file.open({}, resume=True)
    stored = file.select(page)
    assert stored is not None
    with monkeypatch.context() as patch:
        travel(patch, -3700)
        file.write([insert_page(page, stored)])
    file.close()
    assert (await export_customers(client, path)).pages_resumed == kept


async def test_fault_59_resuming_is_logged(
    client: CustomersClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At INFO, with the number of pages and the time of the oldest."""
    caplog.set_level("INFO", "customers_async")
    path = tmp_path / "customers.jsonl"
    await interrupt(client, path)
    seen: list[ExportProgress] = []
    report = await export_customers(client, path, progress=seen.append)
    assert report.resumed_from is not None
    assert (
        f"Pages of an earlier run that are used: 2, the oldest from {report.resumed_from:%Y-%m-%d %H:%M:%S}"
        in caplog.text
    )
    assert (seen[0].resumed, seen[0].resumed_from) == (2, report.resumed_from)


@pytest.mark.parametrize(
    ("resume", "error"),
    [(timedelta(seconds=-1), ValueError), (1, TypeError), (3600.0, TypeError), ("1h", TypeError), (None, TypeError)],
    ids=str,
)
async def test_fault_59_other_values_of_resume_are_refused(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, resume: Any, error: type[Exception]
) -> None:
    """Before anything is sent."""
    with pytest.raises(error, match="resume"):
        await export_customers(client, tmp_path / "c.jsonl", resume=resume)
    assert (emulator.stats.requests, names(tmp_path)) == (0, set())


# Checked before the first request


async def async_progress(_: ExportProgress) -> None:
    """Not a plain function."""


class AsyncProgress:
    """Neither is a call of this."""

    async def __call__(self, _: ExportProgress) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("caf\udce9.jsonl", ValueError),
        ("nul\0.jsonl", ValueError),
        ("a" * 249 + ".jsonl", OSError),
        ("a" * 235 + ".jsonl", OSError),
        ("a" * 300 + ".jsonl", OSError),
        ("é" * 120 + ".jsonl", OSError),
        ("missing/c.jsonl", OSError),
        ("file/c.jsonl", OSError),
        ("directory.jsonl", OSError),
        ("fifo.jsonl", OSError),
        ("to_directory.jsonl", OSError),
        ("to_fifo.jsonl", OSError),
        ("loop.jsonl", OSError),
        ("to_missing.jsonl", OSError),
        ("/dev/full", OSError),
        ("/dev/null", OSError),
        ("/dev/stdout", OSError),
        ("/dev/fd/1", OSError),
        ("/proc/self/fd/1", OSError),
        ("to_full.jsonl", OSError),
        ("/proc/c.jsonl", OSError),
    ],
    ids=lambda value: ascii(value)[:30],
)
async def test_fault_60_target_that_cannot_be_written_is_refused_before_any_request(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, target: str, error: type[Exception]
) -> None:
    """Nothing is sent, and nothing is left."""
    (tmp_path / "file").write_text("")
    (tmp_path / "directory.jsonl").mkdir()
    os.mkfifo(tmp_path / "fifo.jsonl")
    links = {"to_directory": "directory.jsonl", "to_fifo": "fifo.jsonl", "loop": "loop.jsonl"}
    for name, aim in {**links, "to_missing": "missing/c.jsonl", "to_full": "/dev/full"}.items():
        (tmp_path / f"{name}.jsonl").symlink_to(aim)
    before = names(tmp_path)
    with pytest.raises(error) as failure:
        await export_customers(client, tmp_path / target, format="jsonl")
    if isinstance(failure.value, OSError):
        assert failure.value.filename == f"{tmp_path / target}"
    assert (emulator.stats.requests, names(tmp_path)) == (0, before)


@pytest.mark.parametrize(
    "progress",
    [async_progress, AsyncProgress(), partial(async_progress), 5, "print"],
    ids=lambda value: type(value).__name__,
)
async def test_fault_60_progress_that_is_no_plain_function_is_refused(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, progress: Any
) -> None:
    """Before anything is sent."""
    with pytest.raises(TypeError, match="progress must be a plain function"):
        await export_customers(client, tmp_path / "c.jsonl", progress=progress)
    assert (emulator.stats.requests, names(tmp_path)) == (0, set())


async def test_fault_60_longest_name_that_fits_is_exported(client: CustomersClient, tmp_path: Path) -> None:
    """All names that the export makes exist in the end."""
    path = tmp_path / ("a" * 231 + ".jsonl")
    assert (await export_customers(client, path)).rows == 250
    assert verify_export(path) == {}


@pytest.mark.parametrize("format_", FORMATS)
async def test_fault_60_stdout_of_text_takes_text(
    emulator: Emulator, client: CustomersClient, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    """As in a notebook; other formats are refused at once."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        if format_ in ("jsonl", "csv"):
            await export_customers(client, "-", format=format_)
            assert stdout.getvalue().count("\n") >= 250
        else:
            with pytest.raises(ValueError, match="stdout takes text only here"):
                await export_customers(client, "-", format=format_)
            assert emulator.stats.requests == 0
    stdout.close()
    with contextlib.redirect_stdout(stdout), pytest.raises(OSError, match="stdout is closed"):
        await export_customers(client, "-")
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OSError, match="stdout is closed"):
        await export_customers(client, "-")


class Writer:
    """An object with some of a stream's methods."""

    def __init__(self, **methods: Any) -> None:
        vars(self).update(methods)


def detached() -> io.TextIOWrapper:
    stream = io.TextIOWrapper(io.BytesIO())
    stream.detach()
    return stream


def fails(_: object) -> None:
    raise RuntimeError("Kan4ri")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


def opened_for_reading(mode: str) -> Any:
    """With mode "w", as in a shell's ``1</dev/null``."""
    return os.fdopen(os.open(os.devnull, os.O_RDONLY), mode)


UNUSABLE: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "a stream of bytes": (io.BytesIO, OSError),
    "closed": (closed, OSError),
    "detached": (detached, OSError),
    "opened for reading": (partial(opened_for_reading, "w"), OSError),
    "a reader": (partial(opened_for_reading, "r"), OSError),
    "a reader as the buffer": (lambda: Writer(buffer=opened_for_reading("rb")), OSError),
    "no flush": (lambda: Writer(write=len), OSError),
    "no write": (lambda: Writer(flush=lambda: None), OSError),
    "a write that fails": (lambda: Writer(write=fails, flush=lambda: None), OSError),
    "a writer of Latin-1": (lambda: codecs.getwriter("latin-1")(io.BytesIO()), ValueError),
    "a writer of ASCII that ignores errors": (lambda: codecs.getwriter("ascii")(io.BytesIO(), "ignore"), ValueError),
    "an encoding": (lambda: Writer(write=len, flush=lambda: None, encoding="cp1252"), ValueError),
}


@pytest.mark.parametrize(("make", "kind"), UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_fault_60_stdout_that_cannot_be_written_to_is_refused(
    emulator: Emulator, client: CustomersClient, make: Callable[[], Any], kind: type[Exception]
) -> None:
    """Before the first request: otherwise the list would be read in vain."""
    stream = make()
    with contextlib.redirect_stdout(stream), pytest.raises(kind, match="stdout"):
        await export_customers(client, "-")
    assert emulator.stats.requests == 0
    with contextlib.suppress(ValueError, AttributeError):
        getattr(stream, "buffer", stream).close()


class Unreliable(io.RawIOBase):
    """Writes a part of what it is given, as files do on a full disk and pipes after a signal."""

    def __init__(self) -> None:
        self.received = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data[:1000])
        self.received += part
        return len(part)


USABLE: dict[str, tuple[Callable[[], Any], Callable[[Any], str]]] = {
    "text": (io.StringIO, lambda stream: stream.getvalue()),
    "ASCII with a buffer": (
        lambda: io.TextIOWrapper(io.BytesIO(), "ascii"),
        lambda stream: stream.buffer.getvalue().decode(),
    ),
    "a writer of UTF-8": (
        lambda: codecs.getwriter("utf-8")(io.BytesIO()),
        lambda stream: stream.stream.getvalue().decode(),
    ),
    "unbuffered": (
        lambda: io.TextIOWrapper(Unreliable(), "utf-8", write_through=True),
        lambda stream: stream.buffer.received.decode(),
    ),
}


@pytest.mark.parametrize(("make", "read"), USABLE.values(), ids=USABLE.keys())
async def test_fault_60_stdout_of_any_kind_gets_all(
    client: CustomersClient, make: Callable[[], Any], read: Callable[[Any], str]
) -> None:
    """The bytes where it takes bytes, otherwise the text."""
    stream = make()
    with contextlib.redirect_stdout(stream):
        report = await export_customers(client, "-", format="csv")
    assert sha256(read(stream).encode()).hexdigest() == report.sha256


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), RuntimeError("odd"), UnicodeEncodeError("x", "Kan4ri", 0, 1, "x")]
)
async def test_fault_60_stdout_that_fails_late_shows_no_customer(
    client: CustomersClient, canary: Canary, error: Exception
) -> None:
    """Neither in the message nor in the frames, also those of its cause."""

    def write(text: str) -> None:
        try:
            assert not text
        except AssertionError as cause:
            raise error from cause

    stdout: Any = Writer(write=write, flush=lambda: None)
    with contextlib.redirect_stdout(stdout), pytest.raises((OSError, RuntimeError, ValueError)) as failure:
        await export_customers(client, "-")
    canary.scan_error(failure.value)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("c.jsonl.manifest.json", Path.mkdir),
        ("c.jsonl.rejected.jsonl", Path.mkdir),
        (".c.jsonl.data.partial", Path.mkdir),
        (".c.jsonl.rejected.partial", Path.mkdir),
        (".c.jsonl.manifest.partial", Path.mkdir),
        ("c.jsonl.manifest.json", lambda path: path.symlink_to("other")),
        ("c.jsonl.rejected.jsonl", lambda path: path.symlink_to("other")),
    ],
)
async def test_fault_60_what_is_in_the_place_of_another_file_is_refused(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    """Before the first request, and nothing is replaced."""
    make(path := tmp_path / name)
    with pytest.raises(FileExistsError) as failure:
        await export_customers(client, tmp_path / "c.jsonl")
    assert failure.value.filename == f"{path}"
    assert emulator.stats.requests == 0
    assert [*tmp_path.iterdir()] == [path]


async def test_fault_60_another_working_directory_during_the_export(
    client: CustomersClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is resolved once."""
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    report = await export_customers(client, "c.parquet", progress=lambda _: os.chdir(tmp_path / "other"))
    assert (report.path, names(tmp_path / "other")) == ("c.parquet", set())
    assert verify_export(tmp_path / "c.parquet") == {}


@pytest.mark.parametrize("exists", [True, False])
async def test_fault_60_symbolic_link_stays_and_its_file_is_replaced(
    client: CustomersClient, tmp_path: Path, exists: bool
) -> None:
    """The manifest is beside the file, and found through the link."""
    (tmp_path / "data").mkdir()
    aim, link = tmp_path / "data" / "c.jsonl", tmp_path / "link.jsonl"
    if exists:
        aim.write_text("old")
    link.symlink_to("data/c.jsonl")
    report = await export_customers(client, link)
    assert link.is_symlink()
    assert names(tmp_path / "data") == {"c.jsonl", "c.jsonl.manifest.json"}
    assert report.manifest is not None
    assert report.manifest.samefile(f"{aim}.manifest.json")
    assert verify_export(link) == verify_export(aim) == {}
    with diff_exports(link, aim) as changes:
        assert changes.unproven is None
    assert stat.S_IMODE(aim.stat().st_mode) == 0o600


@pytest.mark.parametrize("format_", ["parquet", "arrow"])
async def test_fault_60_program_without_package_metadata(
    client: CustomersClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    """A frozen program exports; the version of pyarrow is unknown."""
    monkeypatch.setattr(metadata, "version", mock.Mock(side_effect=metadata.PackageNotFoundError("pyarrow")))
    report = await export_customers(client, tmp_path / f"c.{format_}")
    assert report.versions["pyarrow"] == "unknown"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("part", ["data", "manifest"])
async def test_fault_60_full_disk_names_the_path_and_keeps_the_journal(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Even at the very end; a second run completes without a request."""
    path, create = tmp_path / "c.jsonl", output.create_file
    with monkeypatch.context() as patch:
        patch.setattr(output, "create_file", lambda path: Path("/dev/full") if part in path.name else create(path))
        with pytest.raises(OSError, match="No space left on device") as failure:
            await export_customers(client, path)
    assert (failure.value.errno, failure.value.filename) == (errno.ENOSPC, f"{path}")
    assert names(tmp_path) <= {"c.jsonl.journal", "c.jsonl.journal-wal"}
    requests = emulator.stats.requests
    assert (await export_customers(client, path)).rows == 250
    assert emulator.stats.requests == requests


# Foreign code


class Odd(BaseException):
    """Neither an Exception nor one of the package's errors."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("from progress"),
        OSError(errno.EIO, "from progress"),
        sqlite3.OperationalError("from progress"),
        ServerError("from progress", status=500),
        CustomersError("from progress"),
        asyncio.CancelledError(),
        TimeoutError(),
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
        StopAsyncIteration(),
        Odd(),
        ExceptionGroup("from progress", [ValueError()]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("stage", ["walk", "write"])
async def test_fault_61_error_from_progress_ends_the_export(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, error: BaseException, stage: str
) -> None:
    """With that exception; nothing leaks, and a second run resumes."""
    path = tmp_path / "c.jsonl"
    if stage == "write":
        emulator.touch(7, name=17)  # a rejected record makes the export write its file again
    if isinstance(error, CustomersError):
        error.next_page = 1

    def progress(seen: ExportProgress) -> None:
        if seen.stage == stage and seen.pages == 2:
            raise error

    with pytest.raises(type(error)) as failure:
        await export_customers(client.with_options(concurrency=1), path, progress=progress, on_bad_record="reject")
    assert failure.value is error
    assert names(tmp_path) <= {"c.jsonl.journal", "c.jsonl.journal-wal"}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("customers-export")]
    report = await export_customers(client, path, on_bad_record="reject")
    assert report.pages_resumed >= 2
    assert verify_export(path) == {}


async def test_fault_61_coroutine_from_progress_ends_the_export(client: CustomersClient, tmp_path: Path) -> None:
    """A lambda may return one, which only its call shows."""
    with pytest.raises(TypeError, match="it returned a coroutine"):
        await export_customers(client, tmp_path / "c.jsonl", progress=lambda seen: async_progress(seen))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error", [ValueError("from a listener"), asyncio.CancelledError(), CustomersError("x")], ids=str
)
async def test_fault_61_error_from_a_listener_does_not_end_the_export(
    client: CustomersClient, tmp_path: Path, error: BaseException
) -> None:
    """It is logged, and the figures are right."""
    listener = mock.Mock(side_effect=error)
    report = await export_customers(client.with_options(on_event=listener), tmp_path / "c.jsonl")
    assert (report.rows, report.requests) == (250, 3)
    assert listener.called


# Small and odd data


ODD_VALUES = {
    "many digits": "9" * 5000,
    "negative": "-" + "9" * 5000,
    "beyond 64 bits": "9" * 30,
    "float out of range": "1e999",
    "long float": "0." + "1" * 6000,
    "nul": '"\\u0000"',
    "emoji": '"\\ud83d\\ude00"',
    "text of digits": '"01109"',
    "nested": "[" * 50 + "]" * 50,
}


def replacing(number: int, old: bytes, new: bytes) -> Callable[[Exchange], Awaitable[StreamResponse]]:
    """A fault that changes a page's body."""

    async def fault(exchange: Exchange) -> StreamResponse:
        response = await exchange.answer()
        assert isinstance(response.body, bytes)
        response.body = response.body.replace(old, new, number)
        return response

    return fault


@pytest.mark.parametrize(
    ("value", "format_"),
    [*((value, "jsonl") for value in ODD_VALUES.values()), *((ODD_VALUES["many digits"], name) for name in FORMATS)],
    ids=lambda value: value[:12],
)
async def test_fault_64_what_is_written_is_read(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, value: str, format_: str
) -> None:
    """Odd values in a field that the model does not know do not spoil verify and diff."""
    emulator.fail_next(replacing(1, b'{"uuid"', f'{{"odd":{value},"uuid"'.encode()), page=1, times=None)
    old, new = tmp_path / f"old.{format_}", tmp_path / "new.jsonl"
    await export_customers(client, old)
    await export_customers(client, new)
    assert verify_export(old) == verify_export(new) == {}
    with diff_exports(old, new) as changes:
        assert [*changes.added(), *changes.not_seen(), *changes.changed()] == []


@pytest.mark.parametrize("fields", [None, ["uuid", "name"]], ids=["all", "two"])
@pytest.mark.parametrize(
    ("half", "format_"),
    [
        *((b'"\\ud83d"', name) for name in FORMATS),
        (b'"\\ude00 x"', "jsonl"),
        (b'{"a": ["\\uD83D"]}', "csv"),
        (b'{"\\ud83d": 1}', "jsonl"),
    ],
    ids=str,
)
async def test_fault_64_half_a_surrogate_pair_is_rejected_alone(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, format_: str, fields: list[str] | None, half: bytes
) -> None:
    """The other records are written, and the bytes of the bad one go to the file of rejected records."""
    emulator.fail_next(replacing(1, b'{"uuid"', b'{\n"odd": ' + half + b',\r\n "uuid"'), page=1, times=None)
    path = tmp_path / f"c.{format_}"
    report = await export_customers(client, path, on_bad_record="reject", fields=fields)
    assert (report.rows, report.completeness.rejected) == (249, 1)
    (line,) = path.with_name(f"{path.name}.rejected.jsonl").read_bytes().splitlines()
    assert half in line
    assert json.loads(line)["page"] == 1
    assert verify_export(path) == {}


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("fields", [None, ["uuid", "name"]], ids=["all", "two"])
async def test_fault_64_last_of_two_values_counts(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, format_: str, fields: list[str] | None
) -> None:
    """Even if the first one is no text."""
    emulator.fail_next(replacing(1, b'{"uuid"', b'{"name":"\\ud83d","uuid"'), page=1, times=None)
    path = tmp_path / f"c.{format_}"
    assert (await export_customers(client, path, fields=fields)).rows == 250
    assert next(FORMATS[format_].read(path))["name"] == "Kan4ri John Doe"
    assert verify_export(path) == {}


@pytest.mark.parametrize("format_", FORMATS)
async def test_fault_64_csv_does_not_make_an_empty_text_a_change(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, format_: str
) -> None:
    """In both directions; between other formats it is one."""
    emulator.touch(0, name="", post_address_line=None)
    await export_customers(client, tmp_path / "old.csv")
    await export_customers(client, tmp_path / f"other.{format_}")
    for old, new in (("old.csv", f"other.{format_}"), (f"other.{format_}", "old.csv")):
        with diff_exports(tmp_path / old, tmp_path / new) as changes:
            assert list(changes.changed()) == []
    emulator.touch(0, name=None)
    await export_customers(client, tmp_path / f"new.{format_}")
    with diff_exports(tmp_path / f"other.{format_}", tmp_path / f"new.{format_}") as changes:
        found = [change.fields["name"] for change in changes.changed() if "name" in change.fields]
    assert found == ([] if format_ == "csv" else [("", None)])


@pytest.mark.parametrize(
    "damage",
    [
        {"rows": "250"},
        {"rows": None},
        {"rows": 1.5},
        {"fields": "uuid"},
        {"fields": [1]},
        {"fields": None},
        {"verdict": "GOOD"},
        {"verdict": []},
        {"size": {}},
        {"sha256": 5},
        {"format": []},
        {"format": {}},
        {"path": None},
        {"versions": []},
        {"versions": {"python": 3}},
        {"first_page_at": 5},
        {"first_page_at": "yesterday"},
        {"first_page_at": "2026-01-01T00:00:00"},
        {"resumed_from": "soon"},
        {"distinct": []},
        {"last_total": "250"},
        {"completeness": 1, "rejected": "x"},
        "[" * 100_000,
        '{"rows": ' * 100_000,
        "[" * 500 + "]" * 500,
        '{"rows": ' + "9" * 5000 + "}",
        "\udcff",
        "null",
        '"text"',
        "5",
    ],
    ids=lambda damage: str(damage)[:40],
)
async def test_fault_64_other_json_is_not_a_manifest(
    client: CustomersClient, tmp_path: Path, damage: dict[str, object] | str
) -> None:
    """Whatever its depth and its types are; diff proves nothing by it."""
    path = tmp_path / "c.jsonl"
    report = await export_customers(client, path)
    text = damage if isinstance(damage, str) else json.dumps(report.as_dict() | damage)
    path.with_name("c.jsonl.manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ExportError, match="is not a manifest"):
        verify_export(path)
    with diff_exports(path, path) as changes:
        assert "is not a manifest" in (changes.unproven or "")


def show(value: object) -> str:
    """What rich shows of a value: by itself, inspected, and as a local variable of a traceback."""
    console = Console(file=io.StringIO(), width=500)
    console.print(Pretty(value, expand_all=True))
    rich.inspect(value, console=console, private=True, value=True)

    def fail() -> None:
        local = value
        raise ValueError(len(str(type(local))))

    try:
        fail()
    except ValueError:
        console.print(Traceback(show_locals=True, locals_max_string=10**6, locals_max_length=10**6))
    assert isinstance(console.file, io.StringIO)
    return f"{value!r} {value} {console.file.getvalue()}"


async def test_fault_64_printers_show_no_customer(emulator: Emulator, client: CustomersClient, tmp_path: Path) -> None:
    """Neither the repr nor rich, which reads the attributes of objects."""
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    await export_customers(client, old)
    emulator.touch(3, name="Kan4ri other")
    report = await export_customers(client, new)
    with diff_exports(old, new) as changes:
        (change,) = changes.changed()
        assert "Kan4ri" in change.fields["name"][1]
        assert "Kan4ri" in json.dumps(change.fields)
        rejected = RejectedRecord(1, 2, "reason", msgspec.Raw(b'{"name": "Kan4ri"}'))
        for value in (change, rejected, report, report.completeness, changes, ExportProgress("walk", 1, 1, 1, 1, 0)):
            assert "Kan4ri" not in show(value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("part", ["data", "rejected", "manifest"])
async def test_fault_64_traceback_of_a_failed_export_shows_no_customer(
    emulator: Emulator,
    client: CustomersClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    canary: Canary,
    format_: str,
    part: str,
) -> None:
    """With all local variables."""
    emulator.touch(7, name=17)
    create = output.create_file
    monkeypatch.setattr(output, "create_file", lambda path: Path("/dev/full") if part in path.name else create(path))
    with pytest.raises(OSError) as failure:  # noqa: PT011  # SQLite names another reason than the rest
        await export_customers(client, tmp_path / f"c.{format_}", on_bad_record="reject")
    assert failure.value.filename is not None
    canary.scan_error(failure.value)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("error", [MemoryError, ValueError, RecursionError])
async def test_fault_64_traceback_of_a_failed_conversion_shows_no_customer(
    client: CustomersClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    canary: Canary,
    format_: str,
    error: type[Exception],
) -> None:
    """Whatever is raised where pages are converted, such as a MemoryError: the frames there hold customers."""
    for module, name in (
        (csv, "to_columns"),
        (jsonl, "split_records"),
        (arrow_tables, "to_columns"),
        (sqlite, "to_columns"),
    ):
        monkeypatch.setattr(module, name, mock.Mock(side_effect=error))
    with pytest.raises(error) as failure:
        await export_customers(client, tmp_path / f"c.{format_}")
    canary.scan_error(failure.value)


@pytest.mark.parametrize("convert", [customer_from_dict, customer_to_dict])
@pytest.mark.parametrize("wrong", [[{"name": "Kan4ri"}], {"name": "Kan4ri"}, "Kan4ri", ("Kan4ri",), b"Kan4ri"])
def test_fault_64_traceback_of_a_conversion_shows_no_customer(convert: Any, wrong: Any, canary: Canary) -> None:
    """The message names the type, and no frame holds the value."""
    with pytest.raises((TypeError, RecordError)) as failure:
        convert(wrong)
    canary.scan_error(failure.value)


@pytest.fixture
async def exported(client: CustomersClient, tmp_path: Path) -> Path:
    """A finished export."""
    path = tmp_path / "c.jsonl"
    await export_customers(client, path)
    return path


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_pipe, make_device, Path.mkdir])
@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.manifest.json", "c.jsonl.rejected.jsonl"])
def test_fault_64_only_regular_files_are_read(exported: Path, name: str, make: Callable[[Path], None]) -> None:
    """A pipe that nothing writes to and a device have no end."""
    other = exported.with_name("other.jsonl")
    for suffix in ("", ".manifest.json"):
        shutil.copy(f"{exported}{suffix}", f"{other}{suffix}")
    path = exported.with_name(name)
    path.unlink(missing_ok=True)
    make(path)
    with pytest.raises((OSError, ExportError), match=r"regular file|directory|zero\.manifest\.json is missing"):
        verify_export(exported)
    if "rejected" not in name:
        for pair in ((exported, other), (other, exported)):
            with pytest.raises(OSError, match=r"regular file|directory"):
                diff_exports(*pair)


@pytest.mark.parametrize("path", ["", "/", ".", "..", "no.jsonl"])
def test_fault_64_path_that_names_no_file_is_an_error_of_ours(path: str) -> None:
    """As for each other file that cannot be verified."""
    with pytest.raises((ExportError, OSError)):
        verify_export(path)
    with pytest.raises((ExportError, OSError)):
        ExportReport.read(Path(path))


def test_fault_64_diff_notices_a_missing_file_before_it_reads_the_other(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may take a minute."""
    monkeypatch.setattr(diff, "compute_sha256", mock.Mock(side_effect=AssertionError))
    for pair in ((exported, exported.with_name("no.jsonl")), (exported.with_name("no.jsonl"), exported)):
        with pytest.raises(FileNotFoundError, match=r"no\.jsonl"):
            diff_exports(*pair)


async def test_fault_64_diff_refuses_exports_of_two_services(
    exported: Path, emulator: Emulator, client: CustomersClient
) -> None:
    """Their customers have nothing to do with each other."""
    other = exported.with_name("other.csv")
    async with Emulator(customers=9) as second, CustomersClient(second.token, base_url=second.url) as its_client:
        await export_customers(its_client, other)
    for pair in ((exported, other), (other, exported)):
        with pytest.raises(ExportError, match="different services"):
            diff_exports(*pair)


ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n AS uuid, n AS rowid FROM r"


@pytest.mark.parametrize(
    "statement",
    [
        f"CREATE VIEW customers AS {ENDLESS}",
        f"CREATE VIEW Customers AS {ENDLESS}",
        "CREATE VIRTUAL TABLE customers USING fts5(uuid)",
    ],
)
async def test_fault_64_only_a_table_is_read(client: CustomersClient, tmp_path: Path, statement: str) -> None:
    """A view may have no end."""
    path = tmp_path / "c.sqlite"
    await export_customers(client, path)
    change(path, "DROP TABLE customers", statement)
    manifest = path.with_name("c.sqlite.manifest.json")
    forged = {"size": path.stat().st_size, "sha256": compute_sha256(path)}
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **forged}))
    for read in (verify_export, partial(diff_exports, path)):
        with pytest.raises(ExportError, match="not a sqlite export"):
            read(path)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, OSError),
        (sqlite3.SQLITE_CANTOPEN, OSError),
        (sqlite3.SQLITE_IOERR_WRITE, OSError),
        (sqlite3.SQLITE_TOOBIG, ExportError),
    ],
)
def test_fault_64_diff_without_room_for_temporary_files_says_so(
    exported: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    """SQLite's own error names neither the directory nor the reason."""
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = code
    database = mock.Mock(executemany=mock.Mock(side_effect=error))
    monkeypatch.setattr(sqlite3, "connect", mock.Mock(return_value=database))
    with pytest.raises(kind, match="SQLite's temporary directory"):
        diff_exports(exported, exported)
    database.close.assert_called_once()
