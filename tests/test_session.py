"""One call over a real socket: the request, odd answers, views. What may go wrong is in `faults`."""

import asyncio
import gzip

import aiohttp
import pytest

from customers_async import (
    APIResponseError,
    CustomersClient,
    CustomersError,
    NotFoundError,
    RateLimiter,
    RateLimitError,
)
from customers_async.emulator import Emulator
from tests.wire import Reply, answer, client_of, hang_up, odd_answers, stall, then

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


async def test_a_servers_pause_is_kept(emulator: Emulator, client: CustomersClient) -> None:
    """503 with Retry-After: the next attempt comes after so many seconds."""
    async with client_of(answer(b"", "503 Down", Retry_After="7"), answer(PAGE)) as (raw, _):
        started = asyncio.get_running_loop().time()
        await raw.get_page(1)
        assert 7 <= asyncio.get_running_loop().time() - started < 8


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


async def test_one_limiter_serves_several_clients(emulator: Emulator) -> None:
    """The quota is per address: clients that share a limiter cause no 429 together."""
    emulator.rate_limit(20, window=60)
    limiter = RateLimiter(20, 60)
    async with (
        CustomersClient(emulator.token, base_url=emulator.url, rate_limiter=limiter) as one,
        CustomersClient(emulator.issue_token(), base_url=emulator.url, rate_limiter=limiter) as two,
    ):
        await asyncio.gather(*(client.whoami() for client in (one, two) for _ in range(20)))
        assert one.rate_limit.limit == 20
    assert emulator.stats.statuses == {200: 40}
