"""The contestants: each opens its connection once, and then reads the list of 10,000 customers repeatedly.

The hand-written ones are as fast as is sensible, the others as fast as their settings allow: one connection kept alive,
no cookies, no proxies from the environment, validators created once.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from itertools import islice

import aiohttp
import attrs

from customers_async import CustomersClient, RateLimiter
from tests.benchmarks.service import GZIP_PREFIX, LIMIT, PER_PAGE, TOKEN

__all__ = [
    *("BASELINE", "BASELINES", "CONTESTANTS", "GET_CUSTOMER", "LOOK_UP_BASELINE", "PAGES", "Contestant", "Turn"),
    *("aiohttp_session", "client", "read_bodies"),
]

PAGES = 100
"""The length of the list: 10,000 customers are the most that the service returns, by one edition of its pages."""
_LOOK_UPS = 200

_PATH = "/api/v1/customers"
_HEADERS = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json"}

Turn = Callable[[], Awaitable[int]]
"""Reads the list, or looks customers up; returns the number of customers read."""


@attrs.frozen
class Contestant:
    """One way to read the service.

    Attributes:
        title: Its name in the tables.
        at: Opens its connection to a base URL.
        needs: The modules that it requires.
        generator: Command that generates its client, with ``{description}`` and ``{directory}`` to fill in.
    """

    title: str
    at: Callable[[str], AbstractAsyncContextManager[Turn]]
    needs: tuple[str, ...] = ()
    generator: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """The modules that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]


def client(url: str, session: aiohttp.ClientSession | None = None) -> CustomersClient:
    """Return this package's client with its default options and a rate limit that is never reached."""
    return CustomersClient(TOKEN, base_url=url, rate_limiter=RateLimiter(LIMIT), session=session)


def aiohttp_session(connector: aiohttp.BaseConnector | None = None) -> aiohttp.ClientSession:
    """Return a session with sensible settings, which is opened once."""
    return aiohttp.ClientSession(connector=connector, headers=_HEADERS, cookie_jar=aiohttp.DummyCookieJar())


async def read_bodies(
    session: aiohttp.ClientSession, url: str, pages: int = PAGES, in_flight: int = 1
) -> AsyncGenerator[bytes, None]:
    """Yield the bodies of the pages in their order, with that many requests in flight."""

    async def fetch(page: int) -> bytes:
        async with session.get(f"{url}{_PATH}?per_page={PER_PAGE}&page={page}") as response:
            response.raise_for_status()
            return await response.read()

    numbers = iter(range(1, pages + 1))
    if in_flight == 1:
        for number in numbers:
            yield await fetch(number)
        return
    tasks = deque(asyncio.create_task(fetch(number)) for number in islice(numbers, in_flight))
    while tasks:
        body = await tasks.popleft()
        tasks.extend(asyncio.create_task(fetch(number)) for number in islice(numbers, 1))
        yield body


@asynccontextmanager
async def aiohttp_bytes(url: str) -> AsyncIterator[Turn]:
    async with aiohttp_session() as session:

        async def read() -> int:
            return sum([PER_PAGE async for _ in read_bodies(session, url)])

        yield read


@asynccontextmanager
async def aiohttp_orjson(url: str, *, in_flight: int, prefix: str = "") -> AsyncIterator[Turn]:
    from orjson import loads

    async with aiohttp_session() as session:

        async def read() -> int:
            bodies = read_bodies(session, url + prefix, in_flight=in_flight)
            return sum([len(loads(body)) async for body in bodies])

        yield read


@asynccontextmanager
async def customers_by_page(url: str, *, in_flight: int, prefix: str = "") -> AsyncIterator[Turn]:
    async with client(url + prefix) as whole:
        customers = whole.with_options(concurrency=in_flight)

        async def read() -> int:
            return sum([len(page.customers) async for page in customers.list_customers().pages()])

        yield read


@asynccontextmanager
async def customers_one_by_one(url: str) -> AsyncIterator[Turn]:
    async with client(url) as customers:

        async def read() -> int:
            count = 0
            async for _ in customers.list_customers():
                count += 1
            return count

        yield read


def _pydantic_reader() -> Callable[[bytes], Sequence[object]]:
    from pydantic import BaseModel, TypeAdapter

    class Customer(BaseModel):
        uuid: str
        identity_uuid: str | None = None
        type: str | None = None
        updated_at: datetime | None = None
        created_at: datetime | None = None
        name: str | None = None
        risk_country_code: str | None = None
        registration_country_code: str | None = None
        registration_address_line: str | None = None
        registration_address_index: str | None = None
        post_address_country_code: str | None = None
        post_address_line: str | None = None
        post_address_index: str | None = None
        related_persons: object = None

    return TypeAdapter(list[Customer]).validate_json


@asynccontextmanager
async def aiohttp_pydantic(url: str) -> AsyncIterator[Turn]:
    validate = _pydantic_reader()
    async with aiohttp_session() as session:

        async def read() -> int:
            return sum([len(validate(body)) async for body in read_bodies(session, url)])

        yield read


@asynccontextmanager
async def httpx_pydantic(url: str) -> AsyncIterator[Turn]:
    import httpx

    validate = _pydantic_reader()
    async with httpx.AsyncClient(headers=_HEADERS, trust_env=False) as http:

        async def read() -> int:
            count = 0
            for page in range(1, PAGES + 1):
                response = await http.get(f"{url}{_PATH}?per_page={PER_PAGE}&page={page}")
                response.raise_for_status()
                count += len(validate(response.content))
            return count

        yield read


@asynccontextmanager
async def dlt_rest_client(url: str) -> AsyncIterator[Turn]:
    from dlt.sources.helpers.rest_client import RESTClient
    from dlt.sources.helpers.rest_client.auth import BearerTokenAuth
    from dlt.sources.helpers.rest_client.paginators import PageNumberPaginator

    paginator = PageNumberPaginator(base_page=1, total_path=None, maximum_page=PAGES + 1)
    rest = RESTClient(url, auth=BearerTokenAuth(TOKEN), paginator=paginator, data_selector="$")
    rest.session.trust_env = False

    async def read() -> int:
        return sum(len(page) for page in rest.paginate(_PATH, params={"per_page": PER_PAGE}))

    yield read


@asynccontextmanager
async def openapi_generator(url: str) -> AsyncIterator[Turn]:
    from generated_by_openapi_generator import ApiClient, Configuration, CustomersApi

    configuration = Configuration(host=url, access_token=TOKEN)
    configuration.client_session_kwargs = {"trust_env": False, "cookie_jar": aiohttp.DummyCookieJar()}
    async with ApiClient(configuration) as api:
        calls = CustomersApi(api)

        async def read() -> int:
            return sum([len(await calls.list_customers(PER_PAGE, page)) for page in range(1, PAGES + 1)])

        yield read


@asynccontextmanager
async def openapi_python_client(url: str) -> AsyncIterator[Turn]:
    from generated_by_openapi_python_client import AuthenticatedClient
    from generated_by_openapi_python_client.api.customers.list_customers import asyncio as list_customers

    async with AuthenticatedClient(base_url=url, token=TOKEN, httpx_args={"trust_env": False}) as api:

        async def read() -> int:
            pages = range(1, PAGES + 1)
            return sum([len(await list_customers(client=api, per_page=PER_PAGE, page=page)) for page in pages])

        yield read


def _uuid(number: int) -> str:
    return f"{number:08}-7d6c-4e9a-9b2e-3f8d1a9c5f2g"


@asynccontextmanager
async def look_up_by_hand(url: str) -> AsyncIterator[Turn]:
    from orjson import loads

    async with aiohttp_session() as session:

        async def look_up() -> int:
            for number in range(_LOOK_UPS):
                async with session.get(f"{url}{_PATH}/{_uuid(number)}") as response:
                    response.raise_for_status()
                    loads(await response.read())
            return _LOOK_UPS

        yield look_up


@asynccontextmanager
async def get_customer(url: str) -> AsyncIterator[Turn]:
    async with client(url) as customers:

        async def look_up() -> int:
            for number in range(_LOOK_UPS):
                await customers.get_customer(_uuid(number))
            return _LOOK_UPS

        yield look_up


def _baseline(title: str, in_flight: int, prefix: str = "") -> Contestant:
    return Contestant(title, partial(aiohttp_orjson, in_flight=in_flight, prefix=prefix), needs=("orjson",))


BASELINE = _baseline("aiohttp + orjson, untyped (baseline), 1 in flight", 1)
BASELINE_8 = _baseline("aiohttp + orjson, untyped (baseline), 8 in flight", 8)
BASELINE_GZIP = _baseline("aiohttp + orjson, untyped (baseline), 8 in flight, gzip", 8, GZIP_PREFIX)
CONTESTANTS = {
    "bytes": Contestant("aiohttp, bytes only, 1 in flight", aiohttp_bytes),
    "pages-1": Contestant("customers_async, page by page, 1 in flight", partial(customers_by_page, in_flight=1)),
    "pages": Contestant("customers_async, page by page, 8 in flight", partial(customers_by_page, in_flight=8)),
    "customers": Contestant("customers_async, customer by customer, 8 in flight", customers_one_by_one),
    "pages-gzip": Contestant(
        "customers_async, page by page, 8 in flight, gzip", partial(customers_by_page, in_flight=8, prefix=GZIP_PREFIX)
    ),
    "aiohttp-pydantic": Contestant("aiohttp + pydantic", aiohttp_pydantic, needs=("pydantic",)),
    # Without sniffio, httpcore tries to import it for each request.
    "httpx-pydantic": Contestant("httpx + pydantic", httpx_pydantic, needs=("httpx", "pydantic", "sniffio")),
    "openapi-generator": Contestant(
        "OpenAPI Generator, asyncio",
        openapi_generator,
        needs=("aiohttp_retry", "dateutil", "openapi_generator_cli", "pydantic"),
        generator=(
            *("openapi-generator-cli", "generate", "-g", "python", "--library", "asyncio", "-i", "{description}"),
            *("-o", "{directory}", "--package-name", "generated_by_openapi_generator"),
        ),
    ),
    "openapi-python-client": Contestant(
        "openapi-python-client",
        openapi_python_client,
        needs=("dateutil", "httpx", "openapi_python_client", "sniffio"),
        generator=(
            *("openapi-python-client", "generate", "--meta", "none", "--path", "{description}"),
            *("--output-path", "{directory}/generated_by_openapi_python_client", "--overwrite"),
        ),
    ),
    "dlt": Contestant("dlt's RESTClient", dlt_rest_client, needs=("dlt",)),
}
"""The contestants that read pages, by their names on the command line."""
BASELINES = {"pages": BASELINE_8, "customers": BASELINE_8, "pages-gzip": BASELINE_GZIP}
"""The baselines of those that have more than one request in flight; `BASELINE` is that of the others."""
LOOK_UP_BASELINE = Contestant("aiohttp + orjson, untyped", look_up_by_hand, needs=("orjson",))
GET_CUSTOMER = Contestant("`get_customer`", get_customer)
