"""An aiohttp.web service that looks customers up. Run it with ``python -m aiohttp.web aiohttp_app:make_app``."""

from collections.abc import AsyncIterator, Sequence
from math import ceil

from aiohttp import web
from aiohttp.typedefs import Handler

from customers_async import CustomersClient, CustomersError

CUSTOMERS = web.AppKey("CUSTOMERS", CustomersClient)


async def customers(app: web.Application) -> AsyncIterator[None]:
    """Keep one client open while the service runs."""
    async with CustomersClient(timeout=5, max_rate_limit_wait=1) as client:
        app[CUSTOMERS] = client
        yield


async def show(request: web.Request) -> web.Response:
    """Return a customer's name."""
    try:
        customer = await request.app[CUSTOMERS].get_customer(request.match_info["uuid"])
    except ValueError:
        return web.json_response({"detail": "not a uuid"}, status=422)
    return web.json_response({"uuid": customer.uuid, "name": customer.name})


@web.middleware
async def handle_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors of the client into responses."""
    try:
        return await handler(request)
    except CustomersError as error:
        headers = {"Retry-After": f"{ceil(error.retry_after or 5)}"} if error.retryable else None
        return web.json_response({"detail": type(error).__name__}, status=error.http_status, headers=headers)


def make_app(_: Sequence[str] = ()) -> web.Application:
    """Create the service."""
    app = web.Application(middlewares=[handle_errors])
    app.cleanup_ctx.append(customers)
    app.router.add_get("/customers/{uuid}", show)
    return app
