"""The one JSON shape of every error."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec
from aiohttp import web

__all__ = ["envelope"]

_MESSAGES = {
    400: "INTERNAL_SERVER_ERROR",
    403: "NO_PERMISSION",
    422: "VALIDATION_ERROR",
    429: "Too Many Attempts.",
}

Errors = Sequence[str] | Mapping[str, Sequence[str]]


def envelope(status: int, errors: Errors | None = None) -> web.Response:
    """An error answer; its ``errors`` are the message alone unless given."""
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
