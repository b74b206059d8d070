"""A FastAPI service that looks customers up. Run it with ``uvicorn fastapi_app:app --workers 2``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from typing import Annotated, TypedDict

from fastapi import Depends, FastAPI, Path, Request
from fastapi.responses import JSONResponse

from customers_async import (
    APIConnectionError,
    Customer,
    CustomersClient,
    CustomersError,
    NotFoundError,
    RateLimitError,
    RetryPolicy,
    ServerError,
)

UUID = r"^[a-zA-Z0-9]{8}(-[a-zA-Z0-9]{4}){3}-[a-zA-Z0-9]{12}$"
RETRY_AFTER = 5
"""Seconds to wait if the customers service is down."""


class State(TypedDict):
    """What the service keeps while it runs."""

    lookups: CustomersClient


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Keep one client open in each worker: it holds the connections and tracks the rate limit."""
    async with CustomersClient() as client:
        yield {"lookups": client.with_options(timeout=5, max_rate_limit_wait=1, retry=RetryPolicy(max_attempts=2))}


def lookups(request: Request) -> CustomersClient:
    """Return the client for requests that a person waits for: it fails fast."""
    client: CustomersClient = request.state.lookups
    return client


app = FastAPI(lifespan=lifespan)


@app.get("/customers/{uuid}")
async def show(
    uuid: Annotated[str, Path(pattern=UUID)], client: Annotated[CustomersClient, Depends(lookups)]
) -> dict[str, str | None]:
    """Return a customer's name and country."""
    return summary(await client.get_customer(uuid))


def summary(customer: Customer) -> dict[str, str | None]:
    """Return the fields that this service publishes."""
    return {"uuid": customer.uuid, "name": customer.name, "country": customer.post_address_country_code}


@app.exception_handler(NotFoundError)
async def not_found(_: Request, error: NotFoundError) -> JSONResponse:
    """404: there is no such customer."""
    return JSONResponse({"detail": "no such customer"}, 404)


@app.exception_handler(RateLimitError)
async def busy(_: Request, error: RateLimitError) -> JSONResponse:
    """503: the rate limit is used up, for the seconds that the error names."""
    return JSONResponse({"detail": "busy"}, 503, {"Retry-After": str(ceil(error.retry_after))})


@app.exception_handler(APIConnectionError)
@app.exception_handler(ServerError)
async def unavailable(_: Request, error: CustomersError) -> JSONResponse:
    """503: the customers service is down or unreachable."""
    return JSONResponse({"detail": "unavailable"}, 503, {"Retry-After": str(RETRY_AFTER)})


@app.exception_handler(CustomersError)
async def failed(_: Request, error: CustomersError) -> JSONResponse:
    """502: other errors, such as an expired token, need attention."""
    return JSONResponse({"detail": type(error).__name__}, 502)
