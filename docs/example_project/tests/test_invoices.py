import asyncio

import pytest
from invoices import address, countries, label

from customers_async import AuthenticationError, IncompleteListError, ServerError
from customers_async.testing import make_customer


def test_address_has_no_empty_lines():
    customer = make_customer(name="Žygimantas", post_address_line=None, post_address_index="01109")
    assert address(customer) == "Žygimantas\n01109\nLT"


async def test_label(customers_emulator, customers_client):
    assert (await label(customers_client, next(customers_emulator.uuids()))).startswith("John Doe\n")
    assert customers_emulator.stats.requests == 1


async def test_deleted_customer_has_no_label(customers_emulator, customers_client):
    uuid = next(customers_emulator.uuids())
    customers_emulator.delete(1)
    assert await label(customers_client, uuid) == "(no such customer)"


async def test_transient_error_is_retried(customers_emulator, customers_client):
    customers_emulator.fail_next(503)
    assert (await countries(customers_client)).total() == 250


async def test_lasting_error_is_raised(customers_emulator, customers_client):
    customers_emulator.fail_next(503, times=None)
    with pytest.raises(ServerError):
        await countries(customers_client)


async def test_expired_token_is_raised(customers_emulator, customers_client):
    customers_emulator.expire_token(after=2)
    with pytest.raises(AuthenticationError):
        await countries(customers_client)


async def test_changing_list_is_not_counted(customers_emulator, customers_client):
    customers_emulator.on_page(2, delete=3)
    with pytest.raises(IncompleteListError):
        await countries(customers_client)


@pytest.mark.customers_emulator(customers=5_000)
async def test_rate_limit_is_respected_in_virtual_time(customers_emulator, customers_client):
    customers_emulator.rate_limit(20, window=60)
    started = asyncio.get_running_loop().time()
    assert (await countries(customers_client)).total() == 5_000
    assert 120 < asyncio.get_running_loop().time() - started < 125
    assert customers_emulator.stats.rejected == 0
