"""Turns a response with an error status into an exception. No I/O.

The error envelope and its codes come from the vendor's "API concepts" pages.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from customers_async.calls.responses import (
    DEFAULT_RETRY_AFTER,
    Response,
    echo_finder,
    read_request_id,
    read_retry_after,
)
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

_Errors = Mapping[str, Sequence[str]] | Sequence[str]

_MAX_ENVELOPE = 2**16
"""Bytes: a larger body is not the documented envelope, and is not parsed."""
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


def status_error(response: Response, path: str, *, expired: bool, attempts: int) -> APIStatusError:
    """The error for a response with a status of 400 or above, whatever its body is.

    The service may echo the token and other secrets, so they are removed from all that the error keeps.

    Args:
        response: The response.
        path: The path of the request.
        expired: Whether the token's own ``exp`` has passed.
        attempts: How many times the request was sent.
    """
    status = response.status
    code, errors = _read_envelope(response.body, response.secrets, status)
    label = f"{status} {code}" if code else f"{status}"
    details = _describe(errors) if status == 422 else ""
    message = f"{label} for {path}{details}{_ADVICE.get(status, '')}"
    if status == 401 and expired:
        message = f"{message} Its exp has passed."
    retry_after = read_retry_after(response.headers)
    if retry_after is not None:
        retry_after = max(retry_after, 0.0)
    elif status == 429:
        retry_after = DEFAULT_RETRY_AFTER
    error = _error_class(status, expired)(
        message[:500],
        status=status,
        code=code,
        errors=errors,
        url_path=path,
        attempts=attempts,
        retry_after=retry_after,
    )
    error.request_id = read_request_id(response)
    return error


def _error_class(status: int, expired: bool) -> type[APIStatusError]:
    if status == 401 and expired:
        return TokenExpiredError
    return _ERRORS.get(status, ServerError if 500 <= status < 600 else APIStatusError)


def _read_envelope(body: bytes, secrets: Sequence[str], status: int) -> tuple[str | None, _Errors]:
    """The envelope's ``message`` and ``errors``, without anything that might be data.

    The texts of a 422 are about our own parameters and are kept. Any other text is kept only if it looks like a code:
    a failing service may send anything, such as a database statement.
    """
    if len(body) > _MAX_ENVELOPE:
        return None, ()
    try:
        envelope = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None, ()
    if not isinstance(envelope, dict):
        return None, ()

    is_echo = echo_finder(secrets)

    def clean(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "[hidden]")
        if is_echo(text):
            return "[hidden]"
        return "".join(c if c.isprintable() else "?" for c in text[:200])

    def texts(value: Any) -> list[str]:
        items = value if isinstance(value, list) else [value]
        cleaned = [clean(item) for item in items[:20] if isinstance(item, str)]
        return [text for text in cleaned if status == 422 or _is_code(text)]

    message, errors = envelope.get("message"), envelope.get("errors")
    code = clean(message) if isinstance(message, str) else ""
    if isinstance(errors, dict):
        errors = {clean(field): texts(value) for field, value in list(errors.items())[:20]}
    else:
        errors = texts(errors)
    return code if _is_code(code) else None, errors


def _is_code(text: str) -> bool:
    """Whether a text may be a code, such as ``NOT_FOUND`` or ``Too Many Attempts.``."""
    return re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}|Too Many (Attempts|Requests)\.?", text) is not None


def _describe(errors: _Errors) -> str:
    if isinstance(errors, Mapping):
        return "".join(f"; {field}: {' '.join(messages)}" for field, messages in errors.items())
    return "".join(f"; {message}" for message in errors)
