"""Listing and its verdict, over a list in memory: without sockets, every odd list can be tried."""

import asyncio
import itertools
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customers_async import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    BadRequestError,
    Customer,
    CustomerPager,
    CustomersError,
    IncompleteListError,
    NotFoundError,
    Page,
    RecordError,
    UnprocessableEntityError,
    Verdict,
)
from customers_async.listing.page_fetcher import PageFetcher, PageSource

Server = Callable[[int], Page]


def customer(number: int, **fields: Any) -> Customer:
    return Customer(uuid=f"{number:08d}-0000-0000-0000-000000000000", **fields)


def page(number: int, numbers: Sequence[int], total: int | None, **metadata: Any) -> Page:
    metadata = {"per_page": None, "has_more": None, **metadata}
    return Page(number=number, total=total, customers=[customer(n) for n in numbers], raw=b"", **metadata)


def steady(count: int, size: int, **metadata: Any) -> Server:
    """A server whose list does not change."""
    return lambda number: page(number, range(count)[(number - 1) * size : number * size], count, **metadata)


class Fetches:
    """Fetches pages, which may arrive out of order, and counts them."""

    def __init__(self, server: Server, delays: Sequence[int] = (0,)) -> None:
        self.server = server
        self.delays = itertools.cycle(delays)
        self.numbers: list[int] = []
        self.in_flight = self.peak = 0

    async def __call__(self, number: int) -> Page:
        self.numbers.append(number)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            for _ in range(next(self.delays)):
                await asyncio.sleep(0)
            return self.server(number)
        finally:
            self.in_flight -= 1


def pager_of(fetch: Fetches, **options: Any) -> CustomerPager:
    defaults = {
        "concurrency": 4,
        "first_page": 1,
        "per_page": 10,
        "ordered": True,
        "unique": True,
        "on_incomplete": "ignore",
        "on_bad_record": None,
        "retry_pages": False,
        "on_event": (),
    }

    async def respond(number: int) -> Any:
        return SimpleNamespace(page=await fetch(number), headers={}, sent_at=None, received_at=None)

    source = PageSource(respond, lambda number, response: response.page)  # type: ignore[attr-defined]  # decoded
    return CustomerPager(PageFetcher(source, **{**defaults, **options}))


async def numbers_of(pager: CustomerPager) -> list[int]:
    return [int(customer.uuid[:8]) async for customer in pager]


@given(
    count=st.integers(0, 120),
    size=st.integers(1, 20),
    concurrency=st.integers(1, 9),
    ordered=st.booleans(),
    delays=st.lists(st.integers(0, 5), min_size=1),
)
def test_unchanging_list_is_complete(count: int, size: int, concurrency: int, ordered: bool, delays: list[int]) -> None:
    """Each customer and each page once, with at most ``concurrency`` pages in flight, in whatever order they arrive."""
    fetch = Fetches(steady(count, size), delays)
    pager = pager_of(fetch, per_page=size, concurrency=concurrency, ordered=ordered)
    numbers = asyncio.run(numbers_of(pager))
    assert (numbers if ordered else sorted(numbers)) == list(range(count))
    assert pager.completeness.verdict is Verdict.COMPLETE
    assert sorted(fetch.numbers) == list(range(1, max(1, -(-count // size)) + 1))
    assert fetch.peak <= concurrency


@pytest.mark.parametrize("ordered", [True, False])
def test_long_list_of_single_customers_is_complete(ordered: bool) -> None:
    """12,345 pages of one customer each."""
    pager = pager_of(Fetches(steady(12_345, 1), (3, 0, 2)), per_page=1, concurrency=8, ordered=ordered)
    with asyncio.Runner(debug=False) as runner:  # debugging keeps a stack for each task
        assert sorted(runner.run(numbers_of(pager))) == list(range(12_345))
    assert pager.completeness.verdict is Verdict.COMPLETE


class Drifting:
    """A server whose rows are inserted and deleted between requests."""

    def __init__(self, count: int, size: int, changes: list[tuple[bool, int]]) -> None:
        self.rows = list(range(count))
        self.size = size
        self.changes = iter(changes)
        self.fresh = itertools.count(count)
        self.always = set(self.rows)

    def __call__(self, number: int) -> Page:
        insert, at = next(self.changes, (None, 0))
        if insert:
            self.rows.insert(at % (len(self.rows) + 1), next(self.fresh))
        elif insert is False and self.rows:
            self.always.discard(self.rows.pop(at % len(self.rows)))
        rows = self.rows[(number - 1) * self.size : number * self.size]
        return page(number, rows, len(self.rows), has_more=number * self.size < len(self.rows))


@settings(max_examples=150)
@given(
    count=st.integers(0, 60),
    size=st.integers(2, 12),
    changes=st.lists(st.tuples(st.none() | st.booleans(), st.integers(0, 1000)), max_size=40),
    ordered=st.booleans(),
    concurrency=st.integers(1, 5),
    delays=st.lists(st.integers(0, 4), min_size=1),
)
def test_listing_under_drift_ends_with_a_true_verdict(
    count: int,
    size: int,
    changes: list[tuple[bool, int]],
    ordered: bool,
    concurrency: int,
    delays: list[int],
) -> None:
    """However rows move, the listing ends without duplicates, and COMPLETE means that it has as many as every total."""
    server = Drifting(count, size, changes)
    pager = pager_of(Fetches(server, delays), per_page=size, ordered=ordered, concurrency=concurrency)
    try:
        numbers = asyncio.run(numbers_of(pager))
    except APIResponseError:  # rows moved by exactly a page look like a server that ignores page
        return
    assert len(numbers) == len(set(numbers)) == pager.completeness.distinct
    if pager.completeness.verdict is Verdict.COMPLETE:
        assert len(numbers) == pager.completeness.first_total == pager.completeness.last_total
    if not server.always <= set(numbers):  # a customer that was there all the time was missed
        assert pager.completeness.verdict is not Verdict.COMPLETE or changes


@given(
    count=st.integers(0, 60),
    size=st.integers(2, 12),
    changes=st.lists(st.tuples(st.booleans(), st.integers(0, 1000)), max_size=12),
    delays=st.lists(st.integers(0, 4), min_size=1),
)
def test_reconciled_listing_misses_no_remaining_customer(
    count: int, size: int, changes: list[tuple[bool, int]], delays: list[int]
) -> None:
    """Once the list stops changing, reconciling finds every customer on it, or raises."""
    server = Drifting(count, size, changes)
    pager = pager_of(Fetches(server, delays), per_page=size, on_incomplete="reconcile", concurrency=2)
    numbers: list[int] = []

    async def collect() -> None:
        async for found in pager:
            numbers.append(int(found.uuid[:8]))  # noqa: PERF401  # customers before an error count

    try:
        asyncio.run(collect())
    except (APIResponseError, IncompleteListError):
        return
    assert len(numbers) == len(set(numbers))
    assert pager.completeness.verdict is Verdict.COMPLETE
    if next(server.changes, None) is None and pager.completeness.total == len(server.rows):
        assert set(server.rows) <= set(numbers)


def test_short_page_in_the_middle_is_not_the_end() -> None:
    """The listing continues past a short or an empty page, and is not COMPLETE."""
    for rows in ([10, 11], []):

        def server(number: int, rows: Sequence[int] = tuple(rows)) -> Page:
            return page(2, rows, 30) if number == 2 else steady(30, 10)(number)

        pager = pager_of(Fetches(server))
        assert asyncio.run(numbers_of(pager)) == [*range(10), *rows, *range(20, 30)]
        assert pager.completeness.verdict is Verdict.INCONSISTENT


def test_longer_page_than_requested_is_kept() -> None:
    """A server that returns more rows than requested is read completely."""
    pager = pager_of(Fetches(steady(50, 25)))
    assert asyncio.run(numbers_of(pager)) == list(range(50))
    assert pager.completeness.verdict is Verdict.COMPLETE


def test_has_more_that_stays_true_costs_one_request() -> None:
    """One page past the end is requested, and the verdict is INCONSISTENT."""
    fetch = Fetches(steady(30, 10, has_more=True))
    pager = pager_of(fetch)
    assert asyncio.run(numbers_of(pager)) == list(range(30))
    assert fetch.numbers == [1, 2, 3, 4]
    assert pager.completeness.verdict is Verdict.INCONSISTENT


def test_has_more_that_stays_true_without_a_total_ends() -> None:
    """Without a total, two empty pages in a row end the listing, at most ``concurrency`` pages past the end."""
    fetch = Fetches(lambda number: attrs.evolve(steady(30, 10, has_more=True)(number), total=None))
    pager = pager_of(fetch)
    assert asyncio.run(numbers_of(pager)) == list(range(30))
    assert max(fetch.numbers) <= 3 + 4
    assert pager.completeness.verdict is Verdict.INCONSISTENT


def test_total_overrules_has_more_that_is_false_too_early() -> None:
    """All pages are read although each response says that no more follow."""
    pager = pager_of(Fetches(steady(30, 10, has_more=False)))
    assert asyncio.run(numbers_of(pager)) == list(range(30))
    assert pager.completeness.verdict is Verdict.INCONSISTENT


@pytest.mark.parametrize("total", [None, 30, 10**15])
@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("has_more", [True, None])
def test_server_that_repeats_its_last_page_ends(total: int | None, unique: bool, has_more: bool | None) -> None:
    """A server that returns its last page for every page past the end: the listing ends, with the right verdict."""

    def server(number: int) -> Page:
        return attrs.evolve(steady(30, 10, has_more=has_more)(min(number, 3)), number=number, total=total)

    fetch = Fetches(server)
    pager = pager_of(fetch, unique=unique)
    assert sorted(set(asyncio.run(numbers_of(pager)))) == list(range(30))
    assert len(fetch.numbers) <= 3 + 16
    complete = total == 30 and has_more is None
    assert (pager.completeness.verdict is Verdict.COMPLETE) is complete


def test_wrong_page_number_in_the_response_is_inconsistent() -> None:
    """A server that calls each page the first one is read completely, but the listing is not COMPLETE."""
    pager = pager_of(Fetches(steady(30, 10, current_page=1)))
    assert asyncio.run(numbers_of(pager)) == list(range(30))
    assert pager.completeness.verdict is Verdict.INCONSISTENT


def test_absurd_total_ends_after_two_empty_pages() -> None:
    """With a total of 10**15, no more than a few pages past the end are requested."""
    fetch = Fetches(lambda number: attrs.evolve(steady(30, 10)(number), total=10**15))
    pager = pager_of(fetch)
    assert asyncio.run(numbers_of(pager)) == list(range(30))
    assert len(fetch.numbers) < 12
    assert pager.completeness.verdict is Verdict.CAPPED


def test_pages_added_during_the_listing_are_fetched() -> None:
    """A total that grows extends the listing; both totals are reported."""

    def server(number: int) -> Page:
        return steady(30 if number < 3 else 50, 10)(number)

    pager = pager_of(Fetches(server), concurrency=2)
    assert asyncio.run(numbers_of(pager)) == list(range(50))
    assert (pager.completeness.verdict, pager.completeness.first_total, pager.completeness.last_total) == (
        Verdict.DRIFTED,
        30,
        50,
    )


@pytest.mark.parametrize(
    ("error", "at", "ends"),
    [
        (UnprocessableEntityError("422", status=422), 2, True),
        (BadRequestError("400", status=400), 2, False),
        (BadRequestError("400", status=400), 1001, True),
    ],
)
def test_refused_page_is_the_cap_or_an_error(error: Exception, at: int, ends: bool) -> None:
    """Two 422s in a row are the end; a 400 is an error, except past the documented cap of 10,000."""

    def server(number: int) -> Page:
        if number >= at:
            raise error
        return steady(20_000, 10)(number)

    pager = pager_of(Fetches(server))
    if ends:
        assert len(asyncio.run(numbers_of(pager))) == (at - 1) * 10
        assert pager.completeness.verdict is Verdict.CAPPED
    else:
        with pytest.raises(BadRequestError) as caught:
            asyncio.run(numbers_of(pager))
        assert caught.value.next_page == at


def test_later_version_on_a_page_is_kept() -> None:
    """Of two rows with one uuid, the one with the later ``updated_at`` is kept, and a duplicate is counted."""
    old, new = (
        customer(1, name=name, updated_at=datetime(year, 1, 1, tzinfo=UTC)) for name, year in (("a", 2024), ("b", 2025))
    )
    for versions in ([old, new], [new, old], [customer(1), new]):
        twice = Page(number=1, per_page=10, total=2, has_more=False, customers=versions, raw=b"")
        pager = pager_of(Fetches(lambda _, twice=twice: twice))  # type: ignore[misc]  # a default binds the loop variable

        async def names(pager: CustomerPager = pager) -> list[str | None]:
            return [found.name async for found in pager]

        assert asyncio.run(names()) == ["b"]
        assert (pager.completeness.verdict, pager.completeness.duplicates) == (Verdict.DRIFTED, 1)


def test_without_unique_duplicates_are_yielded_and_counted() -> None:
    """``unique=False`` yields every row; a duplicate is counted, on whatever page it is."""
    pages = {1: [1, 2], 2: [3, 4], 3: [1, 5]}
    pager = pager_of(Fetches(lambda number: page(number, pages[number], 6)), unique=False, per_page=2)
    assert asyncio.run(numbers_of(pager)) == [1, 2, 3, 4, 1, 5]
    assert (pager.completeness.distinct, pager.completeness.duplicates) == (5, 1)
    assert pager.completeness.verdict is Verdict.DRIFTED


def test_without_unique_memory_does_not_grow() -> None:
    """Only the last few thousand uuids are remembered; the list can still be COMPLETE."""
    pager = pager_of(Fetches(steady(30_000, 100)), unique=False, per_page=100)
    assert len(asyncio.run(numbers_of(pager))) == 30_000
    assert pager.completeness.verdict is Verdict.COMPLETE
    seen = pager._fetcher.walk.seen
    assert len(seen._keys) + len(seen._older_keys) <= 10_100


def test_without_unique_duplicates_are_noticed_within_five_thousand() -> None:
    """A page that is repeated 4,900 customers later is counted, though no customer is dropped."""

    def server(number: int) -> Page:
        numbers = range(2_000, 2_100) if number == 70 else range((number - 1) * 100, number * 100)
        return page(number, numbers, 10_000)

    pager = pager_of(Fetches(server), unique=False, per_page=100)
    assert len(asyncio.run(numbers_of(pager))) == 10_000
    assert (pager.completeness.duplicates, pager.completeness.verdict) == (100, Verdict.DRIFTED)


def test_row_that_moved_to_the_next_page_is_a_duplicate() -> None:
    """With one customer a page, an insertion and a deletion can repeat a page; the server does not ignore page."""
    rows = {1: [1], 2: [1], 3: [3]}
    pager = pager_of(Fetches(lambda number: page(number, rows[number], 3)), per_page=1)
    assert asyncio.run(numbers_of(pager)) == [1, 3]
    assert pager.completeness.verdict is Verdict.DRIFTED


def test_server_that_ignores_page_in_changing_order_is_an_error() -> None:
    """A page that is called the first one, and holds a customer of the first one, is enough evidence."""

    def server(number: int) -> Page:
        return page(number, [number, 5, 6], 30, current_page=1)

    with pytest.raises(APIResponseError, match="ignores page"):
        asyncio.run(numbers_of(pager_of(Fetches(server), per_page=3)))


def test_refused_page_in_the_middle_is_not_the_end() -> None:
    """After a single 404 the listing continues, and is not COMPLETE."""

    def server(number: int) -> Page:
        if number == 3:
            raise NotFoundError("404", status=404)
        return steady(60, 10)(number)

    pager = pager_of(Fetches(server))
    assert asyncio.run(numbers_of(pager)) == [*range(20), *range(30, 60)]
    assert pager.completeness.verdict is Verdict.INCONSISTENT


def test_listing_from_the_last_page_requests_one_page() -> None:
    """A short page is taken for the last one, not for a smaller page size, if the listing began after page 1."""
    fetch = Fetches(steady(25, 10))
    pager = pager_of(fetch, first_page=3)
    assert asyncio.run(numbers_of(pager)) == list(range(20, 25))
    assert fetch.numbers == [3]
    assert pager.completeness.verdict is Verdict.INCONSISTENT


def bad(number: int) -> tuple[dict[str, Any], RecordError]:
    return {"uuid": customer(number).uuid, "name": 5}, RecordError("bad", field="name")


def test_repeated_bad_record_is_a_duplicate() -> None:
    """A bad record that is returned twice is one customer, so another is missing, and the list is not COMPLETE."""
    pages = {1: ([1], [bad(2)]), 2: ([3], [bad(2)])}
    reported: list[Any] = []

    def server(number: int) -> Page:
        numbers, rejected = pages[number]
        return attrs.evolve(page(number, numbers, 4), rejected=tuple(rejected))

    pager = pager_of(Fetches(server), per_page=2, on_bad_record=lambda raw, error: reported.append(raw["uuid"]))
    assert asyncio.run(numbers_of(pager)) == [1, 3]
    found = pager.completeness
    assert (found.verdict, found.distinct, found.rejected, found.duplicates) == (Verdict.DRIFTED, 2, 1, 1)
    assert reported == [customer(2).uuid]


async def test_bad_record_is_reported_once() -> None:
    """Not again after an error or when a page is fetched again; and a listener that raises loses no page."""
    failures = iter([False, True, False])
    reported: list[str] = []

    def server(number: int) -> Page:
        if number == 2 and next(failures, False):
            raise APIConnectionError("reset")
        rejected = (bad(99),) if number == 1 else ()
        return attrs.evolve(page(number, range(number * 2, number * 2 + 2), 5), rejected=rejected)

    def report(raw: Any, error: RecordError) -> None:
        reported.append(raw["uuid"])
        raise LookupError

    pager = pager_of(Fetches(server), per_page=3, on_bad_record=report, concurrency=1)
    with pytest.raises(LookupError):
        await numbers_of(pager)
    numbers: list[int] = []
    while pager.next_page is not None:
        try:
            numbers += [int(found.uuid[:8]) async for found in pager]
        except APIConnectionError:
            continue
    assert numbers == [2, 3, 4, 5]
    assert reported == [customer(99).uuid]
    assert pager.completeness.verdict is Verdict.COMPLETE


@pytest.mark.parametrize("ordered", [True, False])
async def test_every_page_is_yielded_once_despite_errors(ordered: bool) -> None:
    """Iterating again after each error yields the rest, without a gap or a duplicate."""
    failures = iter([True, False, True, False, False, True, False, True] + [False] * 100)

    def server(number: int) -> Page:
        if next(failures):
            raise APIConnectionError("reset")
        return steady(95, 10)(number)

    pager = pager_of(Fetches(server, (2, 0, 1)), ordered=ordered)
    numbers: list[int] = []
    errors = 0
    while True:
        try:
            async for found in pager:
                numbers.append(int(found.uuid[:8]))  # noqa: PERF401  # customers before an error count
        except APIConnectionError as error:
            errors += 1
            assert error.next_page is not None
            continue
        break
    assert 1 < errors <= 4
    assert (numbers if ordered else sorted(numbers)) == list(range(95))
    assert pager.completeness.verdict is Verdict.COMPLETE


@pytest.mark.parametrize(("failures", "requests"), [(1, 2), (2, 3), (3, 3)])
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_failed_page_is_requested_twice_more_if_most_arrive(
    failures: int, requests: int, concurrency: int
) -> None:
    """A page that fails now and then is fetched in the end; one that always fails ends the listing."""
    left = failures

    def server(number: int) -> Page:
        nonlocal left
        if number == 9 and left:
            left -= 1
            raise APIConnectionError("reset")
        return steady(200, 10)(number)

    fetch = Fetches(server)
    pager = pager_of(fetch, retry_pages=True, concurrency=concurrency)
    try:
        numbers = await numbers_of(pager)
    except APIConnectionError as error:
        assert failures == 3
        assert error.next_page == 9
    else:
        assert failures < 3
        assert numbers == list(range(200))
    assert fetch.numbers.count(9) == requests


@pytest.mark.parametrize(
    ("error", "retry_pages", "at"),
    [
        (APIConnectionError("reset"), True, 4),
        (APIConnectionError("reset"), False, 9),
        (APIConnectionError("TLS", transient=False), True, 9),
        (APIStatusError("403", status=403), True, 9),
        (APIStatusError("503", status=503, retry_after=900.0), True, 9),
    ],
    ids=["too early", "retries off", "not transient", "refused", "retry_after"],
)
async def test_failed_page_is_not_requested_again(error: CustomersError, retry_pages: bool, at: int) -> None:
    """Not before four pages have arrived, not without retries, and not if another request cannot succeed now."""

    def server(number: int) -> Page:
        if number == at:
            raise error
        return steady(200, 10)(number)

    fetch = Fetches(server)
    with pytest.raises(type(error)):
        await numbers_of(pager_of(fetch, retry_pages=retry_pages, concurrency=1))
    assert fetch.numbers.count(at) == 1


async def test_page_retries_do_not_multiply_an_outage() -> None:
    """If all pages fail from page 101 on, each page in flight is requested three times at most."""

    def server(number: int) -> Page:
        if number > 100:
            raise APIConnectionError("refused")
        return steady(5_000, 10)(number)

    fetch = Fetches(server)
    with pytest.raises(APIConnectionError):
        await numbers_of(pager_of(fetch, retry_pages=True, concurrency=4))
    assert len(fetch.numbers) <= 100 + 3 * 4


async def test_iterator_resumes_after_an_error() -> None:
    """The iterators of a pager resume as well; a generator would end, and truncate the list."""
    for iterate in (CustomerPager.__aiter__, CustomerPager.pages):
        failures = iter([False, False, True])

        def server(number: int, failures: Iterator[bool] = failures) -> Page:
            if next(failures, False):
                raise APIConnectionError("reset")
            return steady(50, 10)(number)

        pager = pager_of(Fetches(server), concurrency=1)
        held: AsyncIterator[Any] = iterate(pager)
        items = 0
        with pytest.raises(APIConnectionError):
            async for _ in held:
                items += 1
        async for _ in held:
            items += 1
        assert items == (50 if iterate is CustomerPager.__aiter__ else 5)
        assert pager.completeness.verdict is Verdict.COMPLETE


async def test_second_consumer_is_refused() -> None:
    """While one task waits for a page, another gets an error; the first one still gets the whole list."""
    pager = pager_of(Fetches(steady(95, 10), (5,)))
    first = asyncio.ensure_future(numbers_of(pager))
    await asyncio.sleep(0)
    for intrude in (lambda: numbers_of(pager), pager.aclose):
        with pytest.raises(RuntimeError, match="use a pager in one task at a time"):
            await intrude()
    assert await first == list(range(95))
    assert pager.completeness.verdict is Verdict.COMPLETE


@pytest.mark.parametrize("steps", range(12))
async def test_listing_cancelled_twice_loses_nothing(steps: int) -> None:
    """A second cancellation during the clean-up after the first: iterating again yields the rest."""
    pager = pager_of(Fetches(steady(95, 10), (9,)))
    numbers: list[int] = []

    async def collect() -> None:
        async for found in pager:
            numbers.append(int(found.uuid[:8]))  # noqa: PERF401  # customers before the cancellation count

    task = asyncio.ensure_future(collect())
    for _ in range(15):
        await asyncio.sleep(0)
    task.cancel()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await collect()
    assert numbers == list(range(95))
    assert pager.completeness.verdict is Verdict.COMPLETE


@pytest.mark.parametrize("ordered", [True, False])
async def test_pages_are_not_kept(ordered: bool) -> None:
    """No more pages are alive than ``concurrency`` and the current one, however long the list."""
    pages: list[weakref.ref[Page]] = []

    def server(number: int) -> Page:
        served = steady(1_000, 10)(number)
        pages.append(weakref.ref(served))
        return served

    most = 0
    async for _ in pager_of(Fetches(server), ordered=ordered).pages():
        most = max(most, sum(page() is not None for page in pages))
    assert most <= 4 + 2


async def test_failed_listing_leaves_no_task_behind() -> None:
    """An error in one page cancels the fetches of the others."""

    def server(number: int) -> Page:
        if number == 3:
            raise APIConnectionError("reset")
        return steady(95, 10)(number)

    fetch = Fetches(server, (5, 1))
    pager = pager_of(fetch)
    with pytest.raises(APIConnectionError):
        await numbers_of(pager)
    assert fetch.in_flight == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_dropped_pager_leaves_no_task_behind() -> None:
    """A ``break`` without ``async with``: the fetches in flight are cancelled when the pager is dropped."""
    async for _ in pager_of(Fetches(steady(95, 10), (9,))):
        break
    for _ in range(20):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelled_listing_resumes() -> None:
    """A timeout cancels the fetches in flight; iterating again resumes."""
    pager = pager_of(Fetches(steady(95, 10), (9,)))
    numbers: list[int] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            numbers += await numbers_of(pager)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert numbers + await numbers_of(pager) == list(range(95))


def test_pager_resumes_in_another_event_loop() -> None:
    """A loop that ends closes the pager's generator, which then looks finished: a new one resumes."""
    pager = pager_of(Fetches(steady(95, 10)))

    async def begin() -> int:
        return int((await anext(aiter(pager))).uuid[:8])

    numbers = [asyncio.run(begin())]
    assert numbers + asyncio.run(numbers_of(pager)) == list(range(95))
