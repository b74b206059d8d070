"""Reads headers, and rejects responses that cannot be data. No I/O.

The facts come from the vendor's API reference and its "API concepts" pages. Where their two editions disagree, both
readings work.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from html import unescape
from urllib.parse import unquote, urlsplit

import attrs
from multidict import CIMultiDict, CIMultiDictProxy

from customers_async.errors import APIResponseError

__all__ = [
    "DEFAULT_RETRY_AFTER",
    "PageMetadata",
    "Response",
    "add_location",
    "echo_finder",
    "join_repeated",
    "read_current_page",
    "read_date",
    "read_page_metadata",
    "read_rate_limit",
    "read_request_id",
    "read_retry_after",
    "response_error",
    "with_location",
]

DEFAULT_RETRY_AFTER = 60.0
"""Seconds to wait after a 429 without ``Retry-After``: the vendor asks for at least a minute."""

_END_OF_DATES = 253_402_300_000.0
"""Unix seconds: later dates, of the year 10000, are beyond `datetime`."""
_MAX_WAIT = 1e9
"""Seconds: a longer ``Retry-After`` counts as this, so that sums and texts of it stay possible."""
_AGES_OF_NOW = range(3)
"""Seconds: a response that a cache has kept for longer is not from now."""
_MEDIA_TYPE = re.compile(
    r"(application/(json|problem\+json|xml|xhtml\+xml|octet-stream|javascript)|text/(html|plain|xml|csv))(?=[;\s]|$)"
)
_REQUEST_IDS = ("X-Request-Id", "X-Correlation-Id", "Request-Id", "X-Amzn-RequestId", "X-Amzn-Trace-Id", "CF-Ray")
"""The headers in which services and proxies name a request, the most usual first."""
_is_request_id = re.compile(r"[A-Za-z0-9._:=/-]{1,128}").fullmatch
_ECHO = 12
"""Characters of the token, letters and digits, that must not appear in a row."""
_replace_leap_second = re.compile(r"(:[0-9]{2}):60\b").subn


@attrs.define
class Response:
    """One HTTP response with its whole body, decompressed.

    Attributes:
        status: The HTTP status.
        headers: The headers.
        body: The body, in bytes.
        sent_at: When its request was sent, in seconds on the event loop's clock; None if it comes from a journal.
        received_at: When it was received, Unix seconds; for pages of a listing only.
        secrets: What no error may repeat: the token, passwords, header values, ids and values of a raw request.
        uuid: The customer that was requested, or None.
        attempts: How many times its request was sent.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")
    sent_at: float | None = None
    received_at: float | None = attrs.field(default=None, kw_only=True)
    secrets: Sequence[str] = attrs.field(default=(), kw_only=True, repr=False)
    uuid: str | None = attrs.field(default=None, kw_only=True)
    attempts: int = attrs.field(default=1, kw_only=True)


@attrs.define
class PageMetadata:
    """The ``X-Api-*`` headers; None for each that is missing or garbled."""

    total: int | None
    per_page: int | None
    has_more: bool | None
    current_page: int | None


def join_repeated(headers: CIMultiDictProxy[str], raw: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Return the headers, with those that are sent more than once joined by commas: several values have no meaning.

    Args:
        headers: The headers.
        raw: The same as bytes, whose names take a third of the time to compare.
    """
    if len({name.lower() for name, _ in raw}) == len(raw):
        return headers
    return CIMultiDict({name.title(): ", ".join(headers.getall(name)) for name in headers})


def read_page_metadata(headers: Mapping[str, str]) -> PageMetadata:
    """Read the pagination headers of either edition of the vendor's documentation.

    An export stores these headers with its pages: add a new one to ``_HEADERS`` in ``export/journal_file.py``, too.
    """
    return PageMetadata(
        total=_read_int(headers.get("X-Api-Total")),
        per_page=_read_int(headers.get("X-Api-Per-Page")) or None,
        has_more=_read_bool(headers.get("X-Api-Has-More-Pages")),
        current_page=read_current_page(headers),
    )


def read_current_page(headers: Mapping[str, str]) -> int | None:
    """Read the page number of a response; None if it is missing or garbled."""
    number = _read_int(headers.get("X-Api-Current-Page"))
    return _read_int(headers.get("X-Api-Page")) if number is None else number


def read_rate_limit(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Read the limit and what remains of it; None for each that is missing or garbled."""
    limit = _read_int(headers.get("X-RateLimit-Limit")) or None
    value = headers.get("X-RateLimit-Remaining")
    remaining = _parse_int(value)
    if remaining is None and value is not None:
        text = _joined(value)
        is_negative = text.startswith("-") and _parse_int(text[1:]) is not None
        remaining = 0 if is_negative else None
    return limit, remaining


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After`` in seconds, from a number or a date; None if it is missing or unreadable.

    Laravel sends it with a 429 only. A date is compared with the response's own ``Date``, so that a wrong local clock
    does no harm.
    """
    value = headers.get("Retry-After")
    if value is None:
        return None
    number = _joined(value)
    if re.fullmatch(r"\s*[+-]?[0-9]{1,300}(\.[0-9]*)?\s*", number):
        return min(float(number), _MAX_WAIT)
    retry_at = _read_date(value)
    if retry_at is None:
        return None
    now = read_date(headers)
    return min(retry_at - (time.time() if now is None else now), _MAX_WAIT)


def read_date(headers: Mapping[str, str]) -> float | None:
    """Read ``Date`` in Unix seconds; None if it is missing, unreadable or impossible, or if the response was cached."""
    age = headers.get("Age")
    if age is not None and _read_int(age) not in _AGES_OF_NOW:
        return None
    seconds = _read_date(headers.get("Date"))
    return seconds if seconds is not None and 0 < seconds < _END_OF_DATES else None


@lru_cache  # most responses of a listing have the date of the one before, and parsing it takes 15 µs
def _read_date(value: str | None) -> float | None:
    """Read a date in any form of RFC 9110; they are all UTC, including those that do not say so."""
    text, leap_seconds = _replace_leap_second(r"\1:59", value or "")
    try:
        date = parsedate_to_datetime(text)
        return (date.replace(tzinfo=UTC) if date.tzinfo is None else date).timestamp() + leap_seconds
    except (ValueError, OverflowError):
        return None


def _parse_int(value: str | None) -> int | None:
    if value is None:
        return None
    text = _joined(value) if "," in value else value.strip()
    return int(text) if text.isdecimal() and text.isascii() and len(text) <= 19 else None


_read_int = lru_cache(_parse_int)  # most responses of a listing repeat these numbers


def _joined(value: str | None) -> str:
    """The value of a header; where a proxy joined several equal ones with commas, one of them."""
    if value is None or "," not in value:
        return (value or "").strip()
    values = {part.strip() for part in value.split(",")}
    return values.pop() if len(values) == 1 else value


@lru_cache
def _read_bool(value: str | None) -> bool | None:
    """Read a flag: edition A sends ``true``, edition B sends ``1`` or nothing."""
    match _joined(value).lower() if value is not None else None:
        case "1" | "true" | "yes":
            return True
        case "0" | "false" | "":
            return False
    return None


def response_error(response: Response, *, is_raw: bool = False) -> APIResponseError | None:
    """The error for a response with a status below 400 that cannot be data; None if it may be data.

    Args:
        response: The response.
        is_raw: Accept any media type, an empty body, and each status from 200 to 299.
    """
    content_type = response.headers.get("Content-Type")
    if 300 <= response.status < 400 and response.status != 304:
        host = _read_host(response.headers.get("Location", ""), response.secrets)
        problem = f"status {response.status} is a redirect{host}, which is not followed"
    elif is_raw and 200 <= response.status < 300:
        return None
    elif response.status != 200:
        problem = f"status {response.status} is no {'success' if is_raw else 'customer data'}"
    elif content_type is not None and "html" in content_type.lower():
        problem = "the response is HTML, not JSON"
    elif not response.body:
        problem = "the response is empty"
    else:
        return None
    return with_location(APIResponseError(problem), response)


def read_request_id(response: Response) -> str | None:
    """Read the name that the service or a proxy gave to the request; None if there is none that is safe to show.

    It is not safe if it contains a part of the token, or the requested uuid: a header may echo anything.
    """
    for name in _REQUEST_IDS:
        value = response.headers.get(name)
        if value is None or not _is_request_id(value) or echo_finder(response.secrets)(value):
            continue
        if response.uuid is None or _letters_of(response.uuid) not in _letters_of(value):
            return value
    return None


def echo_finder(secrets: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that finds a part of a secret in a text, whatever its case, percent-encoded, escaped or spaced.

    An error may have hundreds of texts, and a raw request a hundred secrets, so the secrets are prepared once.
    """
    letters = [_letters_of(unquote(unescape(secret))) for secret in secrets]
    pieces = {hidden[i : i + _ECHO] for hidden in letters for i in range(len(hidden) - _ECHO + 1)}
    short = [hidden for hidden in letters if _ECHO // 2 <= len(hidden) < _ECHO]
    whole = [secret.lower() for secret in secrets if secret]

    def is_echo(text: str) -> bool:
        lower, plain = text.lower(), _letters_of(unquote(unescape(text)))
        if any(secret in lower for secret in whole) or any(hidden in plain for hidden in short):
            return True
        return not pieces.isdisjoint(plain[i : i + _ECHO] for i in range(len(plain) - _ECHO + 1))

    return is_echo


def _letters_of(text: str) -> str:
    """The letters and digits, in lower case."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _read_host(location: str, secrets: Sequence[str]) -> str:
    """Where a redirect leads, as `` to HOST``: the host alone, because the rest may be anything."""
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        return ""
    is_host = re.fullmatch(r"[a-z0-9.-]{1,253}|[0-9a-f:.]{2,45}", host) is not None
    return f" to {host}" if is_host and not echo_finder(secrets)(host) else ""


def with_location(error: APIResponseError, response: Response) -> APIResponseError:
    """Add the status, content type and request id of the response that the error is about; return the error."""
    add_location([error], response)
    return error


def add_location(errors: Iterable[APIResponseError], response: Response) -> None:
    """Add the status, content type and request id of the response that the errors are about."""
    request_id = read_request_id(response)
    media_type = _MEDIA_TYPE.match(response.headers.get("Content-Type", "").lower())
    for error in errors:
        error.status, error.request_id = response.status, request_id
        error.content_type = media_type[0] if media_type else None  # known types only: a header may echo a secret
