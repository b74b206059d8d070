"""Single calls over a real socket: requests, unusual responses, views. The tests in `faults` cover failures."""

import asyncio
import gzip
import itertools

import aiohttp
import pytest

from customers_async import (
    APIResponseError,
    AuthenticationError,
    CallableToken,
    CustomersClient,
    CustomersError,
    NotFoundError,
    RateLimiter,
    RateLimitError,
    RetryPolicy,
)
from customers_async.emulator import Emulator
from tests.wire import TOKEN, Reply, hang_up, make_response, mock_responses, raw_server, send_then, serve, stall

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
CUSTOMER = b'{"uuid":"' + EXAMPLE.encode() + b'","name":"Eve"}'
PAGE = b"[" + CUSTOMER + b"]"


async def test_request_on_the_wire() -> None:
    """The request is a GET with the bearer token that accepts JSON, without further headers."""
    async with serve(make_response(CUSTOMER)) as (client, server):
        customer = await client.get_customer(EXAMPLE)
    assert customer.name == "Eve"
    lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == f"GET /api/v1/customers/{EXAMPLE} HTTP/1.1"
    assert {line.split(":")[0] for line in lines[1:] if line} == {
        "Host",
        "Accept",
        "Accept-Encoding",
        "Cache-Control",
        "Authorization",
        "User-Agent",
    }
    assert f"Authorization: Bearer {TOKEN}" in lines
    assert "Accept: application/json" in lines


async def test_retry_after_of_a_503_is_respected(emulator: Emulator, client: CustomersClient) -> None:
    """After a 503 with Retry-After the next attempt comes that much later."""
    async with serve(make_response(b"", "503 Down", Retry_After="7"), make_response(PAGE)) as (raw, _):
        started = asyncio.get_running_loop().time()
        await raw.get_page(1)
        assert 7 <= asyncio.get_running_loop().time() - started < 8


@pytest.mark.parametrize(
    ("status", "kind"), [("429 Too Many", RateLimitError), ("404 Not Found", NotFoundError), ("401 No", CustomersError)]
)
@pytest.mark.parametrize("body", ["cut", "cut gzip", "empty gzip", "stalled"])
async def test_error_status_counts_whatever_the_body(status: str, kind: type[CustomersError], body: str) -> None:
    """From 400 on an unreadable body causes no second request, and no 429 is ignored."""
    fields = {"Retry_After": "300"} | ({"Content_Encoding": "gzip"} if "gzip" in body else {})
    fault: Reply = make_response(b"" if body == "empty gzip" else gzip.compress(PAGE)[:-5], status, **fields)
    if body in ("cut", "stalled"):
        fault = send_then(
            make_response(PAGE, status, Content_Length="999", **fields), hang_up if body == "cut" else stall
        )
    async with serve(fault, timeout=5.0) as (client, server):
        with pytest.raises(kind):
            await client.get_page(1)
        assert len(server.requests) == 1


async def test_unusual_responses_raise_typed_errors() -> None:
    """Statuses and bodies that no server library sends, by aioresponses."""
    url = "https://public-api.gurupay.eu/api/v1/customers?page=1&per_page=100"
    with mock_responses() as mocked:
        mocked.get(url, status=999)
        mocked.get(url, status=200, body="[]", headers={"Content-Type": "application/json; charset=bogus"})
        mocked.get(url, status=200, body='["é"]'.encode("utf-16"), headers={"Content-Type": "application/json"})
        mocked.get(url, status=200, payload=[])
        async with CustomersClient("x") as client:
            for kind in (CustomersError, APIResponseError, APIResponseError):
                with pytest.raises(kind):
                    await client.get_page(1)
            assert list((await client.get_page(1)).customers) == []


async def test_response_with_another_uuid_is_an_error() -> None:
    """A response with another uuid is not returned."""
    async with serve(make_response(CUSTOMER.replace(b"2g", b"2h"))) as (client, _):
        with pytest.raises(APIResponseError, match="another customer"):
            await client.get_customer(EXAMPLE)


async def test_borrowed_session_stays_open(emulator: Emulator) -> None:
    """The client closes only the session that it created."""
    async with aiohttp.ClientSession() as session:
        async with CustomersClient(emulator.token, base_url=emulator.url, session=session) as client:
            assert (await client.whoami()).is_active is True
        assert not session.closed


async def test_view_shares_everything_but_options(emulator: Emulator, client: CustomersClient) -> None:
    """``with_options``: the connection, limiter and tokens are shared, and only options can differ."""
    view = client.with_options(concurrency=2, keep_unknown=True)
    await view.whoami()
    assert client.rate_limit == view.rate_limit or client.rate_limit.remaining == view.rate_limit.remaining
    assert repr(view) == repr(client) == f"<CustomersClient {emulator.url}>"
    with pytest.raises(TypeError):
        client.with_options(token="x")  # type: ignore[call-arg]  # on purpose
    with pytest.raises(ValueError, match="timeout"):
        client.with_options(timeout=0)


async def test_limiter_can_be_shared_by_clients(emulator: Emulator) -> None:
    """The rate limit is per address: clients that share a limiter cause no 429 together."""
    emulator.rate_limit(20, window=60)
    limiter = RateLimiter(20, 60)
    async with (
        CustomersClient(emulator.token, base_url=emulator.url, rate_limiter=limiter) as one,
        CustomersClient(emulator.issue_token(), base_url=emulator.url, rate_limiter=limiter) as two,
    ):
        await asyncio.gather(*(client.whoami() for client in (one, two) for _ in range(20)))
        assert one.rate_limit.limit == 20
    assert emulator.stats.statuses == {200: 40}


@pytest.mark.parametrize(
    ("statuses", "succeeds"),
    [
        (["401 No", "200 OK"], True),
        (["401 No", "401 No"], False),
        (["401 No", "500 Down", "401 No", "200 OK"], True),  # the second token expires while the call waits
        (["401 No", "500 Down", "401 No", "401 No"], False),
    ],
)
async def test_token_is_renewed_once_for_each_attempt(statuses: list[str], succeeds: bool) -> None:
    """A source that has another token each time does not make a call endless."""
    tokens = itertools.count()

    async def make_token() -> str:
        return f"token-{next(tokens)}"

    replies = [make_response(CUSTOMER if status == "200 OK" else b"{}", status) for status in statuses]
    async with (
        raw_server(*replies) as server,
        CustomersClient(CallableToken(make_token), base_url=server.url, retry=RetryPolicy(base_delay=0)) as client,
    ):
        if succeeds:
            assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE
        else:
            with pytest.raises(AuthenticationError):
                await client.get_customer(EXAMPLE)
        assert len(server.requests) == len(statuses)
