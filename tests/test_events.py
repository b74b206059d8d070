"""The events of a call, and listeners that fail."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from customers_async import (
    CallEvent,
    CallFinished,
    CallStarted,
    CustomersClient,
    Event,
    NotFoundError,
    QuotaWait,
    RateLimitError,
    RequestAnswered,
    RequestSent,
    RetryScheduled,
    ServerError,
    TokenReloaded,
    WalkFinished,
)
from customers_async.calls.tokens import CallableToken
from customers_async.emulator import Emulator

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
ROUTE = "/api/v1/customers/{uuid}"
UNKNOWN = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def watched(client: CustomersClient, events: list[Event]) -> CustomersClient:
    """A client whose events are recorded."""
    return client.with_options(on_event=events.append)


def kinds(events: list[Event]) -> list[type[Event]]:
    return [type(event) for event in events]


async def test_events_of_a_retried_call(emulator: Emulator, watched: CustomersClient, events: list[Event]) -> None:
    """A call emits events for its start, requests, responses, retry and end, without the uuid."""
    emulator.fail_next(503)
    await watched.get_customer(EXAMPLE)
    started, sent, failed, retried, _, answered, finished = events
    assert isinstance(started, CallStarted)
    number = started.call
    assert started == CallStarted(number, ROUTE, f"{emulator.url}{ROUTE}")
    assert sent == RequestSent(number, ROUTE, 1)
    assert isinstance(failed, RequestAnswered)
    assert (failed.attempt, failed.status, failed.error) == (1, 503, "ServerError")
    assert isinstance(retried, RetryScheduled)
    assert (retried.attempt, retried.reason) == (1, "ServerError")
    assert isinstance(answered, RequestAnswered)
    assert (answered.attempt, answered.status, answered.error) == (2, 200, None)
    assert isinstance(finished, CallFinished)
    assert finished.error is None
    assert finished.seconds >= failed.seconds + retried.delay + answered.seconds
    assert {event.call for event in events if isinstance(event, CallEvent)} == {number}


async def test_wait_for_the_rate_limit_is_an_event(
    emulator: Emulator, watched: CustomersClient, events: list[Event]
) -> None:
    """A wait is an event with its seconds; a refused call ends with the error and sends nothing."""
    emulator.rate_limit(1)
    await watched.whoami()
    with pytest.raises(RateLimitError):
        await watched.with_options(max_rate_limit_wait=0).whoami()
    await watched.whoami()
    one, refused, waiting = kinds(events)[:4], kinds(events)[4:6], kinds(events)[6:]
    assert one == [CallStarted, RequestSent, RequestAnswered, CallFinished]
    assert refused == [CallStarted, CallFinished]
    assert waiting == [CallStarted, QuotaWait, RequestSent, RequestAnswered, CallFinished]
    refusal, waited = events[5], events[7]
    assert isinstance(refusal, CallFinished)
    assert refusal.error == "RateLimitError"
    assert isinstance(waited, QuotaWait)
    assert 59 < waited.seconds < 62


async def test_reloaded_token_is_an_event(emulator: Emulator, events: list[Event]) -> None:
    """The event is between the 401 and the request with the newer token, in the same attempt."""

    async def current() -> str:
        return emulator.token

    async with CustomersClient(CallableToken(current), base_url=emulator.url, on_event=events.append) as client:
        await client.whoami()
        emulator.expire_token()
        await client.whoami()
    sent_twice = [RequestSent, RequestAnswered, TokenReloaded, RequestSent, RequestAnswered]
    assert kinds(events)[4:] == [CallStarted, *sent_twice, CallFinished]
    assert [event.attempt for event in events if isinstance(event, RequestSent)] == [1, 1, 1]


async def test_reloaded_token_is_reported_to_the_listeners_of_the_client(emulator: Emulator) -> None:
    """A view shares the tokens of its client, so the client's listener receives the event, also for a view's call."""
    of_client: list[Event] = []
    of_view: list[Event] = []

    async def current() -> str:
        return emulator.token

    async with CustomersClient(CallableToken(current), base_url=emulator.url, on_event=of_client.append) as client:
        view = client.with_options(on_event=of_view.append)
        await view.whoami()
        emulator.expire_token()
        await view.whoami()
    assert of_client == [TokenReloaded()]
    assert of_view.count(TokenReloaded()) == 0
    assert kinds(of_view).count(CallFinished) == 2


async def test_simultaneous_calls_have_different_numbers(watched: CustomersClient, events: list[Event]) -> None:
    """Each event has the number of its call, and the page number is in the URL."""
    await asyncio.gather(*(watched.get_page(number) for number in (1, 2, 3)))
    started = [event for event in events if isinstance(event, CallStarted)]
    assert len({event.call for event in started}) == 3
    assert [event.url.partition("?")[2] for event in started] == [f"per_page=100&page={number}" for number in (1, 2, 3)]
    for event in started:
        of_call = [other for other in events if isinstance(other, CallEvent) and other.call == event.call]
        assert kinds(list(of_call)) == [CallStarted, RequestSent, RequestAnswered, CallFinished]


@pytest.mark.parametrize("ending", ["error", "cancelled", "closed"])
async def test_start_and_end_events_come_in_pairs(
    ending: str, emulator: Emulator, watched: CustomersClient, events: list[Event]
) -> None:
    """Each start has an end, however a call ends."""
    if ending != "error":
        emulator.fail_next("stall")
    call = asyncio.create_task(watched.get_customer(UNKNOWN))
    await asyncio.sleep(1)
    if ending == "cancelled":
        call.cancel()
    elif ending == "closed":
        await watched.close()
    with pytest.raises({"error": NotFoundError, "cancelled": asyncio.CancelledError, "closed": RuntimeError}[ending]):
        await call
    assert kinds(events) == [CallStarted, RequestSent, RequestAnswered, CallFinished]
    expected = "NotFoundError" if ending == "error" else "CancelledError"
    assert [event.error for event in events if isinstance(event, RequestAnswered | CallFinished)] == [expected] * 2


@pytest.mark.parametrize("kind", [LookupError, asyncio.CancelledError, StopIteration, StopAsyncIteration])
async def test_failing_listener_affects_no_call(
    kind: type[BaseException], emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a listener raises, calls and listings succeed, and a warning without the message is logged."""
    emulator.fail_next(503, page=2)
    received: Counter[type[object]] = Counter()

    def fail(event: Event) -> None:
        received[type(event)] += 1
        raise kind("secret")

    async with CustomersClient(emulator.token, base_url=emulator.url, on_event=fail) as client:
        assert len([customer async for customer in client.list_customers()]) == 250
        assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE
        emulator.fail_next(500, times=None)
        with pytest.raises(ServerError):
            await client.whoami()
    await asyncio.sleep(1)  # for the server to notice the disconnection
    assert asyncio.all_tasks() == {asyncio.current_task()}
    warnings = [record.message for record in caplog.records if "listener raised" in record.message]
    assert len(warnings) == received.total()
    assert f"The on_event listener raised {kind.__name__} on CallStarted." in warnings
    assert "secret" not in caplog.text


async def test_no_event_is_created_without_a_listener(client: CustomersClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a listener no event object is created."""

    def refuse(*_: object) -> None:
        raise AssertionError

    for kind in (CallStarted, RequestSent, RequestAnswered, CallFinished):
        monkeypatch.setattr(f"customers_async.calls.reporter.{kind.__name__}", refuse)
    assert await client.count_customers() == 250


async def test_listener_runs_in_the_callers_task(client: CustomersClient) -> None:
    """Context variables of the caller, such as a trace, are set in the listener."""
    tasks = []
    await client.with_options(on_event=lambda event: tasks.append(asyncio.current_task())).whoami()
    assert set(tasks) == {asyncio.current_task()}


async def test_several_listeners_get_each_event_in_order(
    client: CustomersClient, events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    """One that raises is logged, and the others still get the event."""
    received: list[tuple[int, Event]] = []

    def fail(event: Event) -> None:
        received.append((1, event))
        raise LookupError

    listeners = [events.append, fail, lambda event: received.append((2, event))]
    view = client.with_options(on_event=listeners)
    listeners.clear()  # the client has its own
    await view.list_customers().collect()
    assert kinds(events)[-1] is WalkFinished
    assert received == [(number, event) for event in events for number in (1, 2)]
    assert caplog.text.count("The on_event listener raised LookupError") == len(events)


@pytest.mark.parametrize("listeners", [[print, 5], ("x",), [None], {print}, "print", [[print]], iter([print])])
def test_bad_listeners_are_refused_at_once(client: CustomersClient, listeners: Any) -> None:
    """Each of a sequence must be a plain function of an event."""
    with pytest.raises(TypeError, match="on_event must be a plain function of an event, a sequence of such functions"):
        client.with_options(on_event=listeners)


async def test_no_listener_is_no_listener(client: CustomersClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty sequence costs as little as None."""
    monkeypatch.setattr("customers_async.calls.reporter.CallStarted", None)
    assert await client.with_options(on_event=[]).count_customers() == 250
    assert await client.with_options(on_event=[print]).with_options(on_event=None).count_customers() == 250
