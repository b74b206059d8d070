"""Rows 51 and 52: responses to other requests, and headers and bodies that can be read in more than one way."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict

from customers_async import (
    APIConnectionError,
    APIResponseError,
    CustomersClient,
    CustomersError,
    NotFoundError,
    RetryPolicy,
    Verdict,
    export_customers,
)
from customers_async.calls.bodies import decode_body
from customers_async.calls.responses import (
    Response,
    read_date,
    read_page_metadata,
    read_rate_limit,
    read_retry_after,
    response_error,
)
from customers_async.export import diff_exports, verify_export
from tests.faults.canary import DATA, EXAMPLE, customer, page
from tests.faults.interruption import check_nothing_held
from tests.wire import TOKEN, Reply, make_response, raw_server, send_then, serve

OTHER = EXAMPLE.replace("2g", "2h")
RELATIVE = f'{{"uuid":"{OTHER}","identity_uuid":"{EXAMPLE}"}}'.encode()
OWNER = f'{{"uuid":"{EXAMPLE}","email":"{DATA}"}}'.encode()
UNSOLICITED = {
    "a count": make_response(b"[]", X_Api_Total="250", X_Api_Current_Page="1"),
    "another customer": make_response(customer(uuid=OTHER)),
    "a 404": make_response(b'{"status":false,"message":"NOT_FOUND"}', "404 Not Found"),
    "a 500": make_response(b"", "500 Oops"),
    "half a response": make_response(customer(uuid=OTHER))[:-10],
    "no HTTP": b"ping\r\n",
}


@pytest.mark.parametrize("unsolicited", UNSOLICITED.values(), ids=UNSOLICITED.keys())
async def test_fault_51_data_on_an_idle_connection_is_not_a_response(unsolicited: bytes) -> None:
    """The connection is closed, and the request is sent on another one: each call gets its own response."""

    async def and_more(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)  # after the client has released the connection
        writer.write(unsolicited)

    replies = [send_then(make_response(customer()), and_more), *[make_response(customer())] * 5]
    async with serve(*replies) as (client, server):
        for _ in range(4):
            assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE
            await asyncio.sleep(0.2)
        assert server.connections == 2


RIGHT = {
    "get_customer": make_response(customer()),
    "get_page": make_response(page(), X_Api_Current_Page="2"),
    "count_customers": make_response(page(), X_Api_Total="1"),
    "whoami": make_response(OWNER),
}


async def run_call(client: CustomersClient, name: str) -> Any:
    arguments: dict[str, tuple[Any, ...]] = {"get_customer": (EXAMPLE,), "get_page": (2,)}
    return await getattr(client, name)(*arguments.get(name, ()))


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        ("get_customer", make_response(customer(uuid=OTHER))),
        ("get_customer", make_response(RELATIVE)),
        ("get_customer", make_response(f'{{"related_persons":[{{"uuid":"{EXAMPLE}"}}],"uuid":"{OTHER}"}}'.encode())),
        ("get_customer", make_response(f'{{"uuid":"{OTHER}","related_persons":{{"uuid":"{EXAMPLE}"}}}}'.encode())),
        ("get_customer", make_response(page(), X_Api_Total="1", X_Api_Current_Page="1")),
        ("get_customer", make_response(b" [\n]")),
        ("get_customer", make_response(OWNER.replace(EXAMPLE.encode(), OTHER.encode()))),
        ("get_customer", make_response(b'{"email":"x"}')),
        ("get_page", make_response(page(), X_Api_Current_Page="1")),
        ("get_page", make_response(page(), X_Api_Page="3")),
        ("get_page", make_response(customer())),
        ("get_page", make_response(OWNER)),
        ("count_customers", make_response(customer())),
        ("count_customers", make_response(OWNER)),
        ("count_customers", make_response(b"{}")),
        ("whoami", make_response(RELATIVE)),
        ("whoami", make_response(customer(uuid=OTHER))),
        ("whoami", make_response(f'{{"uuid":"{OTHER}","type":"company"}}'.encode())),
        ("whoami", make_response(f'{{"uuid":"{OTHER}","email":"x","type":"y","post_address_index":null}}'.encode())),
        ("whoami", make_response(page(), X_Api_Total="1")),
        ("whoami", make_response(b"[]")),
    ],
)
async def test_fault_51_response_to_another_request_is_retried(call: str, wrong: bytes) -> None:
    """Another uuid, page number or kind: the next attempt gets the right response, on another connection."""
    async with serve(wrong, RIGHT[call]) as (client, server):
        found: Any = await run_call(client, call)
        uuids = (getattr(found, "uuid", None), *(one.uuid for one in getattr(found, "customers", ())))
        assert found == 1 or EXAMPLE in uuids
        assert (len(server.requests), server.connections) == (2, 2)


@pytest.mark.parametrize(
    ("call", "right"),
    [
        ("whoami", OWNER[:-1] + b',"type":"admin"}'),
        ("whoami", b'{"uuid":"%b","name":"x"}' % EXAMPLE.encode()),
        ("get_customer", customer()[:-1] + b',"email":"x"}'),
        ("get_customer", b'{"name": "x", "uuid": "%b"}' % EXAMPLE.encode()),
        ("get_customer", b'{"uuid":"%b","email":"x","is_active":1}' % EXAMPLE.encode()),
    ],
)
async def test_fault_51_unknown_fields_do_not_make_a_mismatch(call: str, right: bytes) -> None:
    """The service may add a field to its owner or its customers that only the other has today."""
    async with serve(make_response(right)) as (client, server):
        assert (await run_call(client, call)).uuid == EXAMPLE
        assert len(server.requests) == 1


@pytest.mark.parametrize("calls", [("get_customer", "count_customers"), ("whoami", "get_customer"), tuple(RIGHT)])
async def test_fault_51_neighbours_of_different_kinds_recover(calls: tuple[str, ...]) -> None:
    """A connection that falls one response behind is dropped, whatever its neighbouring responses are."""
    owed: dict[asyncio.StreamWriter, bytes] = {}

    async def fall_behind(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = server.targets[-1]
        name = "whoami" if path.endswith("auth") else "get_page" if path.endswith("page=2") else "get_customer"
        response = RIGHT["count_customers" if path.endswith("page=1") else name]
        if server.connections > 1:
            writer.write(response)
        else:  # from the second response on, the one before
            writer.write(owed.get(writer, response))
            owed[writer] = response

    async with serve(fall_behind) as (client, server):
        for call in calls * 3:
            await run_call(client, call)
        assert (len(server.requests), server.connections) == (3 * len(calls) + 1, 2)


async def test_fault_51_clamped_page_past_the_end_says_nothing_about_others() -> None:
    """The service returns its last page for a page past the end; later, another page's number is still noticed."""
    last = make_response(page(), X_Api_Total="300", X_Api_Current_Page="3")
    first = make_response(page(customer(uuid=OTHER)), X_Api_Total="300", X_Api_Current_Page="1")
    right = make_response(page(), X_Api_Total="300", X_Api_Current_Page="2")
    async with serve(last, last, first, right) as (client, server):
        assert (await client.get_page(9)).current_page == 3
        found = await client.get_page(2)
        assert (found.current_page, found.customers[0].uuid) == (2, EXAMPLE)
        assert (len(server.requests), server.connections) == (4, 3)


async def test_fault_51_another_customer_for_ever_is_an_error() -> None:
    """It is never taken for the requested one, with a borrowed session neither."""
    async with serve(make_response(customer(uuid=OTHER)), retry=RetryPolicy(base_delay=0)) as (client, server):
        with pytest.raises(APIResponseError, match="another customer"):
            await client.get_customer(EXAMPLE)
        assert len(server.requests) == 4


async def test_fault_51_service_that_numbers_pages_wrongly_costs_one_retry() -> None:
    """The page says which number it claims to have; later pages are not requested twice."""
    async with serve(make_response(page(), X_Api_Current_Page="1")) as (client, server):
        assert [(await client.get_page(number)).current_page for number in (2, 3, 4)] == [1, 1, 1]
        assert len(server.requests) == 4
    async with serve(make_response(page(), X_Api_Current_Page="1"), retry=RetryPolicy(max_attempts=1)) as (client, _):
        with pytest.raises(APIResponseError, match="page 1, not page 2"):
            await client.get_page(2)


async def test_fault_51_uuid_in_another_case_is_the_services_decision() -> None:
    """A look-up accepts the customer that the service returns for it, in the service's spelling."""
    async with serve(make_response(customer())) as (client, server):
        assert (await client.get_customer(EXAMPLE.upper())).uuid == EXAMPLE
        assert len(server.requests) == 1
    async with serve(make_response(b'{"message":"NOT_FOUND"}', "404 Not Found")) as (client, _):
        with pytest.raises(NotFoundError):
            await client.get_customer(EXAMPLE.upper())


DATES = [
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "Sun, 06 Nov 1994 08:49:37 -0000",
    "Sun, 06 Nov 1994 08:49:37",
    "Sun, 06 Nov 1994 08:49:37 UTC",
    "Sun, 06 Nov 1994 10:49:37 +0200",
    "Sun, 06 Nov 1994 08:49:37 +0000",
    "06 Nov 1994 08:49:37 gmt",
]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("date", DATES)
def test_fault_52_dates_without_a_zone_are_utc(date: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each form of RFC 9110 is the same time, wherever the client runs."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert read_date({"Date": date}) == 784111777
        assert read_retry_after({"Retry-After": date, "Date": DATES[0]}) == 0
        assert read_retry_after({"Retry-After": DATES[0], "Date": date}) == 0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "date", ["Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 01 Jan 0001 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "x"]
)
async def test_fault_52_impossible_date_proves_nothing(date: str) -> None:
    """A list whose first response has no usable ``Date`` is COMPLETE by its totals, without a proof."""
    async with serve(make_response(page(), X_Api_Total="1", Date=date)) as (client, _):
        pager = client.list_customers()
        assert len([found async for found in pager]) == 1
        assert (pager.completeness.verdict, pager.completeness.proven) == (Verdict.COMPLETE, False)


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800),
        ("Saturday, 31-Dec-16 23:59:60 GMT", 1483228800),
        ("Sat Dec 31 23:59:60 2016", 1483228800),
        ("Sat, 31 Dec 2016 23:60:59 GMT", None),
        ("Sat, 31 Dec 2016 23:59:61 GMT", None),
    ],
)
def test_fault_52_leap_second_is_a_date(date: str, seconds: int | None) -> None:
    """RFC 9110 allows the second 60; it is the first one of the next minute."""
    assert read_date({"Date": date}) == seconds
    waits = {"Retry-After": date, "Date": "Sun, 01 Jan 2017 00:00:00 GMT"}
    assert read_retry_after(waits) == (None if seconds is None else 0)


@pytest.mark.parametrize("value", ["1760000000", "9" * 300, "1" + "0" * 17, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_fault_52_absurd_waits_stay_finite(value: str) -> None:
    """A wait of a thousand years can still be added, shown and rounded."""
    seconds = read_retry_after({"Retry-After": value, "Date": DATES[0]})
    assert seconds is not None
    assert 1e8 < seconds <= 1e9


@pytest.mark.parametrize(
    ("value", "total"), [("250, 250", 250), ("250,250, 250", 250), ("250, 251", None), (",", None), ("250,", None)]
)
def test_fault_52_equal_joined_headers_are_one(value: str, total: int | None) -> None:
    """A proxy may join two equal headers with a comma; different ones have no meaning."""
    headers = CIMultiDict({"X-Api-Total": value, "X-RateLimit-Limit": value, "X-RateLimit-Remaining": value})
    assert read_page_metadata(headers).total == total
    assert read_rate_limit(headers) == (total, total)
    assert read_page_metadata({"X-Api-Has-More-Pages": "true, true"}).has_more is True


@pytest.mark.parametrize("body", [b"", b"[1,2", b'{"a":"x', b"[", b'[{"uuid":"a"}'])
async def test_fault_52_json_cut_at_the_connections_end_is_transient(body: bytes) -> None:
    """Without a length, the end of the connection may be the end of the body, or a cut."""
    headers = {"Content-Type": "application/json"}
    with pytest.raises(APIConnectionError, match="cut short") as caught:
        decode_body(Response(200, headers, body), 100)
    assert caught.value.transient
    with pytest.raises(APIConnectionError, match="cut short"):
        decode_body(Response(200, {**headers, "Transfer-Encoding": "identity"}, body), 100)
    for framing in ({"Content-Length": str(len(body))}, {"Transfer-Encoding": "Chunked"}):
        assert decode_body(Response(200, {**headers, **framing}, body), 100).body == body
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n"

    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + page()[:-5])
        writer.close()

    async def whole(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head + page())
        writer.close()

    async with serve(cut, whole) as (client, server):
        assert len((await client.get_page(1)).customers) == 1
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("https://sso.example.com/login?next=1", " to sso.example.com,"),
        ("//sso.example.com:8443/x", " to sso.example.com,"),
        ("http://user:password@gate/", " to gate,"),
        ("http://[::1]/", " to ::1,"),
        ("/login", "redirect, which"),
        ("https://[bad", "redirect, which"),
        ("https://a b.example/", "redirect, which"),
        (f"https://{TOKEN}.example/", "redirect, which"),
        (f"https://{TOKEN[4:24]}.example/", "redirect, which"),
        (f"https://example.com/{DATA}", " to example.com,"),
        ("", "redirect, which"),
    ],
)
def test_fault_52_redirect_names_its_host_and_no_more(location: str, named: str) -> None:
    """The host tells which login page or gateway is in between; the rest may hold anything."""
    error = response_error(Response(302, {"Location": location}, b"", secrets=[TOKEN]))
    assert error is not None
    assert named in str(error)
    assert not any(text in str(error) for text in ("password", "next", DATA, TOKEN, TOKEN[4:24].lower()))


async def test_fault_52_long_header_is_named() -> None:
    """Aiohttp reads headers of up to 8,190 bytes: the error says so, and shows none of it."""
    async with serve(make_response(X_Trace=DATA * 2000)) as (client, server):
        with pytest.raises(APIResponseError, match="header that is too long") as caught:
            await client.get_page(1)
        assert DATA not in str(caught.value)
        assert len(server.requests) == 1


HALF = "\ud83d"


@pytest.mark.parametrize(
    "record",
    [
        {"name": f"a{HALF}"},
        {"name": f"{HALF}{HALF}"},
        {"related_persons": [{"name": HALF}]},
        {"nickname": HALF},
        {"nickname": {HALF: 1}},
    ],
)
async def test_fault_52_half_a_character_makes_one_record_bad(record: dict[str, Any]) -> None:
    """The rest of the page is kept with ``on_bad_record``; without it, the error names the record and the field."""
    body = page(customer(), json.dumps({"uuid": OTHER, **record}).encode())
    rejected: list[Any] = []
    async with serve(make_response(body, X_Api_Total="2")) as (client, _):
        pager = client.list_customers(on_bad_record=lambda raw, error: rejected.append((raw["uuid"], error.field)))
        assert [found.uuid async for found in pager] == [EXAMPLE]
        assert rejected == [(OTHER, next(iter(record)))]
        with pytest.raises(APIResponseError, match=f"record 1 of page 1: '{next(iter(record))}'"):
            await client.get_page(1)


ODD_RECORDS = {
    "half a character without uuid": (b'{"name":"Eve \\ud83d"}', "name"),
    "half a character as uuid": (b'{"uuid":"\\ud83d"}', "uuid"),
    "half a character as a record": (b'"\\ud83d"', None),
    "half a character in an array": (b'["\\ud83d"]', None),
    "half a character as a name": (b'{"\\ud83d":1}', "\ud83d"),
    "deeply nested": (b'{"x":' + b"[" * 900 + b"]" * 900 + b"}", "uuid"),
    "a number out of range": (b"1e999", None),
    "5,000 digits without uuid": (b'{"x":' + b"9" * 5000 + b"}", "uuid"),
    "5,000 digits as a name": (b'{"name":' + b"9" * 5000 + b"}", "name"),
    "5,000 digits as a time": (b'{"created_at":' + b"9" * 5000 + b"}", "created_at"),
    "5,000 digits as a person": (b'{"related_persons":[' + b"9" * 5000 + b"]}", "related_persons"),
}


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize(("record", "field"), ODD_RECORDS.values(), ids=ODD_RECORDS.keys())
async def test_fault_52_odd_record_is_set_aside_alone(record: bytes, field: str | None, unique: bool) -> None:
    """Even a record without uuid, of values that JSON's encoders refuse, is identified, and known when it repeats."""
    body = page(customer(), record, record)
    async with serve(make_response(body, X_Api_Total="3")) as (client, _):
        fields: list[str | None] = []
        pager = client.list_customers(
            on_bad_record=lambda _, error: fields.append(error.field), unique=unique, on_incomplete="ignore"
        )
        assert [found.uuid async for found in pager] == [EXAMPLE]
        assert fields == [field] * (1 if unique else 2)


@pytest.mark.parametrize("keep_unknown", [True, False])
@pytest.mark.parametrize("other", [None, b'{"uuid":5}', b'{"name":"\\ud83d"}'])
@pytest.mark.parametrize("number", [b"9" * 5000, b"-" + b"9" * 5000, b"1e999"])
async def test_fault_52_unknown_number_out_of_range_matters_where_it_is_kept(
    number: bytes, other: bytes | None, keep_unknown: bool
) -> None:
    """Whatever other records the page has, the record is bad only if the number would be kept as infinity."""
    odd = b'{"uuid":"%b","x":%b}' % (OTHER.encode(), number)
    body = page(customer(), odd, *([] if other is None else [other]))
    reply = make_response(body, X_Api_Has_More_Pages="false")
    async with serve(reply, keep_unknown=keep_unknown) as (client, _):
        bad: list[Any] = []
        pager = client.list_customers(on_bad_record=lambda record, _: bad.append(record), on_incomplete="ignore")
        found = [customer.uuid async for customer in pager]
    assert found == ([EXAMPLE] if keep_unknown else [EXAMPLE, OTHER])
    assert len(bad) == keep_unknown + (other is not None)


@pytest.mark.parametrize("reply", [make_response(customer())])
async def test_fault_51_borrowed_session_gets_no_wrong_customer(reply: Reply) -> None:
    """A borrowed aiohttp session is used as it is; a mismatch is still noticed and retried."""
    async with (
        raw_server(make_response(customer(uuid=OTHER)), reply) as server,
        aiohttp.ClientSession() as session,
        CustomersClient(TOKEN, base_url=server.url, session=session) as client,
    ):
        assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE


TWINS = page(customer(), customer(uuid=EXAMPLE.upper()))


async def test_fault_51_uuids_that_differ_in_case_are_different_customers(tmp_path: Path) -> None:
    """The list, an export in any format, and a diff compare uuids exactly, as the service wrote them."""
    reply = make_response(TWINS, X_Api_Total="2", X_Api_Has_More_Pages="false")
    async with serve(reply) as (client, _):
        pager = client.list_customers()
        assert [found.uuid async for found in pager] == [EXAMPLE, EXAMPLE.upper()]
        assert pager.completeness.verdict is Verdict.COMPLETE
        for suffix in ("jsonl", "csv", "sqlite", "parquet"):
            path = tmp_path / f"customers.{suffix}"
            assert (await export_customers(client, path)).rows == 2
            assert verify_export(path) == {}
            with diff_exports(tmp_path / "customers.jsonl", path) as changes:
                assert (list(changes.added()), list(changes.not_seen())) == ([], [])


@pytest.mark.parametrize("strategy", ["lookups", "list"])
async def test_fault_51_batch_leaves_the_case_of_uuids_to_the_service(strategy: Any) -> None:
    """A uuid that the list has in another case only is looked up; the result has the uuid that was passed in."""
    replies = (
        [make_response(page(), X_Api_Total="1"), make_response(customer())]
        if strategy == "list"
        else [make_response(customer())]
    )
    async with serve(*replies) as (client, server):
        [result] = [result async for result in client.get_customers([EXAMPLE.upper()], strategy=strategy)]
        assert (result.uuid, result.customer and result.customer.uuid) == (EXAMPLE.upper(), EXAMPLE)
        assert len(server.requests) == len(replies)


async def raising_middleware(_: aiohttp.ClientRequest, __: Any) -> aiohttp.ClientResponse:
    raise KeyError(TOKEN)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"middlewares": (raising_middleware,)},
        {"trust_env": True},
        {"timeout": aiohttp.ClientTimeout(total=1e-9)},
        {"headers": {"Authorization": "Basic x"}},
        {"read_bufsize": 1},
    ],
    ids=lambda settings: next(iter(settings)),
)
async def test_fault_52_borrowed_session_fails_within_our_errors(
    settings: dict[str, Any], closed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its settings make aiohttp raise, callers see a `CustomersError` without the token, or a result."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with raw_server(make_response(customer())) as server, aiohttp.ClientSession(**settings) as session:
        if closed:
            await session.close()
        async with CustomersClient(TOKEN, base_url=server.url, session=session) as client:
            try:
                assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE
            except CustomersError as error:
                assert TOKEN not in f"{error!r} {error.__context__!r}"
                assert "the aiohttp session failed" in str(error)
            check_nothing_held(client)


async def test_fault_51_connection_that_is_one_response_behind_is_dropped() -> None:
    """One response too many arrives right after a request: that request is sent again, on another connection."""

    async def one_too_many(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(make_response(customer(uuid=OTHER)))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(make_response(customer()))

    missing = make_response(b'{"message":"NOT_FOUND"}', "404 Not Found")
    replies: list[Reply] = [
        make_response(customer()),
        one_too_many,
        make_response(customer()),
        missing,
        make_response(customer()),
    ]
    async with serve(*replies) as (client, server):
        for _ in range(2):
            assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE
        with pytest.raises(NotFoundError):
            await client.get_customer(OTHER)
        assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE
        assert (len(server.requests), server.connections) == (5, 2)


@pytest.mark.parametrize("end", [b"-", b"1.", b"1e", b"1e+", b"tru", b'"\\u00', b'"a', b"{", b",", b"", b"1"])
def test_fault_52_cut_anywhere_in_the_json_is_transient(end: bytes) -> None:
    """Wherever the connection ends, an open array is a cut."""
    with pytest.raises(APIConnectionError, match="cut short"):
        decode_body(Response(200, {}, b'[{"uuid":"x"},{"a":' + end), 100)


@pytest.mark.parametrize("number", ["1e999", "-1e400", "1" + "0" * 400 + ".5"])
async def test_fault_52_number_out_of_range_makes_one_record_bad(number: str) -> None:
    """The rest of the page is kept with ``on_bad_record``."""
    body = page(customer(), f'{{"uuid":"{OTHER}","related_persons":[{number}]}}'.encode())
    rejected: list[Any] = []
    async with serve(make_response(body, X_Api_Total="2")) as (client, _):
        pager = client.list_customers(on_bad_record=lambda raw, error: rejected.append((raw["uuid"], error.field)))
        assert [found.uuid async for found in pager] == [EXAMPLE]
        assert rejected == [(OTHER, "related_persons")]


async def test_fault_52_header_sent_twice_has_no_meaning() -> None:
    """Two different totals are no total; two equal ones are one."""
    for second, total in (("250", None), ("1", 1)):
        head = make_response(page(), X_Api_Total="1").replace(
            b"\r\n\r\n", f"\r\nx-api-total: {second}\r\n\r\n".encode(), 1
        )
        async with serve(head) as (client, _):
            assert (await client.get_page(1)).total == total
