"""Look-ups of one customer that share a request: cancellation, errors and closing."""

import asyncio
import gc
import traceback
from typing import Any

import pytest

from customers_async import (
    APIConnectionError,
    Customer,
    CustomersClient,
    CustomersError,
    NotFoundError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    TTLCache,
)
from customers_async.calls.single_flight import SingleFlight
from customers_async.emulator import Emulator
from tests.faults.interruption import check_nothing_held, find_client_tasks
from tests.wire import make_response, serve

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"

Calls = list["asyncio.Task[Customer]"]


@pytest.fixture
async def slow(emulator: Emulator, client: CustomersClient) -> CustomersClient:
    """A client with an open connection to a service that takes a second for each response."""
    await client.whoami()
    emulator.stats.requests = 0
    emulator.latency = 1.0
    return client


async def start_calls(client: CustomersClient, count: int, uuid: str = EXAMPLE) -> Calls:
    """Start simultaneous calls for one customer, and wait until their request is at the server."""
    calls = [asyncio.ensure_future(client.get_customer(uuid)) for _ in range(count)]
    await asyncio.sleep(0.5)
    return calls


async def test_simultaneous_calls_share_one_request(emulator: Emulator, slow: CustomersClient) -> None:
    """Fifty callers share one request; the next call sends a new one."""
    customers = await asyncio.gather(*await start_calls(slow, 50))
    assert {customer.uuid for customer in customers} == {EXAMPLE}
    assert emulator.stats.requests == 1
    await slow.get_customer(EXAMPLE)
    assert emulator.stats.requests == 2
    check_nothing_held(slow)


@pytest.mark.parametrize("cache", [None, TTLCache(10, 10)], ids=["no cache", "cache"])
async def test_callers_do_not_share_what_can_be_changed(cache: TTLCache | None) -> None:
    """Neither with one another nor with the cache: a list in ``related_persons`` belongs to the caller."""
    reply = make_response(f'{{"uuid":"{EXAMPLE}","related_persons":["Ada"]}}'.encode())
    async with serve(reply, cache=cache) as (client, server):
        for customer in await asyncio.gather(*await start_calls(client, 3)):
            assert customer.related_persons == ["Ada"]
            customer.related_persons.append("Eve")
        assert len(server.requests) == 1
        assert (await client.get_customer(EXAMPLE)).related_persons == ["Ada"]


async def test_other_customers_have_their_own_requests(emulator: Emulator, slow: CustomersClient) -> None:
    """Only requests for the same customer are shared."""
    uuids = list(emulator.uuids(0, 5)) * 3
    customers = await asyncio.gather(*(slow.get_customer(uuid) for uuid in uuids))
    assert [customer.uuid for customer in customers] == uuids
    assert emulator.stats.requests == 5


async def test_calls_with_different_options_share_nothing(emulator: Emulator, slow: CustomersClient) -> None:
    """Calls share a request unless their options change the result, such as another timeout."""
    views = [
        slow,
        slow.with_options(on_event=lambda event: None),
        slow.with_options(concurrency=1),
        slow.with_options(timeout=5),
        slow.with_options(timeout=5),
        slow.with_options(max_rate_limit_wait=0),
        slow.with_options(keep_unknown=True),
        slow.with_options(retry=RetryPolicy(max_attempts=2)),
    ]
    await asyncio.gather(*(view.get_customer(EXAMPLE) for view in views))
    assert emulator.stats.requests == 1 + 4


async def test_single_call_creates_no_task(emulator: Emulator, slow: CustomersClient) -> None:
    """A call without others for the same customer runs in its own task."""
    before = asyncio.all_tasks()
    [call] = await start_calls(slow, 1)
    assert [task for task in asyncio.all_tasks() - before if task in find_client_tasks()] == [call]
    await call


@pytest.mark.parametrize("leaving", [1, 4])
async def test_cancelling_a_waiter_does_not_affect_the_others(
    emulator: Emulator, slow: CustomersClient, leaving: int
) -> None:
    """If a waiting caller is cancelled, the request continues for the others."""
    calls = await start_calls(slow, 5)
    calls[leaving].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(outcome, Customer) for outcome in outcomes].count(True) == 4
    assert calls[leaving].cancelled()
    assert emulator.stats.requests == 1
    check_nothing_held(slow)


async def test_request_is_sent_again_if_the_first_caller_is_cancelled(
    emulator: Emulator, slow: CustomersClient
) -> None:
    """The first caller's request ends with it; the second request belongs to all remaining callers."""
    calls = await start_calls(slow, 5)
    calls[0].cancel()
    await asyncio.sleep(0.5)
    calls[1].cancel()
    late = asyncio.ensure_future(slow.get_customer(EXAMPLE))
    outcomes = await asyncio.gather(*calls, late, return_exceptions=True)
    assert [isinstance(outcome, Customer) for outcome in outcomes] == [False, False, True, True, True, True]
    assert emulator.stats.requests == 2
    check_nothing_held(slow)


@pytest.mark.parametrize("first_leaves_first", [True, False])
async def test_request_is_cancelled_with_the_last_caller(
    emulator: Emulator, slow: CustomersClient, first_leaves_first: bool
) -> None:
    """No task, slot or request is left, and the next call sends a new request."""
    calls = await start_calls(slow, 3)
    if first_leaves_first:
        calls[0].cancel()
        await asyncio.sleep(0.1)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    assert all(call.cancelled() for call in calls)
    check_nothing_held(slow)
    requests = emulator.stats.requests
    assert requests == (2 if first_leaves_first else 1)
    await asyncio.sleep(5)
    assert emulator.stats.in_flight == 0
    await slow.get_customer(EXAMPLE)
    assert emulator.stats.requests == requests + 1


async def test_cancellation_at_any_step_leaves_nothing(emulator: Emulator, client: CustomersClient) -> None:
    """First and second caller are cancelled after any number of loop steps; the third gets the customer."""
    emulator.rate_limit(10_000)
    await client.get_customer(EXAMPLE)
    for steps in range(25):
        calls = [asyncio.ensure_future(client.get_customer(EXAMPLE)) for _ in range(3)]
        for call in calls[:2]:
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
        assert (await calls[2]).uuid == EXAMPLE
        await asyncio.wait(calls)
        check_nothing_held(client)


@pytest.mark.parametrize(("fault", "kind"), [(404, NotFoundError), (500, ServerError), ("reset", APIConnectionError)])
async def test_errors_reach_all_callers(
    emulator: Emulator, slow: CustomersClient, impatient: RetryPolicy, fault: Any, kind: type[CustomersError]
) -> None:
    """Each caller gets its own copy of the error, whose traceback does not grow with the others."""
    emulator.fail_next(fault, times=None)
    view = slow.with_options(retry=impatient)
    outcomes: list[Any] = await asyncio.gather(*await start_calls(view, 20), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {kind}
    assert len({id(outcome) for outcome in outcomes}) == 20
    assert {repr(vars(outcome)) for outcome in outcomes} == {repr(vars(outcomes[0]))}
    assert {str(outcome) for outcome in outcomes} == {str(outcomes[0])}
    assert max(len(traceback.extract_tb(outcome.__traceback__)) for outcome in outcomes) < 15
    assert emulator.stats.requests == {404: 1, 500: 4}.get(fault, emulator.stats.requests)


async def test_other_exceptions_reach_all_callers() -> None:
    """An exception of another package is shared, and its traceback does not grow with each caller."""
    flights: SingleFlight[str, int] = SingleFlight()

    async def work() -> int:
        await asyncio.sleep(1)
        raise LookupError("failed")

    calls = [asyncio.ensure_future(flights.run("key", work)) for _ in range(20)]
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, LookupError)
        assert len(traceback.extract_tb(outcome.__traceback__)) < 10
    assert not flights._flights


async def test_error_without_a_waiter_is_not_reported(emulator: Emulator, slow: CustomersClient) -> None:
    """If all callers leave as the request fails, asyncio reports no unretrieved exception."""
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    emulator.fail_next(404, times=None)
    emulator.latency = 0.01
    for first_leaves in (True, False):
        calls = [asyncio.ensure_future(slow.get_customer(EXAMPLE)) for _ in range(3)]
        await asyncio.sleep(0)
        if first_leaves:
            calls[0].cancel()
            await asyncio.sleep(0)
        while slow._look_ups.shared._flights:  # noqa: ASYNC110  # the test needs the exact step in which it ends
            await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
    calls.clear()
    gc.collect()
    await asyncio.sleep(0)
    assert reports == []


@pytest.mark.parametrize("first_leaves", [True, False])
async def test_closing_the_client_reaches_all_callers(slow: CustomersClient, first_leaves: bool) -> None:
    """All callers raise an error, and no task is left."""
    calls = await start_calls(slow, 5)
    if first_leaves:
        calls.pop(0).cancel()
        await asyncio.sleep(0.1)
    await slow.close()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {repr(outcome) for outcome in outcomes} == {"RuntimeError('client is closed')"}
    check_nothing_held(slow)


async def test_another_event_loop_cannot_share(emulator: Emulator, slow: CustomersClient) -> None:
    """A call in another event loop is refused, even if it could share a request."""
    calls = await start_calls(slow, 1)
    with pytest.raises(RuntimeError, match="another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(slow.get_customer(EXAMPLE)))
    await asyncio.gather(*calls)


async def test_fail_fast_call_does_not_wait_for_a_shared_request(emulator: Emulator) -> None:
    """A call with ``max_rate_limit_wait=0`` fails at once beside a waiting call for the same customer."""
    emulator.rate_limit(1)
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        await client.whoami()
        patient = asyncio.ensure_future(client.get_customer(EXAMPLE))
        await asyncio.sleep(0.1)
        with pytest.raises(RateLimitError):
            async with asyncio.timeout(1):
                await client.with_options(max_rate_limit_wait=0).get_customer(EXAMPLE)
        assert (await patient).uuid == EXAMPLE


async def test_waiters_end_if_the_shared_work_is_cancelled() -> None:
    """If the shared task is cancelled, as at the end of a loop, its waiters are cancelled."""
    flights: SingleFlight[str, int] = SingleFlight()
    workers = []

    async def work() -> int:
        workers.append(asyncio.current_task())
        await asyncio.sleep(10)
        return 1

    calls = [asyncio.ensure_future(flights.run("key", work)) for _ in range(3)]
    await asyncio.sleep(1)
    calls[0].cancel()
    await asyncio.sleep(1)
    first, shared = workers
    assert first is calls[0]
    assert shared is not None
    shared.cancel()
    await asyncio.wait(calls)
    assert all(call.cancelled() for call in calls)
    assert not flights._flights
