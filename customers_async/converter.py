"""Converts JSON to models and back.

Two decoders share the work and must agree. msgspec decodes a whole page into frozen objects and is fast. What it
refuses, or accepts against the rules below, is decoded again by a cattrs converter, which is slow and names the record
and the field that do not fit. The rules, for both:

- a string is never made from another type: a number is not a name, ``1109`` not a postal code, ``None`` not ``"None"``;
- a time is a number of Unix seconds, from 1970 on. The same number as a string, and an RFC 3339 time with a zone, are
  the same instant and accepted; a bool, any other string and a time without a zone are refused;
- ``uuid`` has the service's form: letters and digits, not hex only; ``identity_uuid`` is any string;
- fields that the model does not define are dropped, or kept in ``Customer.extra`` on request.

Every error raised here may carry a traceback whose frames hold customer data: callers pass it through
`errors.stripped`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import attrs
import cattrs
import msgspec
from cattrs.gen import make_dict_structure_fn, override

from customers_async.checks import is_uuid
from customers_async.errors import APIResponseError, RecordError, stripped
from customers_async.json_limits import UNCHECKED_BYTES, check_size, find_unwritable_field, has_long_number, parse
from customers_async.models import FIELDS, Customer, CustomerWithExtra, TokenOwner
from customers_async.page_checks import EPOCH, are_recent, are_times, are_uuids

__all__ = [
    "Rejected",
    "customer_from_dict",
    "customer_to_dict",
    "decode_customer",
    "decode_customers",
    "decode_owner",
    "to_unix_seconds",
]

Model = TypeVar("Model", Customer, TokenOwner)

Rejected = tuple[Any, RecordError]
"""A raw record that does not fit the model, and the error that names its position."""

_MAX_RECORDS = 1_000
"""A page of more records is refused: ten times the most that the service sends."""

_FIELDS = frozenset(FIELDS)
_OWNER_FIELDS = frozenset(field.name for field in attrs.fields(TokenOwner))
_EXPECTED = {
    "uuid": "a uuid (8-4-4-4-12 letters and digits)",
    "is_active": "true, false, 1, 0 or null",
    "created_at": "Unix seconds or null",
    "updated_at": "Unix seconds or null",
}

_decode_json = msgspec.json.Decoder().decode
_decode_list = msgspec.json.Decoder(list[Customer], strict=False).decode


def decode_customers(
    body: bytes, *, page: int, keep_unknown: bool = False, tolerant: bool = False
) -> tuple[list[Customer], list[Rejected]]:
    """Decode a page: its customers, and the records that do not fit.

    Args:
        body: The decompressed body, UTF-8.
        page: The page number, for errors.
        keep_unknown: Keep fields that the model does not define in ``Customer.extra``.
        tolerant: Set aside records that do not fit, instead of raising for the first one.

    Raises:
        APIResponseError: The body is not a JSON array.
        RecordError: A record does not fit, and ``tolerant`` is False.
    """
    check_size(body)
    customers = _decode_fast(body, keep_unknown=keep_unknown)
    records = parse(body) if customers is None else customers
    if not isinstance(records, list):
        raise APIResponseError(f"page {page} is {_describe(records)}, not an array of customers")
    if len(records) > _MAX_RECORDS:
        raise APIResponseError(f"page {page} has {len(records)} records, far more than a page of customers")
    if customers is not None:
        return customers, []
    return _structure_page(records, page, keep_unknown=keep_unknown, tolerant=tolerant)


def decode_customer(body: bytes, *, keep_unknown: bool = False) -> Customer:
    """Decode one customer object.

    Raises:
        APIResponseError: The body is not a JSON object, or is an error envelope.
        RecordError: A field does not fit.
    """
    check_size(body)
    if b'"status"' not in body:  # with it, the body may be an error envelope
        customers = _decode_fast(b"[%b]" % body, keep_unknown=keep_unknown)
        if customers is not None and len(customers) == 1:
            return customers[0]
    return _structure_customer(_parse_object(body), keep_unknown=keep_unknown)


def decode_owner(body: bytes) -> TokenOwner:
    """Decode the token's owner.

    Raises:
        APIResponseError: The body is not a JSON object, or is an error envelope.
        RecordError: A field does not fit.
    """
    check_size(body)
    return _structure(_parse_object(body), TokenOwner, _OWNER_FIELDS)


def customer_from_dict(mapping: Mapping[str, Any], *, keep_unknown: bool = True) -> Customer:
    """Make a customer from a parsed JSON object of the service.

    Args:
        mapping: The fields under their own names; times in Unix seconds.
        keep_unknown: Keep other fields in ``Customer.extra``, so that `customer_to_dict` returns them.

    Raises:
        RecordError: A field does not fit; the message names the field, never its value.
        TypeError: ``mapping`` is not a mapping.

    Example:
        >>> from customers_async import customer_from_dict
        >>> customer_from_dict({"uuid": "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g", "created_at": 1744373843}).created_at
        datetime.datetime(2025, 4, 11, 12, 17, 23, tzinfo=datetime.timezone.utc)
    """
    failure: Exception = TypeError(f"a customer is made from a mapping, not {type(mapping).__name__}")
    if isinstance(mapping, Mapping):
        try:
            return _structure_customer(mapping, keep_unknown=keep_unknown)
        except RecordError as error:
            failure = stripped(error)
    del mapping  # a traceback with locals must not show a customer
    raise failure


def customer_to_dict(customer: Customer) -> dict[str, Any]:
    """Return the customer as the service writes it: the inverse of `customer_from_dict`.

    Returns:
        All fields under their own names, times in Unix seconds, followed by the fields in ``extra``.

    Raises:
        RecordError: ``related_persons`` is nested too deeply.
        TypeError: ``customer`` is not a customer.
    """
    failure: Exception = TypeError(f"customer must be a Customer, not {type(customer).__name__}")
    if isinstance(customer, Customer):
        try:
            return {**_converter.unstructure(customer, unstructure_as=Customer), **customer.extra}
        except RecursionError:
            failure = RecordError("'related_persons' is nested too deeply", field="related_persons")
    del customer  # a traceback with locals must not show it
    raise failure


def to_unix_seconds(time: datetime) -> int | float:
    """Convert an aware time to Unix seconds, an int if they are whole."""
    seconds = time.timestamp()
    return int(seconds) if seconds.is_integer() else seconds


def _decode_fast(body: bytes, *, keep_unknown: bool) -> list[Customer] | None:
    """Decode a page with msgspec; None if the page has to be decoded by cattrs."""
    if len(body) > UNCHECKED_BYTES and has_long_number(body):
        return None
    try:
        customers = _decode_list(body)
        if not _follow_rules(customers, body):
            return None
        return [*map(_with_unknown, customers, _decode_json(body))] if keep_unknown else customers
    except (ValueError, RecursionError):
        return None


def _with_unknown(customer: Customer, record: dict[str, Any]) -> Customer:
    """Add the record's unknown fields, if there are any, to the customer made from it."""
    if record.keys() <= _FIELDS:
        return customer
    fields = {name: getattr(customer, name) for name in _FIELDS}
    return CustomerWithExtra(**fields, extra=_unknown(record))


def _unknown(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _FIELDS}


def _follow_rules(customers: list[Customer], body: bytes) -> bool:
    """Whether what msgspec accepted also follows the rules of this module."""
    times = [customer.created_at for customer in customers] + [customer.updated_at for customer in customers]
    return are_uuids([customer.uuid for customer in customers]) and (are_recent(times) or are_times(times, body))


def _parse_object(body: bytes) -> dict[str, Any]:
    record = parse(body)
    if not isinstance(record, dict):
        raise APIResponseError(f"the response is {_describe(record)}, not an object")
    if record.get("status") is False:
        raise APIResponseError("the response is an error envelope with a status of success")
    return record


def _structure_page(
    records: list[Any], page: int, *, keep_unknown: bool, tolerant: bool
) -> tuple[list[Customer], list[Rejected]]:
    customers: list[Customer] = []
    rejected: list[Rejected] = []
    for index, record in enumerate(records):
        try:
            customers.append(_structure_customer(record, keep_unknown=keep_unknown, page=page, index=index))
        except RecordError as error:
            if not tolerant:
                raise
            rejected.append((record, stripped(error)))
    return customers, rejected


def _structure_customer(
    record: Any, *, keep_unknown: bool, page: int | None = None, index: int | None = None
) -> Customer:
    customer = _structure(record, Customer, None if keep_unknown else _FIELDS, page, index)
    return _with_unknown(customer, record) if keep_unknown else customer


def _structure(
    record: Any, model: type[Model], kept: frozenset[str] | None, page: int | None = None, index: int | None = None
) -> Model:
    """Make a model; ``kept`` names the fields that matter, and None stands for all."""
    record_error = partial(RecordError, page=page, index=index)
    position = "the record" if index is None else f"record {index} of page {page}"
    if not isinstance(record, Mapping):
        raise record_error(f"{position} is {_describe(record)}, not an object")
    field = find_unwritable_field(record, kept)
    if field is None:
        try:
            return _converter.structure(record, model)
        except cattrs.ClassValidationError as error:
            field = _first_field(error)
    raise record_error(f"{position}: {field!r} is not {_EXPECTED.get(field, 'text or null')}", field=field)


def _first_field(error: cattrs.ClassValidationError) -> str:
    """The name of the first field that does not fit."""
    for cause, note in error.group_exceptions()[0]:
        return note.name if note is not None else str(cause.args[0])
    raise AssertionError("cattrs names a cause for each refusal")


def _describe(value: Any) -> str:
    """The JSON type of a value, with its article."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _structure_text(value: Any, _: type) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _structure_uuid(value: Any, _: type) -> str:
    if not isinstance(value, str) or not is_uuid(value):
        raise ValueError
    return value


def _structure_time(value: Any, _: type) -> datetime:
    time = msgspec.convert(value, datetime, strict=False)
    if time.tzinfo is None or time < EPOCH:
        raise ValueError
    return time.astimezone(UTC)


def _structure_flag(value: Any, _: type) -> bool:
    if value not in (0, 1):
        raise ValueError
    return bool(value)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook(str, _structure_text)
    converter.register_structure_hook(bool, _structure_flag)
    converter.register_structure_hook(datetime, _structure_time)
    converter.register_unstructure_hook(datetime, to_unix_seconds)
    converter.register_structure_hook(
        Customer, make_dict_structure_fn(Customer, converter, uuid=override(struct_hook=_structure_uuid))
    )
    return converter


_converter = _make_converter()
