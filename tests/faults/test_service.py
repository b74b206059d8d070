"""Rows 42 to 47: rate limits, failures of the service, and its errors."""

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
    APITimeoutError,
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
async def test_fault_42_retry_after_of_a_429_is_respected(retry_after: str | None, least: float) -> None:
    """The wait is Retry-After and up to a second more, a minute if there is none; then one request is sent."""
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
async def test_fault_42_too_long_retry_after_is_an_error(retry_after: str) -> None:
    """A wait above ``max_rate_limit_wait`` is a RateLimitError at once, with ``sent`` True."""
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
async def test_fault_43_endless_429s_are_an_error(retry_after: str | None) -> None:
    """The waits of each of 16 callers are bounded, and about one request a second is sent in all."""
    fields = {} if retry_after is None else {"Retry_After": retry_after}
    async with serve(make_response(b"{}", "429 Too Many", **fields), concurrency=16) as (client, server):
        started = asyncio.get_running_loop().time()
        outcomes = await asyncio.gather(*(client.get_page(1) for _ in range(16)), return_exceptions=True)
        assert all(isinstance(outcome, RateLimitError) for outcome in outcomes)
        seconds = asyncio.get_running_loop().time() - started
        assert 60 <= seconds <= 121
        assert len(server.requests) <= 1.2 * seconds


async def test_fault_43_endless_429s_after_a_burst_are_an_error() -> None:
    """The same if eight requests are in flight when the 429s begin."""
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
    ids=["negative", "garbled", "empty", "nan", "missing", "huge", "zero", "rising", "mixed"],
)
async def test_fault_44_unusual_remaining_is_survived(values: list[str | None], limit: int) -> None:
    """Whatever ``Remaining`` is, 60 calls succeed, with at most as many 429s."""
    async with (
        Emulator(customers=10, limit=limit, window=10) as emulator,
        CustomersClient(
            emulator.token, base_url=emulator.url, rate_limiter=RateLimiter(limit, 10), max_rate_limit_wait=10_000
        ) as client,
    ):
        remaining = itertools.cycle(values)
        emulator.headers["X-RateLimit-Remaining"] = lambda _: next(remaining)  # type: ignore[assignment,return-value]  # or None
        await asyncio.gather(*(client.whoami() for _ in range(60)))
        assert emulator.stats.statuses[200] == 60
        assert emulator.stats.rejected <= 60


@pytest.mark.parametrize("value", ["-3", "many", None, "0", "9" * 30])
async def test_fault_44_unusual_limit_is_survived(emulator: Emulator, client: CustomersClient, value: str) -> None:
    """The same for ``Limit``."""
    emulator.headers["X-RateLimit-Limit"] = value
    await asyncio.gather(*(client.whoami() for _ in range(50)))
    assert emulator.stats.statuses == {200: 50}
    assert client.rate_limit.limit > 0


def test_fault_44_four_processes_share_a_rate_limit() -> None:
    """2,000 requests by four independent processes take 3 % more than the ideal, with few 429s a window.

    Virtual time includes the time that the processor is busy, so other load on the machine may spoil an attempt.
    """

    def run(requests: int, limit: int) -> quota.Run:
        async def fetch() -> quota.Run:
            return await quota.fetch(requests, processes=4, limit=limit)

        with asyncio.Runner(debug=False, loop_factory=VirtualTimeLoop) as runner:
            return runner.run(fetch())

    ideal = 3 * quota.WINDOW + run(500, quota.UNLIMITED).seconds
    attempts = (run(2_000, quota.LIMIT) for _ in range(3))
    assert any(
        shared.seconds <= 1.03 * ideal and shared.rejected_a_window <= 10  # without the fair share there are 16 or more
        for shared in attempts
    )


@pytest.mark.parametrize("timeout", [0.05, 0.3])
@pytest.mark.parametrize("limit", [1, 5, 20])
async def test_fault_44_requests_that_all_time_out_cause_no_429(limit: int, timeout: float) -> None:
    """No request ever gets a response in time, and the server counts them all."""
    async with (
        Emulator(0, limit=limit) as emulator,
        CustomersClient(
            emulator.token, base_url=emulator.url, timeout=timeout, rate_limiter=RateLimiter(limit)
        ) as client,
    ):
        emulator.latency = 0.4
        calls = (client.count_customers() for _ in range(3 * limit))
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in errors} <= {APITimeoutError, RateLimitError}
        assert emulator.stats.requests > limit
        assert emulator.stats.rejected == 0


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408, 425])
async def test_fault_45_single_failure_is_retried(emulator: Emulator, client: CustomersClient, status: int) -> None:
    """A single transient failure is retried without an error."""
    emulator.fail_next(status)
    assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE
    assert emulator.stats.requests == 2


@pytest.mark.parametrize("fault", [500, "maintenance", "html_502"])
async def test_fault_45_permanent_failure_is_an_error(emulator: Emulator, client: CustomersClient, fault: Any) -> None:
    """After four attempts a ServerError is raised, whatever the body is."""
    emulator.fail_next(fault, times=None)
    with pytest.raises(ServerError) as caught:
        await client.get_customer(EXAMPLE)
    assert caught.value.attempts == emulator.stats.requests == 4


async def test_fault_45_outage_is_not_multiplied(emulator: Emulator, client: CustomersClient) -> None:
    """16 calls to a failing server send 16 first attempts and the budget's 20 retries."""
    emulator.fail_next(503, times=None)
    calls = (client.whoami() for _ in range(16))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, ServerError) for outcome in outcomes)
    assert emulator.stats.requests == 16 + 20
    with pytest.raises(ServerError):
        await client.whoami()
    assert emulator.stats.requests == 16 + 20 + 1


async def test_fault_45_listing_survives_one_failure_in_five() -> None:
    """If 20 % of 1,000 pages fail, all customers are still yielded, in order."""
    async with (
        Emulator(customers=5_000, seed=7, limit=5_000) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        emulator.fail_randomly({500: 0.1, 503: 0.1})
        pager = client.list_customers(per_page=5, on_incomplete="raise")
        assert [found.uuid async for found in pager] == list(emulator.uuids())
        assert 1_000 <= emulator.stats.statuses[200] < 1_020  # a page is read again after a retry's long delay
        assert 150 < emulator.stats.statuses[500] + emulator.stats.statuses[503] < 400


async def test_fault_45_listing_survives_failures_and_token_rotation(tmp_path: Path) -> None:
    """All customers are yielded despite 20 % 5xx, 5 % cut bodies and a token that expires twice."""
    path = tmp_path / "token"
    written: list[str] = []
    events: Counter[type] = Counter()

    def rotate() -> float:
        """Replace the token in the file when the old one has expired."""
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
        listen = lambda event: events.update([type(event)])  # noqa: E731  # one line
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
async def test_fault_46_error_is_typed_and_not_retried(status: int, kind: type[APIStatusError]) -> None:
    """The status determines the class, and one request is sent."""
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
async def test_fault_46_unusual_error_body_keeps_the_status(status: int) -> None:
    """Whatever the body of an error is, the error has its status."""
    for body in ENVELOPES:
        async with serve(make_response(body, f"{status} No")) as (client, server):
            with pytest.raises(APIStatusError) as caught:
                await client.get_page(1)
            assert caught.value.status == status
            assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("part", ["message", "errors", "list", "keys", "text"])
async def test_fault_46_huge_message_is_cut(status: int, part: str) -> None:
    """With a message of 5 MB the error keeps at most 500 characters of it."""
    huge = "X" * 5_000_000
    body = {
        "message": {"message": huge},
        "errors": {"message": "A", "errors": {"page": [huge]}},
        "list": {"message": "A", "errors": ["Y" * 500] * 10_000},
        "keys": {"message": "A", "errors": {f"{number}{'Z' * 500}": ["B"] for number in range(10_000)}},
        "text": huge,
    }[part]
    async with serve(make_response(json.dumps(body).encode(), f"{status} No"), retry=RetryPolicy(max_attempts=1)) as (
        client,
        _,
    ):
        with pytest.raises(APIStatusError) as caught:
            await client.get_page(1)
        assert len(str(caught.value)) <= 500
        assert len(repr(vars(caught.value))) < 20_000


async def test_fault_46_invalid_status_is_a_typed_error(impatient: RetryPolicy) -> None:
    """A status below 100 or without three digits is a typed error."""
    for status in ("999 Odd", "600 Odd", "099 Odd", "99 Odd", "1000 Odd", "000 Odd", "-1 Odd"):
        async with serve(make_response(page(), status), retry=impatient) as (client, _):
            with pytest.raises((APIStatusError, APIResponseError, APIConnectionError)):
                await client.with_options(timeout=5).get_page(1)


async def test_fault_46_rejected_token_ends_the_listing(emulator: Emulator, client: CustomersClient) -> None:
    """A 401 raises after the earlier pages; no request is repeated and no task is left."""
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


async def test_fault_46_rejected_token_is_not_sent_again(emulator: Emulator) -> None:
    """A 401 is never repeated with the same token."""
    async with CustomersClient(TOKEN, base_url=emulator.url) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.whoami()
    assert (caught.value.code, caught.value.attempts, emulator.stats.requests) == ("UNAUTHORIZED", 1, 1)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("location", ["other", "same", "relative", "file:///etc/passwd", "http://[", "", None])
async def test_fault_47_redirect_is_not_followed(status: str, location: str | None) -> None:
    """A redirect to any target is an error after one request, and the target receives nothing."""
    async with raw_server(make_response(customer())) as other, raw_server() as server:
        targets = {"other": f"{other.url}/api/v1/customers", "same": f"{server.url}/login", "relative": "/login"}
        target = targets.get(location or "", location)
        fields = {} if target is None else {"Location": target}
        server._replies.append(make_response(b"", status, **fields))
        async with CustomersClient(TOKEN, base_url=server.url) as client:
            with pytest.raises(APIResponseError, match=r"redirect( to [\w.]+)?, which is not followed") as caught:
                await client.get_customer(EXAMPLE)
            assert caught.value.status == int(status[:3])
        assert len(server.requests) == 1
        assert other.connections == 0


async def test_fault_47_redirect_loop_is_not_entered(emulator: Emulator, client: CustomersClient) -> None:
    """A redirect to the same address is an error after one request, for a listing too."""
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
