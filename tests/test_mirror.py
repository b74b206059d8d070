"""The mirror, on SQLite and on PostgreSQL alike: what a sync writes, and what can be read."""

import asyncio
import json
import os
import random
import re
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import asyncpg  # type: ignore[import-untyped]  # it has no types
import pytest
from aiohttp import web

from customers_async import (
    APIConnectionError,
    APIResponseError,
    AuthenticationError,
    BadRequestError,
    Customer,
    CustomersClient,
    CustomersError,
    ExportError,
    NotFoundError,
    PermissionDeniedError,
    RetryPolicy,
    ServerError,
    TTLCache,
    Verdict,
)
from customers_async.emulator import Emulator
from customers_async.export.journal import Journal
from customers_async.mirror import Change, MassRemovalError, Mirror, SyncReport
from customers_async.mirror.records import StagedCustomer
from customers_async.testing import VirtualTimeLoop
from tests.postgres import PostgresServer, run_server

LIST = "/api/v1/customers"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for the whole run: workers that test at the same time share it."""
    name = f"customers-async-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
    with run_server(Path(tempfile.gettempdir(), name)) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where an empty mirror is to be."""
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path / 'cache'}")
    if request.param == "sqlite":
        return f"{tmp_path / 'customers.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.make_schema()


@pytest.fixture
async def real_time() -> None:
    """Let time pass as it does in the database's process."""
    loop: Any = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop._skipping.busy_threads += 1


@pytest.fixture
async def mirror(target: str, real_time: None) -> AsyncIterator[Mirror]:
    """An empty mirror."""
    async with Mirror.open(target) as mirror:
        yield mirror


@pytest.fixture
async def client(emulator: Emulator, impatient: RetryPolicy) -> AsyncIterator[CustomersClient]:
    """A client of an emulator with 250 customers, that repeats failed requests at once."""
    async with CustomersClient(emulator.token, base_url=emulator.url, retry=impatient) as client:
        yield client


async def read_mirror(mirror: Mirror) -> dict[str, Customer]:
    return {customer.uuid: customer async for customer in mirror.find("", limit=None)}


async def read_list(client: CustomersClient) -> dict[str, Customer]:
    async with client.with_options(keep_unknown=True).list_customers(on_incomplete="ignore") as pager:
        return {customer.uuid: customer async for customer in pager}


async def read_changes(mirror: Mirror, since: int = 0) -> list[Change]:
    return [change async for change in mirror.changes(since)]


def counts(report: SyncReport) -> dict[str, int]:
    """The figures of a report that are not 0."""
    names = ("added", "changed", "removed", "restored", "missed", "rejected", "suspects")
    return {name: value for name in names if (value := getattr(report, name))}


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # what it waits for has no event
        await asyncio.sleep(0.001)


# What a sync writes


async def test_first_sync_adds_everybody(mirror: Mirror, client: CustomersClient) -> None:
    """The mirror then equals the list, with every field."""
    report = await mirror.sync(client)
    assert (report.version, counts(report)) == (1, {"added": 250})
    assert (report.completeness.verdict, report.completeness.proven) == (Verdict.COMPLETE, True)
    assert await read_mirror(mirror) == await read_list(client)


async def test_sync_without_changes_is_a_version_without_changes(mirror: Mirror, client: CustomersClient) -> None:
    """The feed stays as it was."""
    await mirror.sync(client)
    report = await mirror.sync(client)
    assert (report.version, counts(report)) == (2, {})
    assert await read_changes(mirror, since=1) == []


async def test_changes_have_both_sides(mirror: Mirror, client: CustomersClient, emulator: Emulator) -> None:
    """A change shows the customer before and after it."""
    await mirror.sync(client)
    before = await read_list(client)
    emulator.touch(3, name="Žemaitis")
    emulator.delete(1, at=4)
    emulator.insert(1, at=200)
    report = await mirror.sync(client)
    after = await read_list(client)
    assert counts(report) == {"added": 1, "changed": 1, "removed": 1}
    found = {change.kind: change for change in await read_changes(mirror, since=1)}
    assert found["changed"].before == before[found["changed"].uuid]
    assert found["changed"].after == after[found["changed"].uuid]
    assert found["added"].before is None
    assert found["added"].after == after[found["added"].uuid]
    assert found["removed"].before == before[found["removed"].uuid]
    assert found["removed"].after is None
    assert {change.version for change in found.values()} == {2}
    assert abs((found["added"].seen_at - datetime.now(UTC)).total_seconds()) < 60
    assert await read_mirror(mirror) == after


async def test_change_keeps_its_sides_when_later_ones_follow(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """What came after a change does not depend on what happened later."""
    for name in ("one", "two", "three"):
        emulator.touch(0, name=name)
        await mirror.sync(client)
    found = [change for change in await read_changes(mirror) if change.uuid == next(iter(emulator.uuids()))]
    names = [(change.before and change.before.name, change.after and change.after.name) for change in found]
    assert names == [(None, "one"), ("one", "two"), ("two", "three")]


async def test_absence_alone_removes_nobody(mirror: Mirror, client: CustomersClient, emulator: Emulator) -> None:
    """A customer that moves to a page already read is not seen. It is looked up, found, and stays."""
    await mirror.sync(client)
    emulator.on_page(2, delete=1)
    report = await mirror.sync(client)
    assert report.completeness.verdict is Verdict.DRIFTED
    assert counts(report) == {"missed": 1}
    assert len(await read_mirror(mirror)) == 250  # the deleted customer was seen before
    assert counts(await mirror.sync(client)) == {"removed": 1}
    assert await read_mirror(mirror) == await read_list(client)


async def test_unconfirmed_suspect_stays_and_is_asked_again(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """If the look-up fails, the next sync repeats it."""
    await mirror.sync(client)
    gone = next(iter(await read_mirror(mirror)))
    emulator.delete(1, at=list(await read_list(client)).index(gone))
    emulator.fail_next(500, times=None, path=f"{LIST}/*")
    assert counts(await mirror.sync(client)) == {"suspects": 1}
    assert counts(await mirror.sync(client)) == {"suspects": 1}
    assert await mirror.get(gone) is not None
    emulator.recover()
    assert counts(await mirror.sync(client)) == {"removed": 1}
    assert await mirror.get(gone) is None


async def test_suspect_that_is_seen_again_is_none(mirror: Mirror, client: CustomersClient, emulator: Emulator) -> None:
    """A customer that was not seen once and then is, has not changed."""
    await mirror.sync(client)
    emulator.on_page(2, delete=1)
    emulator.fail_next(500, times=4, path=f"{LIST}/*")
    assert counts(await mirror.sync(client)) == {"suspects": 1}
    assert counts(await mirror.sync(client)) == {"removed": 1}  # the one that was deleted


async def test_customer_that_comes_back_is_restored(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """Removed by a 404, and listed again later."""
    await mirror.sync(client)
    uuid = next(iter(emulator.uuids()))
    number = emulator._service.accounts[0].customer_list._customers.number(uuid)
    assert number is not None
    emulator.delete(1)
    assert counts(await mirror.sync(client)) == {"removed": 1}
    emulator._service.accounts[0].customer_list._positions.insert(range(number, number + 1), 100)
    assert counts(await mirror.sync(client)) == {"restored": 1}
    (change,) = await read_changes(mirror, since=2)
    assert (change.kind, change.uuid, change.before) == ("restored", uuid, None)
    assert change.after == (await read_list(client))[uuid]


async def test_mass_removal_is_refused_before_anything_is_written(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """By default 5 % of the mirror, and at least 20, may be removed."""
    await mirror.sync(client)
    before = await read_mirror(mirror)
    emulator.delete(21)
    emulator.touch(0, name="changed")
    with pytest.raises(MassRemovalError, match="nothing was written") as caught:
        await mirror.sync(client)
    assert (caught.value.removals, caught.value.max_removals) == (21, 20)
    assert await read_mirror(mirror) == before
    assert await read_changes(mirror, since=1) == []
    report = await mirror.sync(client, max_removals=21)
    assert (report.version, counts(report)) == (2, {"changed": 1, "removed": 21})


@pytest.mark.parametrize("fields", [{"name": 5}, {"created_at": "yesterday"}, {"type": []}])
async def test_record_that_does_not_fit_leaves_the_old_row(
    mirror: Mirror, client: CustomersClient, emulator: Emulator, fields: dict[str, Any]
) -> None:
    """It is counted, and neither changed nor removed."""
    await mirror.sync(client)
    before = await read_mirror(mirror)
    emulator.touch(5, **fields)
    assert counts(await mirror.sync(client)) == {"rejected": 1}
    assert await read_mirror(mirror) == before


async def test_unknown_fields_are_kept(mirror: Mirror, client: CustomersClient, emulator: Emulator) -> None:
    """A field that the model does not define is in ``extra``."""
    emulator.touch(0, nickname="Zig", scores=[1, 2.5, None])
    await mirror.sync(client)
    customer = await mirror.get(next(iter(emulator.uuids())))
    assert customer is not None
    assert customer.extra == {"nickname": "Zig", "scores": [1, 2.5, None]}


@pytest.mark.parametrize(
    "text",
    [
        "long " * 5000,
        "".join(chr(256 + n) for n in range(5000)),
        "",
        "\0",
        "a\0b",
        "Ž😀",
        "'; DROP TABLE customers; --",
        "\\N",
        "\n",
        "%",
        "NA",
        "\u200f",
    ],
)
async def test_any_text_is_kept(mirror: Mirror, client: CustomersClient, emulator: Emulator, text: str) -> None:
    """What a database cannot hold in a column is still in the record."""
    emulator.touch(0, name=text, related_persons=[{"name": text}])
    await mirror.sync(client)
    assert await read_mirror(mirror) == await read_list(client)


async def test_capped_list_still_applies_what_was_seen(mirror: Mirror) -> None:
    """The service lists the first 10,000 of 10,030; no customer beyond them is removed."""
    async with (
        Emulator(10_000, limit=10**6) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        await mirror.sync(client)
        emulator.capped = True
        emulator.insert(3)
        report = await mirror.sync(client)
    assert report.completeness.verdict is Verdict.CAPPED
    assert counts(report) == {"added": 3, "missed": 3}


async def test_record_that_is_spelled_differently_has_not_changed(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """Only values count; the next sync does not compare them again."""
    await mirror.sync(client)

    async def respell(exchange: Any) -> Any:
        response = await exchange.answer()
        response.body = json.dumps(json.loads(response.body), indent=1, sort_keys=True).encode()
        return response

    emulator.gzip = False
    emulator.fail_next(respell, times=None, path=LIST)
    assert counts(await mirror.sync(client)) == {}
    assert await read_changes(mirror, since=1) == []


# Failures


async def test_failed_sync_writes_nothing_and_the_next_one_resumes(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """Pages that have arrived are not requested again."""
    await mirror.sync(client)
    emulator.touch(0, name="changed")
    emulator.fail_next(403, page=3, times=None)
    with pytest.raises(PermissionDeniedError):
        await mirror.sync(client)
    assert await read_changes(mirror, since=1) == []
    emulator.recover()
    emulator.stats.requests = 0
    report = await mirror.sync(client)
    assert counts(report) == {"changed": 1}
    assert emulator.stats.requests == 2  # page 3, and page 2 again, to notice changes during the pause


async def test_pages_of_a_sync_that_was_written_are_not_used_again(
    mirror: Mirror, client: CustomersClient, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the commit, a sync leaves its journal; the next one must not read the list as it was then."""
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "discard", AsyncMock(side_effect=OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            await mirror.sync(client)
    assert len(await read_mirror(mirror)) == 250
    emulator.touch(0, name="changed")
    assert counts(await mirror.sync(client)) == {"changed": 1}


@pytest.mark.parametrize("target", ["postgres"], indirect=True)  # an SQLite mirror has one journal
async def test_pages_older_than_the_last_sync_are_not_used(
    target: str, mirror: Mirror, client: CustomersClient, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine has synced since this one was interrupted: its changes stay."""
    await mirror.sync(client)
    emulator.fail_next(403, page=3)
    with pytest.raises(PermissionDeniedError):
        await mirror.sync(client)
    emulator.touch(0, name="changed")
    monkeypatch.setenv("XDG_CACHE_HOME", f"{os.environ['XDG_CACHE_HOME']}-of-another-machine")
    async with Mirror.open(target) as other:
        assert counts(await other.sync(client)) == {"changed": 1}
    assert counts(await mirror.sync(client)) == {}


async def test_second_sync_at_the_same_time_is_refused(
    target: str, mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """The first one completes."""
    emulator.fail_next("stall", page=3)
    first = asyncio.create_task(mirror.sync(client))
    await until(lambda: emulator.stats.requests >= 3)
    async with Mirror.open(target) as other:
        with pytest.raises(ExportError, match=r"another sync to .* is running"):
            await other.sync(client)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert counts(await mirror.sync(client)) == {"added": 250}


async def test_mirror_is_of_one_list(mirror: Mirror, client: CustomersClient) -> None:
    """Another service's customers would all look removed."""
    await mirror.sync(client)
    async with Emulator(5) as other, CustomersClient(other.token, base_url=other.url) as stranger:
        with pytest.raises(ExportError, match="use another one for another service"):
            await mirror.sync(stranger)
    assert len(await read_mirror(mirror)) == 250


async def test_opening_again_changes_nothing(target: str, mirror: Mirror, client: CustomersClient) -> None:
    """The tables are created once."""
    await mirror.sync(client)
    async with Mirror.open(target) as again:
        assert await read_mirror(again) == await read_list(client)


# Reading


async def test_find_ignores_case_and_accents(mirror: Mirror, client: CustomersClient, emulator: Emulator) -> None:
    """Any part of the name is found, in the order of names; country and type narrow it."""
    names = ["Žygimantas Žalia", "ZALIA UAB", "Łódź Øl", "Straße", "Ｚａｌｉａ", "İstanbul", "naïve Æon"]
    for position, name in enumerate(names):
        emulator.touch(
            position, name=name, registration_country_code="XX", type="company" if position else "individual"
        )
    await mirror.sync(client)

    async def find(text: str, **options: Any) -> list[str | None]:
        return [customer.name async for customer in mirror.find(text, country="XX", **options)]

    assert await find("zalia") == ["Ｚａｌｉａ", "ZALIA UAB", "Žygimantas Žalia"]
    assert await find("ŽAL", type="individual") == ["Žygimantas Žalia"]
    assert await find("lodz ol") == ["Łódź Øl"]
    assert await find("STRASSE") == ["Straße"]
    assert await find("istanbul") == ["İstanbul"]
    assert await find("naive aeon") == ["naïve Æon"]
    assert await find("", limit=2) == (await find("", limit=None))[:2]
    assert await find("no such name") == []
    assert [customer async for customer in mirror.find("", country="YY")] == []


async def test_find_reads_more_than_one_page_of_rows(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """Equal names do not end it early."""
    emulator.insert(800)
    for position in range(700):
        emulator.touch(position, name="Same")
    await mirror.sync(client)
    found = [customer.uuid async for customer in mirror.find("same", limit=None)]
    assert len(set(found)) == len(found) == 700
    assert found == sorted(found)
    assert [customer.uuid async for customer in mirror.find("same", limit=600)] == found[:600]


async def test_feed_has_no_gaps_for_any_reader(mirror: Mirror, client: CustomersClient, emulator: Emulator) -> None:
    """Readers that stop and continue at any version see the same changes, in the same order."""
    for step in range(5):
        emulator.touch(step, name=f"step {step}")
        emulator.insert(1, at=100)
        await mirror.sync(client)
    everything = [(change.version, change.kind, change.uuid) for change in await read_changes(mirror)]
    assert [version for version, _, _ in everything] == sorted(version for version, _, _ in everything)
    for since in range(6):
        tail = [(change.version, change.kind, change.uuid) for change in await read_changes(mirror, since)]
        assert tail == [change for change in everything if change[0] > since]


async def test_forgotten_customer_leaves_no_trace(mirror: Mirror, client: CustomersClient, emulator: Emulator) -> None:
    """The row and its history are deleted, and counted; the others stay."""
    await mirror.sync(client)
    uuid = next(iter(emulator.uuids()))
    emulator.touch(0, name="changed")
    await mirror.sync(client)
    assert await mirror.forget(uuid) == 3
    assert await mirror.get(uuid) is None
    assert uuid not in {change.uuid for change in await read_changes(mirror)}
    assert await mirror.forget(uuid) == 0
    assert counts(await mirror.sync(client)) == {"added": 1}  # the service still lists it


async def test_pruned_changes_are_not_missed_silently(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """A reader that is too late gets an error, not a gap."""
    await mirror.sync(client)
    emulator.touch(0, name="changed")
    await mirror.sync(client)
    assert await mirror.prune(timedelta(days=1)) == 0
    assert await mirror.prune(timedelta()) == 251
    with pytest.raises(ValueError, match="changes up to version 2 have been pruned"):
        await read_changes(mirror, since=1)
    assert await read_changes(mirror, since=2) == []
    assert len(await read_mirror(mirror)) == 250
    with pytest.raises(ValueError, match="must not be negative"):
        await mirror.prune(timedelta(days=-1))


async def test_get_customer_prefers_what_is_recent(mirror: Mirror, client: CustomersClient, emulator: Emulator) -> None:
    """The mirror answers while it is recent; then the service does, and is asked once."""
    await mirror.sync(client)
    uuid = next(iter(emulator.uuids()))
    emulator.touch(0, name="fresh")
    emulator.stats.requests = 0
    recent = await mirror.get_customer(uuid, client)
    assert (recent.customer.name != "fresh", recent.stale, emulator.stats.requests) == (True, False, 0)
    fresh = await mirror.get_customer(uuid, client, max_age=0)
    assert (fresh.customer.name, fresh.stale, emulator.stats.requests) == ("fresh", False, 1)
    assert await mirror.get_customer(uuid, client) == fresh
    assert emulator.stats.requests == 1
    assert recent.seen_at <= fresh.seen_at


async def test_get_customer_answers_for_a_service_that_does_not(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """It says so, and how old the data is; without data the error is raised."""
    await mirror.sync(client)
    uuid = next(iter(emulator.uuids()))
    for fault, kind in (
        (500, ServerError),
        ("reset", APIConnectionError),
        (501, ServerError),
        (400, BadRequestError),
        ("html", APIResponseError),
    ):
        emulator.fail_next(fault, times=None)
        stale = await mirror.get_customer(uuid, client, max_age=0)
        assert (stale.customer, stale.stale) == (await mirror.get(uuid), True)
        assert time.time() - stale.seen_at.timestamp() < 60
        with pytest.raises(kind):
            await mirror.get_customer("00000000-0000-4000-8000-00000000000z", client, max_age=0)
        emulator.recover()


@pytest.mark.parametrize(("fault", "kind"), [(401, AuthenticationError), (403, PermissionDeniedError)])
async def test_get_customer_shows_nothing_without_access(
    mirror: Mirror, client: CustomersClient, emulator: Emulator, fault: int, kind: type[Exception]
) -> None:
    """An old copy is for a service that fails, not for one that refuses."""
    await mirror.sync(client)
    emulator.fail_next(fault, times=None)
    with pytest.raises(kind):
        await mirror.get_customer(next(iter(emulator.uuids())), client, max_age=0)


async def test_get_customer_remembers_a_404(mirror: Mirror, client: CustomersClient, emulator: Emulator) -> None:
    """The service is asked once for a customer that it does not know."""
    for _ in range(3):
        with pytest.raises(NotFoundError):
            await mirror.get_customer("00000000-0000-4000-8000-00000000000z", client)
    assert emulator.stats.requests == 1


async def test_watch_yields_changes_and_survives_errors(
    mirror: Mirror, client: CustomersClient, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed sync is logged and repeated; each completed one is reported."""
    await mirror.sync(client)
    emulator.touch(0, name="one")
    emulator.fail_next(404, page=1, times=2)
    reports: list[SyncReport] = []
    async with aclosing(mirror.watch(client, every=0.01, on_sync=reports.append)) as watching:
        first = await anext(watching)
        emulator.touch(1, name="two")
        second = await anext(watching)
    assert [change.after and change.after.name for change in (first, second)] == ["one", "two"]
    assert [report.version for report in reports] == [*range(2, 2 + len(reports))]
    assert caplog.text.count("The sync failed: NotFoundError; the next one begins in 0 s.") == 2


async def test_watch_yields_what_others_have_synced(
    target: str, mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """Another process syncs between two syncs of this one."""
    await mirror.sync(client)
    emulator.touch(0, name="one")
    versions = []
    async with aclosing(mirror.watch(client, every=0.05)) as watching, Mirror.open(target) as other:
        versions.append((await anext(watching)).version)
        emulator.touch(1, name="two")
        await other.sync(client)
        emulator.touch(2, name="three")
        versions += [(await anext(watching)).version for _ in range(2)]
    assert versions == [2, 3, 4]


async def test_watch_stops_when_it_is_cancelled(mirror: Mirror, client: CustomersClient) -> None:
    """Nothing is left behind, and the mirror can be synced."""
    started = asyncio.Event()

    async def watch() -> None:
        async for _ in mirror.watch(client, every=3600):
            started.set()

    watching = asyncio.create_task(watch())
    await started.wait()
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    assert counts(await mirror.sync(client)) == {}


@pytest.mark.parametrize("every", [0, -1, float("nan")])
async def test_watch_needs_a_period(mirror: Mirror, client: CustomersClient, every: float) -> None:
    """A bad period is refused before the first sync."""
    with pytest.raises(ValueError, match="every must be above 0"):
        await anext(mirror.watch(client, every=every))


async def test_repr_shows_no_customer_and_no_password(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """Neither do changes, nor what the stores return."""
    await mirror.sync(client)
    (change, *_) = await read_changes(mirror)
    assert change.after is not None
    assert change.after.name is not None
    staged = StagedCustomer("added", change.after, "{}", b"")
    for shown in (change, staged):
        assert change.after.name not in repr(shown)
        assert change.after.name not in f"{list(shown.__rich_repr__())}"
    assert repr(Mirror.open("postgresql://user:s3cret@db.example/customers")) == (
        "<Mirror PostgresStore('db.example/customers')>"
    )


@pytest.mark.parametrize(
    ("method", "arguments", "kind"),
    [
        ("get", ("Smith",), ValueError),
        ("get", (5,), TypeError),
        ("get_customer", ("00000000-0000-4000-8000-00000000000z", None, "1"), TypeError),
        ("get_customer", ("00000000-0000-4000-8000-00000000000z", None, -1), ValueError),
        ("forget", ("Smith",), ValueError),
        ("prune", (timedelta(days=-1),), ValueError),
    ],
)
async def test_bad_arguments_are_refused(
    mirror: Mirror, method: str, arguments: tuple[Any, ...], kind: type[Exception]
) -> None:
    """Before the database is asked."""
    options = {} if method != "get_customer" else {"max_age": arguments[2]}
    with pytest.raises(kind):
        await getattr(mirror, method)(*arguments[:2], **options)


@pytest.mark.parametrize(
    ("method", "options", "kind"),
    [
        ("find", {"name": 5}, TypeError),
        ("find", {"name": "x", "limit": -1}, ValueError),
        ("find", {"name": "x", "limit": "1"}, TypeError),
        ("find", {"name": "x", "country": 5}, TypeError),
        ("find", {"name": "\0"}, ValueError),
        ("find", {"name": "\ud83d"}, ValueError),
        ("find", {"name": "x", "type": "\0"}, ValueError),
        ("changes", {"since": -1}, ValueError),
        ("changes", {"since": "1"}, TypeError),
    ],
)
async def test_bad_arguments_of_iterators_are_refused(
    mirror: Mirror, method: str, options: dict[str, Any], kind: type[Exception]
) -> None:
    """At the first step."""
    with pytest.raises(kind):
        await anext(getattr(mirror, method)(**options))


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"max_removals": -1}, ValueError),
        ({"max_removals": "1"}, TypeError),
        ({"resume": 3600}, TypeError),
        ({"resume": timedelta(days=-1)}, ValueError),
        ({"progress": 5}, TypeError),
    ],
)
async def test_bad_arguments_of_a_sync_are_refused(
    mirror: Mirror, client: CustomersClient, emulator: Emulator, options: dict[str, Any], kind: type[Exception]
) -> None:
    """Before the first request."""
    with pytest.raises(kind):
        await mirror.sync(client, **options)
    assert emulator.stats.requests == 0


async def test_mirror_that_is_not_open_says_so(target: str, real_time: None, client: CustomersClient) -> None:
    """Before the block and after it; a second block opens it again."""
    mirror = Mirror.open(target)
    for _ in range(2):
        for call in (
            mirror.get("00000000-0000-4000-8000-00000000000z"),
            mirror.sync(client),
            mirror.prune(timedelta()),
        ):
            with pytest.raises(RuntimeError, match="use it in an async with block"):
                await call
        async with mirror:
            assert await mirror.get("00000000-0000-4000-8000-00000000000z") is None


def read_queries() -> list[str]:
    guide = (Path(__file__).parents[1] / "docs" / "howto" / "mirror.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```sql\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    return [query.strip() for query in block.split(";") if query.strip()]


async def test_queries_of_the_guide_work(
    target: str, mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """Each runs, and finds something in a mirror with some history."""
    await mirror.sync(client)
    emulator.fail_next(500, times=None, path=f"{LIST}/*")
    emulator.delete(1, at=7)
    emulator.touch(0, registration_address_line=None, post_address_line=None, name="Twin")
    emulator.touch(1, name="twin")
    emulator.insert(1, at=9)
    await mirror.sync(client)
    queries = [query.replace("version > 41", "version > 1") for query in read_queries()]
    assert len(queries) == 10
    for query in queries:
        if target.startswith("postgresql:"):
            connection = await asyncpg.connect(target)
            rows = await connection.fetch(query)
            await connection.close()
        else:
            database = sqlite3.connect(target)
            rows = database.execute(query).fetchall()
            database.close()
        assert rows, query


@pytest.mark.parametrize("target", ["postgres"], indirect=True)
async def test_postgres_notifies_listeners_of_each_version(
    target: str, mirror: Mirror, client: CustomersClient
) -> None:
    """``LISTEN customers_changes`` gets the version of each sync."""
    connection = await asyncpg.connect(target)
    heard: asyncio.Queue[str] = asyncio.Queue()
    await connection.add_listener("customers_changes", lambda *event: heard.put_nowait(event[-1]))
    await mirror.sync(client)
    while await heard.get() != "1":  # other tests use the same database
        pass
    await connection.close()


async def test_uuid_in_another_case_is_written_once(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """A suspect whose look-up spells the uuid in another case exists; it stays as it is."""
    await mirror.sync(client)
    uuid = next(iter(emulator.uuids()))

    async def respell(exchange: Any) -> Any:
        response = await exchange.answer()
        response.body = response.body.replace(uuid.encode(), uuid.upper().encode())
        return response

    emulator.gzip = False
    emulator.fail_next(respell, times=None)
    for _ in range(2):
        await mirror.sync(client)
        assert uuid in await read_mirror(mirror)
    assert len([change for change in await read_changes(mirror) if change.uuid.lower() == uuid]) == 2


async def test_reader_that_is_overtaken_by_prune_gets_no_gap(mirror: Mirror, client: CustomersClient) -> None:
    """The error comes in the middle of the feed."""
    await mirror.sync(client)
    async with aclosing(mirror.changes()) as changes:
        await anext(changes)
        await mirror.prune(timedelta())
        with pytest.raises(ValueError, match="have been pruned"):
            async for _ in changes:
                pass


async def test_version_that_is_not_there_yet_is_refused(mirror: Mirror, client: CustomersClient) -> None:
    """A reader of a mirror that was made again would miss everything."""
    await mirror.sync(client)
    assert await read_changes(mirror, since=1) == []
    with pytest.raises(ValueError, match="the last version is 1"):
        await read_changes(mirror, since=2)


async def test_get_customer_returns_the_newest_that_is_known(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """Of the mirror and of earlier responses, whatever fails."""
    await mirror.sync(client)
    uuid = next(iter(emulator.uuids()))
    emulator.touch(0, name="fresh", nickname="unknown to the model")
    fresh = await mirror.get_customer(uuid, client, max_age=0)
    assert fresh.customer.extra == {"nickname": "unknown to the model"}
    emulator.fail_next("html", times=None)
    stale = await mirror.get_customer(uuid, client, max_age=0)
    assert (stale.customer, stale.seen_at, stale.stale) == (fresh.customer, fresh.seen_at, True)
    emulator.recover()
    emulator.touch(0, name="fresher")
    await mirror.sync(client)
    emulator.fail_next(401, times=None)
    assert (await mirror.get_customer(uuid, client)).customer.name == "fresher"
    with pytest.raises(AuthenticationError):
        await mirror.get_customer(uuid, client, max_age=0)


@pytest.mark.parametrize("on_sync", [5, lambda: None, AsyncMock()])
async def test_watch_checks_its_listener(mirror: Mirror, client: CustomersClient, on_sync: Any) -> None:
    """Before the first sync."""
    with pytest.raises(TypeError, match="on_sync must be a plain function"):
        await anext(mirror.watch(client, every=1, on_sync=on_sync))


async def test_watch_continues_after_a_version(mirror: Mirror, client: CustomersClient, emulator: Emulator) -> None:
    """What was written while nothing watched is yielded first."""
    for name in ("one", "two", "three"):
        emulator.touch(0, name=name)
        await mirror.sync(client)
    async with aclosing(mirror.watch(client, every=60, since=1)) as watching:
        found = [await anext(watching) for _ in range(2)]
    assert [change.after and change.after.name for change in found] == ["two", "three"]


async def test_stale_customer_of_a_cache_is_not_taken_for_a_response(mirror: Mirror, emulator: Emulator) -> None:
    """A mirror does not join a look-up that may return what a client's cache has held for too long."""
    cache = TTLCache(0.001, 10, stale_if_error=60)
    async with CustomersClient(
        emulator.token, base_url=emulator.url, cache=cache, retry=RetryPolicy(max_attempts=1)
    ) as client:
        keeping = client.with_options(keep_unknown=True)
        uuid = next(emulator.uuids())
        await mirror.sync(client)
        cached = await keeping.get_customer(uuid)
        both_are_there = asyncio.Barrier(2)

        async def fail(_: Any) -> web.Response:
            await both_are_there.wait()
            return web.Response(status=503)

        emulator.fail_next(fail, times=None)
        await asyncio.sleep(0.01)
        async with asyncio.timeout(10):
            results = await asyncio.gather(keeping.get_customer(uuid), mirror.get_customer(uuid, client, max_age=0))
        assert results[0] == cached
        assert results[1].stale


async def test_response_in_flight_does_not_bring_back_who_was_forgotten(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """A look-up that began before ``forget`` is not remembered."""
    sent, may_respond = asyncio.Event(), asyncio.Event()

    async def wait(exchange: Any) -> Any:
        sent.set()
        await may_respond.wait()
        return await exchange.answer()

    uuid = next(emulator.uuids())
    emulator.fail_next(wait)
    look_up = asyncio.ensure_future(mirror.get_customer(uuid, client))
    await sent.wait()
    await mirror.forget(uuid)
    may_respond.set()
    assert (await look_up).customer.uuid == uuid
    requests = emulator.stats.requests
    await mirror.get_customer(uuid, client)
    assert emulator.stats.requests == requests + 1


async def test_response_in_flight_is_not_shared_after_a_customer_was_forgotten(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """A look-up that began before ``forget`` may have found who has been removed since."""
    sent = asyncio.Event()

    async def stall(_: Any) -> Any:
        sent.set()
        await asyncio.Event().wait()

    uuid = next(emulator.uuids())
    emulator.fail_next(stall)
    before = asyncio.ensure_future(mirror.get_customer(uuid, client))
    await sent.wait()
    await mirror.forget(uuid)
    emulator.delete(1, at=0)
    async with asyncio.timeout(5):
        with pytest.raises(NotFoundError):
            await mirror.get_customer(uuid, client)
    before.cancel()


@pytest.mark.parametrize("target", ["postgres"], indirect=True)
async def test_lost_connections_are_replaced(
    target: str, mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """A read succeeds on another connection; a sync fails with an error of this package, and the next one works."""
    administrator = await asyncpg.connect(target)
    await mirror.sync(client)
    store: Any = mirror._store
    async with store._pool.acquire() as lent:
        pid = lent.get_server_pid()
    await administrator.execute("SELECT pg_terminate_backend($1)", pid)
    assert len(await read_mirror(mirror)) == 250

    async def lose_the_connection(exchange: Any) -> Any:
        await administrator.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks "
            "WHERE locktype = 'advisory' AND objid::bigint = hashtext(current_schema())::bigint & 4294967295"
        )
        return await exchange.answer()

    emulator.fail_next(lose_the_connection, page=2)
    emulator.touch(0, name="changed")
    with pytest.raises(CustomersError):
        await mirror.sync(client)
    await administrator.close()
    assert counts(await mirror.sync(client)) == {"changed": 1}


@pytest.mark.parametrize("target", ["postgres"], indirect=True)
async def test_other_tables_are_not_taken_for_a_mirror(target: str, real_time: None) -> None:
    """Tables of these names are left alone, and a schema that is missing is named; other schemas do not matter."""
    connection = await asyncpg.connect(target)
    with pytest.raises(ExportError, match="CREATE SCHEMA"):
        await Mirror.open(f"{target}_missing").__aenter__()
    name = target.partition("search_path=")[2]
    await connection.execute(f"CREATE SCHEMA {name}_own")
    await connection.execute("CREATE TABLE customers (name TEXT)")
    with pytest.raises(ExportError, match="another table customers"):
        await Mirror.open(target).__aenter__()
    async with Mirror.open(target.replace(name, f"{name}_own,{name}")) as mirror:
        assert await read_mirror(mirror) == {}
    await connection.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:pa/s3cret@host/db",
        "postgresql://user:s3cret@[::1/db",
        "postgresql://user:s3cret@host:x/db",
    ],
)
def test_odd_url_is_refused_without_its_password(url: str) -> None:
    """The message says what to do."""
    with pytest.raises(ValueError, match="percent-encode") as caught:
        Mirror.open(url)
    assert "s3cret" not in f"{caught.value!r}"


# The whole


async def follow(mirror: Mirror, client: CustomersClient, emulator: Emulator, syncs: int) -> None:
    """Sync while customers join, leave, change and move, requests fail and syncs are cancelled; check each version."""
    emulator.rate_limit(10**9)
    chance = random.Random(syncs)
    positions = emulator._service.accounts[0].customer_list._positions
    since: set[str] | None = None  # who was there when the listing began, in this sync or an interrupted one before it
    for _ in range(syncs):
        for _ in range(chance.randrange(3)):
            at = chance.randrange(emulator.total)
            emulator.on_page(chance.randint(1, 3), insert=chance.randrange(3), delete=chance.randrange(3), at=at)
        if chance.random() < 0.5:  # a customer moves
            at = chance.randrange(emulator.total)
            (number,) = positions.numbers(at, at + 1)
            positions.delete(1, at)
            positions.insert(range(number, number + 1), chance.randrange(emulator.total))
        emulator.touch(chance.randrange(emulator.total), name=f"{chance.random()}")
        emulator.fail_randomly({500: chance.choice([0, 0, 0.2]), "cut": chance.choice([0, 0.1])})
        before = set(emulator.uuids())
        sync = asyncio.create_task(mirror.sync(client))
        if chance.random() < 0.3:
            await asyncio.sleep(chance.uniform(0, 0.02))
            sync.cancel()
        (result,) = await asyncio.gather(sync, return_exceptions=True)
        assert isinstance(result, SyncReport | CustomersError | asyncio.CancelledError), result
        held, listed = set(await read_mirror(mirror)), set(emulator.uuids())
        removed = {change.uuid for change in await read_changes(mirror) if change.kind == "removed"}
        assert not removed & before & listed  # these lived through the sync
        since = before if since is None else since & before
        if isinstance(result, SyncReport):
            assert not result.completeness.proven or since & listed <= held
            since = None
    emulator.recover()
    for _ in range(2):
        await mirror.sync(client, max_removals=emulator.total)
    assert await read_mirror(mirror) == await read_list(client)


async def test_mirror_follows_the_list_and_removes_no_living_customer(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """Whatever happens meanwhile, two quiet syncs bring the mirror in step."""
    await follow(mirror, client, emulator, syncs=15)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_mirror_follows_the_list_over_200_syncs(
    mirror: Mirror, client: CustomersClient, emulator: Emulator
) -> None:
    """As above, for longer."""
    await follow(mirror, client, emulator, syncs=200)


# SQLite's own


def test_file_is_readable_by_its_owner_only(tmp_path: Path, emulator: Emulator) -> None:
    """It holds personal data; so do SQLite's files beside it."""
    path = tmp_path / "customers.db"
    umask = os.umask(0)
    try:
        asyncio.run(_open_and_close(path))
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def _open_and_close(path: Path) -> None:
    async with Mirror.open(path):
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


@pytest.mark.parametrize("content", ["sqlite", "text"])
async def test_other_file_is_refused(tmp_path: Path, content: str) -> None:
    """A file that is no mirror is left as it is."""
    path = tmp_path / "other.db"
    if content == "sqlite":
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE customers (name TEXT)")
        database.close()
    else:
        path.write_text("not a database" * 1000)
    before = path.read_bytes()
    with pytest.raises(ExportError, match="is not a mirror: choose another file"):
        await Mirror.open(path).__aenter__()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("target", "kind"), [(b"customers.db", TypeError), (5, TypeError), ("mysql://host/db", ValueError)]
)
def test_other_targets_are_refused(target: Any, kind: type[Exception]) -> None:
    """A path or a PostgreSQL URL is expected."""
    with pytest.raises(kind):
        Mirror.open(target)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    for name in ("postgres", "postgres_staging"):
        monkeypatch.delitem(sys.modules, f"customers_async.mirror.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ModuleNotFoundError, match=r"customers-async\[postgres\]"):
        Mirror.open("postgresql://host/db")


async def test_later_version_is_refused(tmp_path: Path) -> None:
    """A mirror that a later version of this package made is left as it is."""
    path = tmp_path / "customers.db"
    async with Mirror.open(path):
        pass
    with sqlite3.connect(path) as database:
        database.execute("UPDATE mirror_facts SET value = '99' WHERE name = 'schema'")
    database.close()
    with pytest.raises(ExportError, match="of a later version of this package"):
        await Mirror.open(path).__aenter__()


async def test_nothing_of_a_forgotten_customer_is_left_in_the_files(
    tmp_path: Path, client: CustomersClient, emulator: Emulator
) -> None:
    """Not even while another process has the mirror open."""
    path = tmp_path / "customers.db"
    async with Mirror.open(path) as mirror, Mirror.open(path):
        for name in ("Unmistakable One", "Unmistakable Two"):
            emulator.touch(0, name=name)
            await mirror.sync(client)
        assert any(b"Unmistakable" in file.read_bytes() for file in tmp_path.iterdir())
        await mirror.forget(next(iter(emulator.uuids())))
        assert not any(b"Unmistakable" in file.read_bytes() for file in tmp_path.iterdir())


async def test_busy_file_is_not_called_damaged(
    tmp_path: Path, client: CustomersClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that writes delays a sync; reading goes on."""
    monkeypatch.setattr("customers_async.mirror.sqlite._BUSY_TIMEOUT", 0.01)
    path = tmp_path / "customers.db"
    async with Mirror.open(path) as mirror:
        await mirror.sync(client)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    async with Mirror.open(path) as mirror:
        assert len(await read_mirror(mirror)) == 250
        with pytest.raises(ExportError, match="in use by another process"):
            await mirror.sync(client)
        database.execute("ROLLBACK")
        database.close()
        await mirror.sync(client)


async def test_empty_file_that_was_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    """A mirror holds personal data, however its file was made."""
    path = tmp_path / "customers.db"
    path.touch(0o644)
    await _open_and_close(path)


async def test_mirror_is_opened_once_at_a_time(target: str, real_time: None) -> None:
    """A second block would lose the first one's connection."""
    mirror = Mirror.open(target)
    async with mirror:
        with pytest.raises(RuntimeError, match="open already"):
            await mirror.__aenter__()
        assert await read_mirror(mirror) == {}


async def test_missing_folder_is_named(tmp_path: Path) -> None:
    """The error names the path."""
    with pytest.raises(OSError, match="No such file or directory") as caught:
        await Mirror.open(tmp_path / "missing" / "customers.db").__aenter__()
    assert caught.value.filename == str(tmp_path / "missing" / "customers.db")
