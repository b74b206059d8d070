"""Reading the list from a real server: in order or not, in both editions, resumed, reconciled and capped."""

import asyncio
from itertools import product
from typing import Any

import pytest

from customers_async import (
    CustomersClient,
    IncompleteListError,
    NotFoundError,
    PageFetched,
    RetryPolicy,
    ServerError,
    Verdict,
    WalkFinished,
)
from customers_async.emulator import Emulator
from customers_async.emulator.pagination import Edition

SIZES = (0, 1, 99, 100, 101, 12_345)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("edition", ["a", "b"])
@pytest.mark.parametrize(("size", "per_page"), [*product(SIZES, [100]), *product([*SIZES[:-1], 2_345], [7])])
async def test_list_is_read_completely(size: int, edition: Edition, per_page: int, ordered: bool) -> None:
    """Every customer is yielded once, whatever the size, the header edition, the page size and the order."""
    await _check_read_completely(size, edition, per_page, ordered)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("edition", ["a", "b"])
@pytest.mark.parametrize("size", SIZES[:-1])
async def test_list_is_read_completely_with_one_customer_a_page(size: int, edition: Edition, ordered: bool) -> None:
    """A page size of 1 works as any other."""
    await _check_read_completely(size, edition, 1, ordered)


@pytest.mark.slow
async def test_three_thousand_pages_of_one_customer_are_read_completely() -> None:
    """A long listing in small steps. (`test_pager` reads 12,345 pages in order and out of order, without sockets.)"""
    await _check_read_completely(3_000, "b", 1, False)


async def _check_read_completely(size: int, edition: Edition, per_page: int, ordered: bool) -> None:
    asyncio.get_running_loop().set_debug(False)  # debugging keeps a stack for each of many thousand tasks
    async with (
        Emulator(customers=size, edition=edition, limit=1_000_000) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        pager = client.list_customers(per_page=per_page, ordered=ordered)
        uuids = [customer.uuid async for customer in pager]
        expected = list(emulator.uuids())
        assert uuids == expected if ordered else sorted(uuids) == sorted(expected)
        assert pager.completeness.verdict is Verdict.COMPLETE
        assert (pager.completeness.distinct, pager.completeness.total) == (size, size)
        assert emulator.stats.requests == max(1, -(-size // per_page))


async def test_ten_thousand_customers_cost_a_hundred_requests(emulator: Emulator) -> None:
    """The total names the last page, so no request is wasted; the real quota causes no 429."""
    async with (
        Emulator(customers=10_000) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        pager = client.list_customers(on_incomplete="raise")
        assert len({customer.uuid async for customer in pager}) == 10_000
        assert emulator.stats.statuses == {200: 100}


async def test_pages_come_with_their_metadata(client: CustomersClient) -> None:
    """Each page has its number, the total and the raw body."""
    pages = [page async for page in client.list_customers(per_page=100).pages()]
    assert [(page.number, page.per_page, page.total, page.has_more, len(page.customers)) for page in pages] == [
        (1, 100, 250, True, 100),
        (2, 100, 250, True, 100),
        (3, 100, 250, False, 50),
    ]
    assert pages[0].raw.startswith(b"[{")


async def test_pages_are_fetched_concurrently_up_to_the_limit() -> None:
    """As many requests are in flight as ``concurrency`` allows, and no more."""
    async with (
        Emulator(customers=2_000, latency=0.05) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url, concurrency=5) as client,
    ):
        assert len([customer async for customer in client.list_customers()]) == 2_000
        assert emulator.stats.peak_in_flight == 5


async def test_no_more_than_concurrency_is_fetched_ahead() -> None:
    """Memory is bounded by ``concurrency``: a consumer that stops at page 1 causes at most 1 + 4 requests."""
    async with (
        Emulator(customers=5_000) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url, concurrency=4) as client,
        client.list_customers() as pager,
    ):
        async for _ in pager.pages():
            await asyncio.sleep(1)
            break
        assert emulator.stats.requests <= 5


async def test_first_of_a_million_customers_is_yielded_at_once() -> None:
    """The first customer of a very long list is yielded after one response: nothing is allocated by the total."""
    async with (
        Emulator(customers=1_000_000) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url, concurrency=1) as client,
        client.list_customers() as pager,
    ):
        async for customer in pager:
            assert customer.uuid == next(emulator.uuids())
            break
        assert emulator.stats.requests <= 2


async def test_error_names_the_page_and_the_pager_resumes(
    emulator: Emulator, client: CustomersClient, impatient: RetryPolicy
) -> None:
    """Iterated again after an error, a pager resumes after the last customer that it yielded."""
    emulator.fail_next(500, times=4, after=1)
    pager = client.with_options(retry=impatient, concurrency=1).list_customers(per_page=50)
    uuids: list[str] = []
    with pytest.raises(ServerError) as caught:
        async for customer in pager:
            uuids.append(customer.uuid)  # noqa: PERF401  # customers before the error count
    assert caught.value.next_page == pager.next_page == 2
    assert len(uuids) == 50
    uuids += [customer.uuid async for customer in pager]
    assert uuids == list(emulator.uuids())
    assert pager.completeness.verdict is Verdict.COMPLETE
    assert pager.next_page is None


async def test_pager_resumes_after_a_break(emulator: Emulator, client: CustomersClient) -> None:
    """A break in the middle of a page loses no customer and repeats none."""
    uuids: list[str] = []
    async with client.list_customers(per_page=100) as pager:
        while pager.next_page is not None:
            taken = 0
            async for customer in pager:
                uuids.append(customer.uuid)
                taken += 1
                if taken == 30:
                    break
    assert uuids == list(emulator.uuids())


async def test_pages_begin_with_the_rest_of_the_current_page(client: CustomersClient) -> None:
    """After a change from customers to pages, the first page holds what was not yielded of the current one."""
    async with client.list_customers(per_page=100) as pager:
        async for _ in pager:
            break
        assert [(page.number, len(page.customers)) async for page in pager.pages()] == [(1, 99), (2, 100), (3, 50)]


async def test_listing_from_a_later_page_is_not_complete(client: CustomersClient) -> None:
    """``first_page`` resumes in another process; the verdict is about the whole list, so it is not COMPLETE."""
    pager = client.list_customers(first_page=3, on_incomplete="ignore")
    assert len([customer async for customer in pager]) == 50
    assert pager.completeness.verdict is Verdict.INCONSISTENT


async def test_unfinished_listing_has_no_verdict(client: CustomersClient) -> None:
    """Reading ``completeness`` before the end raises."""
    async with client.list_customers(per_page=10) as pager:
        async for _ in pager:
            break
        with pytest.raises(RuntimeError, match="no verdict yet: it continues with page 1"):
            pager.completeness  # noqa: B018  # the property raises


async def test_incomplete_list_raises_if_required(emulator: Emulator, client: CustomersClient) -> None:
    """``on_incomplete="raise"`` raises IncompleteListError at the end of each iteration."""
    emulator.on_page(2, delete=1)
    pager = client.with_options(concurrency=1).list_customers(on_incomplete="raise")
    for _ in range(2):
        with pytest.raises(IncompleteListError, match="DRIFTED") as caught:
            async for _ in pager:
                pass
    assert caught.value.completeness is pager.completeness
    assert caught.value.next_page is None


async def test_reconciling_raises_after_three_attempts(emulator: Emulator, client: CustomersClient) -> None:
    """A list that never stops changing is read four times in all, then the client raises."""
    for _ in range(4):
        emulator.on_page(2, delete=1)
    pager = client.with_options(concurrency=1).list_customers(on_incomplete="reconcile")
    emulator.unstable_order = True
    with pytest.raises(IncompleteListError):
        async for _ in pager:
            pass
    assert emulator.stats.requests == 4 * 3


@pytest.mark.parametrize("refuses", [False, True])
async def test_capped_list_is_read_to_the_cap(refuses: bool) -> None:
    """CAPPED: the server returns empty pages, or refuses pages, below its own total."""
    async with (
        Emulator(customers=1_234, capped=True, cap=1_000, cap_refuses=refuses) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url, concurrency=2) as client,
    ):
        pager = client.list_customers(on_incomplete="ignore")
        assert len([customer async for customer in pager]) == 1_000
        assert (pager.completeness.verdict, pager.completeness.total) == (Verdict.CAPPED, 1_234)
        with pytest.raises(IncompleteListError, match="CAPPED"):
            pager.completeness.raise_if_incomplete()
        with pytest.raises(IncompleteListError):
            [customer async for customer in client.list_customers(on_incomplete="reconcile")]


async def test_documented_cap_is_ten_thousand() -> None:
    """One edition of the vendor's pages caps the list at 10,000 records: reading continues until pages are empty."""
    async with (
        Emulator(customers=12_345, capped=True) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        pager = client.list_customers(on_incomplete="ignore")
        assert len([customer async for customer in pager]) == 10_000
        assert pager.completeness.verdict is Verdict.CAPPED


async def test_refused_first_page_is_an_error(emulator: Emulator, client: CustomersClient) -> None:
    """A 404 for the first page raises; it is not an empty list."""
    emulator.fail_next(404)
    with pytest.raises(NotFoundError):
        [customer async for customer in client.list_customers()]


async def test_unstable_order_is_noticed(client: CustomersClient) -> None:
    """Pages that overlap repeat some customers and hide others: DRIFTED, never COMPLETE."""
    async with (
        Emulator(customers=500, unstable_order=True) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        pager = client.list_customers(per_page=10, on_incomplete="ignore")
        uuids = [customer.uuid async for customer in pager]
        assert len(uuids) == len(set(uuids)) == pager.completeness.distinct
        assert pager.completeness.verdict is Verdict.DRIFTED


async def test_listing_emits_its_pages_and_its_verdict(emulator: Emulator) -> None:
    """``on_event`` receives each page and the verdict; an error in the listener does no harm."""
    events: list[object] = []

    def listen(event: object) -> None:
        events.append(event)
        raise LookupError

    async with CustomersClient(emulator.token, base_url=emulator.url, on_event=listen) as client:
        pager = client.list_customers(per_page=100)
        assert len([customer async for customer in pager]) == 250
    pages = [event for event in events if isinstance(event, PageFetched)]
    assert [(page.number, page.customers, page.total) for page in pages] == [(1, 100, 250), (2, 100, 250), (3, 50, 250)]
    assert events[-1] == WalkFinished(pager.completeness)


async def test_concurrent_iterations_of_one_pager_are_refused(client: CustomersClient) -> None:
    """A second consumer beside the first gets an error."""
    pager = client.list_customers(per_page=10)

    async def consume() -> int:
        return len([customer async for customer in pager])

    first, second = await asyncio.gather(consume(), consume(), return_exceptions=True)
    assert isinstance(second, RuntimeError)
    assert isinstance(first, RuntimeError | int)
    await pager.aclose()


@pytest.mark.parametrize(
    ("change", "description"),
    [
        ({"insert": 3}, "COMPLETE, 250 of 250 customers, total changed to 253, 3 seen twice, 3 pages"),
        ({"insert": 3, "at": 10**6}, "COMPLETE, 250 of 250 customers, total changed to 253, 3 new, 3 pages"),
    ],
)
async def test_proven_listing_is_described_against_its_first_total(
    emulator: Emulator, client: CustomersClient, change: dict[str, Any], description: str
) -> None:
    """Customers that were added while the list was read do not look as if they were missing."""
    emulator.on_page(2, **change)
    pager = client.list_customers()
    async for _ in pager:
        pass
    assert pager.completeness.describe() == description
