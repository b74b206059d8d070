"""Rows 42 to 47: the quota, the service's failures and its errors."""

import asyncio
import itertools
import json
from collections import Counter
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate
from pathlib import Path
from typing import Any

import pytest

from customers_async import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    CustomersClient,
    FileToken,
    NotFoundError,
    PermissionDeniedError,
    RateLimiter,
    RateLimitError,
    RetryPolicy,
    ServerError,
    TokenReloaded,
    UnprocessableEntityError,
)
from customers_async.emulator import Emulator
from customers_async.testing import VirtualTimeLoop
from tests.benchmarks import quota
from tests.faults.canary import EXAMPLE, customer, page
from tests.faults.interruption import find_client_tasks
from tests.wire import TOKEN, make_response, raw_server, serve

NOW = 1_760_000_000
DATE = formatdate(NOW, usegmt=True)


@pytest.mark.parametrize(
    ("retry_after", "least"),
    [
        ("1", 1),
        ("30", 30),
        ("0", 1),
        ("-5", 1),
        (None, 60),
        ("soon", 60),
        ("", 60),
        ("nan", 60),
        ("inf", 60),
        (formatdate(NOW + 30, usegmt=True), 30),
        (formatdate(NOW - 30, usegmt=True), 1),
        (format_datetime(datetime(9999, 12, 31, tzinfo=UTC)).replace("9999", "100000"), 60),
    ],
)
async def test_fault_42_a_429_is_waited_for(retry_after: str | None, least: float) -> None:
    """What the server asks for and up to a second more; a minute where it does not say; then one more request."""
    fields = {"Date": DATE} if retry_after is None else {"Date": DATE, "Retry_After": retry_after}
    async with serve(make_response(b"<html>Too Many", "429 Too Many", **fields), make_response(page())) as (
        client,
        server,
    ):
        started = asyncio.get_running_loop().time()
        await client.get_page(1)
        assert least <= asyncio.get_running_loop().time() - started <= least + 1.05
        assert len(server.requests) == 2


@pytest.mark.parametrize("retry_after", ["86400", "121", "9" * 35, formatdate(NOW + 86_400, usegmt=True)])
async def test_fault_42_a_429_for_too_long_is_an_error_at_once(retry_after: str) -> None:
    """Longer than ``max_rate_limit_wait``: RateLimitError without any wait, saying that something was sent."""
    async with serve(make_response(b"{}", "429 Too Many", Date=DATE, Retry_After=retry_after)) as (client, server):
        started = asyncio.get_running_loop().time()
        with pytest.raises(RateLimitError) as caught:
            await client.get_customer(EXAMPLE)
        assert asyncio.get_running_loop().time() - started < 0.5
        assert caught.value.sent is True
        assert caught.value.retry_after > 120
        with pytest.raises(RateLimitError) as caught:
            await client.get_customer(EXAMPLE)
        assert caught.value.sent is False
        assert len(server.requests) == 1


@pytest.mark.parametrize("retry_after", ["0", "5", None])
async def test_fault_43_429s_for_ever_end(retry_after: str | None) -> None:
    """Sixteen callers: each one's waits are bounded, so that it ends; hardly a request a second goes out in all."""
    fields = {} if retry_after is None else {"Retry_After": retry_after}
    async with serve(make_response(b"{}", "429 Too Many", **fields), concurrency=16) as (client, server):
        started = asyncio.get_running_loop().time()
        outcomes = await asyncio.gather(*(client.get_page(1) for _ in range(16)), return_exceptions=True)
        assert all(isinstance(outcome, RateLimitError) for outcome in outcomes)
        seconds = asyncio.get_running_loop().time() - started
        assert 60 <= seconds <= 121
        assert len(server.requests) <= 1.2 * seconds


async def test_fault_43_429s_that_begin_in_a_burst_end() -> None:
    """Eight requests are in flight when the 429s begin: the same bounds."""
    open_window = {"X_RateLimit_Limit": "500", "X_RateLimit_Remaining": "400"}
    shut = make_response(b"{}", "429 Too Many", Retry_After="0", X_RateLimit_Limit="500", X_RateLimit_Remaining="0")
    async with serve(make_response(page(), **open_window), shut) as (client, server):
        await client.get_page(1)
        started = asyncio.get_running_loop().time()
        outcomes = await asyncio.gather(*(client.get_page(1) for _ in range(16)), return_exceptions=True)
        assert all(isinstance(outcome, RateLimitError) for outcome in outcomes)
        seconds = asyncio.get_running_loop().time() - started
        assert seconds <= 125
        assert len(server.requests) <= 1.2 * seconds


@pytest.mark.parametrize("limit", [30, 500])
@pytest.mark.parametrize(
    "values",
    [
        ["-3"],
        ["many"],
        [""],
        ["nan"],
        [None],
        ["9" * 30],
        ["0"],
        list(map(str, range(1, 1_000))),
        ["499", "-1", None, "x", "3", "500", "0"],
    ],
    ids=["negative", "garbled", "empty", "nan", "missing", "absurd", "zero", "rising", "all of it"],
)
async def test_fault_44_an_odd_remaining_is_no_crash(values: list[str | None], limit: int) -> None:
    """Whatever ``Remaining`` says, 60 calls are answered, and hardly more 429s than calls come of it."""
    async with (
        Emulator(customers=10, limit=limit, window=10) as emulator,
        CustomersClient(
            emulator.token, base_url=emulator.url, rate_limiter=RateLimiter(limit, 10), max_rate_limit_wait=10_000
        ) as client,
    ):
        said = itertools.cycle(values)
        emulator.headers["X-RateLimit-Remaining"] = lambda _: next(said)  # type: ignore[assignment,return-value]  # or None
        await asyncio.gather(*(client.whoami() for _ in range(60)))
        assert emulator.stats.statuses[200] == 60
        assert emulator.stats.rejected <= 60


@pytest.mark.parametrize("value", ["-3", "many", None, "0", "9" * 30])
async def test_fault_44_an_odd_limit_is_no_crash(emulator: Emulator, client: CustomersClient, value: str) -> None:
    """The same for the limit itself."""
    emulator.headers["X-RateLimit-Limit"] = value
    await asyncio.gather(*(client.whoami() for _ in range(50)))
    assert emulator.stats.statuses == {200: 50}
    assert client.rate_limit.limit > 0


def test_fault_44_four_processes_share_a_quota() -> None:
    """2,000 requests by four that do not talk to one another: 3 % over the ideal, few rejections a spent window."""

    def run(requests: int, limit: int) -> quota.Run:
        async def pull() -> quota.Run:
            return await quota.pull(requests, processes=4, limit=limit)

        with asyncio.Runner(debug=False, loop_factory=VirtualTimeLoop) as runner:
            return runner.run(pull())

    shared = run(2_000, quota.LIMIT)
    ideal = 3 * quota.WINDOW + run(500, quota.UNLIMITED).seconds
    assert shared.seconds <= 1.03 * ideal
    assert shared.rejected_a_window <= 10  # 15 are promised; 16 and more come without the fair share


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408, 425])
async def test_fault_45_one_failure_is_survived(emulator: Emulator, client: CustomersClient, status: int) -> None:
    """A 5xx once, or what is as transient: nobody notices."""
    emulator.fail_next(status)
    assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE
    assert emulator.stats.requests == 2


@pytest.mark.parametrize("fault", [500, "maintenance", "html_502"])
async def test_fault_45_a_failure_for_ever_is_told(emulator: Emulator, client: CustomersClient, fault: Any) -> None:
    """Four attempts, then ServerError, whatever the body is."""
    emulator.fail_next(fault, times=None)
    with pytest.raises(ServerError) as caught:
        await client.get_customer(EXAMPLE)
    assert caught.value.attempts == emulator.stats.requests == 4


async def test_fault_45_an_outage_is_not_multiplied(emulator: Emulator, client: CustomersClient) -> None:
    """16 workers against a server that is down: 16 first attempts and the budget's 20 retries, no more."""
    emulator.fail_next(503, times=None)
    calls = (client.whoami() for _ in range(16))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, ServerError) for outcome in outcomes)
    assert emulator.stats.requests == 16 + 20
    with pytest.raises(ServerError):
        await client.whoami()
    assert emulator.stats.requests == 16 + 20 + 1


async def test_fault_45_a_walk_survives_one_failure_in_five() -> None:
    """20 % of 1,000 pages fail: all customers arrive, in one walk and in order."""
    async with (
        Emulator(customers=5_000, seed=7, limit=5_000) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        emulator.fail_randomly({500: 0.1, 503: 0.1})
        pager = client.list_customers(per_page=5, on_incomplete="raise")
        assert [found.uuid async for found in pager] == list(emulator.uuids())
        assert emulator.stats.statuses[200] == 1_000
        assert 150 < emulator.stats.statuses[500] + emulator.stats.statuses[503] < 400


async def test_fault_45_a_thousand_pages_survive_everything_at_once(tmp_path: Path) -> None:
    """20 % of answers are 5xx, 5 % are cut, and the token expires twice while its file is rotated: all whole."""
    path = tmp_path / "token"
    written: list[str] = []
    events: Counter[type] = Counter()

    def rotate() -> float:
        """The operator: puts a new token into the file as soon as the old one is refused."""
        if not written or written[-1] != emulator.token:
            written.append(emulator.token)
            (tmp_path / "new").write_text(f"{written[-1]}\n")
            (tmp_path / "new").replace(path)
            if len(written) < 3:
                emulator.expire_token(after=400)
        return 0.0

    async with Emulator(customers=5_000, seed=7, latency=rotate) as emulator:
        rotate()
        emulator.fail_randomly({500: 0.1, 503: 0.1, "cut": 0.05})
        listen = lambda event: events.update([type(event)])  # noqa: E731  # it is one line
        async with CustomersClient(FileToken(path), base_url=emulator.url, on_event=listen) as client:
            pager = client.list_customers(per_page=5, on_incomplete="raise")
            assert [found.uuid async for found in pager] == list(emulator.uuids())
    assert len(written) == 3
    assert events[TokenReloaded] == 2
    assert emulator.stats.statuses[401] <= 2 * 8


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (410, APIStatusError),
        (422, UnprocessableEntityError),
        (451, APIStatusError),
        (501, ServerError),
        (505, ServerError),
        (999, APIStatusError),
    ],
)
async def test_fault_46_an_error_is_typed_and_costs_one_request(status: int, kind: type[APIStatusError]) -> None:
    """The status decides the class, and nothing is tried again."""
    body = b'{"status":false,"message":"SOME_CODE","errors":[]}'
    async with serve(make_response(body, f"{status} No")) as (client, server):
        with pytest.raises(kind) as caught:
            await client.get_customer(EXAMPLE)
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.code, caught.value.attempts) == (status, "SOME_CODE", 1)
        assert caught.value.url_path == f"/api/v1/customers/{EXAMPLE}"
        assert len(server.requests) == 1


ENVELOPES = [
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"<html>",
    b"\xff\xfe",
    b"[" * 200_000,
    b'{"message":null,"errors":null}',
    b'{"message":5,"errors":7}',
    b'{"message":{"a":1},"errors":"text"}',
    b'{"message":["A"],"errors":{"page":null,"per_page":[1,null,["x"]],"":{}}}',
    b'{"errors":[null,1,{"a":"b"}]}',
    b'{"status":true,"message":"OK"}',
]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_fault_46_odd_envelopes_are_errors_of_their_status(status: int) -> None:
    """Whatever the body of an error is, it is that error, and no crash."""
    for body in ENVELOPES:
        async with serve(make_response(body, f"{status} No")) as (client, server):
            with pytest.raises(APIStatusError) as caught:
                await client.get_page(1)
            assert caught.value.status == status
            assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("place", ["message", "errors", "list", "keys", "text"])
async def test_fault_46_a_huge_message_is_cut(status: int, place: str) -> None:
    """5 MB of message: the error's is 500 characters at most, and so is all else that it keeps."""
    huge = "X" * 5_000_000
    body = {
        "message": {"message": huge},
        "errors": {"message": "A", "errors": {"page": [huge]}},
        "list": {"message": "A", "errors": ["Y" * 500] * 10_000},
        "keys": {"message": "A", "errors": {f"{number}{'Z' * 500}": ["B"] for number in range(10_000)}},
        "text": huge,
    }[place]
    async with serve(make_response(json.dumps(body).encode(), f"{status} No"), retry=RetryPolicy(max_attempts=1)) as (
        client,
        _,
    ):
        with pytest.raises(APIStatusError) as caught:
            await client.get_page(1)
        assert len(str(caught.value)) <= 500
        assert len(repr(vars(caught.value))) < 20_000


async def test_fault_46_a_status_that_no_server_should_send_is_typed(impatient: RetryPolicy) -> None:
    """Below 100 or of other than three digits: no crash."""
    for status in ("999 Odd", "600 Odd", "099 Odd", "99 Odd", "1000 Odd", "000 Odd", "-1 Odd"):
        async with serve(make_response(page(), status), retry=impatient) as (client, _):
            with pytest.raises((APIStatusError, APIResponseError, APIConnectionError)):
                await client.with_options(timeout=5).get_page(1)


async def test_fault_46_a_refused_token_ends_the_walk(emulator: Emulator, client: CustomersClient) -> None:
    """401 in the middle: the error comes after the pages before, each request is sent once, and no task is left."""
    emulator.expire_token(after=3)
    uuids: list[str] = []
    pager = client.with_options(concurrency=4).list_customers(per_page=10)
    with pytest.raises(AuthenticationError) as caught:
        async for found in pager:
            uuids.append(found.uuid)  # noqa: PERF401  # what came before the error counts
    assert uuids == list(emulator.uuids(0, 30))
    assert caught.value.next_page == pager.next_page == 4
    assert caught.value.attempts == 1
    assert emulator.stats.requests <= 3 + 4
    assert find_client_tasks() == []


async def test_fault_46_a_refused_token_without_successor_costs_one_request(emulator: Emulator) -> None:
    """A 401 is never repeated with the same token."""
    async with CustomersClient(TOKEN, base_url=emulator.url) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.whoami()
    assert (caught.value.code, caught.value.attempts, emulator.stats.requests) == ("UNAUTHORIZED", 1, 1)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("location", ["other", "same", "relative", "file:///etc/passwd", "http://[", "", None])
async def test_fault_47_a_redirect_is_not_followed(status: str, location: str | None) -> None:
    """Another host and port, the same one, a file, nonsense: an error after one request; the target sees nothing."""
    async with raw_server(make_response(customer())) as other, raw_server() as server:
        places = {"other": f"{other.url}/api/v1/customers", "same": f"{server.url}/login", "relative": "/login"}
        target = places.get(location or "", location)
        fields = {} if target is None else {"Location": target}
        server._replies.append(make_response(b"", status, **fields))
        async with CustomersClient(TOKEN, base_url=server.url) as client:
            with pytest.raises(APIResponseError, match=r"redirect( to [\w.]+)?, which is not followed") as caught:
                await client.get_customer(EXAMPLE)
            assert caught.value.status == int(status[:3])
        assert len(server.requests) == 1
        assert other.connections == 0


async def test_fault_47_a_redirect_loop_is_not_entered(emulator: Emulator, client: CustomersClient) -> None:
    """A redirect to the very same address: one request, for a walk, too."""
    async with serve(make_response(b"", "302 Found", Location="/api/v1/customers?per_page=100&page=1")) as (
        raw,
        server,
    ):
        with pytest.raises(APIResponseError, match="redirect"):
            [found async for found in raw.list_customers()]
        assert len(server.requests) == 1
    emulator.fail_next("redirect")
    with pytest.raises(APIResponseError, match="redirect"):
        await client.count_customers()
    assert emulator.stats.requests == 1
