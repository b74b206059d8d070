"""The emulator's scripted and random faults."""

import asyncio
import gzip
import zlib
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from customers_async.emulator import Emulator, Exchange
from tests.test_emulator import AUTH, CUSTOMERS, DOCUMENTED, Caller, run_emulator

BRIEFLY = aiohttp.ClientTimeout(total=5)


async def get_statuses(caller: Caller, count: int, path: str = AUTH) -> list[int]:
    """Send requests one after another and return their statuses."""
    return [(await caller.get(path)).status for _ in range(count)]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "INTERNAL_SERVER_ERROR"),
        (401, "UNAUTHORIZED"),
        (403, "NO_PERMISSION"),
        (404, "NOT_FOUND"),
        (418, "IM_A_TEAPOT"),
        (422, "VALIDATION_ERROR"),
        (500, "INTERNAL_SERVER_ERROR"),
        (503, "SERVICE_UNAVAILABLE"),
        (999, "HTTP_999"),
    ],
)
async def test_failing_status_has_the_error_body(status: int, message: str) -> None:
    """A failing status comes once, with the documented error body and the rate-limit headers."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next(status)
        response = await caller.get(AUTH)
        assert response.status == status
        assert response.json == {"status": False, "status_code": status, "message": message, "errors": [message]}
        assert response.headers["X-RateLimit-Remaining"] == "499"
        assert await get_statuses(caller, 1) == [200]


async def test_scripted_429_looks_real() -> None:
    """A scripted 429 has Remaining 0 and Retry-After, though requests are left."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next(429)
        headers = (await caller.get(AUTH)).headers
        assert (headers["X-RateLimit-Remaining"], headers["Retry-After"]) == ("0", "60")
        assert (emulator.stats.admitted, emulator.stats.rejected) == (1, 0)


async def test_faults_occur_in_order() -> None:
    """Faults occur in order, as often as scripted and after as many successes as scripted."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next(500, times=2, after=1)
        emulator.fail_next(502)
        assert await get_statuses(caller, 5) == [502, 500, 500, 200, 200]


async def test_fault_can_be_limited_to_a_path_or_page() -> None:
    """A fault can apply to one path, a pattern of paths or one page; other requests succeed."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next(500, path=DOCUMENTED)
        emulator.fail_next(501, path="/api/v1/customers/*")
        emulator.fail_next(502, page=2, path=CUSTOMERS)
        emulator.fail_next(503, page=1, path=CUSTOMERS)
        assert await get_statuses(caller, 3, AUTH) == [200, 200, 200]
        assert await get_statuses(caller, 3, DOCUMENTED) == [500, 501, 200]
        assert [(await caller.page(page)).status for page in (3, 2, 2)] == [200, 502, 200]
        assert await get_statuses(caller, 2, CUSTOMERS) == [503, 200]


async def test_page_without_path_means_the_list() -> None:
    """A fault for page 1 does not apply to requests without pages."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next(500, page=1)
        assert await get_statuses(caller, 1, AUTH) == [200]
        assert await get_statuses(caller, 2, CUSTOMERS) == [500, 200]


async def test_endless_fault_lasts_until_recover() -> None:
    """With times=None all requests fail until ``recover``."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next(503, times=None)
        emulator.fail_randomly({"html": 1.0})
        assert await get_statuses(caller, 20) == [503] * 20
        emulator.recover()
        assert await get_statuses(caller, 2) == [200, 200]


async def test_rejected_requests_use_no_fault() -> None:
    """A request that the rate limit rejects does not use up a fault."""
    async with run_emulator(limit=1) as (emulator, caller):
        emulator.fail_next(503, after=1)
        assert await get_statuses(caller, 3) == [200, 429, 429]
        emulator.rate_limit(10)
        assert await get_statuses(caller, 2) == [503, 200]


async def test_random_faults_are_repeatable() -> None:
    """Random faults occur about as often as their rates say, and equally for the same seed."""

    async def run() -> list[int]:
        async with run_emulator(seed=7) as (emulator, caller):
            emulator.fail_randomly({503: 0.2, "html_502": 0.1})
            return await get_statuses(caller, 200)

    first = await run()
    assert first == await run()
    assert 20 < first.count(503) < 60
    assert 8 < first.count(502) < 35
    assert first.count(200) > 100


async def test_fault_can_be_a_coroutine_function() -> None:
    """A coroutine function can return any response, including the true one and error responses."""

    async def add_cookie(exchange: Exchange) -> web.StreamResponse:
        response = await exchange.answer()
        response.headers["Set-Cookie"] = "session=1"
        return response if exchange.request.path == CUSTOMERS else exchange.refuse(418)

    async with run_emulator() as (emulator, caller):
        emulator.fail_next(add_cookie, times=2)
        response = await caller.get(CUSTOMERS)
        assert (len(response.json), response.headers["Set-Cookie"]) == (15, "session=1")
        assert await get_statuses(caller, 1) == [418]


@pytest.mark.parametrize(("fault", "status"), [("html", 200), ("maintenance", 503), ("html_404", 404)])
async def test_html_page(fault: str, status: int) -> None:
    """The response is a proxy's HTML page without rate-limit headers."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next(fault)
        response = await caller.get(AUTH)
        assert (response.status, response.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
        assert response.body.startswith(b"<!DOCTYPE html>")
        assert "X-RateLimit-Limit" not in response.headers


async def test_redirect_to_the_login_page() -> None:
    """The response redirects to a login page."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next("redirect")
        response = await caller.get(AUTH)
        assert (response.status, response.headers["Location"]) == (302, "/login")


async def test_no_content() -> None:
    """A 204 has no body."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next(204)
        response = await caller.get(AUTH)
        assert (response.status, response.body) == (204, b"")


async def test_echo_of_the_token() -> None:
    """The error response repeats the request's authorization header."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next("echo")
        response = await caller.get(AUTH)
        assert response.status == 400
        assert response.json["errors"] == [f"Bearer {emulator.token}"]


@pytest.mark.parametrize(("fault", "body"), [("empty", b""), ("null", b"null")])
async def test_empty_and_null_bodies(fault: str, body: bytes) -> None:
    """The headers are those of the true response; the body is empty or null."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next(fault)
        response = await caller.get(CUSTOMERS)
        assert (response.status, response.body, response.headers["X-Api-Total"]) == (200, body, "250")


async def test_truncated_json() -> None:
    """The body is half of the true one, with a matching length and encoding."""
    async with run_emulator() as (emulator, caller):
        true = await caller.get(CUSTOMERS)
        emulator.fail_next("bad_json")
        response = await caller.get(CUSTOMERS)
        assert response.body == true.body[: len(true.body) // 2]
        assert response.headers["Content-Encoding"] == "gzip"


async def test_truncated_gzip() -> None:
    """The compressed body is cut, and the length matches what is left."""
    async with run_emulator() as (emulator, _), aiohttp.ClientSession(emulator.url, auto_decompress=False) as session:
        emulator.fail_next("cut_gzip")
        headers = {"Authorization": f"Bearer {emulator.token}"}
        async with session.get(CUSTOMERS, headers=headers) as response:
            body = await response.read()
            assert response.headers["Content-Encoding"] == "gzip"
            assert response.content_length == len(body)
        with pytest.raises(EOFError):
            gzip.decompress(body)
        assert zlib.decompressobj(31).decompress(body).startswith(b'[{"uuid":')


async def test_cut_body() -> None:
    """The connection closes in the middle of the body."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next("cut")
        with pytest.raises(aiohttp.ClientPayloadError):
            await caller.get(CUSTOMERS)
        assert emulator.stats.statuses == {200: 1}


@pytest.mark.parametrize(
    ("fault", "error"), [("reset", aiohttp.ClientOSError), ("hang_up", aiohttp.ServerDisconnectedError)]
)
async def test_connection_lost_before_the_response(fault: str, error: type[Exception]) -> None:
    """The connection is reset or closed before the first byte of a response."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next(fault, times=None)
        with pytest.raises(error):
            await caller.get(AUTH)
        assert not emulator.stats.statuses
        emulator.recover()
        assert await get_statuses(caller, 1) == [200]


async def test_stall_before_the_headers() -> None:
    """No response ever comes, and the request ends when the client disconnects."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next("stall")
        with pytest.raises(TimeoutError):
            await caller.get(AUTH, timeout=BRIEFLY)
        await asyncio.sleep(0.1)
        assert emulator.stats.in_flight == 0
        assert not emulator.stats.statuses


@pytest.mark.parametrize("fault", ["stall_body", "drip"])
async def test_stall_in_the_body(fault: str) -> None:
    """The headers come at once, the body too late."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next(fault)
        async with caller.session.get(CUSTOMERS, timeout=BRIEFLY) as response:
            assert response.status == 200
            assert await response.content.readany()
            with pytest.raises(TimeoutError):
                await response.read()


async def test_dripping_body() -> None:
    """One byte a second comes, and the body is complete in the end."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next("drip")
        start = asyncio.get_running_loop().time()
        response = await caller.get("/api/v1/auth")
        assert response.json["is_active"] == 1
        assert asyncio.get_running_loop().time() - start >= len(response.body) - 1


@pytest.mark.parametrize("fault", ["stall", "stall_body", "drip"])
async def test_close_ends_stalled_requests(fault: str) -> None:
    """Stalled requests do not delay closing, and leave no task behind."""
    async with run_emulator() as (emulator, caller):
        emulator.fail_next(fault, times=None)
        stalled = [asyncio.create_task(caller.get(CUSTOMERS)) for _ in range(4)]
        await asyncio.sleep(1)
        assert emulator.stats.in_flight == 4
        await emulator.close()
        failures = await asyncio.gather(*stalled, return_exceptions=True)
        assert all(isinstance(failure, aiohttp.ClientError) for failure in failures)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert emulator.stats.in_flight == 0


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"fault": "flood"}, ValueError, "unknown fault 'flood'"),
        ({"fault": "html_teapot"}, ValueError, "unknown fault"),
        ({"fault": 200}, ValueError, "from 400 to 999"),
        ({"fault": 1000}, ValueError, "from 400 to 999"),
        ({"fault": True}, TypeError, "not bool"),
        ({"fault": None}, TypeError, "not NoneType"),
        ({"fault": 500, "times": 0}, ValueError, "times"),
        ({"fault": 500, "after": -1}, ValueError, "after"),
        ({"fault": 500, "page": "1"}, TypeError, "page"),
    ],
)
def test_fail_next_checks_arguments(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    """An unknown fault is refused by ``fail_next``."""
    with pytest.raises(error, match=text):
        Emulator().fail_next(**arguments)


@pytest.mark.parametrize("rates", [{503: -0.1}, {503: 0.6, "cut": 0.6}, {"flood": 0.1}, {503: float("nan")}])
def test_fail_randomly_checks_rates(rates: dict[Any, float]) -> None:
    """Rates must not be negative or add up to more than 1."""
    with pytest.raises(ValueError, match="fault"):
        Emulator().fail_randomly(rates)
