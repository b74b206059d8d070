"""The JSON shape of every error."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec
from aiohttp import web

__all__ = ["error_response"]

_MESSAGES = {
    400: "INTERNAL_SERVER_ERROR",
    403: "NO_PERMISSION",
    422: "VALIDATION_ERROR",
    429: "Too Many Attempts.",
}

ErrorMessages = Sequence[str] | Mapping[str, Sequence[str]]


def error_response(status: int, errors: ErrorMessages | None = None) -> web.Response:
    """Return an error response; its ``errors`` default to a list of the message alone."""
    message = _MESSAGES.get(status) or _standard_name(status)
    content = {
        "status": False,
        "status_code": status,
        "message": message,
        "errors": [message] if errors is None else errors,
    }
    return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")


def _standard_name(status: int) -> str:
    try:
        return HTTPStatus(status).name
    except ValueError:
        return f"HTTP_{status}"
