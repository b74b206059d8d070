"""The control: a page for people and a JSON API, by which programs in any language script the emulator.

Only a client of this machine, or one with the control's token, may use it; and no web page of another site, which a
browser could make send requests: such requests have another ``Origin``, or, after DNS rebinding, another ``Host``.
"""

import hmac
import re
from base64 import b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from customers_async.emulator.addresses import is_loopback
from customers_async.emulator.control_commands import COMMANDS, Command
from customers_async.emulator.control_page import CONTENT_SECURITY_POLICY, SHOWN_UUIDS, render_page
from customers_async.emulator.service import Service

if TYPE_CHECKING:
    from customers_async.emulator.server import Emulator

__all__ = ["make_control"]

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would send the page's own forms with Origin: null
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_CHALLENGE = 'Basic realm="emulator control: the token is the password", charset="UTF-8"'
"""Without ``Bearer``: Chromium asks for no password if a header names two schemes."""
_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"
_LISTS = ("parts", "swap")
"""The fields of a form that may have several values."""
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]+)?", re.ASCII)


class _RefusedError(Exception):
    """A request that gets an error status.

    Attributes:
        status: The status.
        headers: More headers of the response.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = headers or {}


def make_control(emulator: "Emulator", service: Service) -> web.Application:
    """Return the web application of the control, for the prefix `CONTROL_PATH`."""
    control = _Control(emulator, service)
    application = web.Application(middlewares=[control.guard])
    for path in ("", "/"):
        application.router.add_get(path, control.get_page)
    application.router.add_get("/stats", control.get_stats)
    application.router.add_post("/{command}", control.run_command)
    return application


class _Control:
    def __init__(self, emulator: "Emulator", service: Service) -> None:
        self._emulator = emulator
        self._service = service
        self._is_local = is_loopback(emulator.host)

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check who sends a request, and turn each refusal into a JSON error."""
        try:
            self._check_sender(request)
            response = await handler(request)
        except _RefusedError as error:
            response = _make_json({"error": f"{error}"}, error.status)
            response.headers.update(error.headers)
        except web.HTTPException as error:
            response = _make_json({"error": f"{error.reason}: {request.method} {request.path}"}, error.status)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        response.headers.update(_HEADERS)
        return response

    def _check_sender(self, request: web.Request) -> None:
        host = request.headers.get("Host", "")
        if self._is_local and not is_loopback(_parse_host(host)):
            raise _RefusedError(403, "the control is for this machine: use localhost or 127.0.0.1 in its URL")
        if not self._is_local and not self._has_token(request.headers.get("Authorization", "")):
            raise _RefusedError(
                401,
                "the control needs its token: as a bearer token, or as the password in a browser",
                {"WWW-Authenticate": _CHALLENGE},
            )
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise _RefusedError(403, "the control takes no requests from other web pages")

    def _has_token(self, authorization: str) -> bool:
        """Whether the header holds the control's token, as a bearer token or as the password of any user."""
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                secret = b64decode(secret).decode().partition(":")[2]
            except ValueError:
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(
            secret.strip().encode(errors="surrogateescape"), self._emulator.control_token.encode()
        )

    async def get_page(self, _: web.Request) -> web.Response:
        """Respond with the page for people."""
        return self._make_page()

    def _make_page(self, problem: str = "", status: int = 200) -> web.Response:
        emulator = self._emulator
        uuids = [*emulator.uuids(0, min(emulator.total, SHOWN_UUIDS))]
        text = render_page(self._describe(), uuids, problem)
        return web.Response(text=text, status=status, content_type="text/html")

    async def get_stats(self, _: web.Request) -> web.Response:
        """Respond with all counts and what is scripted."""
        return _make_json(self._describe())

    async def run_command(self, request: web.Request) -> web.Response:
        """Run a command: from a JSON document, or from a form of the page, which is then shown again."""
        kind = COMMANDS.get(request.match_info["command"])
        if kind is None:
            raise _RefusedError(404, f"there is no such command; there are {', '.join(COMMANDS)}")
        if request.content_type == _JSON:
            return _make_json(self._run(kind, _decode(await request.read())))
        if request.content_type != _FORM:
            raise _RefusedError(415, f"the Content-Type must be {_JSON}")
        if "Origin" not in request.headers:
            raise _RefusedError(403, f"forms are for the control's own page; send {_JSON}")
        try:
            self._run(kind, _read_form(await request.read()))
        except _RefusedError as error:
            return self._make_page(f"{error}", error.status)
        return web.Response(status=303, headers={"Location": request.path.rpartition("/")[0]})

    def _run(self, kind: type[Command], fields: Any) -> dict[str, Any]:
        try:
            result = msgspec.convert(fields, kind).run(self._emulator)
            return {**result, **self._describe()}
        except (TypeError, ValueError) as error:
            problem = f"{error}"
        raise _RefusedError(422, problem)

    def _describe(self) -> dict[str, Any]:
        emulator, service, stats = self._emulator, self._service, self._emulator.stats
        windows = service.windows
        addresses = {
            address: {"remaining": windows.remaining(address), "resets_in": windows.retry_after(address)}
            for address in windows.addresses()
        }
        return {
            "requests": stats.requests,
            "admitted": stats.admitted,
            "rejected": stats.rejected,
            "in_flight": stats.in_flight,
            "peak_in_flight": stats.peak_in_flight,
            "statuses": {str(status): count for status, count in sorted(stats.statuses.items())},
            "paths": dict(stats.paths.most_common()),
            "unexpected": stats.unexpected,
            "latest": [*stats.latest],
            "pending": emulator.pending,
            "faults": service.faults.describe(),
            "rate_limit": {"limit": windows.limit, "window": windows.window, "addresses": addresses},
            "totals": [len(account.customer_list) for account in service.accounts],
            "valid_tokens": service.tokens.valid,
        }


def _parse_host(header: str) -> str:
    """Return the host of a ``Host`` header, without its port; empty if it is malformed."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _make_json(content: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type=_JSON)


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        pass
    raise _RefusedError(400, "the body is not JSON")


def _read_form(body: bytes) -> dict[str, Any]:
    """Return the fields that were filled in: numbers as numbers, ``null`` as None."""
    fields: dict[str, Any] = {}
    for name, text in parse_qsl(body.decode(errors="replace")):
        value = _parse(text)
        if name in _LISTS:
            fields.setdefault(name, []).append(value)
        else:
            fields[name] = value
    return fields


def _parse(text: str) -> Any:
    if text == "null":
        return None
    if match := _NUMBER.fullmatch(text):
        return float(text) if match[1] else int(text)
    return text
