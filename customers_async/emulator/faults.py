"""Faults: responses that fail, and which requests get them."""

import asyncio
import re
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from random import Random
from socket import SO_LINGER, SOL_SOCKET

import attrs
from aiohttp import web

__all__ = ["NAMED_FAULTS", "Exchange", "Fault", "Faults", "compress", "make_login_redirect"]

_HTML = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"
_DRIP_INTERVAL = 1.0


@attrs.frozen
class Exchange:
    """One request, and the responses that the service would give.

    Attributes:
        request: The request.
        answer: Processes the request and returns the true response. Until it is awaited, the request has no effect.
        refuse: Returns the service's error response with a given status.
    """

    request: web.Request
    answer: Callable[[], Awaitable[web.Response]]
    refuse: Callable[[int], web.Response]


Fault = Callable[[Exchange], Awaitable[web.StreamResponse]]
"""Responds to a request in its own way, as in ``async def teapot(exchange): return exchange.refuse(418)``."""


@lru_cache(maxsize=128)
def compress(body: bytes) -> bytes:
    """Gzip ``body``, for speed rather than size."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    return compressor.compress(body) + compressor.flush()


async def _status(status: int, exchange: Exchange) -> web.StreamResponse:
    return exchange.refuse(status)


async def _no_content(exchange: Exchange) -> web.StreamResponse:
    return web.Response(status=204)


async def _html(status: int, exchange: Exchange) -> web.StreamResponse:
    title = "Just a moment" if status == 200 else f"{status} Error"
    return web.Response(status=status, text=_HTML.format(title), content_type="text/html")


def make_login_redirect() -> web.Response:
    """Return what Laravel sends to a browser that is not logged in."""
    text = _HTML.format("Redirecting to /login")
    return web.Response(status=302, text=text, content_type="text/html", headers={"Location": "/login"})


async def _redirect(exchange: Exchange) -> web.StreamResponse:
    return make_login_redirect()


async def _echo(exchange: Exchange) -> web.StreamResponse:
    response = exchange.refuse(400)
    authorization = exchange.request.headers.get("Authorization", "").encode()
    response.body = _read_body(response).replace(b"INTERNAL_SERVER_ERROR", authorization)
    return response


async def _rewrite(rewrite: Callable[[bytes], bytes], exchange: Exchange) -> web.StreamResponse:
    response = await exchange.answer()
    response.body = rewrite(_read_body(response))
    return response


async def _cut(exchange: Exchange) -> web.StreamResponse:
    stream, body = await _send_headers(exchange)
    await stream.write(body[: len(body) // 2])
    return await _hang_up(exchange)


async def _cut_gzip(exchange: Exchange) -> web.StreamResponse:
    response = await exchange.answer()
    compressed = compress(_read_body(response))
    response.body = compressed[: len(compressed) // 2]
    response.headers["Content-Encoding"] = "gzip"
    return response


async def _stall(exchange: Exchange) -> web.StreamResponse:
    return await _wait_for_disconnect()


async def _stall_body(exchange: Exchange) -> web.StreamResponse:
    stream, body = await _send_headers(exchange)
    await stream.write(body[: len(body) // 2])
    return await _wait_for_disconnect()


async def _drip(exchange: Exchange) -> web.StreamResponse:
    stream, body = await _send_headers(exchange)
    for byte in body:
        await asyncio.sleep(_DRIP_INTERVAL)
        await stream.write(bytes([byte]))
    return stream


async def _hang_up(exchange: Exchange) -> web.StreamResponse:
    if transport := exchange.request.transport:
        transport.close()
    return await _wait_for_disconnect()


async def _reset(exchange: Exchange) -> web.StreamResponse:
    if transport := exchange.request.transport:
        # With a linger time of 0 the kernel sends a reset instead of an orderly end.
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return await _wait_for_disconnect()


async def _send_headers(exchange: Exchange) -> tuple[web.StreamResponse, bytes]:
    """Send the headers of the true response; return the open response and its body, which is not sent yet."""
    response = await exchange.answer()
    body = _read_body(response)
    stream = web.StreamResponse(status=response.status, headers=response.headers)
    stream.content_length = len(body)
    await stream.prepare(exchange.request)
    return stream, body


async def _wait_for_disconnect() -> web.StreamResponse:
    """Wait until the connection is closed, which cancels the request."""
    never: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()
    return await never


def _read_body(response: web.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


NAMED_FAULTS: Mapping[str, Fault] = {
    "html": partial(_html, 200),
    "maintenance": partial(_html, 503),
    "redirect": _redirect,
    "echo": _echo,
    "bad_json": partial(_rewrite, lambda body: body[: len(body) // 2]),
    "empty": partial(_rewrite, lambda body: b""),
    "null": partial(_rewrite, lambda body: b"null"),
    "cut": _cut,
    "cut_gzip": _cut_gzip,
    "stall": _stall,
    "stall_body": _stall_body,
    "drip": _drip,
    "hang_up": _hang_up,
    "reset": _reset,
}


def _find_fault(fault: int | str | Fault) -> Fault:
    if callable(fault):
        return fault
    if isinstance(fault, bool) or not isinstance(fault, int | str):
        raise TypeError(f"a fault is a status, a name or a coroutine function, not {type(fault).__name__}")
    if fault == 204:
        return _no_content
    if isinstance(fault, int):
        if not 400 <= fault <= 999:
            raise ValueError(f"a failing status is 204 or from 400 to 999, not {fault}")
        return partial(_status, fault)
    if html := re.fullmatch(r"html_([2-9]\d\d)", fault):
        return partial(_html, int(html[1]))
    if fault not in NAMED_FAULTS:
        raise ValueError(f"unknown fault {fault!r}; known are a status, html_<status> and {', '.join(NAMED_FAULTS)}")
    return NAMED_FAULTS[fault]


@attrs.define
class _ScriptedFault:
    name: object
    fault: Fault
    times: float
    path: str
    page: int | None
    after: int

    @property
    def label(self) -> str:
        """The fault as its script names it."""
        return getattr(self.name, "__name__", repr(self.name))

    def describe(self) -> str:
        """Return a sentence about what is left of the script."""
        name = self.name if isinstance(self.name, str) else self.label
        requests = {1: "the next request", float("inf"): "all requests"}.get(
            self.times, f"the next {self.times} requests"
        )
        path = "" if self.path == "*" else f" for {self.path}"
        page = "" if self.page is None else f" for page {self.page}"
        after = f", after {self.after} more" if self.after else ""
        return f"{name}: {requests}{path}{page}{after}"

    def matches(self, request: web.Request) -> bool:
        if not self.times or not fnmatchcase(request.path, self.path):
            return False
        if self.page is None:
            return True
        return request.path.endswith("/customers") and request.query.get("page", "1") == str(self.page)

    def count_request(self) -> bool:
        """Count a matching request; return whether it fails."""
        if self.after:
            self.after -= 1
            return False
        self.times -= 1
        return True


class Faults:
    """Chooses the requests that fail, by script or at random.

    Args:
        seed: Makes random faults repeatable.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Remove all faults, and begin the random ones again."""
        self._random = Random(self._seed)  # noqa: S311  # a seed must give the same failures again; it is no secret
        self._scripted: list[_ScriptedFault] = []
        self._rates: dict[Fault, float] = {}

    def script(
        self, fault: int | str | Fault, times: int | None, path: str | None, page: int | None, after: int
    ) -> None:
        """Make the next requests fail; see `Emulator.fail_next`."""
        remaining = float("inf") if times is None else times
        self._scripted.append(_ScriptedFault(fault, _find_fault(fault), remaining, path or "*", page, after))

    def randomize(self, rates: Mapping[int | str | Fault, float]) -> None:
        """Make requests fail at random; see `Emulator.fail_randomly`."""
        if not all(rate >= 0 for rate in rates.values()) or sum(rates.values()) > 1:
            raise ValueError("the rates of faults are at least 0 and at most 1 together")
        self._rates = {_find_fault(fault): rate for fault, rate in rates.items()}

    def clear(self) -> None:
        """Remove all faults."""
        self._scripted.clear()
        self._rates.clear()

    def describe(self) -> list[str]:
        """Describe the faults that may still occur, each in a sentence."""
        scripted = [fault.describe() for fault in self._scripted if fault.times]
        return [*scripted, *(f"{rate:.0%} of requests fail" for rate in [sum(self._rates.values())] if rate)]

    @property
    def pending(self) -> list[str]:
        """The scripted faults that have not occurred as often as they should."""
        return [scripted.label for scripted in self._scripted if 0 < scripted.times < float("inf")]

    def has_path_of(self, request: web.Request) -> bool:
        """Whether a fault is scripted for the path of this request, and not for all paths."""
        return any(scripted.path != "*" and scripted.matches(request) for scripted in self._scripted)

    def choose(self, request: web.Request) -> Fault | None:
        """Return the fault for this request, or None."""
        for scripted in self._scripted:
            if scripted.matches(request) and scripted.count_request():
                return scripted.fault
        chance = self._random.random()
        for fault, rate in self._rates.items():
            if chance < rate:
                return fault
            chance -= rate
        return None
