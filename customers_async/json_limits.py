"""Parses JSON within limits: no body holds the event loop for 100 ms, and an odd value spoils its record only."""

import json
from collections.abc import Container, Mapping
from contextlib import suppress
from math import inf
from typing import Any

import msgspec

from customers_async.errors import APIResponseError

__all__ = ["UNCHECKED_BYTES", "check_size", "find_unwritable_field", "has_long_number", "parse", "parse_strictly"]

UNCHECKED_BYTES = 2**17
"""A shorter body cannot hold enough values or digits to take long. A usual page has half of these bytes."""
_MAX_VALUES = 30_000
"""A body of more values is refused, before any object is made."""
_MAX_DIGITS = 400
"""The longest integer in a body of more bytes: the time to convert one grows with the square of its length."""
_MAX_DIGITS_IN_SHORT_BODY = 4300
"""Python's own limit, which is msgspec's, too."""

_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * (_MAX_DIGITS + 1)

_decode = msgspec.json.Decoder().decode
_encode = json.JSONEncoder(ensure_ascii=False).encode
_encode_finite = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def check_size(body: bytes) -> None:
    """Check how many values a body has.

    Raises:
        APIResponseError: It has far more than a page of customers.
    """
    if len(body) > UNCHECKED_BYTES and sum(map(body.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        raise APIResponseError(f"the response has more than {_MAX_VALUES:,} values")


def has_long_number(body: bytes) -> bool:
    """Whether a body that is longer than `UNCHECKED_BYTES` may have an integer that takes long to convert."""
    return _LONG_NUMBER in body.translate(_ZEROS)


def parse(body: bytes) -> Any:
    """Parse a body. A number that is out of range becomes infinity, which `find_unwritable_field` finds.

    Raises:
        APIResponseError: The body is not JSON, or is nested too deeply.
    """
    max_digits = _MAX_DIGITS
    if len(body) <= UNCHECKED_BYTES or not has_long_number(body):
        max_digits = _MAX_DIGITS_IN_SHORT_BODY
        with suppress(ValueError, RecursionError):  # such as half a surrogate pair, which spoils one record only
            return _decode(body)
    try:
        return json.loads(
            body.decode(),
            parse_int=lambda text: int(text) if len(text) <= max_digits else inf,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError:
        problem = "the response is not valid UTF-8"
    except ValueError:
        problem = "the response is not JSON, or its JSON is cut"
    except RecursionError:
        problem = "the response's JSON is nested too deeply"
    raise APIResponseError(problem)


def parse_strictly(body: bytes) -> Any:
    """Parse a body that is JSON in the strict sense: finite numbers, whole characters, and no name twice in an object.

    Raises:
        APIResponseError: It is not.
    """
    if not body:
        raise APIResponseError("the response is empty")
    check_size(body)
    if len(body) > UNCHECKED_BYTES and has_long_number(body):
        raise APIResponseError(f"the response has a number of more than {_MAX_DIGITS} digits")
    try:
        text = body.decode()
        _decode(body)  # refuses what `json` accepts: NaN, infinity, half a surrogate pair
        return json.loads(text, object_pairs_hook=_refuse_repeated_names)
    except UnicodeDecodeError:
        problem = "the response is not valid UTF-8"
    except _RepeatedNameError:
        problem = "the response's JSON has an object with one name twice"
    except ValueError:
        problem = "the response is not JSON, or its JSON is cut"
    except RecursionError:
        problem = "the response's JSON is nested too deeply"
    raise APIResponseError(problem)


class _RepeatedNameError(Exception):
    pass


def _refuse_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedNameError
    return found


def find_unwritable_field(record: Mapping[str, Any], kept: Container[str] | None) -> str | None:
    """Return the name of the first field whose value JSON cannot hold, or None if there is none.

    Such values are half a surrogate pair, and infinity and NaN in the fields ``kept``; None stands for all fields.
    Values of other Python types are left to the converter.
    """
    with suppress(ValueError, TypeError, RecursionError):  # at once is ten times faster than field by field
        _encode_finite(record).encode()
        return None
    for name, value in record.items():
        encode = _encode_finite if kept is None or name in kept else _encode
        if not _is_writable(encode, value) or not _is_writable(encode, name):
            return name
    return None


def _is_writable(encode: Any, value: Any) -> bool:
    try:
        encode(value).encode()
    except ValueError:
        return False
    except (TypeError, RecursionError):
        return True
    return True


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
