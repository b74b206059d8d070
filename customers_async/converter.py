"""Bytes to models and back.

Two decoders that must agree. msgspec reads a page straight into frozen objects; whatever it refuses, or
reads in a way that this module does not vouch for, goes through one cattrs converter, which understands it or
names the record and the field. Decided here, for both:

- text is text: a number is never a name, ``1109`` never a postal code, ``None`` never ``"None"``;
- a time is a number of Unix seconds, from 1970 on. The same number as text and an RFC 3339 time with a zone name
  the same instant, so both are read; a bool, any other text and a time without a zone are refused;
- a uuid has the service's form (letters and digits, not hex only);
- fields that the model does not know are dropped, or kept in ``Customer.extra`` on request.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import attrs
import cattrs
import msgspec
from cattrs.gen import make_dict_structure_fn, override

from customers_async.checks import is_uuid
from customers_async.errors import APIResponseError, RecordError
from customers_async.models import NO_EXTRA, Customer, TokenOwner

__all__ = [
    "Rejected",
    "customer_from_dict",
    "customer_to_dict",
    "decode_customer",
    "decode_customers",
    "decode_owner",
]

Model = TypeVar("Model", Customer, TokenOwner)

Rejected = tuple[Any, RecordError]
"""A raw record that does not fit, and the error that names its place."""

_SHAPES = bytes(ord("x") if chr(c).isalnum() and c < 128 else c if chr(c) in "-\n" else ord("?") for c in range(256))
_UUID_SHAPE = b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx\n"
_EPOCH, _MILLENNIUM = datetime(1970, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC)
_FIELDS = frozenset(field.name for field in attrs.fields(Customer)) - {"extra"}
_EXPECTED = {
    "uuid": "a uuid (8-4-4-4-12 letters and digits)",
    "is_active": "true, false, 1, 0 or null",
    "created_at": "Unix seconds or null",
    "updated_at": "Unix seconds or null",
}

_decode_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder().encode
_null_as_text = re.compile(rb'"([nN]|\\u00[46][eE])([uU]|\\u00[57]5)([lL]|\\u00[46][cC]){2}"').search


def decode_customers(
    body: bytes, *, page: int, keep_unknown: bool = False, tolerant: bool = False
) -> tuple[list[Customer], list[Rejected]] | APIResponseError:
    """Read a page: its customers, and the records that do not fit.

    Errors of the service's making are returned, not raised, here and below: a traceback that shows the locals
    of this frame would show customers.

    Args:
        body: The decompressed body, UTF-8.
        page: The page number, for errors.
        keep_unknown: Keep fields that the model does not know in ``Customer.extra``.
        tolerant: Set aside records that do not fit; else the first one is the error of the page.
    """
    customers = _decode_fast(body)
    if customers is not None and not keep_unknown:
        return customers, []
    records = _parse(body)
    if isinstance(records, APIResponseError):
        return records
    if customers is not None:
        return [*map(_with_unknown, customers, records)], []
    if not isinstance(records, list):
        return APIResponseError(f"page {page} is {_article(records)}, not an array of customers")
    return _structure_page(records, page, keep_unknown, tolerant)


def decode_customer(body: bytes, *, keep_unknown: bool = False) -> Customer | APIResponseError:
    """Read one customer object."""
    if not keep_unknown and b'"status"' not in body:  # that may be an error envelope
        customers = _decode_fast(b"[%b]" % body)
        if customers is not None and len(customers) == 1:
            return customers[0]
    record = _parse_object(body)
    if isinstance(record, APIResponseError):
        return record
    return _structure(record, Customer, keep_unknown=keep_unknown)


def decode_owner(body: bytes) -> TokenOwner | APIResponseError:
    """Read the token's owner."""
    record = _parse_object(body)
    if isinstance(record, APIResponseError):
        return record
    return _structure(record, TokenOwner)


def customer_from_dict(mapping: Mapping[str, Any], *, keep_unknown: bool = True) -> Customer:
    """Make a customer from its wire form, as JSON parsers give it.

    Args:
        mapping: The fields under their own names; times in Unix seconds.
        keep_unknown: Keep other fields in ``Customer.extra``, so that nothing is lost on the way back.

    Raises:
        RecordError: A field does not fit; the message names it, never its value.
        TypeError: ``mapping`` is not a mapping.

    Example:
        >>> from customers_async import customer_from_dict
        >>> customer_from_dict({"uuid": "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g", "created_at": 1744373843}).created_at
        datetime.datetime(2025, 4, 11, 12, 17, 23, tzinfo=datetime.timezone.utc)
    """
    if not isinstance(mapping, Mapping):
        raise TypeError(f"a customer is made from a mapping, not {type(mapping).__name__}")
    customer = _structure(mapping, Customer, keep_unknown=keep_unknown)
    if isinstance(customer, RecordError):
        del mapping  # a traceback that shows locals must not show a customer
        raise customer
    return customer


def customer_to_dict(customer: Customer) -> dict[str, Any]:
    """The wire form of a customer: the inverse of `customer_from_dict`.

    Returns:
        All 14 fields under their own names, times in Unix seconds, then what ``extra`` holds.
    """
    fields: dict[str, Any] = _converter.unstructure(customer, unstructure_as=Customer)
    return {**fields.pop("extra"), **fields}


def _decode_fast(body: bytes) -> list[Customer] | None:
    """What msgspec makes of a page; None where that is not vouched for, and cattrs says what is right or wrong."""
    try:
        customers = _decode_list(body)
    except (ValueError, RecursionError):
        return None
    return customers if _vouched(customers, body) else None


def _with_unknown(customer: Customer, record: dict[str, Any]) -> Customer:
    """The customer, who is nobody else's yet, with those fields of the record that the model does not know."""
    unknown = _unknown(record)
    if unknown:
        object.__setattr__(customer, "extra", unknown)
    return customer


def _unknown(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in _FIELDS}


def _vouched(customers: list[Customer], body: bytes) -> bool:
    """Whether what msgspec accepted is also right by the rules of this module."""
    times = [customer.created_at for customer in customers] + [customer.updated_at for customer in customers]
    return _are_uuids([customer.uuid for customer in customers]) and (_are_recent(times) or _are_times(times, body))


def _are_uuids(uuids: list[str]) -> bool:
    """What `check_uuid` says of each, of a whole page at once: letters and digits become one letter each."""
    return "\n".join([*uuids, ""]).encode().translate(_SHAPES) == _UUID_SHAPE * len(uuids)


def _are_recent(times: list[Any]) -> bool:
    """Whether each is a UTC time of the years from 2000 to 2999, as mostly they are: one text tells it of a whole page.

    Each joint between two neighbours must end one time in Z and begin another with a 2; so the first and the last
    need a neighbour, too. Of zones this sees no more than the decoder can produce: it makes each without an offset UTC.
    """
    return _encode_json([_MILLENNIUM, *times, _MILLENNIUM]).count(b'Z","2') == len(times) + 1


def _are_times(times: list[Any], body: bytes) -> bool:
    """Whether each is a UTC time from 1970 on, or None where no text is "null": lax msgspec reads that as None."""
    known = [time for time in times if time is not None]
    if not all(time.tzinfo is UTC and time >= _EPOCH for time in known):
        return False
    return len(known) == len(times) or not _null_as_text(body)


def _parse(body: bytes) -> Any | APIResponseError:
    try:
        return _decode_json(body)
    except UnicodeDecodeError:
        return APIResponseError("the answer is not valid UTF-8")
    except msgspec.DecodeError:
        return APIResponseError("the answer is not JSON, or its JSON is cut or out of range")
    except RecursionError:
        return APIResponseError("the answer's JSON is nested too deeply")


def _parse_object(body: bytes) -> dict[str, Any] | APIResponseError:
    record = _parse(body)
    if isinstance(record, APIResponseError):
        return record
    if not isinstance(record, dict):
        return APIResponseError(f"the answer is {_article(record)}, not an object")
    if record.get("status") is False:
        return APIResponseError("the answer is an error envelope under a status of success")
    return record


def _structure_page(
    records: list[Any], page: int, keep_unknown: bool, tolerant: bool
) -> tuple[list[Customer], list[Rejected]] | RecordError:
    customers: list[Customer] = []
    rejected: list[Rejected] = []
    for index, record in enumerate(records):
        customer = _structure(record, Customer, keep_unknown=keep_unknown, page=page, index=index)
        if isinstance(customer, Customer):
            customers.append(customer)
        elif not tolerant:
            return customer
        else:
            rejected.append((record, customer))
    return customers, rejected


def _structure(
    record: Any,
    model: type[Model],
    *,
    keep_unknown: bool = False,
    page: int | None = None,
    index: int | None = None,
) -> Model | RecordError:
    problem = partial(RecordError, page=page, index=index)
    where = "the record" if index is None else f"record {index} of page {page}"
    if not isinstance(record, Mapping):
        return problem(f"{where} is {_article(record)}, not an object")
    unknown = _unknown(record) if keep_unknown else None
    try:
        return _converter.structure({**record, "extra": unknown or NO_EXTRA}, model)
    except cattrs.ClassValidationError as error:
        field = _first_field(error)
    return problem(f"{where}: {field!r} is not {_EXPECTED.get(field, 'text or null')}", field=field)


def _first_field(error: cattrs.ClassValidationError) -> str:
    """The name of the first field that did not fit."""
    for cause, note in error.group_exceptions()[0]:
        return note.name if note is not None else str(cause.args[0])
    raise AssertionError("cattrs names a cause for each refusal")


def _article(value: Any) -> str:
    """What JSON calls the value, with its article."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _make_list_decoder() -> Callable[[bytes], list[Customer]]:
    """A decoder that leaves ``extra`` unset: to look for it in vain costs msgspec more than any field that comes."""
    fields: Any = attrs.fields(Customer)
    known: Any = tuple(field for field in fields if field.name != "extra")
    try:
        Customer.__attrs_attrs__ = known
        return msgspec.json.Decoder(list[Customer], strict=False).decode
    finally:
        Customer.__attrs_attrs__ = fields
        del Customer.__msgspec_cache__  # type: ignore[attr-defined]  # others get to see all fields


def _structure_text(value: Any, _: type) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _structure_uuid(value: Any, _: type) -> str:
    if not isinstance(value, str) or not is_uuid(value):
        raise ValueError
    return value


def _structure_time(value: Any, _: type) -> datetime:
    moment = msgspec.convert(value, datetime, strict=False)
    if moment.tzinfo is None or moment < _EPOCH:
        raise ValueError
    return moment.astimezone(UTC)


def _structure_flag(value: Any, _: type) -> bool:
    if value not in (0, 1):
        raise ValueError
    return bool(value)


def _unstructure_time(moment: datetime) -> int | float:
    seconds = moment.timestamp()
    return int(seconds) if seconds.is_integer() else seconds


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook(str, _structure_text)
    converter.register_structure_hook(bool, _structure_flag)
    converter.register_structure_hook(datetime, _structure_time)
    converter.register_unstructure_hook(datetime, _unstructure_time)
    converter.register_structure_hook(
        Customer,
        make_dict_structure_fn(
            Customer,
            converter,
            uuid=override(struct_hook=_structure_uuid),
            extra=override(struct_hook=lambda unknown, _: unknown),
        ),
    )
    return converter


_converter = _make_converter()
_decode_list = _make_list_decoder()
