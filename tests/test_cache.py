"""TTLCache: which customers a client caches, and for how long."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from customers_async import CustomersClient, NotFoundError, TTLCache
from customers_async.emulator import Emulator
from tests.faults.canary import EXAMPLE, customer
from tests.wire import TOKEN, make_response, serve

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
    assert cached._cache is not None
    assert len(cached._cache) == 3


async def test_errors_are_not_cached(emulator: Emulator, cached: CustomersClient) -> None:
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
    assert repr(cache) == "TTLCache(seconds=10, size=3)"


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
