"""The emulator as a whole: made, started, closed, counted."""

import asyncio
import base64
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
import pytest
from multidict import CIMultiDictProxy

from customers_async.emulator import Emulator

CUSTOMERS = "/api/v1/customers"
DOCUMENTED = "/api/v1/customers/e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
AUTH = "/api/v1/auth"


@attrs.frozen
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def uuids(self) -> list[str]:
        """The uuids on a page."""
        return [customer["uuid"] for customer in self.json]


@attrs.frozen
class Caller:
    session: aiohttp.ClientSession

    async def get(self, path: str, method: str = "GET", **options: Any) -> Answer:
        """What is answered to a request, redirects included."""
        async with self.session.request(method, path, allow_redirects=False, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def page(self, page: object = 1, per_page: object = 10, **options: Any) -> Answer:
        """One page of the list."""
        return await self.get(CUSTOMERS, params={"page": str(page), "per_page": str(per_page)}, **options)


@asynccontextmanager
async def serving(customers: int = 250, **settings: Any) -> AsyncIterator[tuple[Emulator, Caller]]:
    """An emulator, and someone who may call it."""
    async with Emulator(customers, **settings) as emulator:
        headers = {"Authorization": f"Bearer {emulator.token}", "Accept": "application/json"}
        async with aiohttp.ClientSession(emulator.url, headers=headers) as session:
            yield emulator, Caller(session)


def claims(token: str) -> dict[str, Any]:
    """What a token says."""
    payload = token.split(".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return decoded


async def test_it_serves_while_its_block_runs() -> None:
    """The emulator answers inside ``async with`` and refuses connections afterwards."""
    async with serving() as (emulator, caller):
        assert (await caller.get(AUTH)).status == 200
        await emulator.close()
        with pytest.raises(aiohttp.ClientConnectorError):
            await caller.get(AUTH)


async def test_start_and_close_are_idempotent() -> None:
    """Starting or closing a second time changes nothing."""
    emulator = Emulator()
    await emulator.close()
    await emulator.start()
    url = emulator.url
    await emulator.start()
    assert emulator.url == url
    await emulator.close()
    await emulator.close()


async def test_it_comes_back_on_the_same_port() -> None:
    """An emulator started again after close has the same URL and accepts the same token."""
    async with serving() as (emulator, caller):
        url, token = emulator.url, emulator.token
        await emulator.close()
        await emulator.start()
        assert (emulator.url, emulator.token) == (url, token)
        assert (await caller.get(AUTH)).status == 200


async def test_a_taken_port_is_told() -> None:
    """A port in use raises OSError, and the emulator stays closed."""
    async with Emulator() as first:
        second = Emulator(port=int(first.url.rpartition(":")[2]))
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
        await first.close()
        async with second:
            assert second.url == first.url


async def test_it_listens_on_ipv6_too() -> None:
    """The URL of an IPv6 address is bracketed."""
    try:
        async with serving(host="::1") as (emulator, caller):
            assert emulator.url.startswith("http://[::1]:")
            assert (await caller.get(AUTH)).status == 200
    except OSError:
        pytest.skip("no IPv6 here")


def test_making_one_needs_no_event_loop() -> None:
    """Nothing is opened by the constructor; only the URL has to wait for the start."""
    emulator = Emulator(10)
    assert emulator.total == 10
    assert len(emulator.token.split(".")) == 3
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = emulator.url


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"customers": -1}, ValueError),
        ({"customers": 1.5}, TypeError),
        ({"customers": True}, TypeError),
        ({"seed": "x"}, TypeError),
        ({"limit": 0}, ValueError),
        ({"limit": "500"}, TypeError),
        ({"window": 0}, ValueError),
        ({"window": float("nan")}, ValueError),
        ({"window": "60"}, TypeError),
        ({"edition": "c"}, ValueError),
        ({"capped": 1}, TypeError),
        ({"cap": -1}, ValueError),
        ({"latency": -0.1}, ValueError),
        ({"latency": None}, TypeError),
        ({"gzip": "yes"}, TypeError),
        ({"token_lifetime": 0}, ValueError),
        ({"host": 127}, TypeError),
        ({"port": -1}, ValueError),
        ({"ignore_per_page": 0}, ValueError),
    ],
)
def test_bad_arguments_fail_at_once(settings: dict[str, Any], error: type[Exception]) -> None:
    """A setting of the wrong type or range is refused by the constructor, which names it."""
    with pytest.raises(error, match=next(iter(settings))):
        Emulator(**settings)


def test_bad_changes_fail_at_once() -> None:
    """A setting is checked when it is changed too, and what is fixed cannot be."""
    emulator = Emulator()
    with pytest.raises(ValueError, match="latency"):
        emulator.latency = -1
    with pytest.raises(attrs.exceptions.FrozenAttributeError):
        emulator.customers = 5


def test_bad_levers_fail_at_once() -> None:
    """The methods that change a running emulator check their arguments where they are called."""
    emulator = Emulator(10)
    with pytest.raises(ValueError, match="limit"):
        emulator.rate_limit(0)
    with pytest.raises(ValueError, match="window"):
        emulator.rate_limit(1, window=-1)
    with pytest.raises(ValueError, match="n must"):
        emulator.insert(-1)
    with pytest.raises(ValueError, match="at must"):
        emulator.delete(1, at=-1)
    with pytest.raises(ValueError, match="no position 10"):
        emulator.touch(10)
    with pytest.raises(ValueError, match="page"):
        emulator.on_page(0, insert=1)
    with pytest.raises(TypeError, match="delete"):
        emulator.on_page(1, delete=1.0)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(ValueError, match="lifetime"):
        emulator.issue_token(lifetime=0)
    with pytest.raises(ValueError, match="after"):
        emulator.expire_token(after=-1)


async def test_requests_are_counted() -> None:
    """Stats tell requests by path and answers by status, unknown paths included, the description not."""
    async with serving() as (emulator, caller):
        for path in (CUSTOMERS, CUSTOMERS, DOCUMENTED, AUTH, "/elsewhere", "/openapi.yaml"):
            await caller.get(path)
        stats = emulator.stats
        assert stats.paths == {CUSTOMERS: 2, DOCUMENTED: 1, AUTH: 1, "/elsewhere": 1}
        assert stats.statuses == {200: 4, 404: 1}
        assert (stats.requests, stats.admitted, stats.rejected) == (5, 4, 0)


async def test_what_the_service_does_not_know_is_noted() -> None:
    """Unknown paths, methods and parameters; the service itself ignores the last, and nobody would notice."""
    async with serving() as (emulator, caller):
        for target in (
            "/elsewhere",
            f"{CUSTOMERS}?page=1&per_page=5",
            f"{CUSTOMERS}?perpage=5",
            f"{DOCUMENTED}?page=1",
        ):
            await caller.get(target)
        await caller.session.post(f"{emulator.url}{AUTH}")
        assert emulator.stats.unexpected == [
            "GET /elsewhere",
            f"GET {CUSTOMERS}: no parameter perpage",
            f"GET {DOCUMENTED}: no parameter page",
            f"POST {AUTH}",
        ]


async def test_what_is_scripted_is_pending_until_it_happens() -> None:
    """Faults, changes and expiries that wait for a request; those without an end do not count."""
    async with serving() as (emulator, caller):
        emulator.fail_next(503, times=2)
        emulator.fail_next("stall", times=None, page=9)
        emulator.on_page(1, delete=1)
        emulator.expire_token(after=3)
        assert emulator.pending == ["fail_next(503)", "on_page(1)", "expire_token(after=3)"]
        for pending in (
            ["fail_next(503)", "on_page(1)", "expire_token(after=3)"],
            ["on_page(1)", "expire_token(after=3)"],
        ):
            await caller.get(CUSTOMERS)
            assert emulator.pending == pending
        await caller.get(CUSTOMERS)
        assert emulator.pending == ["expire_token(after=2)"]
        emulator.expire_token()
        assert emulator.pending == []


async def test_requests_in_flight_are_counted() -> None:
    """The peak is the most requests that were answered at one time, and none is left over."""
    async with serving(latency=0.5) as (emulator, caller):
        await asyncio.gather(*(caller.get(AUTH) for _ in range(7)))
        await caller.get(AUTH)
        assert (emulator.stats.peak_in_flight, emulator.stats.in_flight) == (7, 0)


async def test_latency_is_the_time_an_answer_takes() -> None:
    """Latency is a number of seconds or a callable that returns them, and can be changed."""
    async with serving(latency=2) as (emulator, caller):
        now = asyncio.get_running_loop().time
        start = now()
        await caller.get(AUTH)
        assert 2 <= now() - start < 3
        emulator.latency = iter([5.0, 0.0]).__next__
        start = now()
        await caller.get(AUTH)
        assert 5 <= now() - start < 6
        start = now()
        await caller.get(AUTH)
        assert now() - start < 1


async def test_closing_does_not_wait_for_answers() -> None:
    """Closing drops requests that still have long to go, and leaves no task behind."""
    async with serving(latency=3600) as (emulator, caller):
        waiting = [asyncio.create_task(caller.get(AUTH)) for _ in range(3)]
        await asyncio.sleep(1)
        assert emulator.stats.in_flight == 3
        start = asyncio.get_running_loop().time()
        await emulator.close()
        assert asyncio.get_running_loop().time() - start < 1
        failures = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(failure, aiohttp.ClientError) for failure in failures)
        assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()
