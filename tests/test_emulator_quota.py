"""The emulator's quota: a fixed window for each address, as Laravel keeps it."""

import asyncio
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from customers_async.emulator.quota import Quota
from tests.test_emulator import AUTH, CUSTOMERS, DOCUMENTED, Answer, serving

LIMIT, REMAINING, RETRY, RESET = "X-RateLimit-Limit", "X-RateLimit-Remaining", "Retry-After", "X-RateLimit-Reset"


async def test_each_answer_tells_what_remains() -> None:
    """Limit and Remaining come with every answer, the rest of the headers only with a 429."""
    async with serving(limit=3) as (_, caller):
        answers = [await caller.get(AUTH) for _ in range(3)]
        assert [answer.headers[REMAINING] for answer in answers] == ["2", "1", "0"]
        assert {answer.headers[LIMIT] for answer in answers} == {"3"}
        assert not any(RETRY in answer.headers or RESET in answer.headers for answer in answers)


async def test_beyond_the_limit_is_a_429() -> None:
    """A rejected request gets the envelope, Remaining 0 and the time to wait."""
    async with serving(limit=1) as (emulator, caller):
        await caller.get(AUTH)
        answer = await caller.get(AUTH)
        assert answer.status == 429
        assert answer.json == {
            "status": False,
            "status_code": 429,
            "message": "Too Many Attempts.",
            "errors": ["Too Many Attempts."],
        }
        assert answer.headers[REMAINING] == "0"
        assert 59 <= int(answer.headers[RETRY]) <= 60
        assert abs(int(answer.headers[RESET]) - time.time() - 60) < 5
        assert (emulator.stats.admitted, emulator.stats.rejected) == (1, 1)


async def test_the_first_request_opens_the_window() -> None:
    """The window reopens 60 seconds after its first request, however many were rejected meanwhile."""
    async with serving(limit=2) as (_, caller):
        await asyncio.sleep(30)
        statuses = []
        for pause in (20, 20, 10, 9, 2):
            statuses.append((await caller.get(AUTH)).status)
            await asyncio.sleep(pause)
        assert statuses == [200, 200, 429, 429, 429]
        assert (await caller.get(AUTH)).headers[REMAINING] == "1"


async def test_the_time_to_wait_is_enough() -> None:
    """A second more than Retry-After is always enough, and less is not."""
    async with serving(limit=1, window=10) as (_, caller):
        await caller.get(AUTH)
        await asyncio.sleep(4)
        wait = int((await caller.get(AUTH)).headers[RETRY])
        assert 5 <= wait <= 6
        await asyncio.sleep(wait - 1.5)
        assert (await caller.get(AUTH)).status == 429
        await asyncio.sleep(2.5)
        assert (await caller.get(AUTH)).status == 200


async def test_errors_count_and_tell_too() -> None:
    """Answers of the three routes carry the quota whatever their status; the limiter comes before all else."""
    async with serving(limit=500) as (emulator, caller):
        no_token: dict[str, Any] = {"headers": {"Authorization": ""}}
        answers = [
            await caller.get(AUTH, **no_token),
            await caller.get(DOCUMENTED[:-1] + "h"),
            await caller.page(per_page=0),
        ]
        emulator.whitelisted = False
        answers.append(await caller.get(AUTH))
        assert [answer.status for answer in answers] == [401, 404, 422, 403]
        assert [answer.headers[REMAINING] for answer in answers] == ["499", "498", "497", "496"]


async def test_unknown_routes_are_outside_the_quota() -> None:
    """Unknown paths, wrong methods and the description are not counted and tell nothing of the quota."""
    async with serving(limit=2) as (_, caller):
        answers = [await caller.get("/"), await caller.get(AUTH, method="POST"), await caller.get("/openapi.yaml")]
        assert not any(LIMIT in answer.headers for answer in answers)
        assert (await caller.get(AUTH)).headers[REMAINING] == "1"


async def test_addresses_have_quotas_of_their_own() -> None:
    """With trust_forwarded_for, X-Forwarded-For tells whose quota is used; without it, the connection does."""

    async def ask(address: str) -> Answer:
        return await caller.get(AUTH, headers={"X-Forwarded-For": address})

    async with serving(limit=1, trust_forwarded_for=True) as (emulator, caller):
        answers = [await ask(address) for address in ("192.0.2.1, 10.0.0.1", "192.0.2.2", "192.0.2.1")]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert (await caller.get(AUTH)).status == 200
        emulator.trust_forwarded_for = False
        assert (await ask("192.0.2.3")).status == 429


async def test_the_headers_of_a_429_may_be_left_out() -> None:
    """With retry_after=False a 429 does not say how long to wait."""
    async with serving(limit=1, retry_after=False) as (_, caller):
        await caller.get(AUTH)
        answer = await caller.get(AUTH)
        assert answer.status == 429
        assert RETRY not in answer.headers
        assert RESET not in answer.headers


async def test_the_quota_can_be_changed_on_the_fly() -> None:
    """Another limit applies at once, in a new window."""
    async with serving(limit=1) as (emulator, caller):
        await caller.get(AUTH)
        emulator.rate_limit(50, window=1)
        answer = await caller.get(CUSTOMERS)
        assert (answer.status, answer.headers[LIMIT], answer.headers[REMAINING]) == (200, "50", "49")


async def test_what_remains_is_told_when_the_answer_is_made() -> None:
    """As in Laravel, Remaining counts the requests that arrived while this one was being worked on."""
    async with serving(limit=10, latency=1) as (_, caller):
        answers = await asyncio.gather(*(caller.get(AUTH) for _ in range(4)))
        assert {answer.headers[REMAINING] for answer in answers} == {"6"}


def test_the_last_second_may_be_zero() -> None:
    """Retry-After is counted in whole seconds, so it may be 0 although the window is still shut."""
    now = [1000.9]
    quota = Quota(limit=1, window=60, clock=lambda: now[0])
    assert quota.admit("a")
    now[0] = 1060.8
    assert not quota.admit("a")
    assert (quota.retry_after("a"), quota.reopens_at("a")) == (0, 1060)
    now[0] = 1060.95
    assert quota.retry_after("a") == 0
    assert quota.remaining("a") == 1
    assert quota.admit("a")


@given(
    limit=st.integers(1, 4),
    pauses=st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 3.0, 9.5, 10.0, 11.0]), st.sampled_from("ab"))),
)
def test_the_quota_is_a_fixed_window(limit: int, pauses: list[tuple[float, str]]) -> None:
    """Any series of requests is admitted exactly as a list of admission times, kept by hand, says."""
    now = 1000.0
    quota = Quota(limit, window=10.0, clock=lambda: now)
    admitted: dict[str, list[float]] = {"a": [], "b": []}
    for pause, address in pauses:
        now += pause
        times = admitted[address]
        if times and now >= times[0] + 10.0:
            times.clear()
        expected = len(times) < limit
        assert quota.admit(address) is expected
        if expected:
            times.append(now)
        assert quota.remaining(address) == limit - len(times)
        assert quota.retry_after(address) == int(times[0] + 10) - int(now)
