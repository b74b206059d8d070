"""How the emulator fails when it is told to."""

import asyncio
import gzip
import zlib
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from customers_async.emulator import Emulator, Exchange
from tests.test_emulator import AUTH, CUSTOMERS, DOCUMENTED, Caller, serving

BRIEFLY = aiohttp.ClientTimeout(total=5)


async def statuses(caller: Caller, count: int, path: str = AUTH) -> list[int]:
    """The statuses of some requests, one after another."""
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
async def test_a_status_is_answered_with_the_envelope(status: int, message: str) -> None:
    """A failing status comes once, with the documented envelope and the quota headers."""
    async with serving() as (emulator, caller):
        emulator.fail_next(status)
        answer = await caller.get(AUTH)
        assert answer.status == status
        assert answer.json == {"status": False, "status_code": status, "message": message, "errors": [message]}
        assert answer.headers["X-RateLimit-Remaining"] == "499"
        assert await statuses(caller, 1) == [200]


async def test_a_scripted_429_looks_like_a_real_one() -> None:
    """A 429 from a script says Remaining 0 and when the window reopens, though requests are left."""
    async with serving() as (emulator, caller):
        emulator.fail_next(429)
        headers = (await caller.get(AUTH)).headers
        assert (headers["X-RateLimit-Remaining"], headers["Retry-After"]) == ("0", "60")
        assert (emulator.stats.admitted, emulator.stats.rejected) == (1, 0)


async def test_faults_come_in_order() -> None:
    """Faults wait for each other, happen as often as told, and after as many successes as told."""
    async with serving() as (emulator, caller):
        emulator.fail_next(500, times=2, after=1)
        emulator.fail_next(502)
        assert await statuses(caller, 5) == [502, 500, 500, 200, 200]


async def test_faults_choose_their_requests() -> None:
    """A fault concerns one path, a pattern of paths, or one page; other requests go by."""
    async with serving() as (emulator, caller):
        emulator.fail_next(500, path=DOCUMENTED)
        emulator.fail_next(501, path="/api/v1/customers/*")
        emulator.fail_next(502, page=2, path=CUSTOMERS)
        emulator.fail_next(503, page=1, path=CUSTOMERS)
        assert await statuses(caller, 3, AUTH) == [200, 200, 200]
        assert await statuses(caller, 3, DOCUMENTED) == [500, 501, 200]
        assert [(await caller.page(page)).status for page in (3, 2, 2)] == [200, 502, 200]
        assert await statuses(caller, 2, CUSTOMERS) == [503, 200]


async def test_a_page_alone_means_the_list() -> None:
    """A fault for page 1 does not befall requests that are for no page at all."""
    async with serving() as (emulator, caller):
        emulator.fail_next(500, page=1)
        assert await statuses(caller, 1, AUTH) == [200]
        assert await statuses(caller, 2, CUSTOMERS) == [500, 200]


async def test_faults_last_until_recovery() -> None:
    """With times=None all requests fail until the emulator recovers."""
    async with serving() as (emulator, caller):
        emulator.fail_next(503, times=None)
        emulator.fail_randomly({"html": 1.0})
        assert await statuses(caller, 20) == [503] * 20
        emulator.recover()
        assert await statuses(caller, 2) == [200, 200]


async def test_rejected_requests_meet_no_fault() -> None:
    """Faults strike behind the quota: a request it rejects leaves the script as it was."""
    async with serving(limit=1) as (emulator, caller):
        emulator.fail_next(503, after=1)
        assert await statuses(caller, 3) == [200, 429, 429]
        emulator.rate_limit(10)
        assert await statuses(caller, 2) == [503, 200]


async def test_faults_by_chance() -> None:
    """Random faults come about as often as told, repeatably."""

    async def some() -> list[int]:
        async with serving(seed=7) as (emulator, caller):
            emulator.fail_randomly({503: 0.2, "html_502": 0.1})
            return await statuses(caller, 200)

    first = await some()
    assert first == await some()
    assert 20 < first.count(503) < 60
    assert 8 < first.count(502) < 35
    assert first.count(200) > 100


async def test_a_fault_of_ones_own() -> None:
    """A coroutine function may answer as it likes, with the true answer and the refusals at hand."""

    async def polluted(exchange: Exchange) -> web.StreamResponse:
        answer = await exchange.answer()
        answer.headers["Set-Cookie"] = "session=1"
        return answer if exchange.request.path == CUSTOMERS else exchange.refuse(418)

    async with serving() as (emulator, caller):
        emulator.fail_next(polluted, times=2)
        answer = await caller.get(CUSTOMERS)
        assert (len(answer.json), answer.headers["Set-Cookie"]) == (15, "session=1")
        assert await statuses(caller, 1) == [418]


@pytest.mark.parametrize(("fault", "status"), [("html", 200), ("maintenance", 503), ("html_404", 404)])
async def test_html_pages(fault: str, status: int) -> None:
    """A proxy in front answers with an HTML page, which knows nothing of the quota."""
    async with serving() as (emulator, caller):
        emulator.fail_next(fault)
        answer = await caller.get(AUTH)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
        assert answer.body.startswith(b"<!DOCTYPE html>")
        assert "X-RateLimit-Limit" not in answer.headers


async def test_a_redirect_to_the_login_page() -> None:
    """The service sends the client to a login page, which it does not have."""
    async with serving() as (emulator, caller):
        emulator.fail_next("redirect")
        answer = await caller.get(AUTH)
        assert (answer.status, answer.headers["Location"]) == (302, "/login")


async def test_no_content() -> None:
    """A 204 has no body."""
    async with serving() as (emulator, caller):
        emulator.fail_next(204)
        answer = await caller.get(AUTH)
        assert (answer.status, answer.body) == (204, b"")


async def test_an_echo_of_the_token() -> None:
    """An error answer repeats the authorization header it was sent."""
    async with serving() as (emulator, caller):
        emulator.fail_next("echo")
        answer = await caller.get(AUTH)
        assert answer.status == 400
        assert answer.json["errors"] == [f"Bearer {emulator.token}"]


@pytest.mark.parametrize(("fault", "body"), [("empty", b""), ("null", b"null")])
async def test_a_body_that_says_nothing(fault: str, body: bytes) -> None:
    """The headers are those of the true answer, the body is empty or null."""
    async with serving() as (emulator, caller):
        emulator.fail_next(fault)
        answer = await caller.get(CUSTOMERS)
        assert (answer.status, answer.body, answer.headers["X-Api-Total"]) == (200, body, "250")


async def test_truncated_json() -> None:
    """The body is half of the true one, with a length and an encoding that fit."""
    async with serving() as (emulator, caller):
        true = await caller.get(CUSTOMERS)
        emulator.fail_next("bad_json")
        answer = await caller.get(CUSTOMERS)
        assert answer.body == true.body[: len(true.body) // 2]
        assert answer.headers["Content-Encoding"] == "gzip"


async def test_truncated_gzip() -> None:
    """The compressed body is cut, with a length that fits what is left."""
    async with serving() as (emulator, _), aiohttp.ClientSession(emulator.url, auto_decompress=False) as session:
        emulator.fail_next("cut_gzip")
        headers = {"Authorization": f"Bearer {emulator.token}"}
        async with session.get(CUSTOMERS, headers=headers) as response:
            body = await response.read()
            assert response.headers["Content-Encoding"] == "gzip"
            assert response.content_length == len(body)
        with pytest.raises(EOFError):
            gzip.decompress(body)
        assert zlib.decompressobj(31).decompress(body).startswith(b'[{"uuid":')


async def test_a_body_cut_short() -> None:
    """The connection ends in the middle of the body."""
    async with serving() as (emulator, caller):
        emulator.fail_next("cut")
        with pytest.raises(aiohttp.ClientPayloadError):
            await caller.get(CUSTOMERS)
        assert emulator.stats.statuses == {200: 1}


@pytest.mark.parametrize(
    ("fault", "error"), [("reset", aiohttp.ClientOSError), ("hang_up", aiohttp.ServerDisconnectedError)]
)
async def test_a_connection_lost_before_the_answer(fault: str, error: type[Exception]) -> None:
    """The connection is reset or closed before a single byte of an answer."""
    async with serving() as (emulator, caller):
        emulator.fail_next(fault, times=None)
        with pytest.raises(error):
            await caller.get(AUTH)
        assert not emulator.stats.statuses
        emulator.recover()
        assert await statuses(caller, 1) == [200]


async def test_a_stall_before_the_headers() -> None:
    """Nothing ever comes, and the request ends when the client hangs up."""
    async with serving() as (emulator, caller):
        emulator.fail_next("stall")
        with pytest.raises(TimeoutError):
            await caller.get(AUTH, timeout=BRIEFLY)
        await asyncio.sleep(0.1)
        assert emulator.stats.in_flight == 0
        assert not emulator.stats.statuses


@pytest.mark.parametrize("fault", ["stall_body", "drip"])
async def test_a_stall_in_the_body(fault: str) -> None:
    """The headers come at once, the body not in time."""
    async with serving() as (emulator, caller):
        emulator.fail_next(fault)
        async with caller.session.get(CUSTOMERS, timeout=BRIEFLY) as response:
            assert response.status == 200
            assert await response.content.readany()
            with pytest.raises(TimeoutError):
                await response.read()


async def test_a_body_that_drips() -> None:
    """One byte a second comes, and the body is whole in the end."""
    async with serving() as (emulator, caller):
        emulator.fail_next("drip")
        start = asyncio.get_running_loop().time()
        answer = await caller.get("/api/v1/auth")
        assert answer.json["is_active"] == 1
        assert asyncio.get_running_loop().time() - start >= len(answer.body) - 1


@pytest.mark.parametrize("fault", ["stall", "stall_body", "drip"])
async def test_closing_ends_stalls(fault: str) -> None:
    """Stalled requests do not keep the emulator from closing, and leave no task behind."""
    async with serving() as (emulator, caller):
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
def test_bad_faults_fail_at_once(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    """A fault nobody knows is refused where it is asked for."""
    with pytest.raises(error, match=text):
        Emulator().fail_next(**arguments)


@pytest.mark.parametrize("rates", [{503: -0.1}, {503: 0.6, "cut": 0.6}, {"flood": 0.1}, {503: float("nan")}])
def test_bad_rates_fail_at_once(rates: dict[Any, float]) -> None:
    """Rates are neither negative nor more than all requests."""
    with pytest.raises(ValueError, match="fault"):
        Emulator().fail_randomly(rates)
