"""A Starlette service that looks customers up. Run it with ``uvicorn starlette_app:app``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from customers_async import CustomersClient, CustomersError


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


async def failed(_: Request, error: CustomersError) -> Response:
    """Turn an error of the client into a response."""
    headers = {"Retry-After": f"{ceil(error.retry_after or 5)}"} if error.retryable else None
    return JSONResponse({"detail": type(error).__name__}, error.http_status, headers)


app = Starlette(routes=[Route("/customers/{uuid}", show)], lifespan=lifespan)
app.add_exception_handler(CustomersError, failed)  # type: ignore[arg-type]  # its annotation allows Exception only
