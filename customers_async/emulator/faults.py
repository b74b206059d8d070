"""Ways to fail: what goes wrong with an answer, and when."""

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

__all__ = ["Exchange", "Fault", "Faults", "gzipped", "login_redirect"]

_HTML = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"
_SECONDS_BETWEEN_DRIPS = 1.0


@attrs.frozen
class Exchange:
    """One request, and what the service would say to it.

    Attributes:
        request: The request.
        answer: Awaited, works out the true answer; not called, the service never gets to see the request.
        refuse: Makes the error answer with a given status, as the service itself would.
    """

    request: web.Request
    answer: Callable[[], Awaitable[web.Response]]
    refuse: Callable[[int], web.Response]


Fault = Callable[[Exchange], Awaitable[web.StreamResponse]]
"""Answers a request in its own way, as in ``async def teapot(exchange): return exchange.refuse(418)``."""


@lru_cache(maxsize=128)
def gzipped(body: bytes) -> bytes:
    """``body`` compressed, quickly rather than well; the same body is compressed once."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    return compressor.compress(body) + compressor.flush()


async def _status(status: int, exchange: Exchange) -> web.StreamResponse:
    return exchange.refuse(status)


async def _no_content(exchange: Exchange) -> web.StreamResponse:
    return web.Response(status=204)


async def _html(status: int, exchange: Exchange) -> web.StreamResponse:
    title = "Just a moment" if status == 200 else f"{status} Error"
    return web.Response(status=status, text=_HTML.format(title), content_type="text/html")


def login_redirect() -> web.Response:
    """What Laravel sends to a browser that is not logged in."""
    text = _HTML.format("Redirecting to /login")
    return web.Response(status=302, text=text, content_type="text/html", headers={"Location": "/login"})


async def _redirect(exchange: Exchange) -> web.StreamResponse:
    return login_redirect()


async def _echo(exchange: Exchange) -> web.StreamResponse:
    answer = exchange.refuse(400)
    authorization = exchange.request.headers.get("Authorization", "").encode()
    answer.body = _body(answer).replace(b"INTERNAL_SERVER_ERROR", authorization)
    return answer


async def _rewritten(rewrite: Callable[[bytes], bytes], exchange: Exchange) -> web.StreamResponse:
    answer = await exchange.answer()
    answer.body = rewrite(_body(answer))
    return answer


async def _cut(exchange: Exchange) -> web.StreamResponse:
    stream, body = await _begun(exchange)
    await stream.write(body[: len(body) // 2])
    return await _hang_up(exchange)


async def _cut_gzip(exchange: Exchange) -> web.StreamResponse:
    answer = await exchange.answer()
    compressed = gzipped(_body(answer))
    answer.body = compressed[: len(compressed) // 2]
    answer.headers["Content-Encoding"] = "gzip"
    return answer


async def _stall(exchange: Exchange) -> web.StreamResponse:
    return await _never()


async def _stall_body(exchange: Exchange) -> web.StreamResponse:
    stream, body = await _begun(exchange)
    await stream.write(body[: len(body) // 2])
    return await _never()


async def _drip(exchange: Exchange) -> web.StreamResponse:
    stream, body = await _begun(exchange)
    for byte in body:
        await asyncio.sleep(_SECONDS_BETWEEN_DRIPS)
        await stream.write(bytes([byte]))
    return stream


async def _hang_up(exchange: Exchange) -> web.StreamResponse:
    if transport := exchange.request.transport:
        transport.close()
    return await _never()


async def _reset(exchange: Exchange) -> web.StreamResponse:
    if transport := exchange.request.transport:
        # Without lingering the kernel sends a reset, not an orderly end.
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return await _never()


async def _begun(exchange: Exchange) -> tuple[web.StreamResponse, bytes]:
    """The true answer, of which the headers are sent and the body is not."""
    answer = await exchange.answer()
    body = _body(answer)
    stream = web.StreamResponse(status=answer.status, headers=answer.headers)
    stream.content_length = len(body)
    await stream.prepare(exchange.request)
    return stream, body


async def _never() -> web.StreamResponse:
    """Wait until the connection is gone, which cancels the request."""
    never: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()
    return await never


def _body(answer: web.Response) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else b""


_KINDS: Mapping[str, Fault] = {
    "html": partial(_html, 200),
    "maintenance": partial(_html, 503),
    "redirect": _redirect,
    "echo": _echo,
    "bad_json": partial(_rewritten, lambda body: body[: len(body) // 2]),
    "empty": partial(_rewritten, lambda body: b""),
    "null": partial(_rewritten, lambda body: b"null"),
    "cut": _cut,
    "cut_gzip": _cut_gzip,
    "stall": _stall,
    "stall_body": _stall_body,
    "drip": _drip,
    "hang_up": _hang_up,
    "reset": _reset,
}


def _fault(fault: int | str | Fault) -> Fault:
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
    if fault not in _KINDS:
        raise ValueError(f"unknown fault {fault!r}; known are a status, html_<status> and {', '.join(_KINDS)}")
    return _KINDS[fault]


@attrs.define
class _Scripted:
    name: object
    fault: Fault
    times: float
    path: str
    page: int | None
    after: int

    def concerns(self, request: web.Request) -> bool:
        if not self.times or not fnmatchcase(request.path, self.path):
            return False
        if self.page is None:
            return True
        return request.path.endswith("/customers") and request.query.get("page", "1") == str(self.page)

    def is_due(self) -> bool:
        if self.after:
            self.after -= 1
            return False
        self.times -= 1
        return True


class Faults:
    """What is to go wrong, scripted or by chance.

    Args:
        seed: Makes chance repeatable.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  # repeatable failures, no secret
        self._scripted: list[_Scripted] = []
        self._rates: dict[Fault, float] = {}

    def script(
        self, fault: int | str | Fault, times: int | None, path: str | None, page: int | None, after: int
    ) -> None:
        """Let the next requests fail; see `Emulator.fail_next`."""
        remaining = float("inf") if times is None else times
        self._scripted.append(_Scripted(fault, _fault(fault), remaining, path or "*", page, after))

    def randomize(self, rates: Mapping[int | str | Fault, float]) -> None:
        """Let requests fail by chance; see `Emulator.fail_randomly`."""
        if not all(rate >= 0 for rate in rates.values()) or sum(rates.values()) > 1:
            raise ValueError("the rates of faults are at least 0 and at most 1 together")
        self._rates = {_fault(fault): rate for fault, rate in rates.items()}

    def clear(self) -> None:
        """Let nothing fail any more."""
        self._scripted.clear()
        self._rates.clear()

    @property
    def pending(self) -> list[str]:
        """The scripted faults that have not struck as often as they were to."""
        return [
            getattr(scripted.name, "__name__", repr(scripted.name))
            for scripted in self._scripted
            if 0 < scripted.times < float("inf")
        ]

    def next(self, request: web.Request) -> Fault | None:
        """What is to befall this request, if anything."""
        for scripted in self._scripted:
            if scripted.concerns(request) and scripted.is_due():
                return scripted.fault
        chance = self._random.random()
        for fault, rate in self._rates.items():
            if chance < rate:
                return fault
            chance -= rate
        return None
