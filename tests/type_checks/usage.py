"""What users write, with the types that they rely on. mypy and basedpyright check it in their strict modes."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, assert_type

from customers_async import (
    APIStatusError,
    BatchPlan,
    BatchResult,
    CallableToken,
    Completeness,
    Customer,
    CustomerList,
    CustomersClient,
    CustomersError,
    EnvToken,
    Event,
    Failed,
    FileToken,
    Found,
    Health,
    IncompleteListError,
    Network,
    NotFoundError,
    Page,
    PageFetched,
    RateLimit,
    RateLimiter,
    RateLimitError,
    RawResponse,
    RecordError,
    RequestAnswered,
    RetryPolicy,
    StaticToken,
    TokenOwner,
    TokenSource,
    TTLCache,
    customer_from_dict,
    customer_to_dict,
    export_customers,
)
from customers_async.export import Change, Changes, ExportProgress, ExportReport, diff_exports, verify_export


class StoreToken:
    """A token source of one's own: the protocol needs no base class."""

    async def get(self, *, rejected: str | None = None) -> str:
        """Return the token."""
        return "new" if rejected else "old"


async def call_other_endpoints(client: CustomersClient) -> None:
    """Any path, with parameters as a mapping or as pairs, and for another account."""
    response = await client.get_raw("/api/v1/accounts", params={"page": 2, "open": True, "id[]": ["a", 1, None]})
    assert_type(response, RawResponse)
    assert_type(response.headers, Mapping[str, str])
    assert_type((response.status, response.body, response.attempts), tuple[int, bytes, int])
    assert_type(response.json(), Any)
    pairs = [("page", 2)]
    tenant = client.with_token(StoreToken()).with_options(timeout=5)
    assert_type(tenant, CustomersClient)
    await tenant.get_raw("/api/v1/accounts", params=pairs, lane="bulk")


def make_networks(path: Path) -> CustomersClient:
    """Paths as strings or `Path`; host names in any sequence."""
    Network(proxy="http://proxy.example:3128", ca_file=path, client_cert=("cert.pem", path), allow_http=["emulator"])
    return CustomersClient("token", network=Network(trust_env=True, headers={"X-Key": "x"}, app="billing/2.1"))


async def read_secret() -> str:
    """Return a token."""
    return "secret"


def on_event(event: Event) -> None:
    """Narrow an event by its class."""
    if isinstance(event, RequestAnswered):
        assert_type(event.status, int | None)
    elif isinstance(event, PageFetched):
        assert_type(event.total, int | None)


SOURCES: list[str | TokenSource | None] = [
    None,
    "token",
    StaticToken("token"),
    EnvToken(),
    FileToken(Path("token")),
    CallableToken(read_secret),
    StoreToken(),
]


async def look_up(uuid: str) -> None:
    """Read single customers, one page, and what else takes one request."""
    async with CustomersClient(
        StoreToken(), rate_limiter=RateLimiter(reserve=25), cache=TTLCache(30, 1_000), on_event=on_event
    ) as client:
        assert_type(client, CustomersClient)
        customer = await client.get_customer(uuid)
        assert_type(customer, Customer)
        assert_type(customer.name, str | None)
        assert_type(customer.created_at, datetime | None)
        assert_type(customer.extra, Mapping[str, Any])
        assert_type(customer_to_dict(customer), dict[str, Any])
        assert_type(customer_from_dict({"uuid": uuid}), Customer)
        assert_type(await client.get_page(1, per_page=10), Page)
        assert_type(await client.count_customers(), int)
        assert_type(await client.whoami(), TokenOwner)
        assert_type(client.rate_limit, RateLimit)
        view = client.with_options(timeout=5, retry=RetryPolicy(max_attempts=2), max_rate_limit_wait=0)
        client.with_options(on_event=[on_event, print])
        assert_type(view, CustomersClient)


async def read_list(client: CustomersClient) -> int:
    """Read the list, by customer and by page, and then its verdict."""
    rejected: list[tuple[object, RecordError]] = []

    def keep(record: object, error: RecordError) -> None:
        rejected.append((record, error))

    async with client.list_customers(on_incomplete="reconcile", on_bad_record=keep) as pager:
        async for customer in pager:
            assert_type(customer, Customer)
    async for page in pager.pages():
        assert_type(page, Page)
    assert_type(pager.completeness, Completeness)
    assert_type(pager.next_page, int | None)
    pager.completeness.raise_if_incomplete()
    return pager.completeness.distinct


async def read_batch(client: CustomersClient, uuids: list[str]) -> list[Customer]:
    """Read a batch; a result is a customer or an error."""
    assert_type(await client.plan_customers(uuids), BatchPlan)
    found: list[Customer] = []
    async for result in client.get_customers(uuids, strategy="list", on_missing="yield", ordered=False):
        assert_type(result, Found | Failed)
        assert_type(result.uuid, str)
        assert_type(result.customer, Customer | None)
        assert_type(result.error, CustomersError | None)
        if result.customer is not None:
            found.append(result.customer)
    async for result in client.get_customers(uuids):
        assert_type(narrow(result), Customer | CustomersError)
    return found


def narrow(result: BatchResult) -> Customer | CustomersError:
    """Tell the results of a batch apart in each way that is usual."""
    if result.customer is not None:
        assert_type(result, Found)
        assert_type(result.customer, Customer)
    else:
        assert_type(result, Failed)
        assert_type(result.error, CustomersError)
    if result.error is None:
        assert_type(result, Found)
    else:
        assert_type(result, Failed)
    if result.error:  # narrows the result in mypy only
        assert_type(result.error, CustomersError)
    if isinstance(result, Found):
        assert_type(result.customer, Customer)
    else:
        assert_type(result.error, CustomersError)
    assert isinstance(result, BatchResult)
    match result:
        case Found(customer=customer):
            return customer
        case Failed(error=error):
            return error


def destructure(result: BatchResult) -> str:
    """Match by position, and by the class of the error."""
    match result:
        case Found(uuid, customer):
            return f"{uuid} {customer.name}"
        case Failed(uuid, NotFoundError()):
            return f"{uuid} is unknown"
        case Failed(uuid, error):
            return f"{uuid} {error.retryable} {error.request_id}"


async def read_first(client: CustomersClient) -> Customer:
    """Read a part of the list into a sequence."""
    customers = await client.list_customers(limit=10).collect()
    assert_type(customers, CustomerList)
    assert_type(customers.completeness, Completeness)
    assert_type(customers[1:], tuple[Customer, ...])
    assert_type([customer.name for customer in customers], list[str | None])
    assert_type(customers[0], Customer)
    return customers[0]


def check_health(client: CustomersClient) -> bool:
    """Read how the last calls ended."""
    health = client.health
    assert_type(health, Health)
    assert_type(health.last_response_at, datetime | None)
    assert_type(health.last_error, str | None)
    assert_type(health.last_error_at, datetime | None)
    assert_type(health.rate_limit, RateLimit)
    return health.last_error is None


async def handle_errors(client: CustomersClient, uuid: str) -> str | None:
    """Tell errors apart."""
    try:
        return (await client.get_customer(uuid)).name
    except NotFoundError as error:
        assert_type(error.attempts, int)
    except RateLimitError as error:
        assert_type(error.retry_after, float)
    except APIStatusError as error:
        assert_type(error.status, int)
        assert_type(error.code, str | None)
    except IncompleteListError as error:
        assert_type(error.completeness, Completeness)
    except CustomersError as error:
        assert_type(error.next_page, int | None)
        assert_type(error.retryable, bool)
        assert_type(error.retry_after, float | None)
        assert_type(error.http_status, int)
        assert_type(error.request_id, str | None)
    return None


async def export(client: CustomersClient, path: Path) -> None:
    """Write the list into a file, check the file, and compare it with an older one."""

    def progress(progress: ExportProgress) -> None:
        assert_type(progress.total, int | None)

    report = await export_customers(client, path, fields=["uuid", "name"], on_bad_record="reject", progress=progress)
    assert_type(report, ExportReport)
    assert_type(report.rows, int)
    assert_type(verify_export(path), dict[str, tuple[Any, Any]])
    with diff_exports("older.jsonl", path) as changes:
        assert_type(changes, Changes)
        for change in changes.changed():
            assert_type(change, Change)
