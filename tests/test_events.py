"""What ``on_event`` hears of a call, and that no listener can harm one."""

import asyncio
from collections import Counter

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
    """A view whose events are kept."""
    return client.with_options(on_event=events.append)


def kinds(events: list[Event]) -> list[type[Event]]:
    return [type(event) for event in events]


async def test_events_tell_the_story_of_a_call(
    emulator: Emulator, watched: CustomersClient, events: list[Event]
) -> None:
    """Started, sent, answered, retried, finished; with the route in place of the uuid."""
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


async def test_a_wait_for_the_quota_is_told(emulator: Emulator, watched: CustomersClient, events: list[Event]) -> None:
    """How long a call waited; one that is refused instead ends with that error, and nothing is sent."""
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


async def test_a_newer_token_is_told(emulator: Emulator, events: list[Event]) -> None:
    """Between the 401 and the request with the newer token; both are the same attempt."""

    async def current() -> str:
        return emulator.token

    async with CustomersClient(CallableToken(current), base_url=emulator.url, on_event=events.append) as client:
        await client.whoami()
        emulator.expire_token()
        await client.whoami()
    sent_twice = [RequestSent, RequestAnswered, TokenReloaded, RequestSent, RequestAnswered]
    assert kinds(events)[4:] == [CallStarted, *sent_twice, CallFinished]
    assert [event.attempt for event in events if isinstance(event, RequestSent)] == [1, 1, 1]


async def test_calls_are_told_apart(watched: CustomersClient, events: list[Event]) -> None:
    """Of calls that run at the same time, each event has its call's number; the page's number is in the URL."""
    await asyncio.gather(*(watched.get_page(number) for number in (1, 2, 3)))
    started = [event for event in events if isinstance(event, CallStarted)]
    assert len({event.call for event in started}) == 3
    assert [event.url.partition("?")[2] for event in started] == [f"per_page=100&page={number}" for number in (1, 2, 3)]
    for event in started:
        of_call = [other for other in events if isinstance(other, CallEvent) and other.call == event.call]
        assert kinds(list(of_call)) == [CallStarted, RequestSent, RequestAnswered, CallFinished]


@pytest.mark.parametrize("ending", ["error", "cancelled", "closed"])
async def test_events_come_in_pairs_however_a_call_ends(
    ending: str, emulator: Emulator, watched: CustomersClient, events: list[Event]
) -> None:
    """Each beginning has its end: a gauge goes back to 0."""
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
async def test_a_failing_listener_harms_no_call(
    kind: type[BaseException], emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises at each event, calls and walks go on; a warning tells, without the error's text."""
    emulator.fail_next(503, page=2)
    heard: Counter[type[object]] = Counter()

    def fail(event: Event) -> None:
        heard[type(event)] += 1
        raise kind("secret")

    async with CustomersClient(emulator.token, base_url=emulator.url, on_event=fail) as client:
        assert len([customer async for customer in client.list_customers()]) == 250
        assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE
        emulator.fail_next(500, times=None)
        with pytest.raises(ServerError):
            await client.whoami()
    await asyncio.sleep(1)  # for the server to notice that we are gone
    assert asyncio.all_tasks() == {asyncio.current_task()}
    warnings = [record.message for record in caplog.records if "listener raised" in record.message]
    assert len(warnings) == heard.total()
    assert f"The on_event listener raised {kind.__name__} on CallStarted." in warnings
    assert "secret" not in caplog.text


async def test_no_event_is_made_without_a_listener(client: CustomersClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens: no event is made."""

    def refuse(*_: object) -> None:
        raise AssertionError

    for kind in (CallStarted, RequestSent, RequestAnswered, CallFinished):
        monkeypatch.setattr(f"customers_async.calls.reporter.{kind.__name__}", refuse)
    assert await client.count_customers() == 250


async def test_a_listener_runs_in_the_callers_task(client: CustomersClient) -> None:
    """So what is current there, such as a tracing context, is current in the listener."""
    tasks = []
    await client.with_options(on_event=lambda event: tasks.append(asyncio.current_task())).whoami()
    assert set(tasks) == {asyncio.current_task()}
