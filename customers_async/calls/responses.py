"""Parses responses: headers, body encoding, and responses that are neither data nor an error status. No I/O.

The facts come from the vendor's API reference and its "API concepts" pages. Where their two editions disagree, both
readings work.
"""

import re
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

import attrs

from customers_async.errors import APIConnectionError, APIResponseError

__all__ = [
    "DEFAULT_RETRY_AFTER",
    "PageMetadata",
    "RateLimitHeaders",
    "Response",
    "decode_body",
    "read_page_metadata",
    "read_rate_limit",
    "read_retry_after",
    "response_error",
    "too_large_error",
    "with_location",
]

DEFAULT_RETRY_AFTER = 60.0
"""Seconds to wait after a 429 without ``Retry-After``: the vendor asks for at least a minute."""

_MAX_GZIP_MEMBERS = 100
"""A body with more gzip members is refused: each member costs time, even an empty one."""
_PIECE = 2**20
_MEDIA_TYPE = re.compile(
    r"(application/(json|problem\+json|xml|xhtml\+xml|octet-stream|javascript)|text/(html|plain|xml|csv))(?=[;\s]|$)"
)


@attrs.define
class Response:
    """One HTTP response with its whole body, decompressed."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")


@attrs.define
class PageMetadata:
    """The ``X-Api-*`` headers; None for each that is missing or garbled."""

    total: int | None
    per_page: int | None
    has_more: bool | None
    current_page: int | None


@attrs.define
class RateLimitHeaders:
    """The rate-limit headers; None for each that is missing or garbled. ``retry_after`` is in seconds."""

    limit: int | None
    remaining: int | None
    retry_after: float | None


def read_page_metadata(headers: Mapping[str, str]) -> PageMetadata:
    """Read the pagination headers of either edition of the vendor's documentation."""
    current_page = _read_int(headers.get("X-Api-Current-Page"))
    return PageMetadata(
        total=_read_int(headers.get("X-Api-Total")),
        per_page=_read_int(headers.get("X-Api-Per-Page")) or None,
        has_more=_read_bool(headers.get("X-Api-Has-More-Pages")),
        current_page=_read_int(headers.get("X-Api-Page")) if current_page is None else current_page,
    )


def read_rate_limit(headers: Mapping[str, str]) -> RateLimitHeaders:
    """Read the rate-limit headers. Laravel sends ``Retry-After`` with a 429 only."""
    limit = _read_int(headers.get("X-RateLimit-Limit")) or None
    remaining = headers.get("X-RateLimit-Remaining", "").strip()
    is_negative = remaining.startswith("-") and _read_int(remaining[1:]) is not None
    return RateLimitHeaders(limit, 0 if is_negative else _read_int(remaining), read_retry_after(headers))


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After`` in seconds, from a number or a date; None if it is missing or unreadable.

    A date is compared with the response's own ``Date``, so that a wrong local clock does no harm.
    """
    value = headers.get("Retry-After")
    if value is None:
        return None
    if re.fullmatch(r"\s*[+-]?[0-9]{1,300}(\.[0-9]*)?\s*", value):
        return float(value)
    retry_at = _read_date(value)
    if retry_at is None:
        return None
    now = _read_date(headers.get("Date"))
    return retry_at - (time.time() if now is None else now)


def _read_date(value: str | None) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp() if value is not None else None
    except (ValueError, OverflowError):
        return None


@lru_cache
def _read_int(value: str | None) -> int | None:
    if value is None:
        return None
    value = value.strip()
    return int(value) if value.isdecimal() and value.isascii() and len(value) <= 18 else None


@lru_cache
def _read_bool(value: str | None) -> bool | None:
    """Read a flag: edition A sends ``true``, edition B sends ``1`` or nothing."""
    match value.strip().lower() if value is not None else None:
        case "1" | "true" | "yes":
            return True
        case "0" | "false" | "":
            return False
    return None


def decode_body(response: Response, max_body: int) -> Response:
    """Decompress the body and convert it to UTF-8.

    At most ``max_body`` bytes are decompressed, however small the body is. The body of an error status that cannot be
    decoded becomes empty, because the status alone decides the error's class.

    Raises:
        APIConnectionError: The body was cut short. It may be whole the next time.
        APIResponseError: It is too large, or not encoded as its headers say.
    """
    try:
        body = _to_utf8(_decompress(response, max_body), response.headers.get("Content-Type", ""))
    except (APIConnectionError, APIResponseError) as error:
        failure = error
    else:
        return response if body is response.body else Response(response.status, response.headers, body)
    if response.status >= 400:
        return Response(response.status, response.headers, b"")
    raise with_location(failure, response) if isinstance(failure, APIResponseError) else failure


def _decompress(response: Response, max_body: int) -> bytes:
    match response.headers.get("Content-Encoding", "identity").strip().lower():
        case "identity" | "":
            if len(response.body) > max_body:
                raise too_large_error(max_body)
            return response.body
        case "gzip" | "x-gzip" | "deflate":
            return _unzip(response.body, max_body)
    raise APIResponseError("the response has an unknown Content-Encoding")


def too_large_error(max_body: int) -> APIResponseError:
    """The error for a body of more than ``max_body`` bytes."""
    return APIResponseError(f"the response is larger than max_body ({max_body} bytes)")


def _unzip(body: bytes, max_body: int) -> bytes:
    """Decompress the members of a gzip or zlib body, in pieces: in one call, a bomb would be held twice."""
    pieces: list[bytes] = []
    size = 0
    for _ in range(_MAX_GZIP_MEMBERS):
        decompressor = zlib.decompressobj(wbits=47)  # either header
        while not decompressor.eof:
            piece = _unzip_piece(decompressor, body)
            size += len(piece)
            if size > max_body:
                raise too_large_error(max_body)
            pieces.append(piece)
            body = decompressor.unconsumed_tail
        body = decompressor.unused_data
        if not body:
            return b"".join(pieces)
    raise APIResponseError("the response is compressed in too many pieces")


def _unzip_piece(decompressor: Any, body: bytes) -> bytes:
    with suppress(zlib.error):
        piece: bytes = decompressor.decompress(body, _PIECE)
        if piece or decompressor.eof:
            return piece
        raise APIConnectionError("the compressed response was cut short")
    raise APIResponseError("the response is not compressed as its Content-Encoding says")


def _to_utf8(body: bytes, content_type: str) -> bytes:
    if "=" not in content_type:
        return body
    charset = re.search(r"charset=\"?([\w.:-]+)", content_type, re.ASCII)
    if charset is None or charset[1].lower() in ("utf-8", "utf8", "us-ascii"):
        return body
    if not re.match(r"utf|iso|latin|windows|cp|koi", charset[1], re.IGNORECASE):
        raise APIResponseError("the response declares a charset that is not used for JSON")
    with suppress(LookupError, ValueError):
        return body.decode(charset[1]).encode()
    raise APIResponseError("the response is not text in the charset it declares")


def response_error(response: Response) -> APIResponseError | None:
    """The error for a response with a status below 400 that cannot be data; None if it may be data."""
    content_type = response.headers.get("Content-Type")
    if response.status != 200:
        redirect = 300 <= response.status < 400 and response.status != 304
        kind = "a redirect, which is not followed" if redirect else "no customer data"
        problem = f"status {response.status} is {kind}"
    elif content_type is not None and "html" in content_type.lower():
        problem = "the response is HTML, not JSON"
    elif not response.body:
        problem = "the response is empty"
    else:
        return None
    return with_location(APIResponseError(problem), response)


def with_location(error: APIResponseError, response: Response) -> APIResponseError:
    """Add the status and the content type of the response that the error is about; return the error."""
    error.status = response.status
    media_type = _MEDIA_TYPE.match(response.headers.get("Content-Type", "").lower())
    error.content_type = media_type[0] if media_type else None  # known types only: a header may echo a secret
    return error
