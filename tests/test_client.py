"""The public client: one customer, one page, the count, the owner, the settings."""

import aiohttp
import pytest

from customers_async import (
    PRODUCTION_URL,
    APIResponseError,
    CustomersClient,
    NotFoundError,
    Page,
    RateLimit,
    UnprocessableEntityError,
    customer_to_dict,
)
from customers_async.emulator import Emulator

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"


async def test_documented_uuid_is_accepted(emulator: Emulator, client: CustomersClient) -> None:
    """The uuid ends in "g": uuids of this service are not only hex."""
    customer = await client.get_customer(EXAMPLE)
    assert customer.uuid == EXAMPLE
    assert customer.created_at is not None
    assert customer.created_at.utcoffset() is not None
    assert EXAMPLE in {found.uuid async for found in client.list_customers()}


async def test_get_customer_agrees_with_the_list(emulator: Emulator, client: CustomersClient) -> None:
    """A look-up returns the same customer as the list."""
    page = await client.get_page(2, per_page=10)
    for customer in page.customers:
        assert await client.get_customer(customer.uuid) == customer


async def test_unknown_customer_is_not_found(client: CustomersClient) -> None:
    """A 404 is a NotFoundError with code and path."""
    uuid = "00000000-0000-0000-0000-00000000000z"
    with pytest.raises(NotFoundError) as caught:
        await client.get_customer(uuid)
    assert (caught.value.status, caught.value.code) == (404, "NOT_FOUND")
    assert caught.value.url_path == f"/api/v1/customers/{uuid}"


async def test_get_page_returns_a_page(emulator: Emulator, client: CustomersClient) -> None:
    """A page has customers and metadata; past the end it is empty."""
    page = await client.get_page(3, per_page=50)
    assert isinstance(page, Page)
    assert (page.number, page.per_page, page.total, page.has_more, page.current_page) == (3, 50, 250, True, 3)
    assert [customer.uuid for customer in page.customers] == list(emulator.uuids(100, 150))
    assert repr(page).startswith("Page(number=3, per_page=50, total=250, has_more=True")
    assert "uuid" not in repr(page)
    past = await client.get_page(6, per_page=50)
    assert (list(past.customers), past.has_more) == ([], False)


async def test_count_customers_sends_one_request(emulator: Emulator, client: CustomersClient) -> None:
    """The total comes from a header; without it there is an error, not 0."""
    assert await client.count_customers() == 250
    assert emulator.stats.requests == 1
    emulator.headers["X-Api-Total"] = None
    with pytest.raises(APIResponseError, match="no total"):
        await client.count_customers()


async def test_whoami_returns_the_token_owner(client: CustomersClient) -> None:
    """``whoami`` returns the owner of the token."""
    owner = await client.whoami()
    assert owner.is_active is True
    assert owner.name
    assert owner.created_at is not None


async def test_rate_limit_sends_no_request(emulator: Emulator, client: CustomersClient) -> None:
    """``rate_limit`` shows the limit, what remains and when it resets, from the responses so far."""
    assert client.rate_limit == RateLimit(500, None, None)
    await client.whoami()
    assert (client.rate_limit.limit, client.rate_limit.remaining) == (500, 499)
    assert emulator.stats.requests == 1


async def test_settings_come_from_the_environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token and base URL come from arguments, then from the environment; the default is production."""
    monkeypatch.setenv("CUSTOMERS_TOKEN", emulator.token)
    assert repr(CustomersClient()) == f"<CustomersClient {PRODUCTION_URL}>"
    monkeypatch.setenv("CUSTOMERS_BASE_URL", emulator.url + "/")
    async with CustomersClient() as client:
        assert await client.count_customers() == 250
    assert repr(CustomersClient(base_url="https://example.com")) == "<CustomersClient https://example.com>"


async def test_unknown_fields_are_kept_on_request(emulator: Emulator) -> None:
    """With ``keep_unknown=True`` they are in ``extra``, for look-ups and lists."""
    emulator.touch(0, nickname="Ž")
    async with CustomersClient(emulator.token, base_url=emulator.url, keep_unknown=True) as client:
        customer = await client.get_customer(next(emulator.uuids()))
        assert customer.extra == {"nickname": "Ž"}
        assert list((await client.get_page(1, per_page=1)).customers) == [customer]
        assert customer_to_dict(customer)["nickname"] == "Ž"
        assert (await client.with_options(keep_unknown=False).get_customer(customer.uuid)).extra == {}


async def test_client_works_without_a_context_manager(emulator: Emulator) -> None:
    """Without ``async with``, ``close`` is enough."""
    client = CustomersClient(emulator.token, base_url=emulator.url)
    assert await client.count_customers() == 250
    await client.close()


async def test_422_has_a_code(emulator: Emulator, client: CustomersClient) -> None:
    """A 422 is an UnprocessableEntityError with the service's code."""
    emulator.fail_next(422)
    with pytest.raises(UnprocessableEntityError) as caught:
        await client.get_page(1)
    assert caught.value.code == "VALIDATION_ERROR"


def test_contradictory_list_options_are_refused() -> None:
    """Reconciling needs unique customers, and a handler must not be a coroutine function."""

    async def handler(raw: object, error: object) -> None: ...

    client = CustomersClient("x")
    with pytest.raises(ValueError, match="needs unique=True"):
        client.list_customers(on_incomplete="reconcile", unique=False)
    with pytest.raises(TypeError, match="plain function"):
        client.list_customers(on_bad_record=handler)  # type: ignore[arg-type]  # on purpose


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_session_with_credentials_is_refused() -> None:
    """A session's ``auth`` would replace the token."""
    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("eve")) as session:
        with pytest.raises(ValueError, match="auth"):
            CustomersClient("x", session=session)


def test_view_keeps_attributes_of_a_subclass() -> None:
    """``with_options`` copies the attributes that a subclass adds."""

    class Tagged(CustomersClient):
        tag = ""

    client = Tagged("x")
    client.tag = "mine"
    assert client.with_options(timeout=1).tag == "mine"
