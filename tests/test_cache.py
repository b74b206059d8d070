"""TTLCache: which customers a client caches, and for how long."""

import asyncio
import logging
import math
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers_async import (
    APIResponseError,
    AuthenticationError,
    Customer,
    CustomersClient,
    CustomersError,
    Found,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    TTLCache,
)
from customers_async.emulator import Emulator
from customers_async.testing import VirtualTimeLoop
from tests.faults.canary import EXAMPLE, customer, page
from tests.wire import TOKEN, make_response, serve, wait_then

UNKNOWN = "00000000-0000-0000-0000-00000000000z"


@pytest.fixture
async def cached(emulator: Emulator) -> AsyncIterator[CustomersClient]:
    """A client that caches three customers for ten seconds."""
    async with CustomersClient(emulator.token, base_url=emulator.url, cache=TTLCache(10, 3)) as client:
        yield client


async def test_cache_is_off_by_default(emulator: Emulator, client: CustomersClient) -> None:
    """Without a cache each call sends a request."""
    await client.get_customer(EXAMPLE)
    await client.get_customer(EXAMPLE)
    assert emulator.stats.requests == 2


async def test_customer_is_cached_until_it_expires(emulator: Emulator, cached: CustomersClient) -> None:
    """The time counts from the response, on the loop's clock; reading does not extend it."""
    first = await cached.get_customer(EXAMPLE)
    await asyncio.sleep(6)
    assert await cached.get_customer(EXAMPLE) is first
    await asyncio.sleep(3.9)
    assert await cached.with_options(timeout=1).get_customer(EXAMPLE) is first
    assert emulator.stats.requests == 1
    await asyncio.sleep(0.2)
    assert await cached.get_customer(EXAMPLE) == first
    assert emulator.stats.requests == 2


async def test_cache_evicts_the_least_recently_used_customer(emulator: Emulator, cached: CustomersClient) -> None:
    """The cache never holds more than its size."""
    first, second, third, fourth = emulator.uuids(0, 4)
    for uuid in (first, second, third, first, fourth):
        await cached.get_customer(uuid)
    assert emulator.stats.requests == 4
    for uuid in (first, third, fourth):
        await cached.get_customer(uuid)
    assert emulator.stats.requests == 4
    await cached.get_customer(second)
    assert emulator.stats.requests == 5
    assert cached._look_ups.cache is not None
    assert len(cached._look_ups.cache) == 3


async def test_errors_are_not_cached_by_default(emulator: Emulator, cached: CustomersClient) -> None:
    """A customer that was not found is requested again."""
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await cached.get_customer(UNKNOWN)
    assert emulator.stats.requests == 2


async def test_customers_with_and_without_unknown_fields_are_cached_separately(
    emulator: Emulator, cached: CustomersClient
) -> None:
    """A view with ``keep_unknown`` never gets a customer without its unknown fields, or vice versa."""
    emulator.touch(0, nickname="Ž")
    assert (await cached.get_customer(EXAMPLE)).extra == {}
    for _ in range(2):
        assert (await cached.with_options(keep_unknown=True).get_customer(EXAMPLE)).extra == {"nickname": "Ž"}
        assert (await cached.get_customer(EXAMPLE)).extra == {}
    assert emulator.stats.requests == 2


async def test_cached_customers_can_be_removed(emulator: Emulator) -> None:
    """``discard`` removes one customer, ``clear`` all."""
    cache = TTLCache(10, 3)
    async with CustomersClient(emulator.token, base_url=emulator.url, cache=cache) as client:
        await client.get_customer(EXAMPLE)
        cache.discard(EXAMPLE)
        await client.get_customer(EXAMPLE)
        cache.clear()
        await client.get_customer(EXAMPLE)
    assert emulator.stats.requests == 3
    assert repr(cache) == "TTLCache(seconds=10, size=3, stale_if_error=0.0, remember_missing=0.0)"


async def test_closed_client_does_not_serve_from_cache(cached: CustomersClient) -> None:
    """Use after close is an error, even for a cached customer."""
    await cached.get_customer(EXAMPLE)
    await cached.close()
    with pytest.raises(RuntimeError, match="client is closed"):
        await cached.get_customer(EXAMPLE)


def test_cache_serves_one_client() -> None:
    """Another client may have another token, which may see other customers."""
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
def test_bad_cache_arguments_are_refused(arguments: Any, kind: type[Exception]) -> None:
    """Only numbers above 0 are accepted."""
    with pytest.raises(kind):
        TTLCache(*arguments)


@pytest.mark.parametrize("name", ["stale_if_error", "remember_missing"])
@pytest.mark.parametrize(("value", "kind"), [(-1, ValueError), (float("nan"), ValueError), ("5", TypeError)])
def test_bad_times_of_a_cache_are_refused(name: str, value: Any, kind: type[Exception]) -> None:
    """A time in seconds is 0 or more."""
    with pytest.raises(kind, match=name):
        TTLCache(10, 3, **{name: value})


async def read_batch(client: CustomersClient, **options: Any) -> Customer:
    [result] = [result async for result in client.get_customers([EXAMPLE], **options)]
    assert isinstance(result, Found)
    return result.customer


LOOK_UPS: dict[str, Callable[[CustomersClient], Coroutine[Any, Any, Customer]]] = {
    "single": lambda client: client.get_customer(EXAMPLE),
    "bulk": lambda client: read_batch(client, strategy="lookups"),
    "list": lambda client: read_batch(client, strategy="list"),
}


@pytest.mark.parametrize("forget", [lambda cache: cache.discard(EXAMPLE), lambda cache: cache.clear()])
@pytest.mark.parametrize("look_up", LOOK_UPS.values(), ids=LOOK_UPS.keys())
async def test_discarded_customer_does_not_come_back(look_up: Any, forget: Any) -> None:
    """A response on its way is older than the discard: it is neither cached nor shared with later calls."""
    cache, is_list = TTLCache(60, 9), look_up is LOOK_UPS["list"]
    replies = [page(customer(name=name)) if is_list else customer(name=name) for name in ("old", "new")]
    late = [wait_then(1.0, make_response(reply, X_Api_Total="1")) for reply in replies]
    async with serve(*late) as (_, server), CustomersClient(TOKEN, base_url=server.url, cache=cache) as client:
        early = asyncio.ensure_future(look_up(client))
        await asyncio.sleep(0.5)
        forget(cache)
        later = asyncio.ensure_future(look_up(client))
        assert (await early).name == "old"
        assert cache.age(EXAMPLE) is None
        assert (await later).name == "new"
        assert (await client.get_customer(EXAMPLE)).name == "new"
        assert len(server.requests) == 2


async def test_404_from_before_a_discard_is_not_remembered() -> None:
    """The customer may have been created since."""
    cache = TTLCache(60, 9, remember_missing=60)
    replies = wait_then(1.0, make_response(b"{}", "404 No")), make_response(customer())
    async with serve(*replies) as (_, server), CustomersClient(TOKEN, base_url=server.url, cache=cache) as client:
        call = asyncio.ensure_future(client.get_customer(EXAMPLE))
        await asyncio.sleep(0.5)
        cache.discard(EXAMPLE)
        with pytest.raises(NotFoundError):
            await call
        assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE


async def test_age_ends_with_the_use_of_a_customer(cached: CustomersClient) -> None:
    """What cannot be returned any more is not cached, even if it still takes a place."""
    await cached.get_customer(EXAMPLE)
    await asyncio.sleep(9)
    assert cache_of(cached).age(EXAMPLE) == pytest.approx(9, abs=0.5)
    await asyncio.sleep(1)
    assert cache_of(cached).age(EXAMPLE) is None


@pytest.mark.parametrize("requested", [EXAMPLE, EXAMPLE.upper(), EXAMPLE.title()])
@pytest.mark.parametrize("discarded", [EXAMPLE, EXAMPLE.upper()])
async def test_discard_removes_a_customer_that_was_requested_in_another_case(requested: str, discarded: str) -> None:
    """The service may accept any case, and answers with its own."""
    cache = TTLCache(seconds=60, size=9)
    async with (
        serve(make_response(customer())) as (_, server),
        CustomersClient(TOKEN, base_url=server.url, cache=cache) as client,
    ):
        await client.get_customer(requested)
        cache.discard(discarded)
        assert len(cache) == 0
        await client.get_customer(requested)
        assert len(server.requests) == 2


async def test_cached_customer_is_not_served_for_another_spelling() -> None:
    """Whether both spellings are one customer is the service's decision."""
    cache = TTLCache(seconds=60, size=9)
    replies = [make_response(customer(uuid)) for uuid in (EXAMPLE, EXAMPLE.upper())]
    async with serve(*replies) as (_, server), CustomersClient(TOKEN, base_url=server.url, cache=cache) as client:
        for uuid in (EXAMPLE, EXAMPLE.upper()):
            assert (await client.get_customer(uuid)).uuid == uuid


@pytest.fixture
async def tolerant(emulator: Emulator, impatient: RetryPolicy) -> AsyncIterator[CustomersClient]:
    """A client whose cache helps out for a minute after ten seconds, and remembers a 404 for five."""
    cache = TTLCache(10, 3, stale_if_error=60, remember_missing=5)
    async with CustomersClient(
        emulator.token, base_url=emulator.url, cache=cache, timeout=1, max_rate_limit_wait=0, retry=impatient
    ) as client:
        yield client


def cache_of(client: CustomersClient) -> TTLCache:
    cache = client._look_ups.cache
    assert cache is not None
    return cache


@pytest.mark.parametrize("fault", [500, 503, 408, 429, "reset", "stall", "cut"])
async def test_stale_customer_takes_the_place_of_an_error(
    emulator: Emulator, tolerant: CustomersClient, caplog: pytest.LogCaptureFixture, fault: Any
) -> None:
    """If the error may pass. The log says so without the uuid, and ``age`` shows it."""
    caplog.set_level(logging.INFO)
    first = await tolerant.get_customer(EXAMPLE)
    assert cache_of(tolerant).age(UNKNOWN) is None
    await asyncio.sleep(30)
    emulator.fail_next(fault, times=None)
    assert await tolerant.get_customer(EXAMPLE) is first
    age = cache_of(tolerant).age(EXAMPLE.upper())
    assert age is not None
    assert 30 <= age < 40
    message = caplog.records[-1].getMessage()
    assert message.startswith("A look-up failed with ")
    assert message.endswith("; the cached customer is returned.")
    emulator.recover()
    await asyncio.sleep(90)  # until the rate limit's next window
    assert await tolerant.get_customer(EXAMPLE) is not first
    assert cache_of(tolerant).age(EXAMPLE) == pytest.approx(0, abs=1)


async def test_stale_customer_takes_the_place_of_a_refusal(emulator: Emulator, tolerant: CustomersClient) -> None:
    """The rate limit is used up, so nothing is sent."""
    emulator.rate_limit(1)
    first = await tolerant.get_customer(EXAMPLE)
    await asyncio.sleep(11)
    assert await tolerant.get_customer(EXAMPLE) is first
    assert emulator.stats.requests == 1
    with pytest.raises(RateLimitError):
        await tolerant.get_customer(UNKNOWN)


async def test_stale_customer_is_kept_for_a_limited_time(emulator: Emulator, tolerant: CustomersClient) -> None:
    """After that, the error is raised, and the customer is gone."""
    await tolerant.get_customer(EXAMPLE)
    emulator.fail_next(500, times=None)
    await asyncio.sleep(69)
    await tolerant.get_customer(EXAMPLE)
    await asyncio.sleep(1.1)
    with pytest.raises(ServerError):
        await tolerant.get_customer(EXAMPLE)
    assert len(cache_of(tolerant)) == 0


@pytest.mark.parametrize(
    ("fault", "kind", "left"),
    [
        (401, AuthenticationError, 1),
        (403, PermissionDeniedError, 1),
        ("html", APIResponseError, 1),
        (404, NotFoundError, 0),
    ],
)
async def test_error_that_counts_is_raised(
    emulator: Emulator, tolerant: CustomersClient, fault: Any, kind: type[CustomersError], left: int
) -> None:
    """A 404 removes the customer; it is remembered itself, for a shorter time."""
    await tolerant.get_customer(EXAMPLE)
    await asyncio.sleep(11)
    emulator.fail_next(fault, times=None)
    with pytest.raises(kind):
        await tolerant.get_customer(EXAMPLE)
    emulator.recover()
    emulator.fail_next(500, times=None)
    await asyncio.sleep(6)
    if left:
        await tolerant.get_customer(EXAMPLE)
    else:
        with pytest.raises(ServerError):
            await tolerant.get_customer(EXAMPLE)
    assert len(cache_of(tolerant)) == left


async def test_all_waiters_get_the_stale_customer(
    emulator: Emulator, tolerant: CustomersClient, caplog: pytest.LogCaptureFixture
) -> None:
    """They share one request, its failure, and the message about it."""
    caplog.set_level(logging.INFO, "customers_async")
    first = await tolerant.get_customer(EXAMPLE)
    await asyncio.sleep(11)
    emulator.fail_next(500, times=None)
    before = emulator.stats.requests
    found = await asyncio.gather(*(tolerant.get_customer(EXAMPLE) for _ in range(5)))
    assert all(customer is first for customer in found)
    assert emulator.stats.requests == before + 4
    assert sum("the cached customer is returned" in record.getMessage() for record in caplog.records) == 1


async def test_404_is_remembered(emulator: Emulator, tolerant: CustomersClient) -> None:
    """It is raised again without a request: each time a new object, without attempts and without a traceback."""
    errors = []
    for _ in range(3):
        with pytest.raises(NotFoundError) as caught:
            await tolerant.get_customer(UNKNOWN)
        errors.append(caught.value)
    assert emulator.stats.requests == 1
    assert len({id(error) for error in errors}) == 3
    assert [error.attempts for error in errors] == [1, 0, 0]
    assert {str(error) for error in errors} == {f"404 NOT_FOUND for /api/v1/customers/{UNKNOWN}"}
    assert len({len(traceback.extract_tb(error.__traceback__)) for error in errors[1:]}) == 1
    with pytest.raises(NotFoundError):
        await tolerant.with_options(keep_unknown=True).get_customer(UNKNOWN)
    assert emulator.stats.requests == 1
    await asyncio.sleep(5.1)
    with pytest.raises(NotFoundError):
        await tolerant.get_customer(UNKNOWN)
    assert emulator.stats.requests == 2


async def test_remembered_404_has_no_notes_about_its_request(emulator: Emulator, tolerant: CustomersClient) -> None:
    """There was no second attempt, because there was none at all."""
    emulator.fail_next(503)
    for notes in (["It failed at attempt 2 of at most 4."], []):
        with pytest.raises(NotFoundError) as caught:
            await tolerant.get_customer(UNKNOWN)
        assert getattr(caught.value, "__notes__", []) == notes


@pytest.mark.parametrize("forget", ["discard", "clear"])
async def test_remembered_404_can_be_forgotten(emulator: Emulator, tolerant: CustomersClient, forget: str) -> None:
    """For a customer that you know has been created."""
    emulator.fail_next(404)
    with pytest.raises(NotFoundError):
        await tolerant.get_customer(EXAMPLE)
    if forget == "discard":
        cache_of(tolerant).discard(EXAMPLE.upper())
    else:
        cache_of(tolerant).clear()
    assert (await tolerant.get_customer(EXAMPLE)).uuid == EXAMPLE


async def test_404_of_another_spelling_says_nothing() -> None:
    """Whether case matters is the service's decision."""
    cache = TTLCache(seconds=60, size=9, remember_missing=60)
    replies = [make_response(customer()), make_response(b"{}", "404 No"), make_response(customer())]
    async with serve(*replies) as (_, server), CustomersClient(TOKEN, base_url=server.url, cache=cache) as client:
        await client.get_customer(EXAMPLE)
        with pytest.raises(NotFoundError):
            await client.get_customer(EXAMPLE.upper())
        assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE
        assert len(server.requests) == 2


UUIDS = [f"0000000{number}-0000-0000-0000-00000000000z" for number in range(5)]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "missing", "discard", "wait"]), st.sampled_from(UUIDS), st.booleans(), st.integers(1, 9)
    ),
    max_size=40,
)


class Model:
    """When each customer was put into a cache, or found to be missing (None); nothing is ever evicted."""

    def __init__(self) -> None:
        self.received: dict[tuple[str, bool | None], float] = {}

    def apply(self, cache: TTLCache, step: str, uuid: str, *, keep_unknown: bool) -> None:
        now = asyncio.get_running_loop().time()
        if step == "put":
            cache.put(uuid, Customer(uuid=uuid), keep_unknown=keep_unknown, epoch=cache.epoch)
            self.received[uuid, keep_unknown] = now
            self.received.pop((uuid, None), None)
            return
        if step == "missing":
            cache.put_missing(uuid, NotFoundError("404", status=404), epoch=cache.epoch)
        else:
            cache.discard(uuid)
        for kind in (True, False, None):
            self.received.pop((uuid, kind), None)
        if step == "missing":
            self.received[uuid, None] = now

    def age(self, uuid: str, kind: bool | None) -> float:
        """The seconds since then; infinity if it must not be in the cache."""
        return asyncio.get_running_loop().time() - self.received.get((uuid, kind), -math.inf)


@given(
    steps=STEPS, size=st.integers(1, 4), seconds=st.integers(1, 9), stale=st.integers(0, 9), missing=st.integers(0, 9)
)
def test_cache_never_exceeds_its_size_and_times(
    steps: list[tuple[str, str, bool, int]], size: int, seconds: int, stale: int, missing: int
) -> None:
    """Nothing that it returns is older than allowed, or back after it was removed."""
    cache, model = TTLCache(seconds, size, stale_if_error=stale, remember_missing=missing), Model()

    async def run() -> None:
        for step, uuid, keep_unknown, wait in steps:
            if step == "wait":
                await asyncio.sleep(wait)
            else:
                model.apply(cache, step, uuid, keep_unknown=keep_unknown)
            for each in UUIDS:
                found = cache.get(each, keep_unknown=keep_unknown)
                if isinstance(found, NotFoundError):
                    assert model.age(each, None) < missing + 0.1
                elif found is not None:
                    assert model.age(each, keep_unknown) < seconds + 0.1
                if cache.get_stale(each, keep_unknown=keep_unknown) is not None:
                    assert model.age(each, keep_unknown) < seconds + stale + 0.1
            assert len(cache) <= size

    with asyncio.Runner(loop_factory=VirtualTimeLoop, debug=False) as runner:
        runner.run(run())
