"""What an answer means, without any I/O: its headers, its body's encoding, its error.

The facts come from the vendor's API reference and its "API concepts" pages; where their two editions disagree,
both readings work.
"""

import re
import time
import zlib
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache

import attrs

from customers_async.errors import APIConnectionError, APIResponseError

__all__ = [
    "DEFAULT_RETRY_AFTER",
    "PageMetadata",
    "Quota",
    "Response",
    "decode_body",
    "read_page_metadata",
    "read_quota",
    "response_error",
    "too_large_error",
    "with_location",
]

DEFAULT_RETRY_AFTER = 60.0
"""Seconds to wait after a 429 that does not say: the vendor asks for at least a minute."""

_GZIP_MEMBERS = 100
"""More members in one gzip body are no answer but an attack: each costs time, however empty."""
_PIECE = 2**20
_MEDIA_TYPE = re.compile(
    r"(application/(json|problem\+json|xml|xhtml\+xml|octet-stream|javascript)|text/(html|plain|xml|csv))(?=[;\s]|$)"
)


@attrs.define
class Response:
    """One HTTP answer with its whole body, decompressed."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")


@attrs.define
class PageMetadata:
    """What the ``X-Api-*`` headers say; None for each that is missing or garbled."""

    total: int | None
    per_page: int | None
    has_more: bool | None
    current_page: int | None


@attrs.define
class Quota:
    """What an answer says about the quota; None for what it does not say. ``retry_after`` is in seconds."""

    limit: int | None
    remaining: int | None
    retry_after: float | None


def read_page_metadata(headers: Mapping[str, str]) -> PageMetadata:
    """Read the pagination headers of either edition of the vendor's pages."""
    current_page = _read_int(headers.get("X-Api-Current-Page"))
    return PageMetadata(
        total=_read_int(headers.get("X-Api-Total")),
        per_page=_read_int(headers.get("X-Api-Per-Page")) or None,
        has_more=_read_bool(headers.get("X-Api-Has-More-Pages")),
        current_page=_read_int(headers.get("X-Api-Page")) if current_page is None else current_page,
    )


def read_quota(headers: Mapping[str, str]) -> Quota:
    """Read the rate-limit headers. Laravel sends ``Retry-After`` with a 429 only."""
    limit = _read_int(headers.get("X-RateLimit-Limit")) or None
    remaining = headers.get("X-RateLimit-Remaining", "").strip()
    is_negative = remaining.startswith("-") and _read_int(remaining[1:]) is not None
    return Quota(limit, 0 if is_negative else _read_int(remaining), read_retry_after(headers))


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that ``Retry-After`` asks for, from a number or a date; None when absent or unreadable.

    A date is compared with the answer's own ``Date``, so that a wrong local clock does no harm.
    """
    value = headers.get("Retry-After")
    if value is None:
        return None
    if re.fullmatch(r"\s*[+-]?[0-9]{1,300}(\.[0-9]*)?\s*", value):
        return float(value)
    moment = _read_date(value)
    if moment is None:
        return None
    now = _read_date(headers.get("Date"))
    return moment - (time.time() if now is None else now)


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
    if value is None:
        return None
    word = value.strip().lower()
    return True if word in ("1", "true", "yes") else False if word in ("0", "false", "") else None


def decode_body(answer: Response, max_body: int) -> Response | APIResponseError | APIConnectionError:
    """The answer with its body decompressed and in UTF-8.

    At most ``max_body`` bytes are unpacked, however small the body. A body that was cut short is a failure of the
    connection: it may come whole the next time.
    """
    body = _decompress(answer, max_body)
    if isinstance(body, bytes):
        body = _to_utf8(body, answer.headers.get("Content-Type", ""))
    if body is answer.body:
        return answer
    if isinstance(body, bytes):
        return Response(answer.status, answer.headers, body)
    if answer.status >= 400:  # the status decides the error's class, whatever its body is
        return Response(answer.status, answer.headers, b"")
    return with_location(body, answer) if isinstance(body, APIResponseError) else body


def _decompress(answer: Response, max_body: int) -> bytes | APIResponseError | APIConnectionError:
    match answer.headers.get("Content-Encoding", "identity").strip().lower():
        case "identity" | "":
            return answer.body if len(answer.body) <= max_body else too_large_error(max_body)
        case "gzip" | "x-gzip" | "deflate":
            return _unzip(answer.body, max_body)
    return APIResponseError("the answer has an unknown Content-Encoding")


def too_large_error(max_body: int) -> APIResponseError:
    """The error of a body over ``max_body`` bytes."""
    return APIResponseError(f"the answer is larger than max_body ({max_body} bytes)")


def _unzip(body: bytes, max_body: int) -> bytes | APIResponseError | APIConnectionError:
    """Unpack the members of a gzip or zlib body, until it is over ``max_body``."""
    pieces: list[bytes] = []
    left = max_body
    for _ in range(_GZIP_MEMBERS):
        decompressor = zlib.decompressobj(wbits=47)  # either header
        while not decompressor.eof:
            try:
                # In pieces: one call for all would hold a bomb twice.
                piece = decompressor.decompress(body, _PIECE)
            except zlib.error:
                return APIResponseError("the answer is not compressed as its Content-Encoding says")
            if not piece and not decompressor.eof:
                return APIConnectionError("the compressed answer was cut short")
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                return too_large_error(max_body)
            body = decompressor.unconsumed_tail
        body = decompressor.unused_data
        if not body:
            return b"".join(pieces)
    return APIResponseError("the answer is compressed in too many pieces")


def _to_utf8(body: bytes, content_type: str) -> bytes | APIResponseError:
    if "=" not in content_type:
        return body
    charset = re.search(r"charset=\"?([\w.:-]+)", content_type, re.ASCII)
    if charset is None or charset[1].lower() in ("utf-8", "utf8", "us-ascii"):
        return body
    if not re.match(r"utf|iso|latin|windows|cp|koi", charset[1], re.IGNORECASE):
        return APIResponseError("the answer declares a charset that JSON does not come in")
    try:
        return body.decode(charset[1]).encode()
    except (LookupError, ValueError):
        return APIResponseError("the answer is not text in the charset it declares")


def response_error(answer: Response) -> APIResponseError | None:
    """The error of an answer below 400 that cannot be data; None when it may be."""
    content_type = answer.headers.get("Content-Type")
    if answer.status != 200:
        redirect = 300 <= answer.status < 400 and answer.status != 304
        kind = "a redirect, which is not followed" if redirect else "no customer data"
        problem = f"status {answer.status} is {kind}"
    elif content_type is not None and "html" in content_type.lower():
        problem = "the answer is HTML, not JSON"
    elif not answer.body:
        problem = "the answer is empty"
    else:
        return None
    return with_location(APIResponseError(problem), answer)


def with_location(error: APIResponseError, answer: Response) -> APIResponseError:
    """The error, with the status and the content type of the answer that it is about."""
    error.status = answer.status
    media_type = _MEDIA_TYPE.match(answer.headers.get("Content-Type", "").lower())
    error.content_type = media_type[0] if media_type else None  # no other: a header may echo anything
    return error
