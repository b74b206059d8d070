"""Views with other tokens: one connection pool and one rate limit for the accounts of many tenants."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from customers_async import (
    AuthenticationError,
    ConfigurationError,
    CustomersClient,
    Event,
    RateLimiter,
    ServerError,
    StaticToken,
    TokenReloaded,
    TTLCache,
)
from customers_async.client import internals
from customers_async.emulator import Emulator
from tests.wire import TOKEN, RawServer, make_response, serve

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
CUSTOMER = make_response(f'{{"uuid":"{EXAMPLE}","name":"John Doe"}}'.encode())


class Failing:
    """A token source that raises."""

    async def get(self, *, rejected: str | None = None) -> str:
        raise LookupError("the vault is sealed")


def tokens_of(server: RawServer) -> list[str]:
    """Return the token of each request that the server received."""
    lines = [line for request in server.requests for line in request.decode().split("\r\n")]
    return [line.removeprefix("Authorization: Bearer ") for line in lines if line.startswith("Authorization")]


async def test_view_sends_its_own_token() -> None:
    """The view and the client send each their own token, over one connection."""
    async with serve(CUSTOMER) as (client, server):
        tenant = client.with_token("tenant-1")
        for each in (client, tenant, client, tenant.with_options(timeout=5), client.with_options(timeout=5)):
            await each.get_customer(EXAMPLE)
        assert tokens_of(server) == [TOKEN, "tenant-1", TOKEN, "tenant-1", TOKEN]
        assert server.connections == 1


async def test_view_composes_with_options() -> None:
    """Options survive another token, and a token survives other options."""
    async with serve(CUSTOMER) as (client, server):
        views = [
            client.with_options(timeout=5, keep_unknown=True).with_token("t"),
            client.with_token("t").with_options(timeout=5, keep_unknown=True),
            client.with_token("other").with_options(timeout=5).with_token("t").with_options(keep_unknown=True),
        ]
        for view in views:
            await view.get_customer(EXAMPLE)
            assert internals(view).api.options == internals(views[0]).api.options
            assert repr(view) == repr(client)
        assert tokens_of(server) == ["t"] * 3


async def test_view_shares_slots_and_rate_limit(emulator: Emulator) -> None:
    """All views together send no more requests at a time, and no more in a window, than the client may."""
    emulator.rate_limit(20, window=60)
    limiter = RateLimiter(20, 60)
    async with CustomersClient(emulator.token, base_url=emulator.url, concurrency=3, rate_limiter=limiter) as client:
        tenants = [client.with_token(emulator.issue_token()) for _ in range(30)]
        await asyncio.gather(*(tenant.whoami() for tenant in tenants))
        assert {internals(tenant).api.slots for tenant in tenants} == {internals(client).api.slots}
    assert emulator.stats.statuses == {200: 30}


async def test_view_shares_no_look_up_and_no_cache() -> None:
    """Another account may not see the same customers: neither requests nor cached customers are shared with it."""
    cache = TTLCache(60, 10)
    async with serve(CUSTOMER, cache=cache) as (client, server):
        one, two = client.with_token("one"), client.with_token("two")
        quick = one.with_options(timeout=5)
        for _ in range(2):
            await asyncio.gather(*(each.get_customer(EXAMPLE) for each in (client, one, one, two, quick, client)))
        assert sorted(tokens_of(server)) == sorted([TOKEN, "one", "one", "two"])  # those of `quick` and `one` differ
        cache.clear()
        await asyncio.gather(*(each.get_customer(EXAMPLE) for each in (client, one, two, quick)))
        assert sorted(tokens_of(server)) == sorted([TOKEN, TOKEN, "one", "one", "two"])


async def test_simultaneous_look_ups_of_one_view_share_a_request() -> None:
    """Within a view, simultaneous look-ups of a customer send one request."""
    async with serve(CUSTOMER) as (client, server):
        tenant = client.with_token("tenant-1")
        await asyncio.gather(*(tenant.get_customer(EXAMPLE) for _ in range(5)))
        assert tokens_of(server) == ["tenant-1"]


async def test_failures_of_one_tenant_do_not_disturb_the_others(emulator: Emulator) -> None:
    """A revoked token and a failing source end the calls of their own views only, and spend no retries."""
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        good = [client.with_token(emulator.issue_token()) for _ in range(20)]
        revoked = [client.with_token("revoked") for _ in range(20)]
        failing = [client.with_token(Failing()) for _ in range(20)]
        views = [view for group in zip(good, revoked, failing, strict=True) for view in group]
        results = await asyncio.gather(*(view.whoami() for view in views), return_exceptions=True)
        assert {type(result) for result in results[1::3]} == {AuthenticationError}
        assert {type(result) for result in results[2::3]} == {ConfigurationError}
        assert not any(isinstance(result, BaseException) for result in results[::3])
        assert (await client.whoami()).uuid
    assert emulator.stats.statuses == {200: 21, 401: 20}


async def test_retries_of_one_tenant_are_not_those_of_another(emulator: Emulator) -> None:
    """A tenant whose requests always fail uses up its own retry budget."""
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        tenant = client.with_token(emulator.issue_token())
        emulator.fail_next(500, times=None)
        await asyncio.gather(*(tenant.whoami() for _ in range(20)), return_exceptions=True)
        emulator.recover()
        assert internals(tenant.with_options(timeout=1)).api.budget.points < 5
        emulator.fail_next(500)
        assert (await client.whoami()).uuid
        with pytest.raises(ServerError):
            emulator.fail_next(500)
            await tenant.whoami()


async def test_renewed_token_is_reported_to_the_listener_of_its_view(emulator: Emulator) -> None:
    """A source's newer token is used by its view alone, and `TokenReloaded` goes to that view's listener."""

    class Rotating:
        async def get(self, *, rejected: str | None = None) -> str:
            return emulator.token if rejected else "revoked"

    heard: list[Event] = []
    async with CustomersClient(StaticToken("revoked"), base_url=emulator.url) as client:
        tenant = client.with_options(on_event=heard.append).with_token(Rotating())
        await tenant.whoami()
        assert [event for event in heard if isinstance(event, TokenReloaded)] == [TokenReloaded()]
        with pytest.raises(AuthenticationError):
            await client.whoami()


@pytest.mark.parametrize("closes", ["client", "view"])
async def test_closing_a_view_closes_the_client(closes: str) -> None:
    """A client and its views are closed together."""
    async with serve(CUSTOMER) as (client, _):
        tenant = client.with_token("tenant-1")
        await {"client": client, "view": tenant}[closes].close()
        for each in (client, tenant, client.with_token("tenant-2")):
            with pytest.raises(RuntimeError, match="client is closed"):
                await each.whoami()


@pytest.mark.parametrize(
    ("token", "kind"),
    [(None, TypeError), (5, TypeError), (b"x", TypeError), ({}, TypeError), ("", ValueError), ("a b", ValueError)],
)
def test_bad_tokens_are_refused(token: Any, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong token is refused at once; None does not stand for the token of the environment."""
    monkeypatch.setenv("CUSTOMERS_TOKEN", "everybody")
    with pytest.raises(kind, match="token"):
        CustomersClient().with_token(token)


async def test_many_views_keep_one_set_of_headers() -> None:
    """Requests with many tokens in turn carry each the right one."""
    names = [f"tenant-{number}" for number in range(50)]
    async with serve(CUSTOMER, concurrency=4) as (client, server):
        tenants = [client.with_token(name) for name in names]

        async def look_up(views: Iterable[CustomersClient]) -> None:
            await asyncio.gather(*(view.get_customer(EXAMPLE) for view in views))

        await look_up(tenants)
        await look_up(reversed(tenants))
        assert sorted(tokens_of(server)) == sorted(names * 2)
        assert server.connections <= 4
