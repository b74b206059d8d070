"""`get_raw`: any endpoint of the service, with the token, retries and rate limit of the other calls."""

import asyncio
import gzip
import json
import math
import pickle
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from aiohttp import web

from customers_async import (
    APIConnectionError,
    APIResponseError,
    CallFinished,
    CallStarted,
    CustomersClient,
    CustomersError,
    Event,
    NotFoundError,
    RateLimiter,
    RateLimitError,
    RawResponse,
    RequestAnswered,
    RequestSent,
    RetryPolicy,
    RetryScheduled,
    ServerError,
    UnprocessableEntityError,
)
from customers_async.emulator import Emulator, Exchange
from tests.wire import TOKEN, hang_up, make_response, send_then, serve

UUID = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"


async def target_of(path: str, params: Any = None) -> str:
    """Return the target that the server receives."""
    async with serve(make_response(), concurrency=1) as (client, server):
        await client.get_raw(path, params=params)
        assert server.requests[0].count(b"Authorization: Bearer") == 1
        return server.targets[0]


async def test_known_endpoints_work(emulator: Emulator, client: CustomersClient) -> None:
    """The raw responses of the list, a customer and the owner are those that the typed methods read."""
    page = await client.get_raw("/api/v1/customers", params={"page": 2, "per_page": 50})
    assert [record["uuid"] for record in page.json()] == list(emulator.uuids(50, 100))
    assert (page.status, page.headers["x-api-total"], page.attempts) == (200, "250", 1)
    assert (await client.get_raw(f"/api/v1/customers/{UUID}")).json()["uuid"] == UUID
    assert (await client.get_raw("/api/v1/auth")).json()["name"] == (await client.whoami()).name
    with pytest.raises(NotFoundError, match=r"404 NOT_FOUND for /api/v1/accounts$"):
        await client.get_raw("/api/v1/accounts")


async def test_endpoint_that_the_emulator_lacks_can_be_scripted(emulator: Emulator, client: CustomersClient) -> None:
    """A fault for another path is an endpoint, behind the rate limit; it ends like any fault."""

    async def accounts(exchange: Exchange) -> web.StreamResponse:
        if (await exchange.answer()).status == 401:
            return exchange.refuse(401)
        return web.json_response([{"iban": "LT601010012345678901", "page": exchange.request.query["page"]}])

    emulator.fail_next(accounts, path="/api/v1/accounts", times=2)
    response = await client.get_raw("/api/v1/accounts", params={"page": 3})
    assert response.json() == [{"iban": "LT601010012345678901", "page": "3"}]
    await client.get_raw("/api/v1/accounts", params={"page": 4})
    assert emulator.stats.unexpected == []
    with pytest.raises(NotFoundError):
        await client.get_raw("/api/v1/accounts")
    assert emulator.stats.unexpected == ["GET /api/v1/accounts"]
    assert emulator.stats.admitted == 2


async def test_repr_shows_no_body_and_no_header_value() -> None:
    """A log of the response names its headers, and the body's size."""
    async with serve(make_response(b'{"iban":"LT60"}', X_Secret="s3cret")) as (client, _):
        response = await client.get_raw("/x")
    assert repr(response) == (
        "RawResponse(status=200, headers=['Content-Type', 'Content-Length', 'X-Secret'], body=<15 bytes>, attempts=1)"
    )
    assert pickle.loads(pickle.dumps(response)).json() == {"iban": "LT60"}


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (make_response(b"a;b\r\n\xe9", Content_Type="text/csv; charset=iso-8859-1"), b"a;b\r\n\xe9"),
        (make_response(b"%PDF-1.7\0", Content_Type="application/pdf"), b"%PDF-1.7\0"),
        (make_response(b"<html>", Content_Type="text/html"), b"<html>"),
        (make_response(b"\xef\xbb\xbf[]", Content_Type="text/plain; charset=shift_jis"), b"\xef\xbb\xbf[]"),
        (make_response(gzip.compress(b"[1]"), Content_Encoding="gzip"), b"[1]"),
        (make_response(b"", "200 OK"), b""),
        (make_response(b"", "201 Created"), b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (make_response(b"[", "206 Partial"), b"["),
        (make_response(b'{"status": false}'), b'{"status": false}'),
        (make_response(b'{"uuid": "another"}'), b'{"uuid": "another"}'),
        (send_then(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n\r\n[a;b", hang_up), b"[a;b"),
        (send_then(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[1]", hang_up), b"[1]"),
    ],
)
async def test_any_successful_response_is_returned(reply: Any, body: bytes) -> None:
    """Any media type, any 2xx and an empty body are returned as they are, but decompressed."""
    async with serve(reply) as (client, _):
        assert (await client.get_raw(f"/api/v1/customers/{UUID}")).body == body


@pytest.mark.parametrize(
    ("reply", "kind", "problem"),
    [
        (make_response(b"", "302 Found", Location="/login"), APIResponseError, "status 302 is a redirect"),
        (make_response(b"", "304 Not Modified"), APIResponseError, "status 304 is no success"),
        (make_response(b"x" * 101), APIResponseError, "larger than max_body"),
        (make_response(gzip.compress(b"x" * 101), Content_Encoding="gzip"), APIResponseError, "larger than max_body"),
        (make_response(b"x", Content_Encoding="br"), APIResponseError, "unknown Content-Encoding"),
        (make_response(b'{"message":"NOT_FOUND"}', "404 No"), NotFoundError, "^404 NOT_FOUND for /a/{id}/b$"),
        (make_response(b"<html>", "503 No"), ServerError, r"^503 for /a/{id}/b(\n|$)"),
        (
            send_then(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[1", hang_up),
            APIConnectionError,
            "cut short",
        ),
    ],
)
async def test_anything_else_is_an_error(reply: Any, kind: type[Exception], problem: str) -> None:
    """Errors are those of the other calls. They name the route, because an id in the path may be data."""
    async with serve(reply, max_body=100, retry=RetryPolicy(max_attempts=1)) as (client, _):
        with pytest.raises(kind, match=problem) as caught:
            await client.get_raw("/a/LT601010012345678901/b", params={"iban": "LT60"})
        assert "LT60" not in f"{caught.value!r}{vars(caught.value)}"


IBAN, PERSON = "LT601010012345678901", "IVAN_PETROV"


@pytest.mark.parametrize("status", ["302 Found", "401 No", "404 No", "418 No", "422 No", "429 No", "500 No"])
@pytest.mark.parametrize(
    "body",
    [
        {"message": IBAN},
        {"message": PERSON},
        {"message": f"NO_{IBAN}", "errors": [f"{IBAN.lower()} is unknown", f"no {PERSON}"]},
        {"message": "NOT_FOUND", "errors": {IBAN: [PERSON]}},
    ],
)
async def test_error_does_not_repeat_what_the_service_repeats(status: str, body: Any) -> None:
    """An id of the path or a value of a parameter in the text of an error is replaced."""
    reply = make_response(json.dumps(body).encode(), status, X_Request_Id=f"a-{IBAN}", Location=f"https://{IBAN}.com")
    options: Any = {"retry": RetryPolicy(max_attempts=1), "max_rate_limit_wait": 0}
    async with serve(reply, **options) as (client, _):
        with pytest.raises(CustomersError) as caught:
            await client.get_raw(f"/ibans/{IBAN}", params={"page": 2, "owner": [PERSON]})
    shown = f"{caught.value!r}{vars(caught.value)}".upper()
    assert IBAN not in shown
    assert PERSON not in shown


async def test_validation_messages_are_kept() -> None:
    """The texts of a 422 say what is wrong with the parameters; short values, such as a number, are part of them."""
    body = b'{"message":"VALIDATION_ERROR","errors":{"per_page":["The per_page must not exceed 100."]}}'
    async with serve(make_response(body, "422 No")) as (client, _):
        with pytest.raises(UnprocessableEntityError, match=r"per_page: The per_page must not exceed 100\.$"):
            await client.get_raw("/api/v1/accounts", params={"per_page": 100, "page": 1})


async def test_long_parameters_do_not_slow_an_error_down() -> None:
    """The search for values in the texts of an error is bounded."""
    body = json.dumps({"errors": ["x" * 200] * 20}).encode()
    async with serve(make_response(body, "422 No"), max_rate_limit_wait=0) as (client, _):
        started = time.process_time()
        with pytest.raises(UnprocessableEntityError):
            await client.get_raw("/a", params={"id": [f"{n:08}" for n in range(5_000)]})
        assert time.process_time() - started < 1


async def test_raw_calls_are_retried_and_share_the_rate_limit(emulator: Emulator) -> None:
    """A transient failure is retried and counted; the limiter refuses what would wait too long."""
    emulator.fail_next(503, times=2)
    limiter = RateLimiter(4, 60)
    options: Any = {"rate_limiter": limiter, "max_rate_limit_wait": 0, "retry": RetryPolicy(base_delay=0)}
    emulator.rate_limit(4)
    async with CustomersClient(emulator.token, base_url=emulator.url, **options) as client:
        assert (await client.get_raw("/api/v1/auth")).attempts == 3
        await client.whoami()
        with pytest.raises(RateLimitError) as caught:
            await client.get_raw(f"/api/v1/customers/{UUID}")
        assert (caught.value.sent, caught.value.url_path) == (False, "/api/v1/customers/{uuid}")


async def test_lanes_have_their_order(emulator: Emulator, client: CustomersClient) -> None:
    """An interactive call is sent before bulk calls that waited longer."""
    view = client.with_options(concurrency=1)
    emulator.latency = 1.0
    order: list[str] = []

    async def send(lane: Any) -> None:
        await view.get_raw("/api/v1/auth", lane=lane)
        order.append(lane)

    calls = [asyncio.ensure_future(send("bulk")) for _ in range(3)]
    await asyncio.sleep(0.1)
    calls.append(asyncio.ensure_future(send("interactive")))
    await asyncio.gather(*calls)
    assert order == ["bulk", "interactive", "bulk", "bulk"]


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/api/v1/accounts", "/api/v1/accounts"),
        (f"/api/v1/customers/{UUID}", "/api/v1/customers/{uuid}"),
        (f"/api/v1/accounts/{UUID}/transactions/17", "/api/v1/accounts/{uuid}/transactions/{id}"),
        ("/api/v2/ibans/LT60 1010/balance.csv", "/api/v2/ibans/{id}/balance.csv"),
        ("/api/v1/people/José/notes", "/api/v1/people/{id}/notes"),
        ("/api/v1/people/eve@example.com", "/api/v1/people/{id}"),
        ("/api/v1/x/%41bc/", "/api/v1/x/{id}/"),
        ("/" + "x" * 33, "/{id}"),
        ("/", "/"),
    ],
)
async def test_events_name_the_route(path: str, route: str) -> None:
    """Segments that look like ids, and the parameters, are in no event."""
    heard: list[Event] = []
    failing = make_response(b"{}", "503 No")
    async with serve(failing, make_response(), on_event=heard.append, retry=RetryPolicy(base_delay=0)) as (
        client,
        server,
    ):
        await client.get_raw(path, params={"iban": "LT60"})
        kinds = [type(event) for event in heard]
        assert kinds == [
            *(CallStarted, RequestSent, RequestAnswered, RetryScheduled),
            *(RequestSent, RequestAnswered, CallFinished),
        ]
        assert {event.route for event in heard} == {route}  # type: ignore[attr-defined]  # all are events of a call
        assert isinstance(heard[0], CallStarted)
        assert heard[0].url == server.url + route


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/v1/accounts/", "/api/v1/accounts/"),
        ("/a b/é%20%C3%A9", "/a%20b/%C3%A9%20%C3%A9"),
        ("/a+b/c:d@e!$&'()*,;=-._~", "/a+b/c:d@e!$&'()*,;=-._~"),
        ('/"<>^`{|}', "/%22%3C%3E%5E%60%7B%7C%7D"),
        ("/a%2Fb/%3F%23/x%25y", "/a%2Fb/%3F%23/x%25y"),
        ("/...", "/..."),
        ("/.well-known/x", "/.well-known/x"),
    ],
)
async def test_paths_are_encoded(path: str, target: str) -> None:
    """What RFC 3986 does not allow in a path is percent-encoded; escapes that are there are kept."""
    assert await target_of(path) == target


async def test_path_is_below_the_base_url() -> None:
    """A base URL with a path is a prefix."""
    async with serve(make_response()) as (_, server):
        async with CustomersClient(TOKEN, base_url=f"{server.url}/gateway/") as client:
            await client.get_raw("/api/v1/accounts")
        assert server.targets == ["/gateway/api/v1/accounts"]


@pytest.mark.parametrize(
    ("params", "query"),
    [
        (None, ""),
        ({}, ""),
        (
            {"page": 2, "open": True, "closed": False, "rate": 1.5, "none": None},
            "page=2&open=true&closed=false&rate=1.5&none=",
        ),
        ({"id[]": ["a", 1, None]}, "id%5B%5D=a&id%5B%5D=1&id%5B%5D="),
        ({"none": []}, ""),
        ([("a", "1"), ("b", "&=?#"), ("a", "ž z")], "a=1&b=%26%3D%3F%23&a=%C5%BE%20z"),
        ((pair for pair in [("a", "1")]), "a=1"),
        ({"a": "x\r\ny"}, "a=x%0D%0Ay"),
    ],
)
async def test_params_are_encoded(params: Any, query: str) -> None:
    """As httpx encodes them: bools in lower case, None as an empty value, a list as one name several times."""
    target = await target_of("/x", params)
    assert target == (f"/x?{query}" if query else "/x")
    assert parse_qsl(urlsplit(target).query, keep_blank_values=True) == parse_qsl(query, keep_blank_values=True)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        *(
            (path, "must begin with /")
            for path in ("", "api/v1", "https://evil.example/", "evil.example/x", "?x", " /x")
        ),
        *(
            (path, "empty segment")
            for path in ("//evil.example/x", "/a//b", "/a/%2F/b", "/a%2F%2Fb", "///", "/%252F%252f")
        ),
        *((path, r"\. or \.\.") for path in ("/..", "/a/../b", "/a/./b", "/a/.", "/%2e%2e/b", "/a/%2E./b", "/..%2fb")),
        *((path, r"\. or \.\.") for path in ("/a/..;x=1/b", "/a/%252e%252e/b", "/.%2e", "/a/.%2e%2f")),
        *((path, "no query") for path in ("/a?b=1", "/a#b", "/a?", "/#")),
        *((path, "control") for path in ("/a\\b", "/a%5cb", "/a%255Cb", "/a\nb", "/a\0", "/a%00", "/a%0d%0a", "/\x7f")),
        *((path, "%25") for path in ("/a%", "/a%2", "/a%zz", "/%u0041")),
        ("/\ud800", "surrogate"),
        ("/%25252525", "percent-encoded more than 2 times"),
    ],
)
async def test_bad_paths_are_refused(path: str, problem: str) -> None:
    """A path that might leave the base URL, or that servers read in several ways, is refused, and nothing is sent."""
    async with serve(make_response()) as (client, server):
        with pytest.raises(ValueError, match=rf"^path .*{problem}"):
            await client.get_raw(path)
        assert server.connections == 0


@pytest.mark.parametrize(
    ("arguments", "kind", "problem"),
    [
        ({"path": 5}, TypeError, "path must be a str, not int"),
        ({"path": b"/x"}, TypeError, "path must be a str, not bytes"),
        ({"params": "page=2"}, TypeError, "params must be a mapping, or pairs"),
        ({"params": b"page=2"}, TypeError, "params must be a mapping, or pairs"),
        ({"params": 5}, TypeError, "params must be a mapping, or pairs"),
        ({"params": ["ab"]}, TypeError, "params must be a mapping, or pairs"),
        ({"params": [("a", "b", "c")]}, TypeError, "params must be a mapping, or pairs"),
        ({"params": {5: "x"}}, TypeError, "params must have names of type str, not int"),
        ({"params": {"": "x"}}, ValueError, "names that are not empty"),
        ({"params": {"a": {}}}, TypeError, "a must be a str, int, float, bool or None, or a list of them, not dict"),
        ({"params": {"a": b"x"}}, TypeError, "a must be a str, .* not bytes"),
        ({"params": {"a": [["x"]]}}, TypeError, "a must be a str, .* not list"),
        ({"params": {"a": math.nan}}, ValueError, "a is not finite"),
        ({"params": {"a": "\ud800"}}, ValueError, "a has half of a surrogate pair"),
        ({"lane": "fast"}, ValueError, "lane must be one of interactive, bulk"),
        ({"lane": None}, ValueError, "lane must be one of"),
    ],
)
async def test_bad_arguments_are_refused(arguments: dict[str, Any], kind: type[Exception], problem: str) -> None:
    """A wrong type or value is refused before anything is sent."""
    async with serve(make_response()) as (client, server):
        with pytest.raises(kind, match=problem):
            await client.get_raw(**{"path": "/x", **arguments})
        assert server.connections == 0


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":[1,2.5,-1e3,true,null,"\\u00e9\\ud83d\\ude00"]}', {"a": [1, 2.5, -1000.0, True, None, "é😀"]}),
        (b"\xef\xbb\xbf[]", []),
        (b" 5\n", 5),
        (b'[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_json_is_parsed(body: bytes, value: object) -> None:
    """Any JSON value is returned as Python's own types."""
    assert make_raw(body).json() == value


def make_raw(body: bytes, content_type: str = "application/json") -> RawResponse:
    return RawResponse(200, {"Content-Type": content_type}, body, 1)


def test_json_follows_the_charset() -> None:
    """A body in another charset is parsed as it declares."""
    assert make_raw('"é"'.encode("iso-8859-1"), "application/json; charset=iso-8859-1").json() == "é"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "is empty"),
        (b"<html>s3cret", "is not JSON"),
        (b'{"a": "s3cret"', "is not JSON, or its JSON is cut"),
        (b'{"a": "s3cret"} x', "is not JSON"),
        (b"[NaN]", "is not JSON"),
        (b"[Infinity]", "is not JSON"),
        (b"[1e999]", "is not JSON"),
        (b"['s3cret']", "is not JSON"),
        (b'["\\ud800"]', "is not JSON"),
        (b'["s3cret\xff"]', "is not valid UTF-8"),
        (b'{"a":"s3cret","b":{"c":1,"c":2}}', "has an object with one name twice"),
        (b"[" * 100_000 + b"]" * 100_000, "more than 30,000 values|nested too deeply"),
        (b"[" * 50_000 + b"]" * 50_000, "nested too deeply|is not JSON"),
        (b"[" + b"1" * 5_000 + b"]", "is not JSON"),
        (b"[" + b"1" * 500 + b"," + b" " * 200_000 + b"1]", "more than 400 digits"),
        (b"[" + b"1," * 100_000 + b"1]", "more than 30,000 values"),
    ],
)
def test_json_is_strict(body: bytes, problem: str) -> None:
    """What is not JSON, is ambiguous, or takes long, is an error without the text of the body."""
    with pytest.raises(APIResponseError, match=problem) as caught:
        make_raw(body).json()
    error = caught.value
    assert (error.status, error.content_type) == (200, "application/json")
    assert "s3cret" not in f"{error!r}{vars(error)}"
    assert error.__context__ is None


@pytest.mark.parametrize(("named", "kept"), [("r-1", "r-1"), (f"id-{TOKEN[:30]}", None), ("billing-0001", None)])
async def test_error_of_json_has_a_request_id_that_is_safe(named: str, kept: str | None) -> None:
    """It is dropped if it repeats the token or a value of the request, as in every other error."""
    async with serve(make_response(b"[1", X_Request_Id=named)) as (client, _):
        response = await client.get_raw("/x", params={"name": "billing-0001"})
    for each in (response, pickle.loads(pickle.dumps(response))):
        with pytest.raises(APIResponseError, match="its JSON is cut") as caught:
            each.json()
        assert caught.value.request_id == kept


async def test_pages_of_another_endpoint_are_read_by_hand(emulator: Emulator, client: CustomersClient) -> None:
    """The headers tell whether there are more pages."""
    rows: list[Any] = []
    number, more = 1, True
    while more:
        response = await client.get_raw("/api/v1/customers", params={"page": number, "per_page": 100}, lane="bulk")
        rows += response.json()
        number, more = number + 1, response.headers["X-Api-Has-More-Pages"] == "true"
    assert len({row["uuid"] for row in rows}) == 250
    assert json.dumps(rows[0])
