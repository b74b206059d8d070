"""What the service does with a request, from the quota down to the customers."""

import asyncio
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from itertools import count

import attrs
import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from customers_async.emulator.customer_list import CustomerList
from customers_async.emulator.drift import Drift
from customers_async.emulator.envelope import envelope
from customers_async.emulator.faults import Exchange, Faults, gzipped, login_redirect
from customers_async.emulator.pagination import (
    PARAMETERS,
    InvalidQueryError,
    PageRequest,
    page_headers,
    page_request,
)
from customers_async.emulator.quota import Quota
from customers_async.emulator.settings import Settings
from customers_async.emulator.stats import Stats
from customers_async.emulator.tokens import Tokens

__all__ = ["OWNER", "Service"]

OWNER = {
    "uuid": "0f0e0d0c-0b0a-4908-8706-050403020100",
    "is_active": 1,
    "name": "API user",
    "email": "api@example.com",
    "created_at": 1744373843,
    "updated_at": 1744373843,
}

_DESCRIPTION_PATH = "/openapi.yaml"
_DESCRIPTION = files(__package__).joinpath("openapi.yaml").read_bytes()
_GZIP = re.compile(r"(^|[,\s])(gzip|\*)(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)
_WORTH_COMPRESSING = 256


_LIST_PATH = "/api/v1/customers"

_Answer = Callable[[web.Request], web.Response]


@attrs.frozen
class Service:
    """The routes and everything in front of them.

    As in Laravel with its limiter by address, the quota comes before authentication, so an answer to a known
    route tells of the quota whatever its status is, while unknown paths and methods never reach it. Scripted
    faults strike behind the quota.
    """

    settings: Settings
    directory: CustomerList
    drift: Drift
    quota: Quota
    tokens: Tokens
    faults: Faults
    stats: Stats
    connections: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)
    draws: Iterator[int] = attrs.field(factory=count, init=False)

    def application(self) -> web.Application:
        """A new web application that serves this."""
        application = web.Application(middlewares=[self._counted])
        routes = {
            _LIST_PATH: self._list_customers,
            f"{_LIST_PATH}/{{uuid}}": self._get_customer,
            "/api/v1/auth": self._get_owner,
        }
        for path, answer in routes.items():
            application.router.add_get(path, partial(self._throttled, answer))
        application.router.add_get(_DESCRIPTION_PATH, _get_description)
        application.on_response_prepare.append(self._count_status)
        return application

    def hang_up(self) -> None:
        """Drop the connections on which an answer is awaited."""
        for connection in self.connections:
            connection.cancel()

    @web.middleware
    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == _DESCRIPTION_PATH:
            return await handler(request)
        connection = request.task
        self.connections.add(connection)
        unrouted = request.match_info.http_exception
        try:
            with self.stats.counting(request.path):
                self._note_surprises(request, routed=unrouted is None)
                return _unrouted(unrouted) if unrouted else await handler(request)
        finally:
            self.connections.discard(connection)

    def _note_surprises(self, request: web.Request, *, routed: bool) -> None:
        """Note in words what of a request the service does not have."""
        if not routed:
            self.stats.unexpected.append(f"{request.method} {request.path}")
        elif request.query_string:
            known = PARAMETERS if request.path == _LIST_PATH else frozenset()
            unknown = sorted(request.query.keys() - known)
            self.stats.unexpected += [f"{request.method} {request.path}: no parameter {name}" for name in unknown]

    async def _count_status(self, request: web.Request, response: web.StreamResponse) -> None:
        if request.path != _DESCRIPTION_PATH:
            self.stats.statuses[response.status] += 1

    async def _throttled(self, answer: _Answer, request: web.Request) -> web.StreamResponse:
        address = self._address(request)
        if self.quota.admit(address):
            self.stats.admitted += 1
            await self._take_time()
            response = await self._admitted(answer, request, address)
        else:
            self.stats.rejected += 1
            response = self._labelled(envelope(429), address)
            await self._take_time()
        return self._compressed(response, request)

    async def _admitted(self, answer: _Answer, request: web.Request, address: str) -> web.StreamResponse:
        async def true_answer() -> web.Response:
            return self._labelled(self._authorized(answer, request), address)

        def refuse(status: int) -> web.Response:
            return self._labelled(envelope(status), address)

        fault = self.faults.next(request)
        return await (fault(Exchange(request, true_answer, refuse)) if fault else true_answer())

    def _authorized(self, answer: _Answer, request: web.Request) -> web.Response:
        if not self.settings.whitelisted:
            return envelope(403)
        if self.tokens.accept(request.headers.get("Authorization")):
            return answer(request)
        if self.settings.login_redirect and "json" not in request.headers.get("Accept", ""):
            return login_redirect()
        return envelope(401)

    def _list_customers(self, request: web.Request) -> web.Response:
        try:
            asked = page_request(request.query.items())
        except InvalidQueryError as error:
            return envelope(422, error.errors)
        settings = self.settings
        self.drift.happen(asked.number)
        page = PageRequest(
            number=1 if settings.ignore_page else asked.number,
            size=settings.ignore_per_page or asked.size,
        )
        if settings.capped and settings.cap_refuses and (page.number - 1) * page.size >= settings.cap:
            last = -(-settings.cap // page.size)
            return envelope(422, {"page": [f"The page must not be greater than {last}."]})
        rows = self._rows(page)
        return web.Response(
            body=b"[" + b",".join(rows) + b"]",
            content_type="application/json",
            headers=page_headers(settings.edition, len(self.directory), page, len(rows)),
        )

    def _rows(self, page: PageRequest) -> list[bytes]:
        served = len(self.directory)
        if self.settings.capped:
            served = min(served, self.settings.cap)
        start = min((page.number - 1) * page.size, served)
        stop = min(start + page.size, served)
        if self.settings.unstable_order:
            return self.directory.shuffled_rows(start, stop, draw=next(self.draws))
        return self.directory.rows(start, stop)

    def _get_customer(self, request: web.Request) -> web.Response:
        row = self.directory.find(request.match_info["uuid"])
        return envelope(404) if row is None else web.Response(body=row, content_type="application/json")

    def _get_owner(self, _: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(OWNER), content_type="application/json")

    def _address(self, request: web.Request) -> str:
        forwarded = request.headers.get("X-Forwarded-For") if self.settings.trust_forwarded_for else None
        return forwarded.partition(",")[0].strip() if forwarded else request.remote or ""

    async def _take_time(self) -> None:
        latency = self.settings.latency
        seconds = latency() if callable(latency) else latency
        if seconds:
            await asyncio.sleep(seconds)

    def _labelled(self, response: web.Response, address: str) -> web.Response:
        """Add what the limiter has to say, and replace the headers that are to be replaced."""
        headers = response.headers
        headers["X-RateLimit-Limit"] = str(self.quota.limit)
        if response.status == 429:
            headers["X-RateLimit-Remaining"] = "0"
            if self.settings.retry_after:
                headers["Retry-After"] = str(self.quota.retry_after(address))
                headers["X-RateLimit-Reset"] = str(self.quota.reopens_at(address))
        else:
            headers["X-RateLimit-Remaining"] = str(self.quota.remaining(address))
        for name, override in self.settings.headers.items():
            if name in headers:
                value = override(headers.pop(name)) if callable(override) else override
                headers.popall(name, None)
                if value is not None:
                    headers[name] = value
        return response

    def _compressed(self, response: web.StreamResponse, request: web.Request) -> web.StreamResponse:
        body = getattr(response, "body", None)
        if (
            self.settings.gzip
            and isinstance(response, web.Response)
            and isinstance(body, bytes)
            and len(body) >= _WORTH_COMPRESSING
            and "Content-Encoding" not in response.headers
            and _GZIP.search(request.headers.get("Accept-Encoding", ""))
        ):
            response.body = gzipped(body)
            response.headers["Content-Encoding"] = "gzip"
            response.headers["Vary"] = "Accept-Encoding"
        return response


async def _get_description(_: web.Request) -> web.Response:
    return web.Response(body=_DESCRIPTION, content_type="application/yaml")


def _unrouted(error: web.HTTPException) -> web.Response:
    response = envelope(error.status)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response
