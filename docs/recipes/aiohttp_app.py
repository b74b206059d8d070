"""An aiohttp.web service that looks customers up. Run it with ``python -m aiohttp.web aiohttp_app:make_app``."""

from collections.abc import AsyncIterator, Sequence
from math import ceil

from aiohttp import web
from aiohttp.typedefs import Handler

from customers_async import (
    APIConnectionError,
    CustomersClient,
    CustomersError,
    NotFoundError,
    RateLimitError,
    ServerError,
)

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
        raise web.HTTPUnprocessableEntity(text="not a uuid") from None
    return web.json_response({"uuid": customer.uuid, "name": customer.name})


@web.middleware
async def handle_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors of the client into responses."""
    try:
        return await handler(request)
    except NotFoundError:
        raise web.HTTPNotFound(text="no such customer") from None
    except RateLimitError as error:
        seconds = ceil(error.retry_after)
        raise web.HTTPServiceUnavailable(text="busy", headers={"Retry-After": str(seconds)}) from None
    except (APIConnectionError, ServerError):
        raise web.HTTPServiceUnavailable(text="unavailable", headers={"Retry-After": "5"}) from None
    except CustomersError as error:
        raise web.HTTPBadGateway(text=type(error).__name__) from None


def make_app(_: Sequence[str] = ()) -> web.Application:
    """Create the service."""
    app = web.Application(middlewares=[handle_errors])
    app.cleanup_ctx.append(customers)
    app.router.add_get("/customers/{uuid}", show)
    return app
