"""Any endpoint of the service: checks a path and its parameters, and returns the response as it is. No I/O."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote, unquote, urlencode

import attrs
from multidict import CIMultiDict

from customers_async.calls.bodies import to_utf8
from customers_async.calls.endpoints import Request
from customers_async.calls.responses import Response, read_request_id, with_location
from customers_async.calls.tokens import Secret
from customers_async.checks import is_uuid
from customers_async.errors import APIResponseError, stripped
from customers_async.json_limits import parse_strictly

__all__ = ["Params", "RawResponse", "RawTarget", "raw_request", "read_raw"]

Params: TypeAlias = Mapping[str, object] | Iterable[tuple[str, object]]
"""Names and values; with exact types of the values, mypy would refuse a dict of different ones."""

_SAFE = "/%:@!$&'()*+,;=-._~"
"""What a path keeps as it is: the characters that RFC 3986 allows there, and escapes that are already there."""
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MAX_ENCODINGS = 2
"""How often a path may be percent-encoded: each server on the way may decode it once."""
_FIXED_SEGMENT = re.compile(r"[A-Za-z._-]{0,32}|v[0-9]{1,3}")
"""A segment that is probably a part of the route, such as ``statement-lines`` or ``v1``, and not an id."""

_MAX_DATA, _MAX_DATUM = 100, 64
"""How many ids and values an error is searched for, and how many characters of each."""


@attrs.frozen(eq=False)
class RawResponse:
    """A response of any endpoint. Its repr shows no body and no value of a header.

    Attributes:
        status: The HTTP status, from 200 to 299.
        headers: The headers; their names are compared without case.
        body: The body in bytes, decompressed; it may be empty.
        attempts: How many times the request was sent.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=lambda headers: f"{[*headers]}")
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")
    attempts: int
    _request_id: str | None = attrs.field(default=None, repr=False)  # read while the secrets were known

    def json(self) -> Any:
        """Parse the body as JSON, strictly: no NaN, no number beyond a float's range, no name twice in an object.

        Raises:
            APIResponseError: It is empty, not JSON, or has more than 30,000 values. The error shows nothing of it.
        """
        try:
            return parse_strictly(to_utf8(self.body, self.headers.get("Content-Type", "")))
        except APIResponseError as error:
            failure = with_location(stripped(error), Response(self.status, self.headers, b""))
        failure.request_id = self._request_id
        raise failure


def read_raw(response: Response) -> RawResponse:
    """Return what the caller gets of the response to `raw_request`."""
    headers = CIMultiDict(response.headers)
    return RawResponse(response.status, headers, response.body, response.attempts, read_request_id(response))


@attrs.frozen
class RawTarget:
    """A path and its parameters, not checked yet. Both may be data, so its repr shows neither."""

    path: str = attrs.field(repr=False)
    params: Params | None = attrs.field(repr=False)


def raw_request(target: RawTarget) -> Request:
    """Request any path below the base URL; see `CustomersClient.get_raw`.

    Raises:
        TypeError: Path or parameters are of the wrong type.
        ValueError: The path is not absolute, might leave the base URL, or is ambiguous; or a parameter has no name, or
            is a number that is not finite.
    """
    try:
        return _make_request(target.path, target.params)
    except (TypeError, ValueError) as error:
        failure = stripped(error)  # its frames hold path and parameters
    raise failure


def _make_request(path: str, params: Params | None) -> Request:
    if not isinstance(path, str):
        raise TypeError(f"path must be a str, not {type(path).__name__}")
    if problem := _find_path_problem(path):
        raise ValueError(f"path {problem}")
    pairs = _read_params(params)
    query = urlencode(pairs, quote_via=quote)
    return Request(quote(path, safe=_SAFE), _make_route(path), query, data=_find_data(path, pairs), is_raw=True)


def _find_path_problem(path: str) -> str | None:
    """What is wrong with a path, without the path itself; None if nothing is."""
    if not path.startswith("/"):
        return "must begin with /, and have no scheme and no host"
    if "?" in path or "#" in path:
        return "must have no query and no fragment: use params"
    if _STRAY_PERCENT.search(path):
        return "must have %25 in place of a % that begins no escape"
    if not path.isascii() and not _is_encodable(path):
        return "must have no half of a surrogate pair"
    for _ in range(_MAX_ENCODINGS + 1):
        if re.search(r"[\x00-\x1f\x7f\\]", path):
            return "must have no control characters and no backslash, not even percent-encoded"
        segments = [segment.partition(";")[0] for segment in path.split("/")]
        if "//" in path or "." in segments or ".." in segments:
            return "must have no empty segment, and none that is . or .., not even percent-encoded"
        if path == (path := unquote(path)):
            return None
    return f"must not be percent-encoded more than {_MAX_ENCODINGS} times"


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _make_route(path: str) -> str:
    """The path for events, with ``{uuid}`` or ``{id}`` in place of each segment that may be data."""
    return "/".join(map(_mask, path.split("/")))


def _mask(segment: str) -> str:
    if is_uuid(segment):
        return "{uuid}"
    return segment if _FIXED_SEGMENT.fullmatch(segment) else "{id}"


def _find_data(path: str, pairs: list[tuple[str, str]]) -> tuple[Secret, ...]:
    """The ids in the path and the values of the parameters, as far as comparing them with a response is quick."""
    ids = [unquote(segment) for segment in path.split("/") if _mask(segment) != segment]
    return tuple(Secret(text[:_MAX_DATUM]) for text in [*ids, *(text for _, text in pairs)][:_MAX_DATA])


def _read_params(params: Params | None) -> list[tuple[str, str]]:
    """Name and text of each parameter."""
    if params is None:
        return []
    if isinstance(params, str | bytes) or not isinstance(params, Iterable):
        raise TypeError(f"params must be a mapping, or pairs of names and values, not {type(params).__name__}")
    pairs = params.items() if isinstance(params, Mapping) else params
    return [text for pair in pairs for text in _texts_of(pair)]


def _texts_of(pair: Any) -> list[tuple[str, str]]:
    """The name and the text of each value of a parameter."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TypeError("params must be a mapping, or pairs of names and values")
    name, value = pair
    if not isinstance(name, str):
        raise TypeError(f"params must have names of type str, not {type(name).__name__}")
    if not name or not _is_encodable(name):
        raise ValueError("params must have names that are not empty, without half of a surrogate pair")
    values = value if isinstance(value, list | tuple) else [value]
    return [(name, _text_of(name, each)) for each in values]


def _text_of(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if not _is_encodable(value):
            raise ValueError(f"params: {name} has half of a surrogate pair")
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"params: {name} is not finite")
    if isinstance(value, int | float):
        return repr(int(value) if isinstance(value, int) else float(value))
    raise TypeError(
        f"params: {name} must be a str, int, float, bool or None, or a list of them, not {type(value).__name__}"
    )
