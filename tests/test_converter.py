"""JSON to customers and back: two decoders that agree, and no silent coercion in either."""

import copy
import itertools
import json
import pickle
from collections import UserDict
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers_async import APIResponseError, Customer, CustomerType, RecordError, customer_from_dict, customer_to_dict
from customers_async.checks import is_uuid
from customers_async.converter import (
    _decode_fast,
    decode_customer,
    decode_customers,
    decode_owner,
)
from customers_async.page_checks import are_recent, are_times, are_uuids

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
RECORD: dict[str, Any] = {
    "uuid": EXAMPLE,
    "identity_uuid": "123e4567-e89b-12d3-a456-426614174000",
    "type": "individual",
    "updated_at": 1744373843,
    "created_at": 1744373843,
    "name": "Žygimantas Šeškevičius",
    "risk_country_code": None,
    "registration_country_code": "LT",
    "registration_address_line": "Business Street 1",
    "registration_address_index": "01109",
    "post_address_country_code": "LT",
    "post_address_line": "Main Street 123",
    "post_address_index": "90210",
    "related_persons": None,
}

alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
uuids = st.builds(
    lambda parts: "-".join(parts), st.tuples(*(st.text(alphanumeric, min_size=n, max_size=n) for n in (8, 4, 4, 4, 12)))
)
texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.none() | st.integers(0, 253402300799)
oddities = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(
        ["null", "NULL", "1744373843", "1e9", "2025-04-11T12:17:23", "2025-04-11T12:17:23+02:00", -5, 10**30]
    )
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)
good_records = st.fixed_dictionaries(
    {"uuid": uuids},
    optional={
        "type": texts,
        "created_at": times,
        "updated_at": times,
        "name": texts,
        "post_address_index": texts,
        "related_persons": oddities,
        "nickname": oddities,
    },
)
odd_records = st.builds(
    lambda record, field, value: {**record, field: value},
    good_records,
    st.sampled_from(["uuid", "name", "type", "created_at", "updated_at", "post_address_index", "extra", "nickname"]),
    oddities,
)


def decode(record: object, **options: Any) -> Customer | APIResponseError:
    """Decode a page of one record; return the customer, or the error."""
    try:
        return decode_customers(msgspec.json.encode([record]), page=1, **options)[0][0]
    except APIResponseError as error:
        return error


def test_customer_has_the_fields_of_the_reference() -> None:
    """All 14 fields are decoded, times are aware, in UTC, and postal codes keep their zero."""
    customer = decode(RECORD)
    assert isinstance(customer, Customer)
    assert customer.created_at == datetime(2025, 4, 11, 12, 17, 23, tzinfo=UTC)
    assert customer.created_at.tzinfo is UTC
    assert (customer.registration_address_index, customer.name) == ("01109", "Žygimantas Šeškevičius")
    assert customer.type == CustomerType.INDIVIDUAL
    assert customer_to_dict(customer) == RECORD


@given(odd_records, st.booleans())
def test_both_decoders_agree(record: dict[str, Any], keep_unknown: bool) -> None:
    """For any record, msgspec and cattrs return the same customer, or both refuse it."""
    fast = decode(record, keep_unknown=keep_unknown)
    try:
        slow = customer_from_dict(msgspec.json.decode(msgspec.json.encode(record)), keep_unknown=keep_unknown)
    except RecordError as error:
        assert isinstance(fast, RecordError)
        assert fast.field == error.field
    else:
        assert fast == slow
        assert isinstance(fast, Customer)
        assert all(moment is None or moment.tzinfo is UTC for moment in (fast.created_at, fast.updated_at))


@given(good_records)
def test_wire_form_round_trips(record: dict[str, Any]) -> None:
    """Nothing is lost from a mapping to a customer and back: unknown fields go to ``extra``."""
    wire = customer_to_dict(customer_from_dict(record))
    assert {**dict.fromkeys(RECORD), **record} == wire
    assert customer_from_dict(wire) == customer_from_dict(record)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("uuid", None),
        ("uuid", "../auth"),
        ("uuid", EXAMPLE + "\n"),
        ("uuid", EXAMPLE + "\n" + EXAMPLE),
        ("uuid", 5),
        ("name", 5),
        ("name", ["x"]),
        ("post_address_index", 1109),
        ("type", True),
        ("created_at", True),
        ("created_at", "yesterday"),
        ("created_at", "null"),
        ("created_at", "2025-04-11T12:17:23"),
        ("created_at", "2025-04-11"),
        ("created_at", -1),
        ("created_at", 10**18),
        ("updated_at", 1e300),
        ("updated_at", {}),
    ],
)
def test_no_value_is_coerced(field: str, value: object) -> None:
    """A value of another type is a RecordError that names page, index and field, but not the value."""
    error = decode({**RECORD, field: value})
    assert isinstance(error, RecordError)
    assert (error.page, error.index, error.field) == (1, 0, field)
    assert str(error).startswith("record 0 of page 1: ")
    assert "Žygimantas" not in repr(error)
    assert str(value) not in str(error).split(": ")[1].replace("null", "") or value is None


def test_missing_uuid_is_an_error() -> None:
    """The uuid is the one field that is required."""
    error = decode({"name": "x"})
    assert isinstance(error, RecordError)
    assert error.field == "uuid"
    assert decode({"uuid": EXAMPLE}) == Customer(uuid=EXAMPLE)


@pytest.mark.parametrize("value", ["1744373843", 1744373843.0, "2025-04-11T12:17:23Z", "2025-04-11T14:17:23+02:00"])
def test_other_forms_of_a_time_are_accepted(value: object) -> None:
    """A numeric string, a float and a time with a zone are the same instant, in UTC, for both decoders."""
    customer = decode({**RECORD, "created_at": value})
    assert customer == decode(RECORD)
    assert customer == customer_from_dict({**RECORD, "created_at": value})


@pytest.mark.parametrize("time", [b"null", b"0", b"946684799", b"1744373843", b"1744373843.25"])
def test_unusual_times_are_decoded_by_msgspec(time: bytes) -> None:
    """A missing time, one before 2000 and one with a fraction do not fall back to cattrs."""
    body = b'[{"uuid":"%b","created_at":1744373843,"updated_at":%b}]' % (EXAMPLE.encode(), time)
    customers = _decode_fast(body, keep_unknown=False)
    assert customers is not None
    assert customers == [customer_from_dict(record) for record in json.loads(body)]


def test_unknown_fields_are_decoded_by_msgspec(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page with new fields does not fall back to cattrs."""
    monkeypatch.delattr("customers_async.converter._structure_page")
    body = json.dumps([RECORD, {**RECORD, "nickname": "Ž"}]).encode()
    customers, _ = decode_customers(body, page=1, keep_unknown=True)
    assert [customer.extra for customer in customers] == [{}, {"nickname": "Ž"}]
    assert customers == [customer_from_dict(RECORD), customer_from_dict({**RECORD, "nickname": "Ž"})]


@pytest.mark.parametrize("null", ["null", "NULL", "nUlL", r"\u006eull", r"\u004E\u0055\u004c\u006C", r"n\u0075\u004Cl"])
def test_null_string_is_not_a_time(null: str) -> None:
    """The string "null" is refused as a time, with JSON escapes for its letters too."""
    with pytest.raises(RecordError) as caught:
        decode_customers(f'[{{"uuid":"{EXAMPLE}","created_at":"{null}"}}]'.encode(), page=1)
    assert caught.value.field == "created_at"


zones = st.sampled_from(
    [UTC, timezone(timedelta(0)), timezone(timedelta(hours=2)), timezone(timedelta(hours=-11)), None]
)


@given(
    st.lists(st.none() | st.datetimes(timezones=zones) | st.datetimes(datetime(1999, 12, 31), timezones=st.just(UTC)))
)
def test_quick_check_of_times_accepts_only_valid_ones(moments: list[datetime | None]) -> None:
    """The quick check of a page may reject valid times, but never accepts what the exact check refuses."""
    exact = all(moment is None or (moment.tzinfo is UTC and moment.year >= 1970) for moment in moments)
    assert are_times(moments, b"") == exact
    recent = all(moment is not None and moment.tzinfo is UTC and 2000 <= moment.year < 3000 for moment in moments)
    assert are_recent(moments) == (exact and recent)


def test_unknown_type_and_unknown_fields_are_accepted() -> None:
    """The service may add values and fields; fields are kept on request, also one named "extra"."""
    record = {**RECORD, "type": "foundation", "nickname": "Ž", "extra": {"a": 1}}
    plain, full = decode(record), decode(record, keep_unknown=True)
    assert isinstance(plain, Customer)
    assert isinstance(full, Customer)
    assert (plain.type, plain.extra) == ("foundation", {})
    assert full.extra == {"nickname": "Ž", "extra": {"a": 1}}
    assert customer_to_dict(full) == record


@pytest.mark.parametrize("related", [[{"name": "x"}], {"a": [1]}, "text"])
def test_related_persons_may_have_any_shape(related: object) -> None:
    """The API reference does not define their shape."""
    customer = decode({**RECORD, "related_persons": related})
    assert isinstance(customer, Customer)
    assert customer.related_persons == related
    assert hash(customer) == hash(decode(RECORD))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"uuid": "x"}', "page 3 is an object, not an array"),
        (b"null", "page 3 is null"),
        (b"7", "page 3 is a number"),
        (b'["a"]', "record 0 of page 3 is a string, not an object"),
        (b"[{]", "not JSON"),
        (b'[{"uuid": "' + EXAMPLE.encode(), "not JSON"),
        (b"[NaN]", "not JSON"),
        (b'[{"uuid":"' + EXAMPLE.encode() + b'","name":"\xff"}]', "not valid UTF-8"),
        (b"\xef\xbb\xbf[]", "not JSON"),
        (b'[{"related_persons":' + b"1" * 5000 + b"}]", "record 0 of page 3: 'related_persons' is not"),
        (b"[" * 30_000 + b"]" * 30_000, "nested too deeply"),
        (b"[" * 200_000 + b"]" * 200_000, "more than 30,000 values"),
        (b"[" + b"[[[[[]]]]]," * 40_000 + b"0]", "more than 30,000 values"),
        (b'[{"name":"\\ud800", "a": NaN}]', "not JSON"),
        (b'[{"name":"\\ud800", "a": ' + b"1" * 5000 + b"}]", "record 0 of page 3: 'name' is not"),
        (b'[{"name":"\\ud800"}]', "record 0 of page 3: 'name' is not text"),
        (b"[" + b"0," * 1000 + b"0]", "page 3 has 1001 records, far more"),
        (b"[" + b"0," * 200_000 + b"0]", "more than 30,000 values"),
    ],
)
def test_body_that_is_not_a_page_is_an_error(body: bytes, problem: str) -> None:
    """The error names what the body is; no body crashes the process."""
    with pytest.raises(APIResponseError, match=problem):
        decode_customers(body, page=3)


def test_tolerant_decoding_sets_bad_records_aside() -> None:
    """The other records of the page are kept; each bad one comes with its error, which holds no traceback."""
    body = json.dumps([RECORD, 5, {**RECORD, "name": 1}, RECORD]).encode()
    customers, rejected = decode_customers(body, page=1, tolerant=True)
    assert len(customers) == 2
    assert [(error.index, error.field) for _, error in rejected] == [(1, None), (2, "name")]
    assert rejected[0][0] == 5
    assert all((error.__traceback__, error.__context__) == (None, None) for _, error in rejected)


def test_single_customer_is_decoded_or_refused() -> None:
    """An error envelope with a status of success, an array, nothing and a bad uuid are errors."""
    assert decode_customer(json.dumps(RECORD).encode()) == decode(RECORD)
    for body in (b'{"status": false, "message": "NOT_FOUND"}', b"[]", b"", b'{"uuid": 5}'):
        with pytest.raises(APIResponseError):
            decode_customer(body)


def test_token_owner_is_decoded() -> None:
    """The documented form, Laravel's own form, and an error envelope."""
    owner = decode_owner(b'{"uuid":"x","is_active":1,"name":"n","email":"e","created_at":1744373843,"id":7}')
    assert (owner.is_active, owner.name, owner.updated_at) == (True, "n", None)
    laravel = decode_owner(b'{"id":7,"created_at":"2025-04-11T12:17:23.000000Z"}')
    assert laravel.created_at == owner.created_at
    for body in (b'{"status":false}', b'{"is_active":2}', b'{"is_active":"1"}', b"[]", b"x"):
        with pytest.raises(APIResponseError):
            decode_owner(body)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"x"])
def test_mapping_with_python_values_is_checked(value: object) -> None:
    """``customer_from_dict`` refuses values that JSON cannot hold."""
    with pytest.raises(RecordError) as caught:
        customer_from_dict({**RECORD, "created_at": value})
    assert caught.value.field == "created_at"
    with pytest.raises(TypeError, match="from a mapping, not list"):
        customer_from_dict([])  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("mapping", [dict, UserDict, MappingProxyType])
@pytest.mark.parametrize("others", [{}, {"a": {1}}, {5: 6}, {"a": [[]] * 9}], ids=["none", "set", "number", "lists"])
def test_each_field_of_a_mapping_is_checked(mapping: Any, others: dict[Any, Any]) -> None:
    """Whatever the mapping is, and whatever other Python values it holds."""
    with pytest.raises(RecordError) as caught:
        customer_from_dict(mapping({**others, **RECORD, "name": "\ud83d"}))
    assert caught.value.field == "name"


def test_reprs_hold_no_personal_data() -> None:
    """The repr shows the uuid only, so no control character of a name reaches a terminal."""
    customer = customer_from_dict({**RECORD, "name": "\x1b[31mEve"})
    assert repr(customer) == f"Customer(uuid='{EXAMPLE}', ...)"
    assert customer.name == "\x1b[31mEve"
    owner = decode_owner(b'{"uuid":"x","email":"e@example.com"}')
    assert repr(owner) == "TokenOwner(uuid='x', ...)"


@given(st.lists(uuids | st.text("aZ9-\nž", min_size=35, max_size=37), max_size=3) | st.lists(st.text(max_size=40)))
def test_uuids_of_a_page_are_checked_like_single_ones(found: list[str]) -> None:
    """The check of a whole page agrees with the check of each uuid, whatever hyphens and line ends it has."""
    assert are_uuids(found) == all(map(is_uuid, found))


def test_msgspec_decoders_of_other_code_work() -> None:
    """The model is an ordinary attrs class of 14 fields to any other decoder."""
    body = msgspec.json.encode({"uuid": EXAMPLE, "extra": {"a": 1}})
    assert msgspec.json.decode(body, type=Customer) == Customer(uuid=EXAMPLE)
    assert [field.name for field in attrs.fields(Customer)] == list(RECORD)


@pytest.mark.parametrize("record", [RECORD, {**RECORD, "nickname": "Ž"}])
def test_customers_are_ordinary_values(record: dict[str, Any]) -> None:
    """Decoded and made customers are equal, hash alike, pickle, copy and evolve; ``extra`` is read-only."""
    decoded, made = decode_customer(msgspec.json.encode(record), keep_unknown=True), customer_from_dict(record)
    assert (decoded, hash(decoded)) == (made, hash(made))
    for again in (pickle.loads(pickle.dumps(decoded)), copy.deepcopy(decoded), attrs.evolve(decoded)):
        assert (again, again.extra) == (made, {key: value for key, value in record.items() if key not in RECORD})
    assert attrs.asdict(decoded) == attrs.asdict(made)
    assert repr(decoded) == f"Customer(uuid='{EXAMPLE}', ...)"
    assert decoded != attrs.evolve(decoded, name="x")
    with pytest.raises(AttributeError):
        decoded.extra = {"a": 1}  # type: ignore[misc]  # on purpose


def test_extra_of_a_plain_customer_is_empty_and_read_only() -> None:
    """One empty mapping serves all customers, so it must not be changed."""
    with pytest.raises(TypeError):
        Customer(uuid=EXAMPLE).extra["a"] = 1  # type: ignore[index]  # on purpose
    with pytest.raises(TypeError, match="extra"):
        Customer(uuid=EXAMPLE, extra={})  # type: ignore[call-arg]  # on purpose


def test_unknown_fields_come_last() -> None:
    """``customer_to_dict`` returns the documented fields in their order, followed by the unknown ones."""
    assert list(customer_to_dict(customer_from_dict({"nickname": "Ž", **RECORD}))) == [*RECORD, "nickname"]


def test_uuids_with_one_changed_character_are_refused() -> None:
    """The check of a whole page notices one changed character and two swapped ones."""
    for position, character in itertools.product(range(36), "-\n_ž9"):
        changed = EXAMPLE[:position] + character + EXAMPLE[position + 1 :]
        assert are_uuids([EXAMPLE, changed, EXAMPLE]) == bool(is_uuid(changed)), changed
    for first, second in itertools.combinations(range(36), 2):
        swapped = list(EXAMPLE)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        assert are_uuids(["".join(swapped)]) == bool(is_uuid("".join(swapped)))
