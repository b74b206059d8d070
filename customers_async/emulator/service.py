"""The service: processes a request, from the rate limit to the customers."""

import asyncio
import re
from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import partial
from pkgutil import get_data

import attrs
import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from customers_async.emulator.accounts import Account
from customers_async.emulator.customer_list import CustomerList
from customers_async.emulator.envelope import error_response
from customers_async.emulator.faults import Exchange, Faults, compress, make_login_redirect
from customers_async.emulator.pagination import (
    PARAMETERS,
    InvalidQueryError,
    PageRequest,
    make_page_headers,
    parse_query,
)
from customers_async.emulator.rate_limit import RateLimitWindows
from customers_async.emulator.settings import Settings
from customers_async.emulator.stats import Stats
from customers_async.emulator.tokens import Tokens

__all__ = ["CONTROL_PATH", "Service"]

CONTROL_PATH = "/_emulator"

_DESCRIPTION_PATH = "/openapi.yaml"
_GZIP = re.compile(r"(^|[,\s])(gzip|\*)(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)
_SMALLEST_COMPRESSED = 256
_LIST_PATH = "/api/v1/customers"

_Endpoint = Callable[[web.Request, Account], web.Response]


@attrs.frozen
class Service:
    """The routes, and what every request passes before them.

    As in Laravel with its limiter by address, the rate limit comes before authentication. So each response of a
    known route has rate-limit headers, whatever its status, and unknown paths and methods are not counted. Faults
    come after the rate limit.
    """

    settings: Settings
    clock: Callable[[], float]
    accounts: Sequence[Account]
    windows: RateLimitWindows
    tokens: Tokens
    faults: Faults
    stats: Stats
    connections: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)

    def make_application(self, control: web.Application | None = None) -> web.Application:
        """Return a new web application for this service, and for its control if there is one."""
        application = web.Application(middlewares=[self._add_date, self._count])
        routes = {
            _LIST_PATH: self._list_customers,
            f"{_LIST_PATH}/{{uuid}}": self._get_customer,
            "/api/v1/auth": self._get_owner,
        }
        for path, endpoint in routes.items():
            application.router.add_get(path, partial(self._handle, endpoint))
        application.router.add_get(_DESCRIPTION_PATH, _get_description)
        if control is not None:
            application.add_subapp(CONTROL_PATH, control)
        application.on_response_prepare.append(self._prepare)
        return application

    def hang_up(self) -> None:
        """Close the connections that wait for a response."""
        for connection in self.connections:
            connection.cancel()

    @web.middleware
    async def _add_date(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Add the emulator's time to a response without a date; aiohttp would add the real time."""
        response = await handler(request)
        response.headers.setdefault("Date", self._format_date())
        return response

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._belongs_to_service(request):
            return await handler(request)
        connection = request.task
        self.connections.add(connection)
        unrouted = request.match_info.http_exception
        try:
            with self.stats.counting(request.path):
                if unrouted and self.faults.has_path_of(request):  # the fault is the endpoint
                    return await self._handle(_refuse_unknown_path, request)
                self._note_unexpected(request, routed=unrouted is None)
                return _make_unrouted_response(unrouted) if unrouted else await handler(request)
        finally:
            self.connections.discard(connection)

    def _belongs_to_service(self, request: web.Request) -> bool:
        """Whether the real service would receive such a request, so that it counts."""
        is_control = self.settings.control and f"{request.path}/".startswith(f"{CONTROL_PATH}/")
        return request.path != _DESCRIPTION_PATH and not is_control

    def _note_unexpected(self, request: web.Request, *, routed: bool) -> None:
        """Record what the service does not have: an unknown route, or unknown parameters of a known one."""
        if not routed:
            self.stats.unexpected.append(f"{request.method} {request.path}")
        elif request.query_string:
            known = PARAMETERS if request.path == _LIST_PATH else frozenset()
            unknown = sorted(request.query.keys() - known)
            self.stats.unexpected += [f"{request.method} {request.path}: no parameter {name}" for name in unknown]

    async def _prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Count the status of a response that is about to be sent, and remove its date if the settings say so."""
        if any(name.lower() == "date" and override is None for name, override in self.settings.headers.items()):
            response.headers.popall("Date", None)  # aiohttp adds a date to a response without one
        if self._belongs_to_service(request):
            self.stats.note_status(request.method, request.path, response.status)

    async def _handle(self, endpoint: _Endpoint, request: web.Request) -> web.StreamResponse:
        """Respond to a request: with a 429 if the rate limit is used up."""
        address = self._find_address(request)
        if self.windows.admit(address):
            self.stats.admitted += 1
            await self._wait_latency()
            response = await self._handle_admitted(endpoint, request, address)
        else:
            self.stats.rejected += 1
            response = self._add_headers(error_response(429), address)
            await self._wait_latency()
        return self._compress(response, request)

    async def _handle_admitted(self, endpoint: _Endpoint, request: web.Request, address: str) -> web.StreamResponse:
        async def respond() -> web.Response:
            return self._add_headers(self._authorize(endpoint, request), address)

        def refuse(status: int) -> web.Response:
            return self._add_headers(error_response(status), address)

        fault = self.faults.choose(request)
        return await (fault(Exchange(request, respond, refuse)) if fault else respond())

    def _authorize(self, endpoint: _Endpoint, request: web.Request) -> web.Response:
        if not self.settings.whitelisted:
            return error_response(403)
        account = self.tokens.accept(request.headers.get("Authorization"))
        if account is not None:
            return endpoint(request, self.accounts[account])
        if self.settings.login_redirect and "json" not in request.headers.get("Accept", ""):
            return make_login_redirect()
        return error_response(401)

    def _list_customers(self, request: web.Request, account: Account) -> web.Response:
        """Respond with a page of the list, which is empty or refused past the end of a capped list."""
        try:
            requested = parse_query(request.query.items())
        except InvalidQueryError as error:
            return error_response(422, error.errors)
        settings = self.settings
        account.drift.apply(requested.number)
        page = PageRequest(
            number=1 if settings.ignore_page else requested.number,
            size=settings.ignore_per_page or requested.size,
        )
        if settings.capped and settings.cap_refuses and (page.number - 1) * page.size >= settings.cap:
            last = -(-settings.cap // page.size)
            return error_response(422, {"page": [f"The page must not be greater than {last}."]})
        rows = self._rows(page, account.customer_list)
        return web.Response(
            body=b"[" + b",".join(rows) + b"]",
            content_type="application/json",
            headers=make_page_headers(settings.edition, len(account.customer_list), page, len(rows)),
        )

    def _rows(self, page: PageRequest, customer_list: CustomerList) -> list[bytes]:
        """The records of a page; none if it is past the end."""
        served = len(customer_list)
        if self.settings.capped:
            served = min(served, self.settings.cap)
        start = min((page.number - 1) * page.size, served)
        stop = min(start + page.size, served)
        if self.settings.unstable_order:
            return customer_list.shuffled_rows(start, stop, draw=next(customer_list.draws))
        return customer_list.rows(start, stop)

    def _get_customer(self, request: web.Request, account: Account) -> web.Response:
        row = account.customer_list.find(request.match_info["uuid"])
        return error_response(404) if row is None else web.Response(body=row, content_type="application/json")

    def _get_owner(self, _: web.Request, account: Account) -> web.Response:
        return web.Response(body=msgspec.json.encode(account.owner), content_type="application/json")

    def _find_address(self, request: web.Request) -> str:
        if self.settings.shared_address:
            return "shared"
        forwarded = request.headers.get("X-Forwarded-For") if self.settings.trust_forwarded_for else None
        return forwarded.partition(",")[0].strip() if forwarded else request.remote or ""

    async def _wait_latency(self) -> None:
        latency = self.settings.latency
        seconds = latency() if callable(latency) else latency
        if seconds:
            await asyncio.sleep(seconds)

    def _add_headers(self, response: web.Response, address: str) -> web.Response:
        """Add the date and the rate-limit headers, then replace headers as the settings say."""
        headers = response.headers
        headers["Date"] = self._format_date()
        headers["X-RateLimit-Limit"] = str(self.windows.limit)
        if response.status == 429:
            headers["X-RateLimit-Remaining"] = "0"
            if self.settings.retry_after:
                headers["Retry-After"] = str(self.windows.retry_after(address))
                headers["X-RateLimit-Reset"] = str(self.windows.resets_at(address))
        else:
            headers["X-RateLimit-Remaining"] = str(self.windows.remaining(address))
        for name, override in self.settings.headers.items():
            if name in headers:
                value = override(headers.pop(name)) if callable(override) else override
                headers.popall(name, None)
                if value is not None:
                    headers[name] = value
        return response

    def _format_date(self) -> str:
        return formatdate(self.clock(), usegmt=True)

    def _compress(self, response: web.StreamResponse, request: web.Request) -> web.StreamResponse:
        body = getattr(response, "body", None)
        if (
            self.settings.gzip
            and isinstance(response, web.Response)
            and isinstance(body, bytes)
            and len(body) >= _SMALLEST_COMPRESSED
            and "Content-Encoding" not in response.headers
            and _GZIP.search(request.headers.get("Accept-Encoding", ""))
        ):
            response.body = compress(body)
            response.headers["Content-Encoding"] = "gzip"
            response.headers["Vary"] = "Accept-Encoding"
        return response


async def _get_description(_: web.Request) -> web.Response:
    # importlib.resources does not find the file under pytest 6.2; a frozen program may lack it, and needs it only here.
    return web.Response(body=get_data(__package__, "openapi.yaml"), content_type="application/yaml")


def _refuse_unknown_path(_: web.Request, __: Account) -> web.Response:
    return error_response(404)


def _make_unrouted_response(error: web.HTTPException) -> web.Response:
    response = error_response(error.status)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response
