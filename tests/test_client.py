"""The client as users type it: one customer, one page, the count, the owner, the settings, and bad input."""

import traceback
from typing import Any

import aiohttp
import pytest

from customers_async import (
    PRODUCTION_URL,
    APIResponseError,
    CustomersClient,
    NotFoundError,
    Page,
    RateLimit,
    RateLimiter,
    RetryPolicy,
    UnprocessableEntityError,
    customer_to_dict,
)
from customers_async.emulator import Emulator

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"


async def test_the_documented_example_uuid_is_accepted(emulator: Emulator, client: CustomersClient) -> None:
    """It ends in "g": uuids of this service are not hex only."""
    customer = await client.get_customer(EXAMPLE)
    assert customer.uuid == EXAMPLE
    assert customer.created_at is not None
    assert customer.created_at.utcoffset() is not None
    assert EXAMPLE in {found.uuid async for found in client.list_customers()}


async def test_every_customer_can_be_looked_up(emulator: Emulator, client: CustomersClient) -> None:
    """A look-up gives the same customer as the list."""
    page = await client.get_page(2, per_page=10)
    for customer in page.customers:
        assert await client.get_customer(customer.uuid) == customer


async def test_an_unknown_customer_is_not_found(client: CustomersClient) -> None:
    """404 is its own error, with code and path."""
    uuid = "00000000-0000-0000-0000-00000000000z"
    with pytest.raises(NotFoundError) as caught:
        await client.get_customer(uuid)
    assert (caught.value.status, caught.value.code) == (404, "NOT_FOUND")
    assert caught.value.url_path == f"/api/v1/customers/{uuid}"


async def test_a_page_is_typed(emulator: Emulator, client: CustomersClient) -> None:
    """``get_page`` gives customers and metadata; past the end the page is empty."""
    page = await client.get_page(3, per_page=50)
    assert isinstance(page, Page)
    assert (page.number, page.per_page, page.total, page.has_more, page.current_page) == (3, 50, 250, True, 3)
    assert [customer.uuid for customer in page.customers] == list(emulator.uuids(100, 150))
    assert repr(page).startswith("Page(number=3, per_page=50, total=250, has_more=True")
    assert "uuid" not in repr(page)
    past = await client.get_page(6, per_page=50)
    assert (list(past.customers), past.has_more) == ([], False)


async def test_the_count_costs_one_request(emulator: Emulator, client: CustomersClient) -> None:
    """The total is in a header; a server that does not say is an error, not 0."""
    assert await client.count_customers() == 250
    assert emulator.stats.requests == 1
    emulator.headers["X-Api-Total"] = None
    with pytest.raises(APIResponseError, match="no total"):
        await client.count_customers()


async def test_the_owner_of_the_token_is_known(client: CustomersClient) -> None:
    """``whoami`` asks whom the token belongs to."""
    owner = await client.whoami()
    assert owner.is_active is True
    assert owner.name
    assert owner.created_at is not None


async def test_the_rate_limit_is_seen_without_asking(emulator: Emulator, client: CustomersClient) -> None:
    """Limit, what remains and when it resets, from the answers so far."""
    assert client.rate_limit == RateLimit(500, None, None)
    await client.whoami()
    assert (client.rate_limit.limit, client.rate_limit.remaining) == (500, 499)
    assert emulator.stats.requests == 1


async def test_settings_come_from_the_environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token and base URL; what is passed has precedence; without either, production."""
    monkeypatch.setenv("CUSTOMERS_TOKEN", emulator.token)
    assert repr(CustomersClient()) == f"<CustomersClient {PRODUCTION_URL}>"
    monkeypatch.setenv("CUSTOMERS_BASE_URL", emulator.url + "/")
    async with CustomersClient() as client:
        assert await client.count_customers() == 250
    assert repr(CustomersClient(base_url="https://example.com")) == "<CustomersClient https://example.com>"


async def test_unknown_fields_are_kept_on_request(emulator: Emulator) -> None:
    """``keep_unknown=True`` puts them into ``extra``, in look-ups and in lists."""
    emulator.touch(0, nickname="Ž")
    async with CustomersClient(emulator.token, base_url=emulator.url, keep_unknown=True) as client:
        customer = await client.get_customer(next(emulator.uuids()))
        assert customer.extra == {"nickname": "Ž"}
        assert list((await client.get_page(1, per_page=1)).customers) == [customer]
        assert customer_to_dict(customer)["nickname"] == "Ž"
        assert (await client.with_options(keep_unknown=False).get_customer(customer.uuid)).extra == {}


async def test_it_works_without_a_context_manager(emulator: Emulator) -> None:
    """``close`` at the end is enough."""
    client = CustomersClient(emulator.token, base_url=emulator.url)
    assert await client.count_customers() == 250
    await client.close()


async def test_the_service_may_refuse_what_we_accept(emulator: Emulator, client: CustomersClient) -> None:
    """A 422 tells which parameter was refused."""
    emulator.fail_next(422)
    with pytest.raises(UnprocessableEntityError) as caught:
        await client.get_page(1)
    assert caught.value.code == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    ("uuid", "kind"),
    [
        ("../auth", ValueError),
        ("%2e%2e/auth", ValueError),
        ("", ValueError),
        (EXAMPLE + "\n", ValueError),
        (EXAMPLE + "\r\nX: y", ValueError),
        (EXAMPLE.replace("1", "１"), ValueError),
        (EXAMPLE[:-1], ValueError),
        (5, TypeError),
        (None, TypeError),
    ],
)
async def test_bad_uuids_are_refused_before_any_io(
    emulator: Emulator, client: CustomersClient, uuid: Any, kind: type[Exception]
) -> None:
    """They never get into a URL."""
    with pytest.raises(kind, match=r"^uuid must be "):
        await client.get_customer(uuid)
    assert emulator.stats.requests == 0


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("per_page", 0, ValueError),
        ("per_page", 101, ValueError),
        ("per_page", -1, ValueError),
        ("per_page", True, TypeError),
        ("per_page", "10", TypeError),
        ("per_page", 1.5, TypeError),
        ("first_page", 0, ValueError),
        ("first_page", "1", TypeError),
        ("ordered", 1, TypeError),
        ("unique", None, TypeError),
        ("on_incomplete", "explode", ValueError),
        ("on_bad_record", "skip", TypeError),
        ("on_bad_record", None, TypeError),
    ],
)
async def test_bad_list_options_are_refused_before_any_io(
    emulator: Emulator, client: CustomersClient, name: str, value: Any, kind: type[Exception]
) -> None:
    """At the call, not at the first page."""
    with pytest.raises(kind):
        client.list_customers(**{name: value})
    page_arguments = {"number": 1, "per_page": 100} | {"number" if name == "first_page" else name: value}
    if page_arguments.keys() == {"number", "per_page"}:
        with pytest.raises(kind):
            await client.get_page(**page_arguments)
    assert emulator.stats.requests == 0


def test_contradictory_list_options_are_refused() -> None:
    """Reconciling must know what was yielded; a coroutine function would never run."""

    async def handler(raw: object, error: object) -> None: ...

    client = CustomersClient("x")
    with pytest.raises(ValueError, match="needs unique=True"):
        client.list_customers(on_incomplete="reconcile", unique=False)
    with pytest.raises(TypeError, match="plain function"):
        client.list_customers(on_bad_record=handler)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("base_url", "http://example.com", ValueError),
        ("base_url", 5, TypeError),
        ("concurrency", 0, ValueError),
        ("concurrency", 1.5, TypeError),
        ("timeout", 0, ValueError),
        ("timeout", -1, ValueError),
        ("timeout", float("nan"), ValueError),
        ("timeout", "30", TypeError),
        ("timeout", True, TypeError),
        ("retry", 3, TypeError),
        ("rate_limiter", 500, TypeError),
        ("max_rate_limit_wait", -1, ValueError),
        ("max_body", 0, ValueError),
        ("max_body", True, TypeError),
        ("session", object(), TypeError),
        ("keep_unknown", 1, TypeError),
        ("on_event", "print", TypeError),
        ("on_event", CustomersClient.close, TypeError),
    ],
)
def test_bad_settings_are_refused(name: str, value: Any, kind: type[Exception]) -> None:
    """Wrong types and values out of range, when the client is made."""
    with pytest.raises(kind, match=name):
        CustomersClient("x", **{name: value})


def test_good_settings_are_accepted() -> None:
    """All arguments at once, without a running loop."""
    CustomersClient(
        "x",
        base_url="https://example.com/",
        concurrency=1,
        timeout=0.5,
        retry=RetryPolicy(max_attempts=1),
        rate_limiter=RateLimiter(10, 1.0),
        max_rate_limit_wait=0,
        max_body=1,
        session=None,
        keep_unknown=True,
        on_event=lambda event: None,
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_session_with_its_own_credentials_is_refused() -> None:
    """The token goes where a session's ``auth`` would go."""
    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("eve")) as session:
        with pytest.raises(ValueError, match="auth"):
            CustomersClient("x", session=session)


def test_a_password_in_a_url_stays_out_of_tracebacks() -> None:
    """A refused base URL is shown neither in the message nor by a traceback with locals."""
    with pytest.raises(ValueError, match="user info") as caught:
        CustomersClient("x", base_url="https://eve:s3cr3t@example.com")
    error = caught.value
    assert error.__traceback__ is not None
    ours = traceback.TracebackException(type(error), error, error.__traceback__.tb_next, capture_locals=True)
    assert "s3cr3t" not in "".join(ours.format())


def test_a_subclass_keeps_its_own_attributes_in_a_view() -> None:
    """``with_options`` copies what a subclass adds."""

    class Tagged(CustomersClient):
        tag = ""

    client = Tagged("x")
    client.tag = "mine"
    assert client.with_options(timeout=1).tag == "mine"
