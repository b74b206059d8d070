"""The emulator as a whole: construction, start, close and statistics."""

import asyncio
import base64
import gc
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp import web
from multidict import CIMultiDictProxy

from customers_async.emulator import Emulator, Exchange

CUSTOMERS = "/api/v1/customers"
DOCUMENTED = "/api/v1/customers/e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
AUTH = "/api/v1/auth"


@attrs.frozen
class Response:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)

    @property
    def date(self) -> float:
        """The Date header in Unix seconds."""
        return parsedate_to_datetime(self.headers["Date"]).timestamp()

    @property
    def uuids(self) -> list[str]:
        """The uuids of a page."""
        return [customer["uuid"] for customer in self.json]


@attrs.frozen
class Caller:
    session: aiohttp.ClientSession

    async def get(self, path: str, method: str = "GET", **options: Any) -> Response:
        """Send a request and return the response; redirects are not followed."""
        async with self.session.request(method, path, allow_redirects=False, **options) as response:
            return Response(response.status, response.headers, await response.read())

    async def page(self, page: object = 1, per_page: object = 10, **options: Any) -> Response:
        """Get one page of the list."""
        return await self.get(CUSTOMERS, params={"page": str(page), "per_page": str(per_page)}, **options)


@asynccontextmanager
async def run_emulator(customers: int = 250, **settings: Any) -> AsyncIterator[tuple[Emulator, Caller]]:
    """Run an emulator; yield it and an HTTP client with a valid token."""
    async with Emulator(customers, **settings) as emulator:
        headers = {"Authorization": f"Bearer {emulator.token}", "Accept": "application/json"}
        async with aiohttp.ClientSession(emulator.url, headers=headers) as session:
            yield emulator, Caller(session)


def read_claims(token: str) -> dict[str, Any]:
    """Return the claims of a token."""
    payload = token.split(".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return decoded


async def test_emulator_serves_inside_its_block() -> None:
    """The emulator responds inside ``async with`` and refuses connections afterwards."""
    async with run_emulator() as (emulator, caller):
        assert (await caller.get(AUTH)).status == 200
        await emulator.close()
        with pytest.raises(aiohttp.ClientConnectorError):
            await caller.get(AUTH)


async def test_start_and_close_are_idempotent() -> None:
    """A second start or close changes nothing."""
    emulator = Emulator()
    await emulator.close()
    await emulator.start()
    url = emulator.url
    await emulator.start()
    assert emulator.url == url
    await emulator.close()
    await emulator.close()


async def test_restart_keeps_the_port() -> None:
    """An emulator that is started again after close has the same URL and accepts the same token."""
    async with run_emulator() as (emulator, caller):
        url, token = emulator.url, emulator.token
        await emulator.close()
        await emulator.start()
        assert (emulator.url, emulator.token) == (url, token)
        assert (await caller.get(AUTH)).status == 200


@pytest.mark.parametrize("steps", range(8))
async def test_connection_accepted_during_close_is_closed(steps: int) -> None:
    """Whichever step of the event loop close begins at; asyncio would leave it open."""
    emulator = Emulator()
    await emulator.start()
    with socket.create_connection(("127.0.0.1", int(emulator.url.rpartition(":")[2]))) as client:
        client.setblocking(False)
        for _ in range(steps):
            await asyncio.sleep(0)
        await emulator.close()
        async with asyncio.timeout(5):
            with suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b""


async def test_port_in_use_is_an_error() -> None:
    """A port in use raises OSError, and the emulator stays closed."""
    async with Emulator() as first:
        second = Emulator(port=int(first.url.rpartition(":")[2]))
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
        await first.close()
        async with second:
            assert second.url == first.url


async def test_ipv6_address_is_supported() -> None:
    """The URL of an IPv6 address has brackets."""
    try:
        async with run_emulator(host="::1") as (emulator, caller):
            assert emulator.url.startswith("http://[::1]:")
            assert (await caller.get(AUTH)).status == 200
    except OSError:
        pytest.skip("no IPv6 here")


def test_constructor_needs_no_event_loop() -> None:
    """The constructor opens nothing; only the URL requires a start."""
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
        ({"port": 65_536}, ValueError),
        ({"customers": 10**23}, ValueError),
        ({"limit": 10**5000}, ValueError),
        ({"port": "80"}, TypeError),
        ({"host": "a" * 64 + ".x"}, ValueError),
        ({"host": "ü..x"}, ValueError),
        ({"host": "\udcff"}, ValueError),
        ({"host": "a\0b"}, ValueError),
        ({"host": 5}, TypeError),
        ({"ignore_per_page": 0}, ValueError),
    ],
)
def test_constructor_checks_settings(settings: dict[str, Any], error: type[Exception]) -> None:
    """A setting of the wrong type or range raises an error that names it."""
    with pytest.raises(error, match=next(iter(settings))):
        Emulator(**settings)


def test_assignment_checks_settings() -> None:
    """A setting is also checked when it is assigned, and a fixed one cannot be assigned."""
    emulator = Emulator()
    with pytest.raises(ValueError, match="latency"):
        emulator.latency = -1
    with pytest.raises(attrs.exceptions.FrozenAttributeError):
        emulator.customers = 5


def test_methods_check_arguments() -> None:
    """The methods that change a running emulator check their arguments."""
    emulator = Emulator(10)
    with pytest.raises(ValueError, match="limit"):
        emulator.rate_limit(0)
    with pytest.raises(ValueError, match="window"):
        emulator.rate_limit(1, window=-1)
    with pytest.raises(ValueError, match="n must"):
        emulator.insert(-1)
    with pytest.raises(ValueError, match="n must"):
        emulator.insert(10**12 + 1)
    with pytest.raises(ValueError, match="insert must"):
        emulator.on_page(1, insert=2**63 - 1)
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
    """Stats count requests by path and responses by status, except those for the description."""
    async with run_emulator() as (emulator, caller):
        for path in (CUSTOMERS, CUSTOMERS, DOCUMENTED, AUTH, "/elsewhere", "/openapi.yaml"):
            await caller.get(path)
        stats = emulator.stats
        assert stats.paths == {CUSTOMERS: 2, DOCUMENTED: 1, AUTH: 1, "/elsewhere": 1}
        assert stats.statuses == {200: 4, 404: 1}
        assert (stats.requests, stats.admitted, stats.rejected) == (5, 4, 0)


async def test_unexpected_requests_are_recorded() -> None:
    """Unknown paths, methods and parameters are recorded; the service itself ignores unknown parameters."""
    async with run_emulator() as (emulator, caller):
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


async def test_scripts_are_pending_until_used() -> None:
    """Faults, changes and expiries are pending until used; faults that never end are not listed."""
    async with run_emulator() as (emulator, caller):
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
    """The peak is the largest number of simultaneous requests, and none remains afterwards."""
    async with run_emulator(latency=0.5) as (emulator, caller):
        await asyncio.gather(*(caller.get(AUTH) for _ in range(7)))
        await caller.get(AUTH)
        assert (emulator.stats.peak_in_flight, emulator.stats.in_flight) == (7, 0)


async def test_latency_delays_responses() -> None:
    """Latency is a number of seconds or a callable that returns them, and can be changed."""
    async with run_emulator(latency=2) as (emulator, caller):
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


async def test_date_is_the_emulators_time() -> None:
    """The Date of every response follows the event loop's clock, like Retry-After."""
    async with run_emulator(limit=11) as (emulator, caller):
        start = time.time()
        await asyncio.sleep(120)
        for path in ("/", "/openapi.yaml", AUTH, CUSTOMERS, f"{CUSTOMERS}?page=0", f"{CUSTOMERS}/unknown"):
            assert 119 <= (await caller.get(path)).date - start < 180, path
        for fault in ("html", "redirect", "echo", "empty", 204, 500):
            emulator.fail_next(fault)
            assert 119 <= (await caller.get(AUTH)).date - start < 180, fault
        emulator.fail_next("stall_body")
        async with caller.session.get(AUTH) as response:
            assert 119 <= Response(response.status, response.headers, b"").date - start < 180
        rejected = await caller.get(AUTH)
        assert rejected.status == 429
        assert rejected.date + int(rejected.headers["Retry-After"]) == int(rejected.headers["X-RateLimit-Reset"])


async def test_date_can_be_replaced_or_removed() -> None:
    """The Date can be set by ``headers`` or by a fault; None removes it."""

    async def yesterday(exchange: Exchange) -> web.StreamResponse:
        return web.Response(headers={"Date": "Thu, 10 Apr 2025 12:17:23 GMT"})

    async with run_emulator() as (emulator, caller):
        emulator.fail_next(yesterday)
        assert (await caller.get(AUTH)).date == 1744287443
        emulator.headers["date"] = "noon"
        assert (await caller.get(AUTH)).headers["Date"] == "noon"
        emulator.headers["date"] = None
        emulator.fail_next("html", after=1)
        for _ in range(2):
            assert "Date" not in (await caller.get(AUTH)).headers


async def test_close_does_not_wait_for_responses() -> None:
    """Closing drops slow requests and leaves no task behind."""
    async with run_emulator(latency=3600) as (emulator, caller):
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
