"""Rows 54 to 56: foreign code that raises or hangs, other processes and loops, printers that do not use ``repr``."""

import asyncio
import contextlib
import copy
import io
import logging
import multiprocessing
import os
import pickle
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import rich
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from rich.console import Console
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from customers_async import (
    APIConnectionError,
    AuthenticationError,
    CallableToken,
    ConfigurationError,
    CustomersClient,
    Event,
    Failed,
    FileToken,
    Found,
    Page,
    RateLimiter,
    RecordError,
    RetryPolicy,
    TokenOwner,
    TokenReloaded,
    TTLCache,
    customer_from_dict,
    telemetry,
)
from customers_async.calls.slots import Slots
from customers_async.calls.tokens import hide
from customers_async.emulator import Emulator
from customers_async.testing import VirtualTimeLoop
from tests.faults.canary import DATA, EXAMPLE, customer
from tests.faults.interruption import check_nothing_held
from tests.wire import TOKEN, make_response, raw_server, serve


class OddError(Exception):
    """What foreign code raises."""


class Raising(logging.Filter):
    """Raises for each log record that names a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.raised = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if self.text in record.getMessage():
            self.raised += 1
            raise OddError
        return True


@pytest.fixture
def broken_logger(request: pytest.FixtureRequest) -> Iterator[Raising]:
    logger, broken = logging.getLogger("customers_async"), Raising(request.param)
    level = logger.level
    logger.addFilter(broken)
    logger.setLevel(logging.DEBUG)
    yield broken
    logger.removeFilter(broken)
    logger.setLevel(level)


@pytest.mark.parametrize(
    ("broken_logger", "fault"),
    [("responded 429", 429), ("retrying in", 503), ("attempt 1", 404), ("attempt 1", "cut"), ("attempt", 401)],
    indirect=["broken_logger"],
)
async def test_fault_54_logging_filter_that_raises_keeps_nothing(
    broken_logger: Raising, fault: Any, emulator: Emulator
) -> None:
    """Slots and permits are returned, whatever a log call raises: with one slot, later calls still work."""
    async with CustomersClient(emulator.token, base_url=emulator.url, concurrency=1) as client:
        for _ in range(3):
            emulator.fail_next(fault)
            with pytest.raises(OddError):
                await client.get_page(1)
            check_nothing_held(client)
        broken_logger.text = "nothing like this"
        assert (await client.get_page(1)).total == 250
    assert broken_logger.raised >= 3


@pytest.mark.parametrize("broken_logger", ["Another token", "raised OddError on TokenReloaded"], indirect=True)
async def test_fault_54_new_token_is_used_whatever_logging_raises(
    broken_logger: Raising, emulator: Emulator, tmp_path: Path
) -> None:
    """The log record and the event come last: calls after the one that failed send the new token."""

    def listen(event: Event) -> None:
        if isinstance(event, TokenReloaded):
            raise OddError

    path = tmp_path / "token"
    path.write_text(emulator.token)
    async with CustomersClient(FileToken(path), base_url=emulator.url, on_event=listen) as client:
        await client.whoami()
        path.write_text(emulator.issue_token(5_000))
        emulator.revoke(emulator.token)
        with pytest.raises(OddError):
            await client.whoami()
        await client.whoami()
        check_nothing_held(client)
    assert broken_logger.raised == 1


@pytest.mark.parametrize("broken_logger", ["token source failed"], indirect=True)
async def test_fault_54_failed_renewal_counts_whatever_logging_raises(broken_logger: Raising) -> None:
    """Calls that were refused with the same token share one renewal, also if its warning raises."""
    renewals = 0

    class Failing:
        """A token source without a newer token."""

        async def get(self, *, rejected: str | None = None) -> str:
            nonlocal renewals
            if rejected is None:
                return TOKEN
            renewals += 1
            raise OddError

    async with (
        raw_server(make_response(b"{}", "401 No")) as server,
        CustomersClient(Failing(), base_url=server.url) as client,
    ):
        outcomes = await asyncio.gather(*(client.get_page(n) for n in range(1, 5)), return_exceptions=True)
        check_nothing_held(client)
    assert [type(outcome) for outcome in outcomes] == [OddError, *[AuthenticationError] * 3]
    assert (renewals, broken_logger.raised) == (1, 1)


@pytest.mark.parametrize(
    ("broken_logger", "fault"),
    [("responded 429", 429), ("retrying in", 503), ("attempt 1", 404), ("attempt 1", "cut")],
    indirect=["broken_logger"],
)
async def test_fault_54_events_stay_in_pairs_whatever_logging_raises(
    broken_logger: Raising, fault: Any, emulator: Emulator
) -> None:
    """Each request that is sent is answered, and no span stays current."""
    kinds: list[str] = []
    spans = telemetry.listener(TracerProvider())

    def listen(event: Event) -> None:
        kinds.append(type(event).__name__)
        spans(event)

    async with CustomersClient(emulator.token, base_url=emulator.url, on_event=listen) as client:
        emulator.fail_next(fault)
        with pytest.raises(OddError):
            await client.get_page(1)
    assert kinds == ["CallStarted", "RequestSent", "RequestAnswered", "CallFinished"]
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert broken_logger.raised == 1


@pytest.mark.parametrize("error", [OddError, asyncio.CancelledError, SystemExit, GeneratorExit])
@pytest.mark.parametrize("kind", ["CallStarted", "RequestSent", "RequestAnswered", "RetryScheduled", "CallFinished"])
async def test_fault_54_listener_that_raises_keeps_nothing(
    kind: str, error: type[BaseException], emulator: Emulator
) -> None:
    """Exceptions are logged; what ends programs passes through, and nothing is held."""

    def listen(event: Event) -> None:
        if type(event).__name__ == kind:
            raise error

    async with CustomersClient(emulator.token, base_url=emulator.url, concurrency=1) as client:
        for _ in range(3):
            emulator.fail_next(503)
            try:
                await client.with_options(on_event=listen).get_page(1)
            except (SystemExit, GeneratorExit) as raised:
                assert type(raised) is error
            check_nothing_held(client)
        emulator.recover()
        assert (await client.get_page(1)).total == 250


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        *((kind, OddError) for kind in ("CallStarted", "RequestSent", "RequestAnswered", "CallFinished")),
        *((kind, error) for kind in ("PageFetched", "WalkFinished") for error in (OddError, SystemExit, GeneratorExit)),
    ],
)
async def test_fault_54_listing_loses_no_page_to_a_listener(
    kind: str, error: type[BaseException], ordered: bool, emulator: Emulator
) -> None:
    """After whatever a listener raises, even if logging it raises too, the pager yields the rest of the list."""
    raised: list[Event] = []

    def listen(event: Event) -> None:
        if type(event).__name__ == kind and len(raised) < 2:
            raised.append(event)
            raise error

    def refuse(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            raise OddError
        return True

    uuids: list[str] = []
    logger = logging.getLogger("customers_async")
    logger.addFilter(refuse)
    try:
        async with CustomersClient(emulator.token, base_url=emulator.url, on_event=listen) as client:
            pager = client.list_customers(ordered=ordered)
            while True:
                try:
                    async for customer in pager:
                        uuids.append(customer.uuid)  # noqa: PERF401  # what was yielded before an error counts
                    break
                except (OddError, SystemExit, GeneratorExit):
                    continue
    finally:
        logger.removeFilter(refuse)
    assert raised
    assert sorted(uuids) == sorted(emulator.uuids())


async def never() -> str:
    await asyncio.Event().wait()
    return ""


class Hanging:
    """A token source that hangs when it is asked for a newer token."""

    async def get(self, *, rejected: str | None = None) -> str:
        return TOKEN if rejected is None else await never()


async def test_fault_54_token_source_that_hangs_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """``timeout`` bounds it: the first token is an error, a renewal leaves the token in use."""
    async with (
        raw_server(make_response(b"{}", "401 No")) as server,
        CustomersClient(CallableToken(never), base_url=server.url, timeout=5) as client,
        CustomersClient(Hanging(), base_url=server.url, timeout=5) as renewing,
    ):
        calls: list[Any] = [client.get_page(number) for number in range(1, 7)]
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, ConfigurationError)
        assert server.requests == []
        with pytest.raises(AuthenticationError):
            await renewing.get_page(1)
        check_nothing_held(client)
        check_nothing_held(renewing)
    assert "the token in use stays" in caplog.text


async def cancelled(*_: Any, **__: Any) -> Any:
    """Wait for a shared task that another caller has cancelled."""
    shared = asyncio.ensure_future(never())
    asyncio.get_running_loop().call_soon(shared.cancel)
    return await shared


class CancelledRenewal(Hanging):
    """A token source whose renewal ends with another caller's cancellation."""

    async def get(self, *, rejected: str | None = None) -> str:
        return TOKEN if rejected is None else await cancelled()


def trace_with(name: str) -> dict[str, Any]:
    trace = aiohttp.TraceConfig()
    getattr(trace, name).append(cancelled)
    return {"trace_configs": [trace]}


@pytest.mark.parametrize("call", ["get_customer", "get_page", "list_customers"])
@pytest.mark.parametrize(
    ("source", "settings", "expected"),
    [
        (CallableToken(cancelled), {}, ConfigurationError),
        (CancelledRenewal(), {}, AuthenticationError),
        (TOKEN, {"middlewares": (cancelled,)}, APIConnectionError),
        (TOKEN, trace_with("on_request_start"), APIConnectionError),
        (TOKEN, trace_with("on_request_end"), APIConnectionError),
    ],
    ids=["token", "renewal", "middleware", "trace at the start", "trace at the end"],
)
async def test_fault_54_cancellation_in_foreign_code_is_not_the_callers(
    call: str, source: Any, settings: dict[str, Any], expected: type[Exception]
) -> None:
    """A task group does not end as if nothing had happened: the call raises an error."""
    async with (
        raw_server(make_response(b"{}", "401 No")) as server,
        aiohttp.ClientSession(**settings) as session,
        CustomersClient(source, base_url=server.url, session=session) as client,
    ):

        async def work() -> None:
            if call == "list_customers":
                [found async for found in client.list_customers()]
            else:
                await getattr(client, call)(EXAMPLE if call == "get_customer" else 1)

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(work())
        assert isinstance(caught.value.exceptions[0], expected)
        check_nothing_held(client)


@pytest.mark.parametrize("before", [True, False])
async def test_fault_54_cancelled_task_stays_cancelled(before: bool) -> None:
    """A task that is cancelled raises `CancelledError`, also if that happens just before the call."""
    async with CustomersClient(CallableToken(never), base_url="http://127.0.0.1:1") as client:

        async def work() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel() if before else asyncio.get_running_loop().call_soon(task.cancel)
            await client.get_page(1)

        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(work())
        check_nothing_held(client)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are no files there")
@pytest.mark.parametrize("content", [TOKEN.encode(), b"", None])
async def test_fault_54_pipe_as_token_file_does_not_hang(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written to it is the token; an empty one and one without a writer are errors."""
    monkeypatch.setattr("customers_async.calls.tokens._PIPE_TIMEOUT", 0.1)
    os.mkfifo(path := tmp_path / "token")
    if content is not None:
        threading.Thread(target=path.write_bytes, args=(content,)).start()
    if content:
        assert await FileToken(path).get() == TOKEN
    else:
        with pytest.raises(ConfigurationError, match=r"nothing was written|is empty"):
            await FileToken(path).get()


def drip(path: Path, stopped: threading.Event) -> None:
    """Write to a pipe without end, often enough that no single wait is long."""
    with path.open("wb", buffering=0) as pipe, contextlib.suppress(BrokenPipeError):
        while not stopped.wait(0.02):
            pipe.write(b"x")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are no files there")
async def test_fault_54_dripping_pipe_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All waits together take no longer than one may."""
    monkeypatch.setattr("customers_async.calls.tokens._PIPE_TIMEOUT", 0.2)
    os.mkfifo(path := tmp_path / "token")
    writer = threading.Thread(target=drip, args=(path, stopped := threading.Event()))
    writer.start()
    started = time.monotonic()
    with pytest.raises(ConfigurationError, match="not closed"):
        await FileToken(path).get()
    assert time.monotonic() - started < 5
    stopped.set()
    writer.join()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are no files there")
def test_fault_54_cancelled_wait_for_a_pipe_ends_its_thread(tmp_path: Path) -> None:
    """``asyncio.run`` waits for the thread, so the program would otherwise end late."""
    os.mkfifo(path := tmp_path / "token")

    async def give_up() -> None:
        async with asyncio.timeout(0.05):
            await FileToken(path).get()

    started = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/"])
async def test_fault_54_other_files_are_no_tokens(device: str) -> None:
    """A device without end and a directory end in an error at once."""
    with pytest.raises(ConfigurationError, match=r"too large|is empty|directory"):
        await FileToken(device).get()


async def test_fault_54_absurd_retry_after_is_tested_once_a_window() -> None:
    """A wait until the year 2026 is believed for five windows, then one request per window tests it."""
    absurd = make_response(b"", "429 Too Many Requests", Retry_After="1760000000")
    replies = [absurd, absurd, absurd, make_response(customer())]
    async with serve(*replies, max_rate_limit_wait=10_000) as (client, server):
        started = asyncio.get_running_loop().time()
        await client.get_customer(EXAMPLE)
        waited = asyncio.get_running_loop().time() - started
        assert 5 * 60 + 2 * 60 < waited < 5 * 60 + 2 * 60 + 10
        assert len(server.requests) == 4


async def test_fault_54_expired_token_is_not_sent_after_a_wait(emulator: Emulator) -> None:
    """With tokens that live for 45 s and a rate limit that makes pages wait for minutes, no request gets a 401."""
    emulator.rate_limit(10)

    async def renew() -> str:
        return emulator.issue_token(45)

    async with CustomersClient(CallableToken(renew), base_url=emulator.url, max_rate_limit_wait=1_000) as client:
        client._api.tokens._clock = emulator._clock  # waits take no real time
        assert len([found async for found in client.list_customers(per_page=5)]) == 250
    assert emulator.stats.statuses[401] == 0


async def test_fault_54_token_that_expires_while_waiting_for_a_slot_is_not_sent(emulator: Emulator) -> None:
    """With one slot, slow responses and tokens of 40 s, each call sends a token that has not expired."""
    emulator.latency = 9.0

    async def renew() -> str:
        return emulator.issue_token(40)

    async with CustomersClient(CallableToken(renew), base_url=emulator.url, concurrency=1) as client:
        client._api.tokens._clock = emulator._clock
        await asyncio.gather(*(client.get_page(number) for number in range(1, 8)))
    assert emulator.stats.statuses[401] == 0


def acquire_once(limiter: RateLimiter) -> None:
    """Take a permit on a new event loop, and return it."""

    async def acquire() -> None:
        permit = await limiter.acquire(Slots(1), lane="bulk", max_wait=0.0)
        limiter.release(permit, answered=True, limit=500, remaining=400)

    asyncio.run(acquire())


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not forked there")
def test_fault_55_limiter_in_use_works_in_a_forked_process() -> None:
    """The child has a copy: its parent's requests in flight are none of its own."""
    limiter = RateLimiter()

    async def in_use() -> int | None:
        permit = await limiter.acquire(Slots(1), lane="bulk", max_wait=0.0)
        child = multiprocessing.get_context("fork").Process(target=acquire_once, args=(limiter,))
        child.start()
        await asyncio.to_thread(child.join, 20)
        limiter.release(permit, answered=True)
        return child.exitcode

    assert asyncio.run(in_use()) == 0


def test_fault_55_callable_token_works_on_several_loops() -> None:
    """A loop that ends while the function runs does not leave a lock behind."""
    calls: Iterator[Callable[[], Awaitable[str]]] = iter([never, lambda: asyncio.sleep(0, TOKEN)])
    source = CallableToken(lambda: next(calls)())

    async def give_up() -> None:
        waiting = [asyncio.create_task(source.get()) for _ in range(2)]
        await asyncio.wait(waiting, timeout=0)

    asyncio.run(give_up())
    assert asyncio.run(source.get()) == TOKEN


def test_fault_55_client_closes_after_its_loop_has_ended() -> None:
    """``close`` on another loop is an error while the first one runs, and works when that has ended."""
    client = CustomersClient(TOKEN, base_url="http://127.0.0.1:1", retry=RetryPolicy(max_attempts=1))

    async def call() -> None:
        with pytest.raises(Exception, match="no usable response"):
            await client.count_customers()

    asyncio.run(call())
    asyncio.run(client.close())
    with pytest.raises(RuntimeError, match="client is closed"):
        asyncio.run(client.count_customers())


@pytest.mark.parametrize("eager", [False, True])
def test_fault_55_eager_tasks_change_nothing(eager: bool) -> None:
    """With the eager task factory of Python 3.12, listings, batches and shared look-ups work as before."""
    factory = getattr(asyncio, "eager_task_factory", None) if eager else None  # none on 3.11

    async def use() -> tuple[int, int, int]:
        asyncio.get_running_loop().set_task_factory(factory)
        async with Emulator(250) as emulator, CustomersClient(emulator.token, base_url=emulator.url) as client:
            uuids = [found.uuid async for found in client.list_customers(per_page=20, ordered=False)]
            found = [result.customer async for result in client.get_customers(uuids[:30])]
            before = emulator.stats.requests
            await asyncio.gather(*(client.get_customer(EXAMPLE) for _ in range(10)))
            check_nothing_held(client)
            return len(set(uuids)), len(list(filter(None, found))), emulator.stats.requests - before

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(use()) == (250, 30, 1)


async def test_fault_56_cached_customers_are_not_shared_for_writing(emulator: Emulator) -> None:
    """What one caller does with ``related_persons`` or ``extra`` is not seen by another."""
    emulator.touch(0, related_persons=[{"name": "x"}], nickname={"a": 1})
    uuid = next(emulator.uuids())
    async with CustomersClient(
        emulator.token, base_url=emulator.url, keep_unknown=True, cache=TTLCache(60, 10)
    ) as client:
        together = await asyncio.gather(*(client.get_customer(uuid) for _ in range(3)))
        for found in (*together, await client.get_customer(uuid)):
            assert (found.related_persons, found.extra) == ([{"name": "x"}], {"nickname": {"a": 1}})
            found.related_persons[0]["name"] = "changed"
            found.extra["nickname"]["a"] = 2
    assert emulator.stats.requests == 1


async def test_fault_56_pickling_a_client_ends_in_a_sentence(client: CustomersClient) -> None:
    """It holds connections; a view is made by `with_options`, not by copying."""
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="does not pickle: make one per process"):
            attempt(client)
    for iterator in (client.list_customers(), client.get_customers([EXAMPLE])):
        with pytest.raises(TypeError, match="uses its client's connections, and does not pickle"):
            pickle.dumps(iterator)
    for part in (RateLimiter(), TTLCache(seconds=60, size=9)):  # a copy would count, or expire, by itself
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="does not pickle"):
                attempt(part)
    with pytest.raises(TypeError, match=r"with_options\(\) does not take 'cache'; it takes concurrency, timeout"):
        client.with_options(cache=None)  # type: ignore[call-arg]  # on purpose


FOUND = customer_from_dict({"uuid": EXAMPLE, "name": DATA, "related_persons": [DATA], "nickname": DATA})
VALUES = {
    "a customer": FOUND,
    "an owner": TokenOwner(uuid="x", name=DATA, email=DATA),
    "a page": Page(
        number=1,
        per_page=1,
        total=1,
        has_more=False,
        customers=(FOUND,),
        rejected=(({"name": DATA}, RecordError("x")),),
        raw=DATA.encode(),
    ),
    "a customer of a batch": Found(EXAMPLE, FOUND),
    "a failure of a batch": Failed(EXAMPLE, RecordError("x")),
    "a list": [FOUND],
}


def show_pretty(value: object, console: Console) -> None:
    console.print(value, pretty_repr(value), repr(value))


def show_inspected(value: object, console: Console) -> None:
    rich.inspect(value, console=console, all=True)


def show_traceback(value: object, console: Console) -> None:
    def fail(_: object) -> None:
        raise ValueError

    try:
        fail(value)
    except ValueError:
        console.print(Traceback(show_locals=True))


@pytest.mark.parametrize("show", [show_pretty, show_inspected, show_traceback])
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_fault_56_printers_hide_personal_data(value: object, show: Callable[[object, Console], None]) -> None:
    """Rich reads fields and attributes instead of the repr."""
    show(value, Console(file=(printed := io.StringIO()), width=200))
    assert DATA not in printed.getvalue()
    assert len(printed.getvalue()) > 10


@pytest.mark.parametrize("part", [slice(80), slice(5, None), slice(None, None, 2), 0, -1])
def test_fault_56_parts_of_a_token_hide_themselves(part: slice | int) -> None:
    """Printers that shorten or wrap long strings print the repr of a part."""
    assert {repr(shown) for shown in [hide(TOKEN)[part], *hide(TOKEN).splitlines()]} == {"'[hidden]'"}
    assert hide(TOKEN)[part] == TOKEN[part]


async def test_fault_56_attributes_are_still_completed() -> None:
    """Interactive shells complete the attributes of the class."""
    import rlcompleter

    completer = rlcompleter.Completer({"found": FOUND})
    assert completer.complete("found.nam", 0) == "found.name"
