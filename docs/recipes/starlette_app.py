"""A Starlette service that looks customers up. Run it with ``uvicorn starlette_app:app``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from customers_async import (
    APIConnectionError,
    CustomersClient,
    CustomersError,
    NotFoundError,
    RateLimitError,
    ServerError,
)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, CustomersClient]]:
    """Keep one client open while the service runs."""
    async with CustomersClient(timeout=5, max_rate_limit_wait=1) as client:
        yield {"customers": client}


async def show(request: Request) -> Response:
    """Return a customer's name."""
    client: CustomersClient = request.state.customers
    try:
        customer = await client.get_customer(request.path_params["uuid"])
    except ValueError:
        return JSONResponse({"detail": "not a uuid"}, 422)
    return JSONResponse({"uuid": customer.uuid, "name": customer.name})


async def handle_error(_: Request, error: Exception) -> Response:
    """Turn an error of the client into a response."""
    if isinstance(error, NotFoundError):
        return JSONResponse({"detail": "no such customer"}, 404)
    if isinstance(error, RateLimitError):
        return JSONResponse({"detail": "busy"}, 503, {"Retry-After": str(ceil(error.retry_after))})
    if isinstance(error, APIConnectionError | ServerError):
        return JSONResponse({"detail": "unavailable"}, 503, {"Retry-After": "5"})
    return JSONResponse({"detail": type(error).__name__}, 502)


app = Starlette(
    routes=[Route("/customers/{uuid}", show)], exception_handlers={CustomersError: handle_error}, lifespan=lifespan
)
