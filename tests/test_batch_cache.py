"""Batches in both lanes: what they take from the cache and put into it, and which requests they share."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from customers_async import (
    CustomersClient,
    Failed,
    Found,
    NotFoundError,
    RateLimiter,
    RateLimitError,
    RetryPolicy,
    ServerError,
    TTLCache,
)
from customers_async.emulator import Emulator
from customers_async.mirror import Mirror

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
UNKNOWN = "00000000-0000-0000-0000-00000000000z"
LIST = "/api/v1/customers"
LANES = pytest.mark.parametrize("lane", ["bulk", "interactive"])


@pytest.fixture
def cache() -> TTLCache:
    return TTLCache(60, 100, stale_if_error=600, remember_missing=60)


@pytest.fixture
async def cached(emulator: Emulator, cache: TTLCache, impatient: RetryPolicy) -> AsyncIterator[CustomersClient]:
    """A client with a cache of 100 customers."""
    async with CustomersClient(emulator.token, base_url=emulator.url, cache=cache, retry=impatient) as client:
        yield client


@LANES
@pytest.mark.parametrize("strategy", ["auto", "lookups", "list"])
async def test_batch_fills_the_cache_and_reads_it(
    emulator: Emulator, cached: CustomersClient, cache: TTLCache, lane: Any, strategy: Any
) -> None:
    """The second time nothing is sent, for neither a batch nor a single look-up."""
    uuids = [*emulator.uuids(0, 5), *emulator.uuids(120, 130)]
    for _ in range(2):
        results = [result async for result in cached.get_customers(uuids, strategy=strategy, lane=lane)]
        assert [result.customer and result.customer.uuid for result in results] == uuids
        requests, emulator.stats.requests = emulator.stats.requests, 0
    assert requests == 0
    assert (await cached.get_customer(uuids[0])).uuid == uuids[0]
    assert emulator.stats.requests == 0
    assert len(cache) == len(uuids)  # not the other customers of the pages


async def test_cached_customers_are_not_counted(emulator: Emulator, cached: CustomersClient) -> None:
    """The estimate and the strategy leave them out: five look-ups cost less than three pages."""
    uuids = list(emulator.uuids(0, 100))
    async for _ in cached.get_customers(uuids, strategy="list"):
        pass
    wanted = [*uuids[:95], *emulator.uuids(200, 205)]
    plan = await cached.plan_customers(wanted)
    assert (plan.strategy, plan.requests) == ("lookups", 5)
    assert (await cached.plan_customers(uuids[:95])).requests == 0
    before = emulator.stats.requests
    assert all([isinstance(result, Found) async for result in cached.get_customers(wanted)])
    assert emulator.stats.requests == before + 5


@LANES
async def test_remembered_404_costs_no_request(emulator: Emulator, cached: CustomersClient, lane: Any) -> None:
    """Each result has an error of its own."""
    found = []
    for _ in range(2):
        [result] = [result async for result in cached.get_customers([UNKNOWN], lane=lane)]
        assert isinstance(result, Failed)
        assert isinstance(result.error, NotFoundError)
        found.append(result.error)
    assert emulator.stats.requests == 1
    assert found[0] is not found[1]
    with pytest.raises(NotFoundError):
        await anext(cached.get_customers([UNKNOWN], on_missing="raise", lane=lane))
    assert [result async for result in cached.get_customers([UNKNOWN], on_missing="skip", lane=lane)] == []
    assert emulator.stats.requests == 1


@LANES
async def test_stale_customers_take_the_place_of_errors(emulator: Emulator, cached: CustomersClient, lane: Any) -> None:
    """As for single look-ups."""
    uuids = list(emulator.uuids(0, 3))
    for uuid in uuids[:2]:
        await cached.get_customer(uuid)
    await asyncio.sleep(61)
    emulator.fail_next(500, times=None)
    results = [result async for result in cached.get_customers(uuids, lane=lane)]
    assert [type(result) for result in results] == [Found, Found, Failed]
    assert isinstance(results[2].error, ServerError)


async def test_closed_client_does_not_serve_a_batch_from_its_cache(cached: CustomersClient) -> None:
    """Use after close is an error."""
    await cached.get_customer(EXAMPLE)
    batch = cached.get_customers([EXAMPLE])
    await cached.close()
    with pytest.raises(RuntimeError, match="client is closed"):
        await anext(batch)


@pytest.mark.parametrize("lane", ["bulk", "interactive"])
async def test_batch_joins_a_look_up_in_progress(emulator: Emulator, client: CustomersClient, lane: Any) -> None:
    """Of the same customer, and so do other batches in its lane."""
    emulator.latency = 1.0
    single = asyncio.ensure_future(client.get_customer(EXAMPLE))
    await asyncio.sleep(0.5)

    async def read() -> Any:
        return [result async for result in client.get_customers([EXAMPLE], lane=lane)]

    results = await asyncio.gather(read(), read())
    customer = await single
    assert [result.customer for [result] in results] == [customer, customer]
    assert emulator.stats.requests == 1
    await asyncio.gather(read(), read())
    assert emulator.stats.requests == 2


async def test_look_up_does_not_wait_for_bulk_work(emulator: Emulator) -> None:
    """A bulk look-up of the same customer waits for the next window, because of the reserve."""
    emulator.rate_limit(10)
    limiter = RateLimiter(limit=10, reserve=5)
    async with CustomersClient(emulator.token, base_url=emulator.url, rate_limiter=limiter) as client:
        uuids = list(emulator.uuids(0, 8))

        async def read() -> None:
            async for _ in client.get_customers(uuids, strategy="lookups"):
                pass

        bulk = asyncio.ensure_future(read())
        await asyncio.sleep(5)
        assert emulator.stats.requests == 5
        async with asyncio.timeout(1):
            assert (await client.get_customer(uuids[7])).uuid == uuids[7]
        await bulk


async def test_interactive_batch_may_use_the_reserve(emulator: Emulator) -> None:
    """When bulk work has to wait, it does not."""
    emulator.rate_limit(10)
    limiter = RateLimiter(limit=10, reserve=5)
    async with CustomersClient(
        emulator.token, base_url=emulator.url, rate_limiter=limiter, max_rate_limit_wait=0
    ) as client:
        bulk = [result async for result in client.get_customers(emulator.uuids(0, 6), strategy="lookups")]
        assert [type(result.error) for result in bulk][-1] is RateLimitError
        quick = [result async for result in client.get_customers(emulator.uuids(10, 14), lane="interactive")]
        assert all(isinstance(result, Found) for result in quick)


async def test_interactive_batch_precedes_bulk_work(emulator: Emulator) -> None:
    """With one slot, its requests, also for pages, are sent before those of the listing that waits."""
    emulator.latency = 1.0
    async with CustomersClient(emulator.token, base_url=emulator.url, concurrency=1) as client:
        listing = asyncio.ensure_future(client.list_customers(per_page=10).collect())
        await asyncio.sleep(3.5)
        results = [
            result async for result in client.get_customers(emulator.uuids(0, 250), strategy="list", lane="interactive")
        ]
        assert all(isinstance(result, Found) for result in results)
        assert emulator.stats.requests <= 4 + 3 + 3  # a page of the listing may come between two of the batch
        listing.cancel()


async def test_unknown_lane_is_refused(emulator: Emulator, client: CustomersClient) -> None:
    """At once."""
    with pytest.raises(ValueError, match="lane must be one of interactive, bulk"):
        client.get_customers([EXAMPLE], lane="fast")  # type: ignore[arg-type]  # on purpose
    assert emulator.stats.requests == 0


async def test_mirror_asks_the_service_whatever_is_cached(
    emulator: Emulator, cached: CustomersClient, tmp_path: Any
) -> None:
    """It records when the service showed a customer, and removes one only after a 404."""
    async with Mirror.open(tmp_path / "customers.db") as mirror:
        await mirror.sync(cached)
        uuid = next(emulator.uuids())
        await cached.get_customer(uuid)
        emulator.delete()
        report = await mirror.sync(cached)
        assert report.removed == 1
        with pytest.raises(NotFoundError):
            await mirror.get_customer(uuid, cached)
