"""Who is measured: each reads the list page after page, and says after each page how many customers it held.

The hand-written ones are as good as one can sensibly make them, the others as good as their settings allow: one
connection kept alive, no cookies, no proxies from the environment, validators made once.
"""

from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import datetime
from importlib.util import find_spec
from itertools import count

import aiohttp
import attrs

from customers_async import CustomersClient, RateLimiter
from tests.benchmarks.service import LIMIT, PER_PAGE, TOKEN

__all__ = ["CONTESTANTS", "LOOK_UPS", "Contestant", "aiohttp_session", "client", "read_bytes"]

_PATH = "/api/v1/customers"
_HEADERS = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json"}

Pages = AsyncGenerator[int, None]


@attrs.frozen
class Contestant:
    """One way to read the list.

    Attributes:
        title: What tables call it.
        read: Reads the list at a base URL; yields after each page.
        needs: The modules without which it can't take part.
        generator: Arguments of the program that generates it, with places for ``description`` and ``directory``.
    """

    title: str
    read: Callable[[str], Pages]
    needs: tuple[str, ...] = ()
    generator: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """The modules that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]


def aiohttp_session(connector: aiohttp.BaseConnector | None = None) -> aiohttp.ClientSession:
    """What a careful author opens once."""
    return aiohttp.ClientSession(connector=connector, headers=_HEADERS, cookie_jar=aiohttp.DummyCookieJar())


def client(url: str, session: aiohttp.ClientSession | None = None) -> CustomersClient:
    """This package's client with its default options, and a quota that is never spent."""
    return CustomersClient(TOKEN, base_url=url, rate_limiter=RateLimiter(LIMIT), session=session)


async def read_bytes(session: aiohttp.ClientSession, url: str, numbers: Iterable[int]) -> AsyncGenerator[bytes, None]:
    """The bodies of these pages, one request after another."""
    for number in numbers:
        async with session.get(f"{url}{_PATH}?per_page={PER_PAGE}&page={number}") as response:
            response.raise_for_status()
            yield await response.read()


async def aiohttp_bytes(url: str) -> Pages:
    async with aiohttp_session() as session:
        async for _ in read_bytes(session, url, count(1)):
            yield PER_PAGE


async def floor(url: str) -> Pages:
    from orjson import loads

    async with aiohttp_session() as session:
        async for body in read_bytes(session, url, count(1)):
            yield len(loads(body))


async def pages(url: str) -> Pages:
    async with client(url) as customers, customers.list_customers() as pager:
        async for page in pager.pages():
            yield len(page.customers)


async def customers(url: str) -> Pages:
    async with client(url) as customers, customers.list_customers() as pager:
        left = PER_PAGE
        async for _ in pager:
            left -= 1
            if not left:
                yield PER_PAGE
                left = PER_PAGE


async def look_up_by_hand(url: str) -> Pages:
    from orjson import loads

    async with aiohttp_session() as session:
        for number in count(1):
            async with session.get(f"{url}{_PATH}/{_uuid(number)}") as response:
                response.raise_for_status()
                yield len([loads(await response.read())])


async def get_customer(url: str) -> Pages:
    async with client(url) as customers:
        for number in count(1):
            yield len([await customers.get_customer(_uuid(number))])


def _uuid(number: int) -> str:
    return f"{number:08}-7d6c-4e9a-9b2e-3f8d1a9c5f2g"


def _pydantic_reader() -> Callable[[bytes], list[object]]:
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

    return TypeAdapter(list[Customer]).validate_json  # type: ignore[no-any-return]


async def aiohttp_pydantic(url: str) -> Pages:
    read = _pydantic_reader()
    async with aiohttp_session() as session:
        async for body in read_bytes(session, url, count(1)):
            yield len(read(body))


async def httpx_pydantic(url: str) -> Pages:
    import httpx

    read = _pydantic_reader()
    async with httpx.AsyncClient(headers=_HEADERS, trust_env=False) as http:
        for page in count(1):
            response = await http.get(f"{url}{_PATH}?per_page={PER_PAGE}&page={page}")
            response.raise_for_status()
            yield len(read(response.content))


async def dlt_rest_client(url: str) -> Pages:
    from dlt.sources.helpers.rest_client import RESTClient
    from dlt.sources.helpers.rest_client.auth import BearerTokenAuth
    from dlt.sources.helpers.rest_client.paginators import PageNumberPaginator

    paginator = PageNumberPaginator(base_page=1, total_path=None, stop_after_empty_page=True)
    rest = RESTClient(url, auth=BearerTokenAuth(TOKEN), paginator=paginator, data_selector="$")
    rest.session.trust_env = False
    for page in rest.paginate(_PATH, params={"per_page": PER_PAGE}):
        yield len(page)


async def openapi_generator(url: str) -> Pages:
    from generated_by_openapi_generator import ApiClient, Configuration, CustomersApi

    configuration = Configuration(host=url, access_token=TOKEN)
    configuration.client_session_kwargs = {"trust_env": False, "cookie_jar": aiohttp.DummyCookieJar()}
    async with ApiClient(configuration) as api:
        calls = CustomersApi(api)
        for page in count(1):
            yield len(await calls.list_customers(per_page=PER_PAGE, page=page))


async def openapi_python_client(url: str) -> Pages:
    from generated_by_openapi_python_client import AuthenticatedClient
    from generated_by_openapi_python_client.api.customers import list_customers

    async with AuthenticatedClient(base_url=url, token=TOKEN, httpx_args={"trust_env": False}) as api:
        for page in count(1):
            yield len(await list_customers.asyncio(client=api, per_page=PER_PAGE, page=page))


CONTESTANTS = {
    "bytes": Contestant("aiohttp, bytes only", aiohttp_bytes),
    "floor": Contestant("aiohttp + orjson, untyped: the floor", floor, needs=("orjson",)),
    "pages": Contestant("customers_async, page by page", pages),
    "customers": Contestant("customers_async, customer by customer", customers),
    "aiohttp-pydantic": Contestant("aiohttp + pydantic", aiohttp_pydantic, needs=("pydantic",)),
    # Without sniffio, httpcore tries to import it at each request.
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
"""By the names that the command line takes."""

LOOK_UPS = {
    "look-up": Contestant("aiohttp + orjson, untyped", look_up_by_hand, needs=("orjson",)),
    "get_customer": Contestant("get_customer", get_customer),
}
"""Those that fetch one customer after another, rather than pages."""
