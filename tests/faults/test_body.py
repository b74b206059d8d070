"""Rows 15 to 29: unusual bodies and records."""

import json
from typing import Any

import attrs
import pytest

from customers_async import (
    APIResponseError,
    Customer,
    CustomersClient,
    RecordError,
    RetryPolicy,
    UnprocessableEntityError,
    Verdict,
    customer_from_dict,
    customer_to_dict,
)
from customers_async.emulator import Emulator
from tests.faults.canary import DATA, EXAMPLE, NAME, customer, page
from tests.wire import make_response, serve

CALLS = ("get_customer", "get_page", "whoami")


async def run_call(client: CustomersClient, name: str) -> Any:
    """Run one of the calls that read a body."""
    match name:
        case "get_customer":
            return await client.get_customer(EXAMPLE)
        case "get_page":
            return await client.get_page(1)
        case "list_customers":
            return [found async for found in client.list_customers()]
        case "count_customers":
            return await client.count_customers()
        case _:
            return await client.whoami()


def record(**fields: Any) -> bytes:
    """Return a customer with other fields as JSON."""
    return json.dumps({"uuid": EXAMPLE, "name": NAME, **fields}).encode()


async def check_bad_record(body: bytes, field: str | None) -> None:
    """Check that both decoders and a look-up refuse the record, and name page, index and field."""
    for keep_unknown in (False, True):
        async with serve(make_response(page(customer(), body)), make_response(body), keep_unknown=keep_unknown) as (
            client,
            _,
        ):
            with pytest.raises(RecordError) as caught:
                await client.get_page(1)
            assert (caught.value.page, caught.value.index, caught.value.field) == (1, 1, field)
            with pytest.raises(RecordError) as caught:
                await client.get_customer(EXAMPLE)
            assert (caught.value.page, caught.value.index, caught.value.field) == (None, None, field)


async def read_by_both(body: bytes) -> Customer:
    """Return the record, which both decoders and a look-up must read alike."""
    read: list[Customer] = []
    for keep_unknown in (False, True):
        async with serve(make_response(page(body)), make_response(body), keep_unknown=keep_unknown) as (client, _):
            read += (await client.get_page(1)).customers
            read.append(await client.get_customer(EXAMPLE))
    known = [{field.name: getattr(one, field.name) for field in attrs.fields(Customer)} for one in read]
    assert known == [known[0]] * 4
    assert (read[0], read[2]) == (read[1], read[3])
    return read[2]


@pytest.mark.parametrize("name", [*CALLS, "list_customers", "count_customers"])
@pytest.mark.parametrize("content_type", ["text/html", "text/html; charset=UTF-8", "application/xhtml+xml"])
async def test_fault_15_html_is_an_error(name: str, content_type: str) -> None:
    """A login page under 200 is an error with status and content type, without a second request."""
    async with serve(make_response(b"<html>login</html>", Content_Type=content_type)) as (client, server):
        with pytest.raises(APIResponseError, match="HTML") as caught:
            await run_call(client, name)
        assert (caught.value.status, caught.value.content_type) == (200, content_type.split(";")[0])
        assert len(server.requests) == 1


@pytest.mark.parametrize("name", [*CALLS, "list_customers"])
@pytest.mark.parametrize(
    "reply",
    [
        make_response(b""),
        make_response(b"", "204 No Content"),
        make_response(b"null"),
        make_response(b"  "),
        make_response(b"", "206 Partial"),
    ],
)
async def test_fault_16_empty_response_is_an_error(name: str, reply: bytes) -> None:
    """An empty 200, a 204 and ``null`` are errors, not an empty list."""
    async with serve(reply) as (client, server):
        with pytest.raises(APIResponseError) as caught:
            await run_call(client, name)
        assert caught.value.status in (200, 204, 206)
        assert len(server.requests) == 1


@pytest.mark.parametrize("cut", [1, 2, 20, 60])
async def test_fault_17_truncated_json_with_its_length_is_an_error(cut: int) -> None:
    """JSON that was cut, with a matching length, is an error after at most one retry."""
    for body, name in ((page(), "get_page"), (customer(), "get_customer")):
        async with serve(make_response(body[:-cut])) as (client, server):
            with pytest.raises(APIResponseError, match="not JSON"):
                await run_call(client, name)
            assert len(server.requests) <= 2


@pytest.mark.parametrize(
    ("encoding", "content_type", "is_read"),
    [
        ("utf-8", "application/json", True),
        ("utf-8", "application/json; charset=utf-8", True),
        ("utf-8", 'application/json; charset="UTF-8"', True),
        ("latin-1", "application/json; charset=iso-8859-1", True),
        ("utf-16", "application/json; charset=utf-16", True),
        ("latin-1", "application/json", False),
        ("latin-1", "application/json; charset=utf-8", False),
        ("utf-16", "application/json", False),
        ("utf-16", "application/json; charset=utf-8", False),
        ("utf-8", "application/json; charset=utf-16", False),
        ("utf-8", "application/json; charset=bogus", False),
        ("utf-8", "application/json; charset=hex", False),
        ("utf-8", "application/json; charset=undefined", False),
        ("latin-1", "application/json; charset=ascii", False),
    ],
)
async def test_fault_18_text_is_decoded_as_declared_or_refused(encoding: str, content_type: str, is_read: bool) -> None:
    """No name ever contains U+FFFD."""
    body = page(customer(name=f"Ève {DATA}").replace(b"\xc3\xa8", "è".encode())).decode().encode(encoding)
    async with serve(make_response(body, Content_Type=content_type)) as (client, server):
        if is_read:
            assert [found.name for found in (await client.get_page(1)).customers] == [f"Ève {DATA}"]
        else:
            with pytest.raises(APIResponseError) as caught:
                await client.get_page(1)
            assert caught.value.content_type == "application/json"
        assert len(server.requests) == 1


@pytest.mark.parametrize("declared", ["", "; charset=utf-8", "; charset=utf-8-sig"])
async def test_fault_18_byte_order_mark_is_removed(declared: str) -> None:
    """PHP output may begin with a byte order mark, which is not part of the JSON."""
    async with serve(make_response(b"\xef\xbb\xbf" + page(), Content_Type=f"application/json{declared}")) as (
        client,
        _,
    ):
        assert [found.name for found in (await client.get_page(1)).customers] == [NAME]


async def test_fault_18_unusual_charset_is_decoded_or_refused() -> None:
    """Python's special codecs neither crash nor change the text."""
    for charset in ("unicode_escape", "raw_unicode_escape", "punycode", "idna", "utf-7", "rot13", "zlib", "cp037"):
        body = page(customer(name=f"Eve \\\\d {DATA}"))
        async with serve(make_response(body, Content_Type=f"application/json; charset={charset}")) as (client, _):
            try:
                (found,) = (await client.get_page(1)).customers
            except APIResponseError:
                continue
            assert found.name == f"Eve \\d {DATA}", charset


@pytest.mark.parametrize("keep_unknown", [False, True])
@pytest.mark.parametrize("field", ["created_at", "related_persons", "name"])
@pytest.mark.parametrize(
    "value",
    [b"NaN", b"-Infinity", b"7" * 5_000, b"-" + b"7" * 5_000, b"[" * 200_000 + b"]" * 200_000, b'"\\ud800"', b"1e999"],
    ids=["NaN", "Infinity", "5,000 digits", "minus 5,000 digits", "nested", "lone surrogate", "1e999"],
)
async def test_fault_19_extreme_json_is_an_error(value: bytes, field: str, keep_unknown: bool) -> None:
    """NaN, huge numbers, deep nesting and lone surrogates are errors."""
    body = b'{"uuid":"%s","%s":%s}' % (EXAMPLE.encode(), field.encode(), value)
    async with serve(make_response(page(body)), make_response(body), keep_unknown=keep_unknown) as (client, _):
        for name in ("get_page", "get_customer"):
            with pytest.raises(APIResponseError):
                await run_call(client, name)


async def test_fault_19_deep_nesting_is_an_error(impatient: RetryPolicy) -> None:
    """200,000 nested arrays instead of a page, a customer or the owner are an error."""
    for name in CALLS:
        async with serve(make_response(b"[" * 200_000 + b"]" * 200_000), retry=impatient) as (client, _):
            with pytest.raises(APIResponseError, match=r"nested too deeply|more than 30,000 values|an array, not"):
                await run_call(client, name)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"data":[]}', "page 1 is an object, not an array"),
        (customer(), "page 1 is a customer, not an array"),
        (b'"text"', "page 1 is a string"),
        (b"true", "page 1 is a boolean"),
        (b"250", "page 1 is a number"),
        (b'["Kan4ri"]', "record 0 of page 1 is a string"),
        (b"[[]]", "record 0 of page 1 is an array"),
        (b"[null]", "record 0 of page 1 is null"),
    ],
)
async def test_fault_20_page_of_another_shape_is_an_error(body: bytes, problem: str, impatient: RetryPolicy) -> None:
    """The error names the type received, not its content. An object may be the response to another request."""
    async with serve(make_response(body), retry=impatient) as (client, server):
        with pytest.raises(APIResponseError, match=problem) as caught:
            await client.get_page(1)
        assert (caught.value.status, caught.value.content_type) == (200, "application/json")
        assert len(server.requests) == (4 if body.startswith(b"{") else 1)


@pytest.mark.parametrize("name", ["get_customer", "whoami"])
@pytest.mark.parametrize(
    ("body", "what"), [(page(), "an array, not"), (b'"x"', "a string, not an object"), (b"null", "null, not an object")]
)
async def test_fault_20_object_of_another_shape_is_an_error(
    name: str, body: bytes, what: str, impatient: RetryPolicy
) -> None:
    """The same for one customer and for the token's owner."""
    async with serve(make_response(body), retry=impatient) as (client, _):
        with pytest.raises(APIResponseError, match=f"the response is {what}"):
            await run_call(client, name)


@pytest.mark.parametrize("name", [*CALLS, "list_customers", "count_customers"])
async def test_fault_21_error_body_under_200_is_an_error(name: str) -> None:
    """``"status": false`` is never taken for data."""
    envelope = b'{"status":false,"message":"UNAUTHORIZED","uuid":"%s","errors":[]}' % EXAMPLE.encode()
    async with serve(make_response(envelope)) as (client, server):
        with pytest.raises(APIResponseError) as caught:
            await run_call(client, name)
        assert caught.value.status == 200
        assert len(server.requests) == 1


@pytest.mark.parametrize("body", [record(uuid=None), b'{"name":"Kan4ri"}', b"{}"])
async def test_fault_22_record_without_uuid_is_an_error(body: bytes) -> None:
    """The uuid is the one required field."""
    await check_bad_record(body, "uuid")


async def test_fault_22_other_fields_can_be_null() -> None:
    """Null and absent fields are both None."""
    others = [field.name for field in attrs.fields(Customer) if field.name not in ("uuid", "extra")]
    assert len(others) == 13
    nulls = await read_by_both(record(**dict.fromkeys(others)))
    assert nulls == Customer(uuid=EXAMPLE)
    assert await read_by_both(b'{"uuid":"%s"}' % EXAMPLE.encode()) == nulls


async def test_fault_23_bad_record_ends_the_listing_or_is_counted(emulator: Emulator, client: CustomersClient) -> None:
    """A bad record is an error that names it; with ``on_bad_record`` it is rejected and the rest is read."""
    emulator.touch(7, name=5)
    with pytest.raises(RecordError) as caught:
        [found async for found in client.list_customers(per_page=5)]
    assert (caught.value.page, caught.value.index, caught.value.field) == (2, 2, "name")
    rejected: list[tuple[object, RecordError]] = []
    pager = client.list_customers(per_page=5, on_bad_record=lambda raw, error: rejected.append((raw, error)))
    assert len([found async for found in pager]) == 249
    assert [(raw["name"], error.field) for raw, error in rejected] == [(5, "name")]  # type: ignore[index]  # JSON
    assert (pager.completeness.distinct, pager.completeness.rejected) == (249, 1)
    assert pager.completeness.verdict is Verdict.COMPLETE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 5),
        ("name", True),
        ("name", [DATA]),
        ("post_address_index", 1109),
        ("registration_address_index", 1109.0),
        ("type", True),
        ("created_at", True),
        ("created_at", False),
        ("created_at", DATA),
        ("created_at", ""),
        ("created_at", "null"),
        ("created_at", "2025-04-11"),
        ("created_at", "2025-04-11T12:17:23"),
        ("updated_at", {}),
    ],
)
async def test_fault_24_no_value_is_coerced(field: str, value: object) -> None:
    """A number is not a name, 1109 not a postal code, True not a time, nor is a date without a zone."""
    await check_bad_record(record(**{field: value}), field)


@pytest.mark.parametrize("value", ["1744373843", 1744373843.0, "2025-04-11T12:17:23Z", "2025-04-11T14:17:23+02:00"])
async def test_fault_24_other_forms_of_a_time_are_read(value: object) -> None:
    """A numeric string, a float and a time with a zone are the same instant for both decoders."""
    assert await read_by_both(record(created_at=value)) == await read_by_both(record(created_at=1744373843))


@pytest.mark.parametrize("field", ["created_at", "updated_at"])
@pytest.mark.parametrize("value", [-1, -(10**12), 10**12, 10**18, 10**30, 1e300, -1e300, "9" * 30, "-1", -0.5])
async def test_fault_25_time_out_of_range_is_a_bad_record(value: object, field: str) -> None:
    """A time before 1970 or after the year 9999 is a RecordError, not an OverflowError."""
    await check_bad_record(record(**{field: value}), field)


async def test_fault_26_unknown_fields_are_kept() -> None:
    """A new type and new fields are accepted and round-trip unchanged."""
    wire = {"uuid": EXAMPLE, "name": NAME, "type": "foundation", "nickname": {"a": [DATA]}, "extra": {"b": 1}}
    found = await read_by_both(json.dumps(wire).encode())
    assert found.type == "foundation"
    assert found.extra == {"nickname": {"a": [DATA]}, "extra": {"b": 1}}
    back = customer_to_dict(found)
    assert {name: back[name] for name in wire} == wire
    assert customer_from_dict(back) == found


@pytest.mark.parametrize(
    "uuid",
    ["../auth", "", EXAMPLE[:-1], EXAMPLE + "\n", EXAMPLE + "x", EXAMPLE.replace("1", "１"), EXAMPLE.replace("-", "_")],
)
async def test_fault_27_malformed_uuid_is_a_bad_record(uuid: str) -> None:
    """The page refuses the uuid, and so does ``get_customer`` before it is put into a URL."""
    await check_bad_record(record(uuid=uuid), "uuid")
    async with serve(make_response(page(customer()))) as (client, server):
        with pytest.raises(ValueError, match="uuid must be"):
            await client.get_customer(uuid)
        assert server.requests == []


async def test_fault_28_control_characters_stay_in_the_value(caplog: pytest.LogCaptureFixture) -> None:
    """A name may contain terminal escape codes; neither repr nor log repeats them."""
    name = f"\x1b[31m{DATA}\x07\r\n\u202e"
    found = await read_by_both(record(name=name))
    assert found.name == name
    assert repr(found) == f"Customer(uuid='{EXAMPLE}', ...)"
    async with serve(make_response(page(record(name=name)))) as (client, _):
        assert repr(await client.get_page(1)).isprintable()
    assert "\x1b" not in caplog.text


async def test_fault_28_control_characters_in_an_error_are_replaced() -> None:
    """Messages of the service are shown without them."""
    envelope = json.dumps({"status": False, "message": "\x1b[31mNO\r\n", "errors": {"page\x07": ["\u202ewrong\n"]}})
    async with serve(make_response(envelope.encode(), "422 No")) as (client, _):
        with pytest.raises(UnprocessableEntityError, match="wrong") as caught:
            await client.get_page(1)
        assert str(caught.value).isprintable()
        assert "\\x1b" not in repr(vars(caught.value))


@pytest.mark.parametrize("related", [[{"name": DATA}], {"a": [1, None]}, DATA, [], 7, False])
async def test_fault_29_related_persons_are_kept_unchanged(related: object) -> None:
    """The API reference does not define their shape."""
    found = await read_by_both(record(related_persons=related))
    assert found.related_persons == related
    assert type(found.related_persons) is type(related)
    assert customer_to_dict(found)["related_persons"] == related
    assert hash(found) == hash(attrs.evolve(found, related_persons=None))
