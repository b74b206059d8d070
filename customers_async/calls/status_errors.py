"""From a response with an error status to the exception that describes it. No I/O.

The error envelope and its codes come from the vendor's "API concepts" pages.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from customers_async.calls.responses import DEFAULT_RETRY_AFTER, Response, read_retry_after
from customers_async.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TokenExpiredError,
    UnprocessableEntityError,
)

__all__ = ["status_error"]

_ERRORS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}
_ADVICE = {
    401: "; is the token revoked or expired?",
    403: "; production accepts whitelisted IP addresses only: is yours on the list?",
}


def status_error(answer: Response, path: str, *, secret: str, expired: bool, attempts: int) -> APIStatusError:
    """The error of an answer with a status of 400 or above, whatever its body is.

    Args:
        answer: What came.
        path: The path of the request.
        secret: The token, which a server may echo: it is struck from all that the error keeps.
        expired: Whether the token's own ``exp`` lies in the past.
        attempts: How many times the request was tried.
    """
    status = answer.status
    code, errors = _read_envelope(answer.body, secret, status)
    label = f"{status} {code}" if code else f"{status}"
    details = _describe(errors) if status == 422 else ""
    message = f"{label} for {path}{details}{_ADVICE.get(status, '')}"
    if status == 401 and expired:
        message = f"{message} Its exp has passed."
    retry_after = read_retry_after(answer.headers)
    if status == 429:
        retry_after = DEFAULT_RETRY_AFTER if retry_after is None else max(retry_after, 0.0)
    return _error_class(status, expired)(
        message[:500],
        status=status,
        code=code,
        errors=errors,
        url_path=path,
        attempts=attempts,
        retry_after=retry_after,
    )


def _error_class(status: int, expired: bool) -> type[APIStatusError]:
    if status == 401 and expired:
        return TokenExpiredError
    return _ERRORS.get(status, ServerError if 500 <= status < 600 else APIStatusError)


Errors = Mapping[str, Sequence[str]] | Sequence[str]


def _read_envelope(body: bytes, secret: str, status: int) -> tuple[str | None, Errors]:
    """The envelope's ``message`` and ``errors``, as far as they are there and tell nothing that is not ours to keep.

    The texts of a 422 are about the parameters we sent. All others are kept if they look like codes: a server in
    trouble may put anything into them, such as a statement of its database.
    """
    try:
        envelope = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None, ()
    if not isinstance(envelope, dict):
        return None, ()

    def texts(value: Any) -> list[str]:
        items = value if isinstance(value, list) else [value]
        kept = [clean(item) for item in items[:20] if isinstance(item, str)]
        return [text for text in kept if status == 422 or is_code(text)]

    def clean(text: str) -> str:
        return "".join(c if c.isprintable() else "?" for c in text.replace(secret, "[token]")[:200])

    message, errors = envelope.get("message"), envelope.get("errors")
    code = clean(message) if isinstance(message, str) else None
    if code is not None and not is_code(code):
        code = None
    if isinstance(errors, dict):
        return code, {clean(field): texts(value) for field, value in list(errors.items())[:20]}
    return code, texts(errors)


def is_code(text: str) -> bool:
    """Whether a text may be a code, such as ``NOT_FOUND`` or ``Too Many Attempts.``."""
    return re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}|Too Many (Attempts|Requests)\.?", text) is not None


def _describe(errors: Errors) -> str:
    if isinstance(errors, Mapping):
        return "".join(f"; {field}: {' '.join(messages)}" for field, messages in errors.items())
    return "".join(f"; {message}" for message in errors)
