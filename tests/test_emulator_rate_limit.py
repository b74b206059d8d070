"""The emulator's rate limit: Laravel's fixed window for each address."""

import asyncio
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from customers_async.emulator.rate_limit import RateLimitWindows
from tests.test_emulator import AUTH, CUSTOMERS, DOCUMENTED, Response, run_emulator

LIMIT, REMAINING, RETRY, RESET = "X-RateLimit-Limit", "X-RateLimit-Remaining", "Retry-After", "X-RateLimit-Reset"


async def test_responses_have_rate_limit_headers() -> None:
    """Limit and Remaining come with every response, the other headers only with a 429."""
    async with run_emulator(limit=3) as (_, caller):
        responses = [await caller.get(AUTH) for _ in range(3)]
        assert [response.headers[REMAINING] for response in responses] == ["2", "1", "0"]
        assert {response.headers[LIMIT] for response in responses} == {"3"}
        assert not any(RETRY in response.headers or RESET in response.headers for response in responses)


async def test_request_over_the_limit_is_a_429() -> None:
    """A rejected request gets the error body, Remaining 0 and the time to wait."""
    async with run_emulator(limit=1) as (emulator, caller):
        await caller.get(AUTH)
        response = await caller.get(AUTH)
        assert response.status == 429
        assert response.json == {
            "status": False,
            "status_code": 429,
            "message": "Too Many Attempts.",
            "errors": ["Too Many Attempts."],
        }
        assert response.headers[REMAINING] == "0"
        assert 59 <= int(response.headers[RETRY]) <= 60
        assert abs(int(response.headers[RESET]) - time.time() - 60) < 5
        assert (emulator.stats.admitted, emulator.stats.rejected) == (1, 1)


async def test_first_request_opens_the_window() -> None:
    """The window ends 60 seconds after its first request, however many were rejected meanwhile."""
    async with run_emulator(limit=2) as (_, caller):
        await asyncio.sleep(30)
        statuses = []
        for pause in (20, 20, 10, 9, 2):
            statuses.append((await caller.get(AUTH)).status)
            await asyncio.sleep(pause)
        assert statuses == [200, 200, 429, 429, 429]
        assert (await caller.get(AUTH)).headers[REMAINING] == "1"


async def test_retry_after_is_sufficient() -> None:
    """Waiting a second longer than Retry-After is always enough; waiting less is not."""
    async with run_emulator(limit=1, window=10) as (_, caller):
        await caller.get(AUTH)
        await asyncio.sleep(4)
        wait = int((await caller.get(AUTH)).headers[RETRY])
        assert 5 <= wait <= 6
        await asyncio.sleep(wait - 1.5)
        assert (await caller.get(AUTH)).status == 429
        await asyncio.sleep(2.5)
        assert (await caller.get(AUTH)).status == 200


async def test_errors_count_against_the_limit() -> None:
    """Responses of the three routes have rate-limit headers, whatever their status."""
    async with run_emulator(limit=500) as (emulator, caller):
        no_token: dict[str, Any] = {"headers": {"Authorization": ""}}
        responses = [
            await caller.get(AUTH, **no_token),
            await caller.get(DOCUMENTED[:-1] + "h"),
            await caller.page(per_page=0),
        ]
        emulator.whitelisted = False
        responses.append(await caller.get(AUTH))
        assert [response.status for response in responses] == [401, 404, 422, 403]
        assert [response.headers[REMAINING] for response in responses] == ["499", "498", "497", "496"]


async def test_unknown_routes_are_not_counted() -> None:
    """Unknown paths, wrong methods and the description are not counted and have no rate-limit headers."""
    async with run_emulator(limit=2) as (_, caller):
        responses = [await caller.get("/"), await caller.get(AUTH, method="POST"), await caller.get("/openapi.yaml")]
        assert not any(LIMIT in response.headers for response in responses)
        assert (await caller.get(AUTH)).headers[REMAINING] == "1"


async def test_each_address_has_its_own_window() -> None:
    """With trust_forwarded_for the address comes from X-Forwarded-For, otherwise from the connection."""

    async def get_from(address: str) -> Response:
        return await caller.get(AUTH, headers={"X-Forwarded-For": address})

    async with run_emulator(limit=1, trust_forwarded_for=True) as (emulator, caller):
        responses = [await get_from(address) for address in ("192.0.2.1, 10.0.0.1", "192.0.2.2", "192.0.2.1")]
        assert [response.status for response in responses] == [200, 200, 429]
        assert (await caller.get(AUTH)).status == 200
        emulator.trust_forwarded_for = False
        assert (await get_from("192.0.2.3")).status == 429


async def test_headers_of_a_429_can_be_omitted() -> None:
    """With retry_after=False a 429 does not say how long to wait."""
    async with run_emulator(limit=1, retry_after=False) as (_, caller):
        await caller.get(AUTH)
        response = await caller.get(AUTH)
        assert response.status == 429
        assert RETRY not in response.headers
        assert RESET not in response.headers


async def test_rate_limit_can_be_changed() -> None:
    """A new limit applies at once, in a new window."""
    async with run_emulator(limit=1) as (emulator, caller):
        await caller.get(AUTH)
        emulator.rate_limit(50, window=1)
        response = await caller.get(CUSTOMERS)
        assert (response.status, response.headers[LIMIT], response.headers[REMAINING]) == (200, "50", "49")


async def test_remaining_is_read_when_the_response_is_made() -> None:
    """As in Laravel, Remaining also counts requests that arrived while this one was processed."""
    async with run_emulator(limit=10, latency=1) as (_, caller):
        responses = await asyncio.gather(*(caller.get(AUTH) for _ in range(4)))
        assert {response.headers[REMAINING] for response in responses} == {"6"}


def test_retry_after_can_be_zero_in_an_open_window() -> None:
    """Retry-After is in whole seconds, so it can be 0 up to a second before the window ends."""
    now = [1000.9]
    windows = RateLimitWindows(limit=1, window=60, clock=lambda: now[0])
    assert windows.admit("a")
    now[0] = 1060.8
    assert not windows.admit("a")
    assert (windows.retry_after("a"), windows.resets_at("a")) == (0, 1060)
    now[0] = 1060.95
    assert windows.retry_after("a") == 0
    assert windows.remaining("a") == 1
    assert windows.admit("a")


@given(
    limit=st.integers(1, 4),
    pauses=st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 3.0, 9.5, 10.0, 11.0]), st.sampled_from("ab"))),
)
def test_rate_limit_is_a_fixed_window(limit: int, pauses: list[tuple[float, str]]) -> None:
    """Any series of requests is admitted exactly like in a simple list of admission times."""
    now = 1000.0
    windows = RateLimitWindows(limit, window=10.0, clock=lambda: now)
    admitted: dict[str, list[float]] = {"a": [], "b": []}
    for pause, address in pauses:
        now += pause
        times = admitted[address]
        if times and now >= times[0] + 10.0:
            times.clear()
        expected = len(times) < limit
        assert windows.admit(address) is expected
        if expected:
            times.append(now)
        assert windows.remaining(address) == limit - len(times)
        assert windows.retry_after(address) == int(times[0] + 10) - int(now)


async def test_shared_address_counts_all_clients_together() -> None:
    """As behind a NAT, whatever their own addresses are."""
    async with run_emulator(shared_address=True, trust_forwarded_for=True) as (_, caller):
        for remaining in ("499", "498"):
            response = await caller.get(AUTH, headers={"X-Forwarded-For": f"192.0.2.{remaining[-1]}"})
            assert response.headers["X-RateLimit-Remaining"] == remaining
