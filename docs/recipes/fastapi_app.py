"""A FastAPI service that looks customers up. Run it with ``uvicorn fastapi_app:app --workers 2``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Annotated

from fastapi import Depends, FastAPI, Path, Request
from fastapi.responses import JSONResponse

from customers_async import Customer, CustomersClient, CustomersError, RetryPolicy

UUID = r"^[a-zA-Z0-9]{8}(-[a-zA-Z0-9]{4}){3}-[a-zA-Z0-9]{12}$"
PUBLISHED = {"uuid", "name", "post_address_country_code"}
RECENT = timedelta(minutes=1)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, CustomersClient]]:
    """Keep one client open in each worker: it holds the connections and tracks the rate limit."""
    async with CustomersClient(timeout=5, max_rate_limit_wait=1, retry=RetryPolicy(max_attempts=2)) as client:
        yield {"customers": client}


def customers(request: Request) -> CustomersClient:
    """Return the client. It fails fast, because a person waits."""
    client: CustomersClient = request.state.customers
    return client


Client = Annotated[CustomersClient, Depends(customers)]
app = FastAPI(lifespan=lifespan)


@app.get("/customers/{uuid}", response_model_include=PUBLISHED)
async def show(uuid: Annotated[str, Path(pattern=UUID)], client: Client) -> Customer:
    """Return the fields of a customer that this service publishes."""
    return await client.get_customer(uuid)


@app.get("/readyz")
async def readyz(client: Client) -> None:
    """200 if the customers service has responded within the last minute, or responds now."""
    last = client.health.last_response_at
    if last is None or datetime.now(UTC) - last > RECENT:
        await client.with_options(timeout=2, max_rate_limit_wait=0).whoami()


@app.exception_handler(CustomersError)
async def failed(_: Request, error: CustomersError) -> JSONResponse:
    """Pass on what the error says: 404, 429, 503, 502 or 504, and when to try again."""
    headers = {"Retry-After": f"{ceil(error.retry_after or 5)}"} if error.retryable else None
    return JSONResponse({"detail": type(error).__name__}, error.http_status, headers)
