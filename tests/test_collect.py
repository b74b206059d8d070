"""``list_customers(limit=)`` and ``collect``."""

import asyncio
import copy
import pickle
from typing import Any

import pytest
from rich.pretty import pretty_repr

from customers_async import (
    Completeness,
    CustomerList,
    CustomersClient,
    CustomersError,
    Event,
    IncompleteListError,
    Page,
    RetryPolicy,
    ServerError,
    Verdict,
    WalkFinished,
)
from customers_async.emulator import Emulator
from customers_async.testing import make_customer

LIST = "/api/v1/customers"


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(
    ("limit", "requests"), [(1, 1), (99, 1), (100, 1), (101, 2), (200, 2), (201, 3), (249, 3), (250, 3), (900, 3)]
)
async def test_limit_requests_only_the_pages_needed(
    emulator: Emulator, client: CustomersClient, limit: int, requests: int, ordered: bool
) -> None:
    """The listing yields that many customers, whatever ``concurrency`` allows."""
    customers = await client.list_customers(limit=limit, ordered=ordered).collect()
    assert len(customers) == min(limit, 250)
    assert emulator.stats.requests == requests
    if ordered:
        assert [customer.uuid for customer in customers] == list(emulator.uuids(0, min(limit, 250)))


async def test_small_limit_asks_for_a_small_page(emulator: Emulator, client: CustomersClient) -> None:
    """The service sends no record that is not needed, unless the listing begins later: page 2 begins elsewhere then."""
    [page] = [page async for page in client.list_customers(limit=7).pages()]
    assert page.per_page == 7
    later = await client.list_customers(limit=7, first_page=2).collect()
    assert [customer.uuid for customer in later] == list(emulator.uuids(100, 107))


async def test_limit_survives_a_server_with_smaller_pages(emulator: Emulator, client: CustomersClient) -> None:
    """More pages are requested, and no more than needed."""
    emulator.ignore_per_page = 15
    customers = await client.list_customers(limit=40).collect()
    assert [customer.uuid for customer in customers] == list(emulator.uuids(0, 40))
    assert emulator.stats.requests == 3


async def test_limit_counts_only_customers_that_are_yielded(emulator: Emulator, client: CustomersClient) -> None:
    """A record that is set aside does not count, so another page is requested."""
    emulator.touch(3, name=5)
    pager = client.list_customers(limit=10, on_bad_record=lambda record, error: None)
    assert len(await pager.collect()) == 10
    assert emulator.stats.requests == 2


@pytest.mark.parametrize("limit", [7, 100, 150, 249])
async def test_listing_that_ended_at_its_limit_is_not_complete(
    client: CustomersClient, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It says nothing about the rest of the list, emits no verdict, and logs no warning."""
    events: list[Event] = []
    pager = client.with_options(on_event=events.append).list_customers(limit=limit)
    await pager.collect()
    completeness = pager.completeness
    assert (completeness.verdict, completeness.proven, completeness.total) == (Verdict.INCONSISTENT, False, 250)
    with pytest.raises(IncompleteListError):
        completeness.raise_if_incomplete()
    assert pager.next_page is None
    assert not [event for event in events if isinstance(event, WalkFinished)]
    assert not caplog.records or "not complete" not in caplog.text


async def test_truncated_last_page_is_not_complete(client: CustomersClient) -> None:
    """All pages were read, but not every customer was yielded."""
    pager = client.list_customers(limit=249)
    assert len(await pager.collect()) == 249
    assert pager.completeness.verdict is Verdict.INCONSISTENT


@pytest.mark.parametrize("limit", [250, 251, 10_000])
async def test_listing_within_its_limit_has_the_usual_verdict(client: CustomersClient, limit: int) -> None:
    """It read the whole list."""
    customers = await client.list_customers(limit=limit).collect()
    assert customers.completeness.verdict is Verdict.COMPLETE
    assert customers.completeness.proven


async def test_capped_list_below_the_limit_warns(
    emulator: Emulator, client: CustomersClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The listing ended before its limit, so its verdict counts."""
    emulator.capped, emulator.cap = True, 100
    pager = client.list_customers(limit=101)
    await pager.collect()
    assert pager.completeness.verdict is Verdict.CAPPED
    assert "The list is not complete: CAPPED" in caplog.text


async def test_limited_listing_resumes_after_a_break_and_an_error(emulator: Emulator, client: CustomersClient) -> None:
    """The limit holds for the pager, not for one loop."""
    emulator.fail_next(400, page=2)
    pager = client.list_customers(limit=150)
    uuids = []
    async for customer in pager:
        uuids.append(customer.uuid)
        if len(uuids) == 30:
            break
    with pytest.raises(CustomersError):
        async for customer in pager:
            uuids.append(customer.uuid)  # noqa: PERF401  # an error ends the loop
    uuids += [customer.uuid async for customer in pager]
    assert uuids == list(emulator.uuids(0, 150))
    assert [customer async for customer in pager] == []


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"limit": 0}, ValueError, "limit must be 1 or more, not 0"),
        ({"limit": -1}, ValueError, "limit must be 1 or more, not -1"),
        ({"limit": True}, TypeError, "limit must be an int, not bool"),
        ({"limit": "10"}, TypeError, "limit must be an int, not str"),
        ({"limit": 1.0}, TypeError, "limit must be an int, not float"),
        ({"limit": 10, "on_incomplete": "raise"}, ValueError, "'raise' needs the whole list"),
        ({"limit": 10, "on_incomplete": "reconcile"}, ValueError, "'reconcile' needs the whole list"),
    ],
)
async def test_bad_limit_is_refused_at_once(
    emulator: Emulator, client: CustomersClient, options: Any, kind: type[Exception], message: str
) -> None:
    """A wrong type, a limit below 1, and a limit where the whole list is required."""
    with pytest.raises(kind, match=message):
        client.list_customers(**options)
    assert emulator.stats.requests == 0


async def test_collect_returns_the_list_with_its_verdict(emulator: Emulator, client: CustomersClient) -> None:
    """The order is that of the list."""
    customers = await client.list_customers().collect()
    assert [customer.uuid for customer in customers] == list(emulator.uuids())
    customers.completeness.raise_if_incomplete(proven=True)


@pytest.mark.parametrize("again", ["collect", "iterate", "pages"])
async def test_failed_collect_loses_nothing(
    emulator: Emulator, client: CustomersClient, impatient: RetryPolicy, again: str
) -> None:
    """What it read comes first, whatever the pager is asked for next, and no page is requested again."""
    emulator.fail_next(500, page=3, times=None)
    pager = client.with_options(retry=impatient).list_customers()
    for _ in range(2):
        with pytest.raises(ServerError) as caught:
            await pager.collect()
        assert caught.value.next_page == 3
        assert pager.next_page == 1
    emulator.recover()
    before = emulator.stats.requests
    match again:
        case "collect":
            uuids = [customer.uuid for customer in await pager.collect()]
        case "iterate":
            uuids = [customer.uuid async for customer in pager]
        case _:
            pages = [page async for page in pager.pages()]
            assert [(page.number, len(page.customers)) for page in pages] == [(1, 100), (2, 100), (3, 50)]
            uuids = [customer.uuid for page in pages for customer in page.customers]
    assert uuids == list(emulator.uuids())
    assert emulator.stats.requests == before + 1
    assert pager.completeness.verdict is Verdict.COMPLETE


async def test_collect_continues_after_a_break(emulator: Emulator, client: CustomersClient) -> None:
    """It returns what was not yielded; afterwards nothing is left."""
    pager = client.list_customers()
    async for _ in pager:
        break
    assert [customer.uuid for customer in await pager.collect()] == list(emulator.uuids(1, 250))
    assert len(await pager.collect()) == 0


async def test_cancelled_collect_loses_nothing(emulator: Emulator, client: CustomersClient) -> None:
    """A deadline ends the call, not the listing."""
    emulator.fail_next("stall", page=2)
    pager = client.list_customers()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await pager.collect()
    assert [customer.uuid for customer in await pager.collect()] == list(emulator.uuids())


async def test_customers_of_an_incomplete_list_are_not_lost(emulator: Emulator, client: CustomersClient) -> None:
    """``collect`` raises each time; iterating yields them."""
    emulator.capped, emulator.cap = True, 100
    pager = client.list_customers(on_incomplete="raise")
    for _ in range(2):
        with pytest.raises(IncompleteListError):
            await pager.collect()
    found = 0
    with pytest.raises(IncompleteListError):
        async for _ in pager:
            found += 1
    assert found == 100


FIRST, SECOND = make_customer(name="Eve Kan4ri"), make_customer(uuid="00000000-0000-0000-0000-00000000000z")
DRIFTED = Completeness(verdict=Verdict.DRIFTED, total=3, first_total=3, last_total=3, distinct=2, duplicates=0, pages=1)


def test_customer_list_is_a_sequence() -> None:
    """Length, membership, items and slices; a slice is a tuple, because it has no verdict."""
    customers = CustomerList((FIRST, SECOND), DRIFTED)
    assert (len(customers), customers[0], customers[-1], customers[1:]) == (2, FIRST, SECOND, (SECOND,))
    assert FIRST in customers
    assert make_customer(uuid="00000000-0000-0000-0000-00000000000y") not in customers
    assert list(customers) == [FIRST, SECOND] == list(reversed(customers))[::-1]
    assert (customers.index(SECOND), customers.count(FIRST), bool(CustomerList((), DRIFTED))) == (1, 1, False)
    with pytest.raises(AttributeError):
        customers.completeness = DRIFTED  # type: ignore[misc]  # on purpose
    with pytest.raises(TypeError):
        customers[0] = SECOND  # type: ignore[index]  # on purpose


def test_customer_list_compares_and_pickles_by_value() -> None:
    """Customers and verdict count."""
    customers = CustomerList((FIRST, SECOND), DRIFTED)
    for twin in (pickle.loads(pickle.dumps(customers)), copy.copy(customers), copy.deepcopy(customers)):
        assert twin == customers
        assert hash(twin) == hash(customers)
    assert customers != CustomerList((FIRST,), DRIFTED)


def test_customer_list_shows_count_and_verdict_only() -> None:
    """In the repr, in Rich and in a notebook."""
    customers = CustomerList((FIRST, SECOND), DRIFTED)
    assert repr(customers) == "<CustomerList of 2: DRIFTED, 2 of 3 customers, 1 page>"
    assert customers._repr_html_() == "<p>CustomerList of 2: DRIFTED, 2 of 3 customers, 1 page</p>"
    for shown in (repr(customers), customers._repr_html_(), pretty_repr(customers)):
        assert FIRST.uuid not in shown
        assert "Kan4ri" not in shown


async def test_pages_of_a_limited_listing_end_with_it(client: CustomersClient) -> None:
    """The last page holds only what is yielded; its body is unchanged."""
    pages: list[Page] = [page async for page in client.list_customers(limit=130).pages()]
    assert [len(page.customers) for page in pages] == [100, 30]
    assert pages[1].raw.count(b'"uuid"') == 100
