"""One call over a real socket: what the wire may do, what is retried, and the life of a client."""

import asyncio
import contextlib
import gzip
import logging
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from customers_async import (
    APIConnectionError,
    APIResponseError,
    APITimeoutError,
    BadRequestError,
    CustomersClient,
    CustomersError,
    NotFoundError,
    PermissionDeniedError,
    RateLimiter,
    RateLimitError,
    RequestAnswered,
    RequestSent,
    RetryPolicy,
    RetryScheduled,
    ServerError,
)
from customers_async.emulator import Emulator
from tests.wire import Reply, answer, client_of, hang_up, odd_answers, raw_server, reset, stall, then

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
CUSTOMER = b'{"uuid":"' + EXAMPLE.encode() + b'","name":"Eve"}'
PAGE = b"[" + CUSTOMER + b"]"


async def test_the_request_on_the_wire() -> None:
    """A GET with the bearer token, asking for JSON, and nothing that was not meant."""
    async with client_of(answer(CUSTOMER)) as (client, server):
        customer = await client.get_customer(EXAMPLE)
    assert customer.name == "Eve"
    lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == f"GET /api/v1/customers/{EXAMPLE} HTTP/1.1"
    assert {line.split(":")[0] for line in lines[1:] if line} == {
        "Host",
        "Accept",
        "Accept-Encoding",
        "Authorization",
        "User-Agent",
    }
    assert "Authorization: Bearer s3cr3t" in lines
    assert "Accept: application/json" in lines


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (hang_up, APIConnectionError),
        (reset, APIConnectionError),
        (then(b"HTTP/1.1 200 OK\r\nContent-", reset), APIConnectionError),
        (then(answer(PAGE, Content_Length="1000"), hang_up), APIConnectionError),
        (then(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1", hang_up), APIConnectionError),
        (answer(gzip.compress(PAGE)[:-9], Content_Encoding="gzip"), APIConnectionError),
        (answer(b"", "503 Service Unavailable"), ServerError),
        (answer(b"<html>", "502 Bad Gateway", Content_Type="text/html"), ServerError),
        (answer(b"{}", "408 Request Timeout"), CustomersError),
    ],
)
async def test_a_transient_fault_is_survived_or_told(fault: Any, kind: type[Exception], impatient: RetryPolicy) -> None:
    """Once: nobody notices. For ever: a typed error after four attempts, at most two requests on the wire for each."""
    async with client_of(fault, answer(PAGE), retry=impatient) as (client, server):
        page = await client.get_page(1)
        assert len(page.customers) == 1
    async with client_of(fault, retry=impatient) as (client, server):
        with pytest.raises(kind) as caught:
            await client.get_page(1)
        assert caught.value.attempts == 4  # type: ignore[attr-defined]  # of both kinds
        assert 4 <= len(server.requests) <= 8
        assert "s3cr3t" not in repr(caught.value)
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "fault", [stall, then(answer(PAGE, Content_Length="1000"), stall), then(b"HTTP/1.1 200", stall)]
)
async def test_a_stall_ends_with_the_attempts_timeout(fault: Any, impatient: RetryPolicy) -> None:
    """Before the headers, in them, or in the body: the attempt ends in time, and so does each retry."""
    async with client_of(fault, retry=impatient, timeout=5.0) as (client, server):
        started = asyncio.get_running_loop().time()
        with pytest.raises(APITimeoutError, match="within 5 s"):
            await client.get_page(1)
        assert 20 <= asyncio.get_running_loop().time() - started < 22
        assert len(server.requests) == 4


async def test_a_dripping_body_ends_with_the_attempts_timeout(emulator: Emulator, client: CustomersClient) -> None:
    """One byte a second never stops: the timeout counts to the last byte."""
    emulator.fail_next("drip", times=None)
    started = asyncio.get_running_loop().time()
    with pytest.raises(APITimeoutError):
        await client.with_options(timeout=3.0, retry=RetryPolicy(max_attempts=1)).get_page(1)
    assert 3.0 <= asyncio.get_running_loop().time() - started < 3.5


async def test_waiting_for_a_place_never_times_a_request_out() -> None:
    """200 calls over 4 places, 300 ms each, with a timeout of a second: all answered."""
    async with (
        Emulator(customers=10, latency=0.3) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url, concurrency=4, timeout=1.0) as client,
    ):
        await asyncio.gather(*(client.get_customer(EXAMPLE) for _ in range(200)))
        assert emulator.stats.peak_in_flight == 4
        assert emulator.stats.statuses == {200: 200}


@pytest.mark.parametrize(
    "fault",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 65_536 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]x",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_told_without_the_token(fault: bytes, impatient: RetryPolicy) -> None:
    """Garbage, huge headers and contradictory lengths: a typed error, never an empty page, never the token."""
    async with client_of(then(fault, hang_up), retry=impatient) as (client, _):
        with pytest.raises((APIResponseError, APIConnectionError)) as caught:
            await client.get_page(1)
        assert "s3cr3t" not in repr(caught.value)
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(PAGE),
        then(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + PAGE, hang_up),
        then(answer(PAGE, Connection="close"), hang_up),
        answer(gzip.compress(PAGE), Content_Encoding="gzip"),
    ],
)
async def test_unusual_but_correct_answers_work(reply: Any) -> None:
    """Early hints, HTTP/1.0 without a length, a connection closed after each answer, gzip."""
    async with client_of(reply) as (client, _):
        for _ in range(3):
            assert [customer.name for customer in (await client.get_page(1)).customers] == ["Eve"]


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (answer(b"<html>login</html>", Content_Type="text/html"), "HTML"),
        (answer(b""), "empty"),
        (answer(b"null"), "null"),
        (answer(b"[{]"), "not JSON"),
        (answer(b'{"status":false,"message":"NO"}'), "an object, not an array"),
        (answer(b'["x"]'), "record 0 of page 1 is a string"),
        (answer(b"", "204 No Content"), "204"),
        (answer(b"", "302 Found", Location="http://127.0.0.1:1/login"), "redirect"),
        (answer(b"[]", Content_Encoding="br"), "Content-Encoding"),
        (answer(b"[]", Content_Encoding="gzip"), "not compressed"),
        (answer(b'["\xff"]'), "UTF-8"),
    ],
)
async def test_an_answer_that_is_no_page_is_an_error(reply: bytes, problem: str) -> None:
    """Never an empty list, never a second request."""
    async with client_of(reply) as (client, server):
        with pytest.raises(APIResponseError, match=problem) as caught:
            await client.get_page(1)
        assert caught.value.status in (200, 204, 302)
        assert len(server.requests) == 1


async def test_redirects_are_not_followed() -> None:
    """The other host sees nothing, and so does the same one."""
    async with raw_server(answer(PAGE)) as other:
        for location in (f"{other.url}/api/v1/customers", "/elsewhere", "file:///etc/passwd"):
            async with client_of(answer(b"", "301 Moved Permanently", Location=location)) as (client, server):
                with pytest.raises(APIResponseError, match="redirect"):
                    await client.get_page(1)
                assert len(server.requests) == 1
        assert other.connections == 0


async def test_a_body_without_end_stops_at_the_cap() -> None:
    """``max_body`` bounds what is read; it is not tried again."""

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
        while not writer.is_closing():
            writer.write(b" " * 65_536)
            await writer.drain()

    async with client_of(flood, max_body=1_000_000) as (client, server):
        with pytest.raises(APIResponseError, match=r"larger than max_body \(1000000 bytes\)"):
            await client.get_page(1)
        assert len(server.requests) == 1


async def test_a_bomb_stops_at_the_cap() -> None:
    """1 MB that unpacks to 1 GB is stopped after ``max_body`` bytes."""
    bomb = gzip.compress(b"[" + b" " * 50_000_000)
    async with client_of(answer(bomb, Content_Encoding="gzip"), max_body=100_000) as (client, server):
        with pytest.raises(APIResponseError, match="larger than max_body"):
            await client.get_page(1)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(400, BadRequestError), (403, PermissionDeniedError), (404, NotFoundError), (501, ServerError)]
)
async def test_other_errors_are_not_tried_again(
    emulator: Emulator, client: CustomersClient, status: int, kind: type[CustomersError]
) -> None:
    """One request on the wire, and a typed error."""
    emulator.fail_next(status, times=None)
    with pytest.raises(kind):
        await client.get_customer(EXAMPLE)
    assert emulator.stats.requests == 1


async def test_an_outage_is_not_multiplied(emulator: Emulator, client: CustomersClient) -> None:
    """16 workers against a server that is down: 16 first attempts and the budget's 20 retries, no more."""
    emulator.fail_next(503, times=None)
    calls = (client.get_customer(EXAMPLE) for _ in range(16))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, ServerError) for outcome in outcomes)
    assert emulator.stats.requests == 16 + 20


async def test_a_walk_survives_one_failure_in_five() -> None:
    """Random 5xx and cut bodies: all customers arrive; where four attempts were not enough, the pager goes on."""
    uuids: list[str] = []
    async with (
        Emulator(customers=3_000, seed=7, limit=5_000) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        emulator.fail_randomly({503: 0.15, "cut": 0.05})
        pager = client.list_customers(per_page=10, on_incomplete="raise")
        while pager.next_page is not None:
            with contextlib.suppress(ServerError, APIConnectionError):
                async for customer in pager:
                    uuids.append(customer.uuid)  # noqa: PERF401  # what came before an error counts
        assert uuids == list(emulator.uuids())
        assert emulator.stats.statuses[503] > 20


async def test_a_servers_pause_is_kept(emulator: Emulator, client: CustomersClient) -> None:
    """503 with Retry-After: the next attempt comes after so many seconds."""
    async with client_of(answer(b"", "503 Down", Retry_After="7"), answer(PAGE)) as (raw, _):
        started = asyncio.get_running_loop().time()
        await raw.get_page(1)
        assert 7 <= asyncio.get_running_loop().time() - started < 8


@pytest.mark.parametrize(
    ("retry_after", "waits"),
    [("1", 2.0), ("0", 1.0), ("-5", 1.0), (None, 61.0), ("soon", 61.0), ("nan", 61.0), ("30", 31.0)],
)
async def test_a_429_is_waited_for(retry_after: str | None, waits: float) -> None:
    """What the server asks for and a second more; a minute where it does not say."""
    fields = {} if retry_after is None else {"Retry_After": retry_after}
    async with client_of(answer(b"<html>", "429 Too Many", **fields), answer(PAGE)) as (client, server):
        started = asyncio.get_running_loop().time()
        await client.get_page(1)
        assert waits <= asyncio.get_running_loop().time() - started < waits + 1
        assert len(server.requests) == 2


async def test_a_429_for_too_long_is_an_error_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """A day is longer than ``max_rate_limit_wait``: RateLimitError, saying that something was sent."""
    async with client_of(answer(b"{}", "429 Too Many", Retry_After="86400")) as (client, server):
        with caplog.at_level(logging.WARNING, "customers_async"), pytest.raises(RateLimitError) as caught:
            await client.get_customer(EXAMPLE)
        assert caught.value.sent is True
        assert caught.value.retry_after == pytest.approx(86_401, abs=1)
        assert len(server.requests) == 1
        assert EXAMPLE not in caplog.text


@pytest.mark.parametrize(
    ("status", "kind"), [("429 Too Many", RateLimitError), ("404 Not Found", NotFoundError), ("401 No", CustomersError)]
)
@pytest.mark.parametrize("body", ["cut", "cut gzip", "empty gzip", "stalled"])
async def test_the_status_counts_whatever_became_of_the_body(
    status: str, kind: type[CustomersError], body: str
) -> None:
    """From 400 on the status decides: a body that cannot be read causes no second request, and no 429 is ignored."""
    fields = {"Retry_After": "300"} | ({"Content_Encoding": "gzip"} if "gzip" in body else {})
    fault: Reply = answer(b"" if body == "empty gzip" else gzip.compress(PAGE)[:-5], status, **fields)
    if body in ("cut", "stalled"):
        fault = then(answer(PAGE, status, Content_Length="999", **fields), hang_up if body == "cut" else stall)
    async with client_of(fault, timeout=5.0) as (client, server):
        with pytest.raises(kind):
            await client.get_page(1)
        assert len(server.requests) == 1


async def test_429s_for_ever_end() -> None:
    """The sum of a call's waits is bounded, so that it ends; hardly a request a second goes out."""
    async with client_of(answer(b"{}", "429 Too Many", Retry_After="0"), max_rate_limit_wait=20) as (client, server):
        started = asyncio.get_running_loop().time()
        outcomes = await asyncio.gather(*(client.get_page(1) for _ in range(8)), return_exceptions=True)
        assert all(isinstance(outcome, RateLimitError) for outcome in outcomes)
        seconds = asyncio.get_running_loop().time() - started
        assert seconds <= 21
        assert len(server.requests) <= 1.2 * seconds + 1


async def test_refused_connections_are_told() -> None:
    """Nobody listens: retried, then an error with the system's reason."""
    async with raw_server(answer()) as server:
        url = server.url
    async with CustomersClient("x", base_url=url, retry=RetryPolicy(base_delay=0)) as client:
        with pytest.raises(APIConnectionError, match="ClientConnectorError") as caught:
            await client.get_page(1)
        assert caught.value.attempts == 4


async def test_an_untrusted_certificate_is_not_tried_again() -> None:
    """TLS is verified, and its failures do not go away by themselves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with raw_server(answer(PAGE), tls=context) as server:
        async with CustomersClient("x", base_url=server.url) as client:
            with pytest.raises(APIConnectionError, match="TLS failed") as caught:
                await client.get_page(1)
        assert (caught.value.attempts, caught.value.transient) == (1, False)
        assert server.requests == []


async def test_cookies_are_never_replayed() -> None:
    """What a server sets, it does not get back."""
    async with client_of(answer(PAGE, Set_Cookie="session=1")) as (client, server):
        for _ in range(2):
            await client.get_page(1)
        assert all(b"cookie" not in request.lower() for request in server.requests)


async def test_proxies_and_netrc_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing outside the arguments decides where the token goes."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login eve password guess")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with client_of(answer(PAGE)) as (client, server):
        await client.get_page(1)
        assert b"Authorization: Bearer s3cr3t" in server.requests[0]


async def test_odd_answers_are_typed() -> None:
    """Through aioresponses: statuses and bodies that no server library likes to send."""
    url = "https://public-api.gurupay.eu/api/v1/customers?page=1&per_page=100"
    with odd_answers() as odd:
        odd.get(url, status=999)
        odd.get(url, status=200, body="[]", headers={"Content-Type": "application/json; charset=bogus"})
        odd.get(url, status=200, body='["é"]'.encode("utf-16"), headers={"Content-Type": "application/json"})
        odd.get(url, status=200, payload=[])
        async with CustomersClient("x") as client:
            for kind in (CustomersError, APIResponseError, APIResponseError):
                with pytest.raises(kind):
                    await client.get_page(1)
            assert list((await client.get_page(1)).customers) == []


async def test_another_customer_than_asked_for_is_an_error() -> None:
    """An answer with another uuid is not taken for the one asked for."""
    async with client_of(answer(CUSTOMER.replace(b"2g", b"2h"))) as (client, _):
        with pytest.raises(APIResponseError, match="another customer"):
            await client.get_customer(EXAMPLE)


async def test_events_tell_the_story_of_a_call(emulator: Emulator) -> None:
    """Sent, answered, retried; with the route in place of the uuid."""
    events: list[object] = []
    emulator.fail_next(503)
    async with CustomersClient(emulator.token, base_url=emulator.url, on_event=events.append) as client:
        await client.get_customer(EXAMPLE)
    route = "/api/v1/customers/{uuid}"
    kinds = [type(event) for event in events]
    assert kinds == [RequestSent, RequestAnswered, RetryScheduled, RequestSent, RequestAnswered]
    assert {event.route for event in events} == {route}  # type: ignore[attr-defined]  # of these kinds
    assert [event.status for event in events if isinstance(event, RequestAnswered)] == [503, 200]
    assert [event.reason for event in events if isinstance(event, RetryScheduled)] == ["ServerError"]


async def test_logs_hold_no_secret(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG the path of each request, at INFO and above not even a uuid; the token and names nowhere."""
    emulator.fail_next(503)
    with caplog.at_level(logging.DEBUG, "customers_async"):
        async with CustomersClient(emulator.token, base_url=emulator.url) as client:
            customer = await client.get_customer(EXAMPLE)
    assert EXAMPLE in caplog.text
    loud = "".join(record.getMessage() for record in caplog.records if record.levelno >= logging.INFO)
    assert "trying again" in loud
    assert EXAMPLE not in loud
    assert emulator.token not in caplog.text
    assert customer.name is not None
    assert customer.name not in caplog.text


@pytest.mark.parametrize("lane", ["call", "walk", "wait for the quota", "pause before a retry"])
async def test_closing_ends_what_is_in_flight(lane: str) -> None:
    """Calls and walks in flight end with a clear RuntimeError; closing twice is fine; use afterwards is not."""
    faults: dict[str, Reply] = {
        "wait for the quota": answer(b"", "429 Too Many", Retry_After="60"),
        "pause before a retry": hang_up,
    }
    async with client_of(faults.get(lane, stall), retry=RetryPolicy(base_delay=20.0)) as (client, _):
        pages = client.list_customers().pages()
        call = asyncio.ensure_future(anext(pages) if lane == "walk" else client.get_page(1))
        await asyncio.sleep(0.1)
        assert not call.done()
        await client.close()
        with pytest.raises(RuntimeError, match="client is closed"):
            await call
        await client.close()
        for use in (client.whoami(), client.with_options(timeout=1).whoami()):
            with pytest.raises(RuntimeError, match="client is closed"):
                await use


async def test_a_cancelled_call_stays_cancelled_and_the_next_one_works() -> None:
    """Cancellation is neither swallowed nor retried, at whatever step; place and permit come back."""
    for steps in range(40):
        async with client_of(answer(CUSTOMER), concurrency=1) as (client, server):
            call = asyncio.ensure_future(client.get_customer(EXAMPLE))
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
            assert call.cancelled() or call.done()
            async with asyncio.timeout(5):
                assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE
            assert client._slots.used == 0
            assert len(server.requests) <= 2


async def test_a_callers_timeout_is_the_callers() -> None:
    """``asyncio.timeout`` around a call raises a plain TimeoutError, not ours."""
    async with client_of(stall) as (client, _):
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(1):
                await client.whoami()
        assert not isinstance(caught.value, APITimeoutError)


async def test_a_borrowed_session_stays_open(emulator: Emulator) -> None:
    """The client closes only what it opened."""
    async with aiohttp.ClientSession() as session:
        async with CustomersClient(emulator.token, base_url=emulator.url, session=session) as client:
            assert (await client.whoami()).is_active is True
        assert not session.closed


async def test_a_view_shares_all_but_its_options(emulator: Emulator, client: CustomersClient) -> None:
    """``with_options``: same connection, limiter and tokens; only options can differ."""
    view = client.with_options(concurrency=2, keep_unknown=True)
    await view.whoami()
    assert client.rate_limit == view.rate_limit or client.rate_limit.remaining == view.rate_limit.remaining
    assert repr(view) == repr(client) == f"<CustomersClient {emulator.url}>"
    with pytest.raises(TypeError):
        client.with_options(token="x")  # type: ignore[call-arg]  # on purpose
    with pytest.raises(ValueError, match="timeout"):
        client.with_options(timeout=0)


def test_a_client_belongs_to_one_loop() -> None:
    """Made without a loop; used in a second one, it says so, for calls and for closing."""
    client = CustomersClient("x", base_url="http://127.0.0.1:1", retry=RetryPolicy(max_attempts=1))
    with asyncio.Runner() as first, asyncio.Runner() as second:
        with pytest.raises(APIConnectionError):
            first.run(client.whoami())
        for use in (client.whoami, client.close):
            with pytest.raises(RuntimeError, match="another event loop"):
                second.run(use())
        first.run(client.close())


async def test_one_limiter_serves_several_clients(emulator: Emulator) -> None:
    """The quota is per address: clients that share a limiter cause no 429 together."""
    emulator.rate_limit(20, window=60)
    limiter = RateLimiter(20, 60)
    async with (
        CustomersClient(emulator.token, base_url=emulator.url, rate_limiter=limiter) as one,
        CustomersClient(emulator.issue_token(), base_url=emulator.url, rate_limiter=limiter) as two,
    ):
        await asyncio.gather(*(client.get_customer(EXAMPLE) for client in (one, two) for _ in range(20)))
        assert one.rate_limit.limit == 20
    assert emulator.stats.statuses == {200: 40}
