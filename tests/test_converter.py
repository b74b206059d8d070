"""Bytes to customers and back: two decoders that agree, and no silent coercion in either."""

import copy
import itertools
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers_async import APIResponseError, Customer, CustomerType, RecordError, customer_from_dict, customer_to_dict
from customers_async.checks import is_uuid
from customers_async.converter import (
    _are_recent,
    _are_times,
    _are_uuids,
    _decode_fast,
    decode_customer,
    decode_customers,
    decode_owner,
)

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
    """Through the fast path, as a page of one."""
    decoded = decode_customers(msgspec.json.encode([record]), page=1, **options)
    return decoded if isinstance(decoded, APIResponseError) else decoded[0][0]


def test_a_customer_has_the_fields_of_the_reference() -> None:
    """All 14 fields arrive; times are aware, in UTC; postal codes keep their zero."""
    customer = decode(RECORD)
    assert isinstance(customer, Customer)
    assert customer.created_at == datetime(2025, 4, 11, 12, 17, 23, tzinfo=UTC)
    assert customer.created_at.tzinfo is UTC
    assert (customer.registration_address_index, customer.name) == ("01109", "Žygimantas Šeškevičius")
    assert customer.type == CustomerType.INDIVIDUAL
    assert customer_to_dict(customer) == RECORD


@given(odd_records, st.booleans())
def test_both_decoders_agree(record: dict[str, Any], keep_unknown: bool) -> None:
    """Whatever the record: msgspec's way and cattrs' way give the same customer, or both refuse it."""
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
def test_the_wire_form_comes_back(record: dict[str, Any]) -> None:
    """From a mapping to a customer and back, nothing is lost: unknown fields go to ``extra``."""
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
    """What is not of the field's type is a RecordError that names page, index and field, and not the value."""
    error = decode({**RECORD, field: value})
    assert isinstance(error, RecordError)
    assert (error.page, error.index, error.field) == (1, 0, field)
    assert str(error).startswith("record 0 of page 1: ")
    assert "Žygimantas" not in repr(error)
    assert str(value) not in str(error).split(": ")[1].replace("null", "") or value is None


def test_a_record_without_uuid_is_named() -> None:
    """The uuid is the one field that is required."""
    error = decode({"name": "x"})
    assert isinstance(error, RecordError)
    assert error.field == "uuid"
    assert decode({"uuid": EXAMPLE}) == Customer(uuid=EXAMPLE)


@pytest.mark.parametrize("value", ["1744373843", 1744373843.0, "2025-04-11T12:17:23Z", "2025-04-11T14:17:23+02:00"])
def test_the_same_instant_in_other_words_is_read(value: object) -> None:
    """A number as text or float and a time with its zone name the same instant: read alike, in UTC."""
    customer = decode({**RECORD, "created_at": value})
    assert customer == decode(RECORD)
    assert customer == customer_from_dict({**RECORD, "created_at": value})


@pytest.mark.parametrize("time", [b"null", b"0", b"946684799", b"1744373843", b"1744373843.25"])
def test_a_page_with_an_unusual_time_goes_the_quick_way(time: bytes) -> None:
    """An unknown time, one before this millennium and one with a fraction need no second look at each record."""
    body = b'[{"uuid":"%b","created_at":1744373843,"updated_at":%b}]' % (EXAMPLE.encode(), time)
    customers = _decode_fast(body)
    assert customers is not None
    assert customers == [customer_from_dict(record) for record in json.loads(body)]


def test_unknown_fields_are_kept_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A good page with new fields needs no second look at each record either."""
    monkeypatch.delattr("customers_async.converter._structure_page")
    body = json.dumps([RECORD, {**RECORD, "nickname": "Ž"}]).encode()
    decoded = decode_customers(body, page=1, keep_unknown=True)
    assert isinstance(decoded, tuple)
    assert [customer.extra for customer in decoded[0]] == [{}, {"nickname": "Ž"}]
    assert decoded[0][1] == customer_from_dict({**RECORD, "nickname": "Ž"})


@pytest.mark.parametrize("null", ["null", "NULL", "nUlL", r"\u006eull", r"\u004E\u0055\u004c\u006C", r"n\u0075\u004Cl"])
def test_null_as_a_text_is_no_time_however_it_is_spelled(null: str) -> None:
    """JSON may write the letters as escapes: that is a text still, and no time."""
    error = decode_customers(f'[{{"uuid":"{EXAMPLE}","created_at":"{null}"}}]'.encode(), page=1)
    assert isinstance(error, RecordError)
    assert error.field == "created_at"


zones = st.sampled_from(
    [UTC, timezone(timedelta(0)), timezone(timedelta(hours=2)), timezone(timedelta(hours=-11)), None]
)


@given(
    st.lists(st.none() | st.datetimes(timezones=zones) | st.datetimes(datetime(1999, 12, 31), timezones=st.just(UTC)))
)
def test_times_that_are_vouched_for_at_once_are_right_one_by_one(moments: list[datetime | None]) -> None:
    """The quick check of a page may doubt what is right, but never passes what the exact one refuses."""
    exact = all(moment is None or (moment.tzinfo is UTC and moment.year >= 1970) for moment in moments)
    assert _are_times(moments, b"") == exact
    recent = all(moment is not None and moment.tzinfo is UTC and 2000 <= moment.year < 3000 for moment in moments)
    assert _are_recent(moments) == (exact and recent)


def test_an_unknown_type_and_unknown_fields_are_no_failure() -> None:
    """The service may add values and fields; fields are kept on request, one called "extra" too."""
    record = {**RECORD, "type": "foundation", "nickname": "Ž", "extra": {"a": 1}}
    plain, full = decode(record), decode(record, keep_unknown=True)
    assert isinstance(plain, Customer)
    assert isinstance(full, Customer)
    assert (plain.type, plain.extra) == ("foundation", {})
    assert full.extra == {"nickname": "Ž", "extra": {"a": 1}}
    assert customer_to_dict(full) == record


@pytest.mark.parametrize("related", [[{"name": "x"}], {"a": [1]}, "text"])
def test_related_persons_are_kept_as_they_come(related: object) -> None:
    """The reference gives no shape for them."""
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
        (b'[{"related_persons":' + b"1" * 5000 + b"}]", "not JSON"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
        (b'[{"name":"\\ud800"}]', "not JSON"),
    ],
)
def test_a_body_that_is_no_page_is_an_error(body: bytes, problem: str) -> None:
    """Whatever is not an array of customers is named for what it is; the process lives."""
    error = decode_customers(body, page=3)
    assert isinstance(error, APIResponseError)
    assert problem in str(error)


def test_bad_records_are_set_aside_and_the_rest_is_kept() -> None:
    """A tolerant reading keeps the good records of a page and sets the others aside, each with its error."""
    body = json.dumps([RECORD, 5, {**RECORD, "name": 1}, RECORD]).encode()
    decoded = decode_customers(body, page=1, tolerant=True)
    assert isinstance(decoded, tuple)
    customers, rejected = decoded
    assert len(customers) == 2
    assert [(error.index, error.field) for _, error in rejected] == [(1, None), (2, "name")]
    assert rejected[0][0] == 5


def test_one_customer_is_decoded_or_refused() -> None:
    """A single customer, an error envelope under a status of success, and an array in its place."""
    assert decode_customer(json.dumps(RECORD).encode()) == decode(RECORD)
    for body in (b'{"status": false, "message": "NOT_FOUND"}', b"[]", b"", b'{"uuid": 5}'):
        assert isinstance(decode_customer(body), APIResponseError)


def test_the_token_owner_is_decoded() -> None:
    """The documented form, Laravel's own form, and an error envelope."""
    owner = decode_owner(b'{"uuid":"x","is_active":1,"name":"n","email":"e","created_at":1744373843,"id":7}')
    assert not isinstance(owner, APIResponseError)
    assert (owner.is_active, owner.name, owner.updated_at) == (True, "n", None)
    laravel = decode_owner(b'{"id":7,"created_at":"2025-04-11T12:17:23.000000Z"}')
    assert not isinstance(laravel, APIResponseError)
    assert laravel.created_at == owner.created_at
    for body in (b'{"status":false}', b'{"is_active":2}', b'{"is_active":"1"}', b"[]", b"x"):
        assert isinstance(decode_owner(body), APIResponseError)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"x"])
def test_a_mapping_may_hold_what_json_cannot(value: object) -> None:
    """``customer_from_dict`` is given Python values: odd ones are refused, not passed on."""
    with pytest.raises(RecordError) as caught:
        customer_from_dict({**RECORD, "created_at": value})
    assert caught.value.field == "created_at"
    with pytest.raises(TypeError, match="from a mapping, not list"):
        customer_from_dict([])  # type: ignore[arg-type]  # on purpose


def test_reprs_hold_no_personal_data() -> None:
    """A customer in a log or a traceback shows its uuid only, and no control character gets through."""
    customer = customer_from_dict({**RECORD, "name": "\x1b[31mEve"})
    assert repr(customer) == f"Customer(uuid='{EXAMPLE}', ...)"
    assert customer.name == "\x1b[31mEve"
    owner = decode_owner(b'{"uuid":"x","email":"e@example.com"}')
    assert repr(owner) == "TokenOwner(uuid='x', ...)"


@given(st.lists(uuids | st.text("aZ9-\nž", min_size=35, max_size=37), max_size=3) | st.lists(st.text(max_size=40)))
def test_a_page_of_uuids_is_checked_as_each_is(found: list[str]) -> None:
    """A whole page at once is judged as each of its uuids, wherever hyphens and line ends are."""
    assert _are_uuids(found) == all(map(is_uuid, found))


def test_others_may_decode_customers_with_msgspec() -> None:
    """What our decoder does not tell msgspec of is there for a decoder of somebody else, and for attrs."""
    body = msgspec.json.encode({"uuid": EXAMPLE, "extra": {"a": 1}})
    assert msgspec.json.decode(body, type=Customer).extra == {"a": 1}
    assert msgspec.json.decode(msgspec.json.encode({"uuid": EXAMPLE}), type=Customer).extra == {}
    assert attrs.fields(Customer).extra.name == "extra"


def test_a_customer_as_it_was_decoded_is_like_any_other() -> None:
    """Nobody filled its ``extra``, and yet it is equal, hashes, pickles, copies and evolves like one that was made."""
    body = msgspec.json.encode(RECORD)
    decoded, made = decode_customer(body), customer_from_dict(RECORD)
    assert isinstance(decoded, Customer)
    assert (decoded, hash(decoded)) == (made, hash(made))
    for again in (pickle.loads(pickle.dumps(decoded)), copy.deepcopy(decoded), attrs.evolve(decoded)):
        assert (again, again.extra) == (made, {})
    assert attrs.asdict(decoded) == attrs.asdict(made)
    assert json.loads(json.dumps(attrs.asdict(decoded), default=str))["extra"] == {}
    with pytest.raises(TypeError, match="cannot be changed"):
        decoded.extra["a"] = 1  # type: ignore[index]  # on purpose
    assert attrs.evolve(decoded, extra={"a": 1}) != decoded
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        decoded.extra = {"a": 1}  # type: ignore[misc]  # on purpose


def test_a_hyphen_in_a_place_of_its_own_is_noticed() -> None:
    """One character of a good uuid changed, or two exchanged, is noticed by the check of a whole page."""
    for place, character in itertools.product(range(36), "-\n_ž9"):
        changed = EXAMPLE[:place] + character + EXAMPLE[place + 1 :]
        assert _are_uuids([EXAMPLE, changed, EXAMPLE]) == bool(is_uuid(changed)), changed
    for first, second in itertools.combinations(range(36), 2):
        swapped = list(EXAMPLE)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        assert _are_uuids(["".join(swapped)]) == bool(is_uuid("".join(swapped)))
