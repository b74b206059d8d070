"""Exports over a real socket: formats, journal, verdict, manifest, changes."""

import asyncio
import csv
import gzip
import json
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp.web import StreamResponse
from hypothesis import given, settings
from hypothesis import strategies as st

import customers_async
from customers_async import (
    APIResponseError,
    CustomersClient,
    ExportError,
    IncompleteListError,
    RecordError,
    RetryPolicy,
    ServerError,
    Verdict,
)
from customers_async.calls.responses import Response
from customers_async.emulator import Emulator, Exchange
from customers_async.events import Event, RequestSent
from customers_async.export import ExportProgress, ExportReport, diff_exports, export_customers, verify_export
from customers_async.export.compact_set import CompactSet
from customers_async.export.formats import FORMATS
from customers_async.export.journal import Journal, journal_path
from customers_async.export.output import Output
from customers_async.export.records import FIELDS

NAME = "Živilė Σ 日本 עברית 🙂"


def names(path: Path) -> set[str]:
    """The names of the files in a directory."""
    return {entry.name for entry in path.iterdir()}


def interrupting(after: int) -> Callable[[ExportProgress], None]:
    """A progress callback that interrupts the export after this many pages."""

    def on_progress(progress: ExportProgress) -> None:
        if progress.stage == "walk" and progress.pages == after:
            raise KeyboardInterrupt

    return on_progress


# Formats


@pytest.mark.parametrize("format_", FORMATS)
async def test_each_format_keeps_all_values(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, format_: str
) -> None:
    """Leading zeros, non-Latin names, None, nested values and times are read back as the service sent them."""
    emulator.touch(1, name=NAME, registration_address_index="01109", related_persons=[{"name": NAME, "share": 0.5}])
    emulator.touch(2, name='quo"te, comma\nline', registration_address_index="0000")
    path = tmp_path / f"customers.{format_}"
    report = await export_customers(client, path)
    records = list(FORMATS[format_].read(path))
    assert (report.rows, report.completeness.verdict, report.format) == (250, Verdict.COMPLETE, format_)
    assert [record["uuid"] for record in records] == list(emulator.uuids())
    assert list(records[0]) == list(FIELDS)
    assert records[0]["created_at"] == 1744373843
    assert records[0]["registration_address_index"] == records[1]["registration_address_index"] == "01109"
    assert records[0]["risk_country_code"] is None
    assert records[1]["name"] == NAME
    assert records[1]["related_persons"] == [{"name": NAME, "share": 0.5}]
    assert records[2]["name"] == 'quo"te, comma\nline'
    assert verify_export(path) == {}


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    "name", ["a\rb", "a\r\nb\n", '"', "\0", "é" * 200_000], ids=["cr", "crlf", "quote", "nul", "long"]
)
async def test_unusual_text_is_read_back(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, format_: str, name: str
) -> None:
    """A line end in a name does not end the line, and the longest name is read back."""
    emulator.touch(7, name=name)
    path = tmp_path / f"customers.{format_}"
    await export_customers(client, path, fields=["uuid", "name"])
    assert verify_export(path) == {}
    assert [record["name"] for record in FORMATS[format_].read(path)][7] == name


async def test_json_lines_keep_the_received_bytes(emulator: Emulator, client: CustomersClient, tmp_path: Path) -> None:
    """Lines are the records received, byte for byte, with fields that the model does not know."""
    emulator.touch(0, shoe_size=43)
    page = await client.get_page(1, per_page=100)
    await export_customers(client, tmp_path / "customers.jsonl")
    lines = (tmp_path / "customers.jsonl").read_bytes().split(b"\n")
    assert b"[" + b",".join(lines[:100]) + b"]" == page.raw
    assert json.loads(lines[0])["shoe_size"] == 43
    assert lines[250:] == [b""]


async def test_pretty_printed_pages_become_lines(client: CustomersClient, emulator: Emulator, tmp_path: Path) -> None:
    """JSON that spans several lines becomes one line per record."""

    async def pretty(exchange: Exchange) -> StreamResponse:
        response = await exchange.answer()
        assert isinstance(response.body, bytes)
        response.body = json.dumps(json.loads(response.body), indent=2).encode()
        return response

    emulator.fail_next(pretty, times=None)
    await export_customers(client, tmp_path / "customers.jsonl")
    assert [record["uuid"] for record in FORMATS["jsonl"].read(tmp_path / "customers.jsonl")] == list(emulator.uuids())


async def test_sqlite_table_has_typed_columns(client: CustomersClient, tmp_path: Path) -> None:
    """Times are integers, postal codes are text, and the uuid is the key."""
    await export_customers(client, tmp_path / "customers.sqlite")
    with sqlite3.connect(tmp_path / "customers.sqlite") as database:
        columns = {name: (kind, key) for _, name, kind, _, _, key in database.execute("PRAGMA table_info(customers)")}
        (row,) = database.execute(
            "SELECT typeof(created_at), registration_address_index FROM customers WHERE name = 'John Doe'"
        )
    database.close()
    assert columns["uuid"] == ("TEXT", 1)
    assert columns["created_at"] == ("INTEGER", 0)
    assert row == ("integer", "01109")


@pytest.mark.parametrize("format_", ["parquet", "arrow"])
async def test_parquet_and_arrow_columns_are_typed(client: CustomersClient, tmp_path: Path, format_: str) -> None:
    """Times are UTC timestamps, the rest are strings, and Parquet is compressed with zstd."""
    import pyarrow
    from pyarrow import feather, parquet

    path = tmp_path / f"customers.{format_}"
    await export_customers(client, path)
    table = parquet.read_table(path) if format_ == "parquet" else feather.read_table(path)
    assert table.schema.field("created_at").type == pyarrow.timestamp("us", "UTC")
    assert table.schema.field("post_address_index").type == pyarrow.string()
    assert not table.schema.field("uuid").nullable
    assert table.column("created_at")[0].as_py().isoformat() == "2025-04-11T12:17:23+00:00"
    if format_ == "parquet":
        column = parquet.ParquetFile(path).metadata.row_group(0).column(0)
        assert column.compression == "ZSTD"


async def test_parquet_row_groups_hold_20_000_rows(tmp_path: Path) -> None:
    """All row groups but the last are full, so that readers process large blocks."""
    from pyarrow import parquet

    async with (
        Emulator(customers=25_050, limit=10**6, gzip=False) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        await export_customers(client, tmp_path / "customers.parquet")
    metadata = parquet.ParquetFile(tmp_path / "customers.parquet").metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [20_000, 5_050]


@pytest.mark.parametrize("format_", FORMATS)
async def test_fields_are_written_in_the_order_given(client: CustomersClient, tmp_path: Path, format_: str) -> None:
    """The file has only the fields asked for, and the manifest lists them."""
    path = tmp_path / f"customers.{format_}"
    report = await export_customers(client, path, fields=["name", "uuid", "created_at"])
    assert list(next(FORMATS[format_].read(path))) == ["name", "uuid", "created_at"]
    assert report.fields == ("name", "uuid", "created_at")
    assert verify_export(path) == {}


@pytest.mark.parametrize("format_", FORMATS)
async def test_an_empty_list_is_an_empty_export(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, format_: str
) -> None:
    """A list without customers gives a file that can be read."""
    emulator.delete(250)
    path = tmp_path / f"customers.{format_}"
    assert (await export_customers(client, path)).rows == 0
    assert list(FORMATS[format_].read(path)) == []
    assert verify_export(path) == {}


async def test_format_overrides_the_suffix(client: CustomersClient, tmp_path: Path) -> None:
    """An explicit format is used whatever the suffix is."""
    await export_customers(client, tmp_path / "customers.txt", format="csv")
    with (tmp_path / "customers.txt").open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file)) == list(FIELDS)


async def test_stdout_gets_json_lines(
    client: CustomersClient, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stdout receives the whole list, and no file is left."""
    monkeypatch.setattr("tempfile.tempdir", f"{tmp_path}")
    report = await export_customers(client, "-")
    assert capfdbinary.readouterr().out.count(b"\n") == report.rows == 250
    assert (report.path, report.manifest, names(tmp_path)) == ("-", None, set())


async def test_gzip_output_is_reproducible(client: CustomersClient, tmp_path: Path) -> None:
    """The compressed file holds no time, so two exports of one list are equal."""
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        await export_customers(client, tmp_path / name)
    one, two = ((tmp_path / name).read_bytes() for name in ("one.jsonl.gz", "two.jsonl.gz"))
    assert one == two
    assert gzip.decompress(one).count(b"\n") == 250


# Invalid arguments


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"path": "customers.xlsx"}, ValueError),
        ({"path": "customers"}, ValueError),
        ({"path": "c.jsonl", "format": "xlsx"}, ValueError),
        ({"path": "c.jsonl", "fields": []}, ValueError),
        ({"path": "c.jsonl", "fields": ["uuid", "uuid"]}, ValueError),
        ({"path": "c.jsonl", "fields": ["shoe_size"]}, ValueError),
        ({"path": "c.jsonl", "fields": "uuid"}, TypeError),
        ({"path": "c.jsonl", "fields": [1]}, TypeError),
        ({"path": "c.sqlite", "fields": ["name"]}, ValueError),
        ({"path": "c.jsonl", "on_incomplete": "nonsense"}, ValueError),
        ({"path": "c.jsonl", "on_bad_record": "nonsense"}, ValueError),
        ({"path": "-", "on_bad_record": "reject"}, ValueError),
    ],
    ids=str,
)
async def test_invalid_arguments_are_refused_before_any_request(
    emulator: Emulator,
    client: CustomersClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    error: type[Exception],
) -> None:
    """Nothing is sent, and no file is left."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        await export_customers(client, **arguments)
    assert (emulator.stats.requests, names(tmp_path)) == (0, set())


async def test_missing_pyarrow_is_named(
    client: CustomersClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the extra to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'customers-async\[arrow\]'"):
        await export_customers(client, tmp_path / "customers.parquet")


# Journal


async def test_interrupted_export_resumes(emulator: Emulator, client: CustomersClient, tmp_path: Path) -> None:
    """Of the pages in the journal only the last is read again, and the file equals that of an undisturbed export."""
    client = client.with_options(concurrency=1)
    await export_customers(client, tmp_path / "undisturbed.jsonl")
    path = tmp_path / "customers.jsonl"
    emulator.fail_next(501, page=3)
    before = emulator.stats.requests
    with pytest.raises(ServerError) as failure:
        await export_customers(client, path)
    assert failure.value.next_page == 3
    assert names(tmp_path) == {"undisturbed.jsonl", "undisturbed.jsonl.manifest.json", "customers.jsonl.journal"} | {
        name for name in names(tmp_path) if name.endswith("-wal")
    }
    report = await export_customers(client, path)
    assert emulator.stats.requests - before == 4 + 1
    assert (report.pages_resumed, report.requests) == (2, 4 + 1)
    assert path.read_bytes() == (tmp_path / "undisturbed.jsonl").read_bytes()


async def test_files_are_readable_by_their_owner_only(
    emulator: Emulator, client: CustomersClient, tmp_path: Path
) -> None:
    """The files hold customers, so their mode is 0600 whatever the umask is."""
    emulator.fail_next(501, page=3)
    with pytest.raises(ServerError):
        await export_customers(client, tmp_path / "customers.jsonl")
    await export_customers(client, tmp_path / "customers.csv")
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


async def test_journal_of_another_service_is_refused_or_discarded(
    emulator: Emulator, client: CustomersClient, tmp_path: Path
) -> None:
    """The error names the service; resume=False discards the journal."""
    path = tmp_path / "customers.jsonl"
    emulator.fail_next(501, page=3)
    with pytest.raises(ServerError):
        await export_customers(client, path)
    async with (
        Emulator(customers=120) as other,
        CustomersClient(other.token, base_url=other.url) as elsewhere,
    ):
        with pytest.raises(
            ExportError, match=f"left by an earlier export from {emulator.url} with 100 customers a page"
        ):
            await export_customers(elsewhere, path)
        assert other.stats.requests == 0
        assert (await export_customers(elsewhere, path, resume=False)).rows == 120


async def test_journal_of_another_account_is_refused(
    emulator: Emulator, client: CustomersClient, tmp_path: Path
) -> None:
    """Two accounts' pages are never mixed in one file; another token of the same account resumes."""
    path, tokens = tmp_path / "customers.jsonl", emulator._service.tokens
    emulator.fail_next(501, page=3)
    with pytest.raises(ServerError):
        await export_customers(client, path)
    same = tokens.issue()
    tokens._owner = "another account"
    async with CustomersClient(tokens.issue(), base_url=emulator.url) as other:
        with pytest.raises(ExportError, match="left by an earlier export for another account"):
            await export_customers(other, path)
    async with CustomersClient(same, base_url=emulator.url) as renewed:
        assert (await export_customers(renewed, path)).pages_resumed == 2


async def test_journal_of_another_version_is_refused(client: CustomersClient, tmp_path: Path) -> None:
    """The error names both versions."""
    path = tmp_path / "customers.jsonl"
    journal = await Journal.open(path, base_url="http://127.0.0.1:1", account="", per_page=100, resume=True)
    await journal.put(1, Response(200, {}, b"[]"), journal.stats)
    await journal.close()
    with sqlite3.connect(journal_path(path)) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ExportError, match=r"another version \(99, not 2\)"):
        await export_customers(client, path)


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("kind", ["text", "database"])
async def test_foreign_file_at_the_journals_path_is_kept(
    client: CustomersClient, tmp_path: Path, kind: str, resume: bool
) -> None:
    """It is not changed, even with resume=False."""
    path = tmp_path / "customers.jsonl"
    if kind == "text":
        journal_path(path).write_text("not a journal" * 1000)
    else:
        with sqlite3.connect(journal_path(path)) as database:
            database.execute("CREATE TABLE other (value)")
        database.close()
    before = journal_path(path).read_bytes()
    with pytest.raises(ExportError, match="is not a journal: move it away"):
        await export_customers(client, path, resume=resume)
    assert journal_path(path).read_bytes() == before


async def test_damaged_journal_is_named(client: CustomersClient, tmp_path: Path) -> None:
    """The error says what to do."""
    path = tmp_path / "customers.jsonl"
    with pytest.raises(KeyboardInterrupt):
        await export_customers(client, path, progress=interrupting(3))
    whole = journal_path(path).read_bytes()
    journal_path(path).write_bytes(whole[:32768] + bytes(32768) + whole[65536:])
    with pytest.raises(ExportError, match=r"customers\.jsonl\.journal is damaged: move it away"):
        await export_customers(client, path)


@pytest.mark.parametrize("resume", [True, False])
async def test_second_export_to_one_file_is_refused(client: CustomersClient, tmp_path: Path, resume: bool) -> None:
    """The second export is refused with and without resume, and the first continues."""
    path = tmp_path / "customers.jsonl"
    journal = await Journal.open(path, base_url="http://127.0.0.1:1", account="", per_page=100, resume=True)
    await journal.put(1, Response(200, {}, b"[]"), journal.stats)
    with pytest.raises(ExportError, match=f"another export to {path} is running"):
        await export_customers(client, path, resume=resume)
    await journal.put(2, Response(200, {}, b"[]"), journal.stats)
    assert (stored := await journal.get(2)) is not None
    assert stored.body == b"[]"
    await journal.close()


async def test_finished_export_removes_the_journal_last(
    client: CustomersClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the journal is gone another export may create one, so nothing is removed after it."""
    path = tmp_path / "customers.jsonl"
    removed: list[str] = []
    unlink = Path.unlink

    def note(self: Path, missing_ok: bool = False) -> None:
        removed.append(self.name)
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", note)
    await export_customers(client, path)
    names_removed = [name for name in removed if ".journal" in name]
    assert names_removed == ["customers.jsonl.journal-wal", "customers.jsonl.journal"]


async def test_stale_write_ahead_log_is_ignored(client: CustomersClient, emulator: Emulator, tmp_path: Path) -> None:
    """A write-ahead log without its journal is not replayed into a new journal."""
    path = tmp_path / "customers.jsonl"
    journal = await Journal.open(path, base_url=emulator.url, account="", per_page=100, resume=True)
    await journal.put(1, Response(200, {}, b"[]"), journal.stats)
    log = Path(f"{journal_path(path)}-wal").read_bytes()
    await journal.discard()
    await journal.close()
    Path(f"{journal_path(path)}-wal").write_bytes(log)
    report = await export_customers(client, path)
    assert (report.rows, report.pages_resumed) == (250, 0)


async def test_page_with_a_bad_record_is_fetched_again(
    emulator: Emulator, client: CustomersClient, tmp_path: Path
) -> None:
    """After an error such a page is not kept in the journal, so a record that is repaired no longer fails."""
    path = tmp_path / "customers.jsonl"
    emulator.touch(150, name=17)
    with pytest.raises(RecordError) as failure:
        await export_customers(client, path)
    assert failure.value.page == 2
    emulator.touch(150, name="Ona")
    report = await export_customers(client, path)
    assert report.rows == 250


async def test_second_cancellation_during_cleanup_still_closes_files(
    client: CustomersClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another export can begin as soon as the thread ends."""
    drop, loop, cancelled = Output.drop, asyncio.get_running_loop(), threading.Event()

    def cancel_again() -> None:
        task.cancel()
        cancelled.set()

    def drop_interrupted(output: Output) -> None:
        if task.cancelling():
            loop.call_soon_threadsafe(cancel_again)
            cancelled.wait(5)
        drop(output)

    def cancel(_: ExportProgress) -> None:
        task.cancel()

    path = tmp_path / "customers.jsonl"
    task = asyncio.create_task(export_customers(client, path, progress=cancel))
    monkeypatch.setattr(Output, "drop", drop_interrupted)
    await asyncio.wait([task])
    assert task.cancelled()
    for thread in threading.enumerate():
        if thread.name.startswith("customers-export"):
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive()
    monkeypatch.undo()
    assert (await export_customers(client, path)).rows == 250


async def test_events_reach_the_clients_listener(client: CustomersClient, tmp_path: Path) -> None:
    """The export counts requests by events, and passes each to the client's own listener."""
    events: list[Event] = []
    report = await export_customers(client.with_options(on_event=events.append), tmp_path / "customers.jsonl")
    assert sum(isinstance(event, RequestSent) for event in events) == report.requests == 3


async def test_retries_are_counted(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, impatient: RetryPolicy
) -> None:
    """The report counts requests and retries."""
    emulator.fail_next(503, page=2, times=2)
    report = await export_customers(client.with_options(retry=impatient), tmp_path / "customers.jsonl")
    assert (report.requests, report.retries, report.answers_429) == (5, 2, 0)


async def test_requests_of_a_failed_run_are_counted(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, impatient: RetryPolicy
) -> None:
    """The requests for a page that never arrived count, too."""
    client = client.with_options(retry=impatient, concurrency=1)
    emulator.fail_next(503, page=2, times=None)
    with pytest.raises(ServerError):
        await export_customers(client, tmp_path / "customers.jsonl")
    emulator.recover()
    report = await export_customers(client, tmp_path / "customers.jsonl")
    assert report.requests == emulator.stats.requests
    assert report.retries > 0


# Verdict


async def test_changed_list_is_read_again(emulator: Emulator, client: CustomersClient, tmp_path: Path) -> None:
    """The file holds the list as it was read last, without customers deleted in the meantime."""
    gone = next(emulator.uuids(0, 1))
    emulator.on_page(2, delete=1)
    report = await export_customers(client.with_options(concurrency=1), tmp_path / "customers.jsonl")
    uuids = [record["uuid"] for record in FORMATS["jsonl"].read(tmp_path / "customers.jsonl")]
    assert (report.walks, report.rows, report.completeness.verdict) == (2, 249, Verdict.COMPLETE)
    assert uuids == list(emulator.uuids())
    assert gone not in uuids


async def test_list_that_keeps_changing_is_given_up(
    emulator: Emulator, client: CustomersClient, tmp_path: Path
) -> None:
    """The export fails after four attempts; the next run makes four more."""

    async def restless(exchange: Exchange) -> StreamResponse:
        emulator.delete(1)
        return await exchange.answer()

    emulator.fail_next(restless, page=2, times=None)
    path = tmp_path / "customers.jsonl"
    with pytest.raises(IncompleteListError):
        await export_customers(client.with_options(concurrency=1), path)
    assert not path.exists()
    requests = emulator.stats.requests
    assert requests == 4 * 3
    with pytest.raises(IncompleteListError):
        await export_customers(client.with_options(concurrency=1), path)
    assert emulator.stats.requests == 2 * requests


@pytest.mark.parametrize("format_", FORMATS)
async def test_incomplete_list_is_written_on_request(client: CustomersClient, tmp_path: Path, format_: str) -> None:
    """The manifest holds the verdict, and pages in the journal are not requested again."""
    async with (
        Emulator(customers=300, capped=True, cap=200) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        path = tmp_path / f"customers.{format_}"
        with pytest.raises(IncompleteListError):
            await export_customers(client, path)
        requests = emulator.stats.requests
        report = await export_customers(client, path, on_incomplete="ignore")
    assert emulator.stats.requests == requests
    assert (report.rows, report.completeness.verdict) == (200, Verdict.CAPPED)
    assert verify_export(path) == {}


async def test_incomplete_list_is_logged(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """on_incomplete="warn" logs a warning, as for a listing."""
    emulator.on_page(2, delete=3)
    client = client.with_options(concurrency=1)
    report = await export_customers(client, tmp_path / "customers.jsonl", on_incomplete="warn")
    assert report.completeness.verdict is Verdict.DRIFTED
    assert "The list is not complete: DRIFTED" in caplog.text


@pytest.mark.parametrize("format_", FORMATS)
async def test_duplicates_are_left_out(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, format_: str
) -> None:
    """The file holds each customer once, and the report counts duplicates."""
    emulator.on_page(2, insert=3)
    path = tmp_path / f"customers.{format_}"
    report = await export_customers(client.with_options(concurrency=1), path, on_incomplete="ignore")
    uuids = [record["uuid"] for record in FORMATS[format_].read(path)]
    assert len(uuids) == len(set(uuids)) == report.rows == report.completeness.distinct == 250
    assert report.completeness.duplicates == 3
    assert verify_export(path) == {}


@pytest.mark.parametrize("format_", FORMATS)
async def test_rejected_records_are_written_to_their_own_file(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, format_: str
) -> None:
    """Each has its page, index and reason; rows, rejected records and duplicates add up to the rows received."""
    emulator.touch(7, name=17)
    emulator.touch(150, created_at="yesterday")
    path = tmp_path / f"customers.{format_}"
    report = await export_customers(client, path, on_bad_record="reject")
    rejected = path.with_name(f"{path.name}.rejected.jsonl")
    lines = [json.loads(line) for line in rejected.read_text(encoding="utf-8").splitlines()]
    assert [(line["page"], line["index"]) for line in lines] == [(1, 7), (2, 50)]
    assert "'name' is not text or null" in lines[0]["reason"]
    assert lines[1]["record"]["created_at"] == "yesterday"
    found = report.completeness
    assert (report.rows, found.rejected, found.duplicates) == (248, 2, 0)
    assert len(list(FORMATS[format_].read(path))) == 248
    assert stat.S_IMODE(rejected.stat().st_mode) == 0o600
    assert verify_export(path) == {}
    emulator.touch(7, name="Ona")
    emulator.touch(150, created_at=1744373843)
    await export_customers(client, path)
    assert not rejected.exists()


# Target


async def test_older_file_stays_until_the_new_one_is_complete(
    emulator: Emulator, client: CustomersClient, tmp_path: Path
) -> None:
    """It is then replaced in one step."""
    path = tmp_path / "customers.jsonl"
    path.write_text("old")
    emulator.fail_next(501, page=3)
    with pytest.raises(ServerError):
        await export_customers(client, path)
    assert path.read_text() == "old"
    await export_customers(client, path)
    assert path.read_bytes().count(b"\n") == 250


@pytest.mark.parametrize("target", ["missing/customers.jsonl", "file/customers.jsonl", "directory.jsonl"])
async def test_path_that_cannot_be_written_is_named(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, target: str
) -> None:
    """The error comes before any request."""
    (tmp_path / "file").write_text("")
    (tmp_path / "directory.jsonl").mkdir()
    with pytest.raises(OSError, match=target) as failure:
        await export_customers(client, tmp_path / target)
    assert failure.value.filename == f"{tmp_path / target}"
    assert emulator.stats.requests == 0


async def test_unwritable_directory_is_named(client: CustomersClient) -> None:
    """/proc cannot be written to, even by root."""
    with pytest.raises(OSError, match=r"/proc/customers\.jsonl"):
        await export_customers(client, "/proc/customers.jsonl")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
async def test_full_disk_keeps_the_journal(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the problem, and the next run resumes."""
    path = tmp_path / "customers.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr("customers_async.export.output.create_file", lambda _: Path("/dev/full"))
        with pytest.raises(OSError, match="No space left on device"):
            await export_customers(client, path)
    assert not path.exists()
    report = await export_customers(client, path)
    assert (report.rows, emulator.stats.requests) == (250, 3)


# Manifest


async def test_manifest_equals_the_report(client: CustomersClient, tmp_path: Path) -> None:
    """It holds rows, verdict, size, requests and versions."""
    report = await export_customers(client, tmp_path / "customers.parquet")
    assert report.manifest is not None
    document = json.loads(report.manifest.read_text(encoding="utf-8"))
    assert document == json.loads(json.dumps(report.as_dict()))
    assert document.items() >= {"rows": 250, "distinct": 250, "verdict": "COMPLETE", "first_total": 250}.items()
    assert document["size"] == (tmp_path / "customers.parquet").stat().st_size
    assert {"customers_async", "python", "pyarrow"} == set(document["versions"])
    assert type(report).read(tmp_path / "customers.parquet").rows == 250


def test_report_needs_every_figure() -> None:
    """A missing figure is a ValueError, another value than a dict a TypeError."""
    with pytest.raises(ValueError, match="is missing"):
        ExportReport.from_dict({})
    with pytest.raises(TypeError):
        ExportReport.from_dict([])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "differs"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-2]), {"size", "sha256"}),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"John", b"Jane")), {"sha256"}),
        (lambda path: _edit_manifest(path, rows=249), {"rows"}),
        (lambda path: _edit_manifest(path, distinct=249), {"distinct"}),
        (lambda path: _edit_manifest(path, rejected=1), {"rejected"}),
    ],
    ids=["cut", "changed", "rows", "distinct", "rejected"],
)
async def test_verify_finds_each_difference(
    client: CustomersClient, tmp_path: Path, damage: Callable[[Path], None], differs: set[str]
) -> None:
    """Changes of the file and of the manifest are found."""
    path = tmp_path / "customers.jsonl"
    await export_customers(client, path)
    damage(path)
    assert set(verify_export(path)) == differs


def _edit_manifest(path: Path, **values: object) -> None:
    manifest = path.with_name(f"{path.name}.manifest.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | values))


@pytest.mark.parametrize("manifest", [None, "", "[]", "{}", '{"rows": 1}'])
def test_verify_needs_a_valid_manifest(tmp_path: Path, manifest: str | None) -> None:
    """A missing manifest and a file that is not a manifest are errors."""
    path = tmp_path / "customers.jsonl"
    path.write_text("")
    if manifest is not None:
        path.with_name("customers.jsonl.manifest.json").write_text(manifest)
    with pytest.raises(ExportError, match="is missing" if manifest is None else "is not a manifest"):
        verify_export(path)


async def test_verify_refuses_an_unknown_format(client: CustomersClient, tmp_path: Path) -> None:
    """A manifest that names a format of another version cannot be checked."""
    path = tmp_path / "customers.jsonl"
    await export_customers(client, path)
    _edit_manifest(path, format="xlsx")
    with pytest.raises(ExportError, match="is not a manifest"):
        verify_export(path)


# Changes


@pytest.mark.parametrize(("old", "new"), list(zip(FORMATS, [*FORMATS][1:] + [*FORMATS][:1], strict=True)))
async def test_diff_of_any_two_formats(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, old: str, new: str
) -> None:
    """It finds added, changed and removed customers, and the fields that changed."""
    await export_customers(client, tmp_path / f"old.{old}")
    uuids = list(emulator.uuids())
    emulator.touch(3, name=NAME, updated_at=1800000000)
    emulator.delete(1, at=5)
    emulator.insert(2)
    await asyncio.sleep(3)  # else they might have been inserted during the listing
    await export_customers(client, tmp_path / f"new.{new}")
    with diff_exports(tmp_path / f"old.{old}", tmp_path / f"new.{new}") as changes:
        assert {record["uuid"] for record in changes.added()} == set(emulator.uuids(0, 2))
        (change,) = changes.changed()
        assert list(changes.not_seen()) == [uuids[5]]
        assert changes.unproven is None
    assert change.uuid == uuids[3]
    assert change.fields["name"][1] == NAME
    assert change.fields["updated_at"][1] == 1800000000
    assert NAME not in repr(change)


@pytest.mark.parametrize("old", FORMATS)
async def test_same_instant_in_another_form_is_no_change(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, old: str
) -> None:
    """JSON Lines keep times as received, other formats store Unix seconds; both compare equal."""
    emulator.touch(3, created_at=1744373843, updated_at=1744373843)
    await export_customers(client, tmp_path / f"old.{old}")
    emulator.touch(3, created_at="2025-04-11T14:17:23+02:00", updated_at="1744373843")
    await export_customers(client, tmp_path / "new.jsonl")
    with diff_exports(tmp_path / f"old.{old}", tmp_path / "new.jsonl") as changes:
        assert list(changes.changed()) == []


async def test_not_seen_is_no_proof_if_the_newer_export_is_incomplete(
    emulator: Emulator, client: CustomersClient, tmp_path: Path
) -> None:
    """The verdict and a missing manifest are named; customers that were not seen are listed all the same."""
    await export_customers(client, tmp_path / "old.jsonl")
    emulator.capped, emulator.cap = True, 100
    await export_customers(client, tmp_path / "new.jsonl", on_incomplete="ignore")
    with diff_exports(tmp_path / "old.jsonl", tmp_path / "new.jsonl") as changes:
        assert len(list(changes.not_seen())) == 150
        assert changes.unproven == f"the verdict of {tmp_path / 'new.jsonl'} is CAPPED"
    (tmp_path / "new.jsonl.manifest.json").unlink()
    with diff_exports(tmp_path / "old.jsonl", tmp_path / "new.jsonl") as changes:
        assert changes.unproven is not None
        assert "is missing" in changes.unproven


async def test_confirm_tells_who_is_gone(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, impatient: RetryPolicy
) -> None:
    """A 404 removes, an answer is a living customer, and a failed look-up is asked again."""
    await export_customers(client, tmp_path / "old.jsonl")
    gone, missed, unknown = list(emulator.uuids(0, 3))
    emulator.delete(1)
    await export_customers(client, tmp_path / "new.csv", on_incomplete="ignore")
    lines = (tmp_path / "new.csv").read_text().splitlines(keepends=True)
    (tmp_path / "new.csv").write_text("".join(line for line in lines if not line.startswith((missed, unknown))))
    (tmp_path / "new.csv.manifest.json").unlink()
    emulator.fail_next(500, times=None, path=f"/api/v1/customers/{unknown}")
    with diff_exports(tmp_path / "old.jsonl", tmp_path / "new.csv") as changes:
        hasty = client.with_options(retry=impatient)
        found = {removal.uuid: removal async for removal in changes.confirm(hasty)}
        assert {uuid: f"{removal.status}" for uuid, removal in found.items()} == {
            gone: "REMOVED",
            missed: "ALIVE",
            unknown: "UNKNOWN",
        }
        assert found[missed].customer == await client.get_customer(missed)
        assert isinstance(found[unknown].error, ServerError)
        emulator.recover()
        emulator.stats.requests = 0
        assert [(removal.uuid, removal.status) async for removal in changes.confirm(client)] == [(unknown, "ALIVE")]
        assert emulator.stats.requests == 1


@pytest.mark.parametrize("format_", FORMATS)
def test_diff_refuses_a_damaged_export(tmp_path: Path, format_: str) -> None:
    """The error names the file and quotes nothing of it."""
    for name in ("old", "new"):
        (tmp_path / f"{name}.{format_}").write_bytes(b'{"uuid": 1, "name": "CANARY' * 3)
    with pytest.raises(ExportError, match=f"old.{format_} ") as failure:
        diff_exports(tmp_path / f"old.{format_}", tmp_path / f"new.{format_}")
    assert "CANARY" not in str(failure.value)
    assert failure.value.__context__ is None


@pytest.mark.parametrize("format_", FORMATS)
async def test_diff_refuses_a_file_that_does_not_match_its_manifest(
    client: CustomersClient, tmp_path: Path, format_: str
) -> None:
    """Customers lost by damage would otherwise count as removed."""
    old, new = tmp_path / f"old.{format_}", tmp_path / f"new.{format_}"
    await export_customers(client, old)
    await export_customers(client, new)
    new.write_bytes(b"".join(new.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(ExportError, match=f"new.{format_} "):
        diff_exports(old, new)


@pytest.mark.parametrize("format_", ["jsonl.gz", "parquet", "arrow"])
async def test_damage_in_compressed_data_is_an_export_error(
    client: CustomersClient, tmp_path: Path, format_: str
) -> None:
    """The error is the same whatever the library raises."""
    path = tmp_path / f"customers.{format_}"
    await export_customers(client, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + bytes(1000) + whole[6000:])
    with pytest.raises(ExportError, match=f"customers.{format_} is damaged"):
        list(FORMATS[format_].read(path))


async def test_verify_names_missing_pyarrow(
    client: CustomersClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file may come from a machine where pyarrow is installed."""
    path = tmp_path / "customers.parquet"
    await export_customers(client, path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExportError, match=r"customers-async\[arrow\]"):
        verify_export(path)


# Compact set


@settings(max_examples=30)
@given(st.lists(st.text(st.characters(exclude_characters="{"), max_size=3) | st.binary(max_size=2).map(b"{".__add__)))
def test_compact_set_behaves_as_a_set(keys: list[str | bytes]) -> None:
    """It holds the keys that were added and no others."""
    compact, known = CompactSet(), set[str | bytes]()
    for key in keys:
        assert (key in compact) == (key in known)
        assert compact.isdisjoint([key, "other"]) == known.isdisjoint([key, "other"])
        compact.update([key, key])
        known.update([key])
        assert len(compact) == len(known)


def test_compact_set_takes_nine_bytes_a_key() -> None:
    """The figure in `docs/explanation/design.md`, measured where the shards' own size no longer counts."""
    compact = CompactSet()
    compact.update(str(number) for number in range(200_000))
    assert sum(map(sys.getsizeof, compact._shards)) / len(compact) < 9.5


# Top-level name


def test_top_level_name_is_loaded_on_first_use() -> None:
    """It is the same function; an unknown name raises AttributeError."""
    assert customers_async.export_customers is export_customers
    with pytest.raises(AttributeError, match="no attribute 'import_customers'"):
        _ = getattr(customers_async, "import_customers")  # noqa: B009  # type checkers know that there is none


async def test_resumed_export_finds_customers_that_moved_meanwhile(
    emulator: Emulator, client: CustomersClient, tmp_path: Path
) -> None:
    """After deletions between two runs, the last page is read again, and the file has no customer twice."""
    client, path = client.with_options(concurrency=1), tmp_path / "customers.jsonl"
    emulator.fail_next(501, page=3)
    with pytest.raises(ServerError):
        await export_customers(client, path)
    gone = set(emulator.uuids(10, 13))
    emulator.delete(3, at=10)
    emulator.fail_next(501, page=3)
    with pytest.raises(ServerError):
        await export_customers(client, path)  # reads page 2 again, whose new customers go into the journal
    report = await export_customers(client, path)
    uuids = [record["uuid"] for record in FORMATS["jsonl"].read(path)]
    assert (report.completeness.verdict, report.completeness.proven) == (Verdict.COMPLETE, True)
    assert len(uuids) == len(set(uuids)) == report.rows
    assert set(uuids) == set(emulator.uuids()) | gone
    assert verify_export(path) == {}


@pytest.mark.parametrize("fault", ["bad_json", "null"])
@pytest.mark.parametrize("page", [2, 3])
async def test_page_that_cannot_be_parsed_is_fetched_again_by_the_next_run(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, page: int, fault: str
) -> None:
    """It does not stay in the journal, whether it was read for the first time or again after a pause (page 2)."""
    client, path = client.with_options(concurrency=1, retry=RetryPolicy(max_attempts=1)), tmp_path / "customers.jsonl"
    emulator.fail_next(501, page=3)
    with pytest.raises(ServerError):
        await export_customers(client, path)
    emulator.fail_next(fault, page=page)
    with pytest.raises(APIResponseError):
        await export_customers(client, path)
    report = await export_customers(client, path)
    assert report.completeness.proven
    assert verify_export(path) == {}


@pytest.mark.parametrize(
    "loss", ["DELETE FROM pages WHERE number = 1", "UPDATE pages SET body = x'5b5d' WHERE number = 1"]
)
async def test_export_without_its_first_page_starts_over(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, loss: str
) -> None:
    """The verdict begins with the first page's total and date: a later one would count deleted customers as present."""
    client, path = client.with_options(concurrency=1), tmp_path / "customers.jsonl"
    emulator.fail_next(501, page=3)
    with pytest.raises(ServerError):
        await export_customers(client, path)
    with closing(sqlite3.connect(journal_path(path))) as database, database:
        database.execute(loss)
    emulator.delete(1, at=150)
    emulator.insert(1, at=10**6)
    await asyncio.sleep(3)
    report = await export_customers(client, path)
    uuids = {record["uuid"] for record in FORMATS["jsonl"].read(path)}
    assert uuids == set(emulator.uuids())
    assert (report.pages_resumed, report.completeness.proven) == (0, True)


@pytest.mark.parametrize("suffix", ["manifest.json", "rejected.jsonl"])
async def test_folder_in_the_place_of_a_file_is_found_before_the_first_request(
    emulator: Emulator, client: CustomersClient, tmp_path: Path, suffix: str
) -> None:
    """The manifest and the rejected records need their names, too."""
    (tmp_path / f"customers.jsonl.{suffix}").mkdir()
    with pytest.raises(FileExistsError, match=suffix):
        await export_customers(client, tmp_path / "customers.jsonl")
    assert emulator.stats.requests == 0
