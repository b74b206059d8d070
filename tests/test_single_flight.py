"""What look-ups of one customer share: counted at the server, whoever leaves, and whatever goes wrong."""

import asyncio
import gc
import traceback
from collections.abc import AsyncIterator
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

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
UNKNOWN = "00000000-0000-0000-0000-00000000000z"

Calls = list["asyncio.Task[Customer]"]


@pytest.fixture
async def slow(emulator: Emulator, client: CustomersClient) -> CustomersClient:
    """A client whose connection is open, of a service that takes a second for each answer."""
    await client.whoami()
    emulator.stats.requests = 0
    emulator.latency = 1.0
    return client


async def begun(client: CustomersClient, count: int, uuid: str = EXAMPLE) -> Calls:
    """So many simultaneous calls for one customer, whose request is at the server."""
    calls = [asyncio.ensure_future(client.get_customer(uuid)) for _ in range(count)]
    await asyncio.sleep(0.5)
    return calls


async def test_simultaneous_calls_share_one_request(emulator: Emulator, slow: CustomersClient) -> None:
    """Fifty callers, one request, fifty answers; the next call asks anew."""
    customers = await asyncio.gather(*await begun(slow, 50))
    assert {customer.uuid for customer in customers} == {EXAMPLE}
    assert emulator.stats.requests == 1
    await slow.get_customer(EXAMPLE)
    assert emulator.stats.requests == 2
    check_nothing_held(slow)


async def test_other_customers_have_requests_of_their_own(emulator: Emulator, slow: CustomersClient) -> None:
    """What is shared is the request for one customer."""
    uuids = list(emulator.uuids(0, 5)) * 3
    customers = await asyncio.gather(*(slow.get_customer(uuid) for uuid in uuids))
    assert [customer.uuid for customer in customers] == uuids
    assert emulator.stats.requests == 5


async def test_options_that_make_a_difference_keep_calls_apart(emulator: Emulator, slow: CustomersClient) -> None:
    """A view with the same options shares, whatever its listener and its places; another deadline does not."""
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


async def test_a_call_without_company_costs_no_task(emulator: Emulator, slow: CustomersClient) -> None:
    """Whoever asks alone does the work itself."""
    before = asyncio.all_tasks()
    [call] = await begun(slow, 1)
    assert [task for task in asyncio.all_tasks() - before if task in find_client_tasks()] == [call]
    await call


@pytest.mark.parametrize("leaving", [1, 4])
async def test_cancelling_one_leaves_the_others(emulator: Emulator, slow: CustomersClient, leaving: int) -> None:
    """One that waits leaves: the request goes on for the others."""
    calls = await begun(slow, 5)
    calls[leaving].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(outcome, Customer) for outcome in outcomes].count(True) == 4
    assert calls[leaving].cancelled()
    assert emulator.stats.requests == 1
    check_nothing_held(slow)


async def test_when_the_first_one_leaves_the_request_is_sent_once_more(
    emulator: Emulator, slow: CustomersClient
) -> None:
    """It took its request along. The second one belongs to all that wait: whoever leaves now takes nothing along."""
    calls = await begun(slow, 5)
    calls[0].cancel()
    await asyncio.sleep(0.5)
    calls[1].cancel()
    late = asyncio.ensure_future(slow.get_customer(EXAMPLE))
    outcomes = await asyncio.gather(*calls, late, return_exceptions=True)
    assert [isinstance(outcome, Customer) for outcome in outcomes] == [False, False, True, True, True, True]
    assert emulator.stats.requests == 2
    check_nothing_held(slow)


@pytest.mark.parametrize("first_leaves_first", [True, False])
async def test_when_all_are_cancelled_so_is_the_request(
    emulator: Emulator, slow: CustomersClient, first_leaves_first: bool
) -> None:
    """One after another or together: no task, no place and no request is left, and the next call begins anew."""
    calls = await begun(slow, 3)
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


async def test_cancelled_at_any_moment_nothing_is_left(emulator: Emulator, client: CustomersClient) -> None:
    """First and second caller, cancelled after each number of steps of the loop: the third gets its customer."""
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
async def test_errors_reach_all(
    emulator: Emulator, slow: CustomersClient, impatient: RetryPolicy, fault: Any, kind: type[CustomersError]
) -> None:
    """Each caller gets an error of its own, as if it had been alone: none grows by what the others do with theirs."""
    emulator.fail_next(fault, times=None)
    view = slow.with_options(retry=impatient)
    outcomes: list[Any] = await asyncio.gather(*await begun(view, 20), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {kind}
    assert len({id(outcome) for outcome in outcomes}) == 20
    assert {repr(vars(outcome)) for outcome in outcomes} == {repr(vars(outcomes[0]))}
    assert {str(outcome) for outcome in outcomes} == {str(outcomes[0])}
    assert max(len(traceback.extract_tb(outcome.__traceback__)) for outcome in outcomes) < 15
    assert emulator.stats.requests == {404: 1, 500: 4}.get(fault, emulator.stats.requests)


async def test_foreign_errors_reach_all() -> None:
    """What is no error of ours is one object for all, and its traceback does not grow with those who raise it."""
    flights: SingleFlight[str, int] = SingleFlight()

    async def work() -> int:
        await asyncio.sleep(1)
        raise LookupError("no vault")

    calls = [asyncio.ensure_future(flights.run("key", work)) for _ in range(20)]
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, LookupError)
        assert len(traceback.extract_tb(outcome.__traceback__)) < 10
    assert not flights._flights


async def test_errors_that_nobody_awaits_make_no_noise(emulator: Emulator, slow: CustomersClient) -> None:
    """The request fails in the very moment in which the others leave: no "exception was never retrieved"."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    emulator.fail_next(404, times=None)
    emulator.latency = 0.01
    for first_leaves in (True, False):
        calls = [asyncio.ensure_future(slow.get_customer(EXAMPLE)) for _ in range(3)]
        await asyncio.sleep(0)
        if first_leaves:
            calls[0].cancel()
            await asyncio.sleep(0)
        while slow._flights._flights:  # noqa: ASYNC110  # the very step in which it ends is looked for
            await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
    calls.clear()
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


@pytest.mark.parametrize("first_leaves", [True, False])
async def test_closing_the_client_reaches_all(slow: CustomersClient, first_leaves: bool) -> None:
    """Everybody is told; no task is left."""
    calls = await begun(slow, 5)
    if first_leaves:
        calls.pop(0).cancel()
        await asyncio.sleep(0.1)
    await slow.close()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {repr(outcome) for outcome in outcomes} == {"RuntimeError('client is closed')"}
    check_nothing_held(slow)


async def test_another_event_loop_does_not_join(emulator: Emulator, slow: CustomersClient) -> None:
    """A call from another loop, in a thread of its own, is refused though it could wait for one that is under way."""
    calls = await begun(slow, 1)
    with pytest.raises(RuntimeError, match="another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(slow.get_customer(EXAMPLE)))
    await asyncio.gather(*calls)


async def test_a_call_that_may_not_wait_does_not_wait_for_one_that_may(emulator: Emulator) -> None:
    """Fail-fast holds beside a patient call for the same customer."""
    emulator.rate_limit(1)
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        await client.whoami()
        patient = asyncio.ensure_future(client.get_customer(EXAMPLE))
        await asyncio.sleep(0.1)
        with pytest.raises(RateLimitError):
            async with asyncio.timeout(1):
                await client.with_options(max_rate_limit_wait=0).get_customer(EXAMPLE)
        assert (await patient).uuid == EXAMPLE


async def test_work_that_something_else_cancels_ends_for_those_who_wait() -> None:
    """As a loop does that shuts down: nobody waits for ever."""
    flights: SingleFlight[str, int] = SingleFlight()

    async def work() -> int:
        await asyncio.sleep(10)
        return 1

    calls = [asyncio.ensure_future(flights.run("key", work)) for _ in range(3)]
    await asyncio.sleep(1)
    calls[0].cancel()
    await asyncio.sleep(1)
    [task] = (
        find_client_tasks()
        if len(find_client_tasks()) == 1
        else [task for task in asyncio.all_tasks() if "_run_again" in repr(task)]
    )
    task.cancel()
    await asyncio.wait(calls)
    assert all(call.cancelled() for call in calls)
    assert not flights._flights


@pytest.fixture
async def cached(emulator: Emulator) -> AsyncIterator[CustomersClient]:
    """A client that remembers three customers for ten seconds."""
    async with CustomersClient(emulator.token, base_url=emulator.url, cache=TTLCache(10, 3)) as client:
        yield client


async def test_the_cache_is_off_by_default(emulator: Emulator, client: CustomersClient) -> None:
    """Each call asks the service."""
    await client.get_customer(EXAMPLE)
    await client.get_customer(EXAMPLE)
    assert emulator.stats.requests == 2


async def test_a_customer_is_remembered_for_a_while(emulator: Emulator, cached: CustomersClient) -> None:
    """On the loop's clock, from the answer on; to be asked for does not make it younger."""
    first = await cached.get_customer(EXAMPLE)
    await asyncio.sleep(6)
    assert await cached.get_customer(EXAMPLE) is first
    await asyncio.sleep(3.9)
    assert await cached.with_options(timeout=1).get_customer(EXAMPLE) is first
    assert emulator.stats.requests == 1
    await asyncio.sleep(0.2)
    assert await cached.get_customer(EXAMPLE) == first
    assert emulator.stats.requests == 2


async def test_the_cache_forgets_who_was_asked_for_longest_ago(emulator: Emulator, cached: CustomersClient) -> None:
    """It holds so many customers and no more."""
    first, second, third, fourth = emulator.uuids(0, 4)
    for uuid in (first, second, third, first, fourth):
        await cached.get_customer(uuid)
    assert emulator.stats.requests == 4
    for uuid in (first, third, fourth):
        await cached.get_customer(uuid)
    assert emulator.stats.requests == 4
    await cached.get_customer(second)
    assert emulator.stats.requests == 5
    assert cached._cache is not None
    assert len(cached._cache) == 3


async def test_errors_are_never_remembered(emulator: Emulator, cached: CustomersClient) -> None:
    """Who was not there may be there now."""
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await cached.get_customer(UNKNOWN)
    assert emulator.stats.requests == 2


async def test_unknown_fields_are_remembered_apart(emulator: Emulator, cached: CustomersClient) -> None:
    """A view that keeps them does not get a customer without them, nor the other way round."""
    emulator.touch(0, nickname="Ž")
    assert (await cached.get_customer(EXAMPLE)).extra == {}
    for _ in range(2):
        assert (await cached.with_options(keep_unknown=True).get_customer(EXAMPLE)).extra == {"nickname": "Ž"}
        assert (await cached.get_customer(EXAMPLE)).extra == {}
    assert emulator.stats.requests == 2


async def test_the_cache_forgets_on_request(emulator: Emulator) -> None:
    """One customer, or everybody."""
    cache = TTLCache(10, 3)
    async with CustomersClient(emulator.token, base_url=emulator.url, cache=cache) as client:
        await client.get_customer(EXAMPLE)
        cache.discard(EXAMPLE)
        await client.get_customer(EXAMPLE)
        cache.clear()
        await client.get_customer(EXAMPLE)
    assert emulator.stats.requests == 3
    assert repr(cache) == "TTLCache(seconds=10, size=3)"


async def test_a_closed_client_gives_nobody_out_of_its_cache(cached: CustomersClient) -> None:
    """Use after close is an error, remembered or not."""
    await cached.get_customer(EXAMPLE)
    await cached.close()
    with pytest.raises(RuntimeError, match="client is closed"):
        await cached.get_customer(EXAMPLE)


def test_a_cache_serves_one_client() -> None:
    """Another client may have another token, and see other customers."""
    cache = TTLCache(10, 3)
    CustomersClient("x", cache=cache)
    with pytest.raises(ValueError, match="another client"):
        CustomersClient("y", cache=cache)
    with pytest.raises(TypeError, match="TTLCache"):
        CustomersClient("x", cache={})  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ((0, 3), ValueError),
        ((-1, 3), ValueError),
        ((float("nan"), 3), ValueError),
        (("10", 3), TypeError),
        ((True, 3), TypeError),
        ((10, 0), ValueError),
        ((10, 1.5), TypeError),
    ],
)
def test_bad_limits_of_a_cache_are_refused(arguments: Any, kind: type[Exception]) -> None:
    """Numbers above 0 only."""
    with pytest.raises(kind):
        TTLCache(*arguments)
