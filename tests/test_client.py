"""The client as users type it: one customer, one page, the count, the owner, the settings."""

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


def test_contradictory_list_options_are_refused() -> None:
    """Reconciling must know what was yielded; a coroutine function would never run."""

    async def handler(raw: object, error: object) -> None: ...

    client = CustomersClient("x")
    with pytest.raises(ValueError, match="needs unique=True"):
        client.list_customers(on_incomplete="reconcile", unique=False)
    with pytest.raises(TypeError, match="plain function"):
        client.list_customers(on_bad_record=handler)  # type: ignore[arg-type]  # on purpose


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_session_with_its_own_credentials_is_refused() -> None:
    """The token goes where a session's ``auth`` would go."""
    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("eve")) as session:
        with pytest.raises(ValueError, match="auth"):
            CustomersClient("x", session=session)


def test_a_subclass_keeps_its_own_attributes_in_a_view() -> None:
    """``with_options`` copies what a subclass adds."""

    class Tagged(CustomersClient):
        tag = ""

    client = Tagged("x")
    client.tag = "mine"
    assert client.with_options(timeout=1).tag == "mine"
