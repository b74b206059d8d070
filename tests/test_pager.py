"""The walk and its verdict, over a list in memory: no sockets, so that every odd list can be tried."""

import asyncio
import itertools
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
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
    """A server whose list stands still."""
    return lambda number: page(number, range(count)[(number - 1) * size : number * size], count, **metadata)


class Fetches:
    """Fetches from a server, with answers that overtake one another, and counts."""

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
        "on_event": None,
    }
    source: Any = PageSource("", fetch, lambda number, page: page)  # type: ignore[arg-type,return-value]  # pages come decoded
    return CustomerPager(PageFetcher(source, **{**defaults, **options}))


async def numbers_of(pager: CustomerPager) -> list[int]:
    return [int(customer.uuid[:8]) async for customer in pager]


@given(
    count=st.integers(0, 120),
    size=st.integers(1, 20),
    window=st.integers(1, 9),
    ordered=st.booleans(),
    delays=st.lists(st.integers(0, 5), min_size=1),
)
def test_a_list_that_stands_still_is_complete(
    count: int, size: int, window: int, ordered: bool, delays: list[int]
) -> None:
    """Every customer once, no page twice, never more pages in flight than the window, whatever overtakes what."""
    fetch = Fetches(steady(count, size), delays)
    pager = pager_of(fetch, per_page=size, concurrency=window, ordered=ordered)
    numbers = asyncio.run(numbers_of(pager))
    assert (numbers if ordered else sorted(numbers)) == list(range(count))
    assert pager.completeness.verdict is Verdict.COMPLETE
    assert sorted(fetch.numbers) == list(range(1, max(1, -(-count // size)) + 1))
    assert fetch.peak <= window


@pytest.mark.parametrize("ordered", [True, False])
def test_a_long_list_of_single_customers_is_complete(ordered: bool) -> None:
    """12,345 pages of one customer each."""
    pager = pager_of(Fetches(steady(12_345, 1), (3, 0, 2)), per_page=1, concurrency=8, ordered=ordered)
    with asyncio.Runner(debug=False) as runner:  # debugging keeps a stack for each task
        assert sorted(runner.run(numbers_of(pager))) == list(range(12_345))
    assert pager.completeness.verdict is Verdict.COMPLETE


class Drifting:
    """A server whose rows come and go between requests."""

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
    window=st.integers(1, 5),
    delays=st.lists(st.integers(0, 4), min_size=1),
)
def test_a_walk_under_drift_ends_and_never_lies(
    count: int,
    size: int,
    changes: list[tuple[bool, int]],
    ordered: bool,
    window: int,
    delays: list[int],
) -> None:
    """However rows move: the walk ends, repeats nobody, and COMPLETE means as many customers as every answer named."""
    server = Drifting(count, size, changes)
    pager = pager_of(Fetches(server, delays), per_page=size, ordered=ordered, concurrency=window)
    try:
        numbers = asyncio.run(numbers_of(pager))
    except APIResponseError:  # rows moved by exactly a page: not to be told from a server that ignores page
        return
    assert len(numbers) == len(set(numbers)) == pager.completeness.distinct
    if pager.completeness.verdict is Verdict.COMPLETE:
        assert len(numbers) == pager.completeness.first_total == pager.completeness.last_total
    if not server.always <= set(numbers):  # somebody who was there all the time was missed
        assert pager.completeness.verdict is not Verdict.COMPLETE or changes


@given(
    count=st.integers(0, 60),
    size=st.integers(2, 12),
    changes=st.lists(st.tuples(st.booleans(), st.integers(0, 1000)), max_size=12),
    delays=st.lists(st.integers(0, 4), min_size=1),
)
def test_a_reconciled_walk_misses_nobody_who_stayed(
    count: int, size: int, changes: list[tuple[bool, int]], delays: list[int]
) -> None:
    """Once the list stands still, reconciling finds everyone on it, or says that it could not."""
    server = Drifting(count, size, changes)
    pager = pager_of(Fetches(server, delays), per_page=size, on_incomplete="reconcile", concurrency=2)
    numbers: list[int] = []

    async def collect() -> None:
        async for found in pager:
            numbers.append(int(found.uuid[:8]))  # noqa: PERF401  # what came before an error counts

    try:
        asyncio.run(collect())
    except (APIResponseError, IncompleteListError):
        return
    assert len(numbers) == len(set(numbers))
    assert pager.completeness.verdict is Verdict.COMPLETE
    if next(server.changes, None) is None and pager.completeness.total == len(server.rows):
        assert set(server.rows) <= set(numbers)


def test_a_short_page_in_the_middle_is_not_the_end() -> None:
    """The walk goes on past a short or an empty page, and does not call the list complete."""
    for rows in ([10, 11], []):

        def server(number: int, rows: Sequence[int] = tuple(rows)) -> Page:
            return page(2, rows, 30) if number == 2 else steady(30, 10)(number)

        pager = pager_of(Fetches(server))
        assert asyncio.run(numbers_of(pager)) == [*range(10), *rows, *range(20, 30)]
        assert pager.completeness.verdict is Verdict.INCONSISTENT


def test_a_longer_page_than_asked_for_is_kept() -> None:
    """A server that gives more rows than asked for is walked whole."""
    pager = pager_of(Fetches(steady(50, 25)))
    assert asyncio.run(numbers_of(pager)) == list(range(50))
    assert pager.completeness.verdict is Verdict.COMPLETE


def test_a_server_that_promises_more_for_ever_is_not_believed() -> None:
    """has-more that stays true costs one request past the end, and the verdict says that it lied."""
    fetch = Fetches(steady(30, 10, has_more=True))
    pager = pager_of(fetch)
    assert asyncio.run(numbers_of(pager)) == list(range(30))
    assert fetch.numbers == [1, 2, 3, 4]
    assert pager.completeness.verdict is Verdict.INCONSISTENT


def test_a_server_that_promises_more_for_ever_without_a_total_ends() -> None:
    """Without a total, two empty pages in a row end the walk, at most a window past the end."""
    fetch = Fetches(lambda number: attrs.evolve(steady(30, 10, has_more=True)(number), total=None))
    pager = pager_of(fetch)
    assert asyncio.run(numbers_of(pager)) == list(range(30))
    assert max(fetch.numbers) <= 3 + 4
    assert pager.completeness.verdict is Verdict.INCONSISTENT


def test_a_server_that_says_done_too_early_is_not_believed() -> None:
    """has-more false on page 1 of 3: the total decides."""
    pager = pager_of(Fetches(steady(30, 10, has_more=False)))
    assert asyncio.run(numbers_of(pager)) == list(range(30))
    assert pager.completeness.verdict is Verdict.INCONSISTENT


@pytest.mark.parametrize("total", [None, 30, 10**15])
@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("has_more", [True, None])
def test_a_server_that_repeats_its_last_page_ends(total: int | None, unique: bool, has_more: bool | None) -> None:
    """Past the end a server may give the last page again, for ever: the walk ends, and is not COMPLETE by mistake."""

    def server(number: int) -> Page:
        return attrs.evolve(steady(30, 10, has_more=has_more)(min(number, 3)), number=number, total=total)

    fetch = Fetches(server)
    pager = pager_of(fetch, unique=unique)
    assert sorted(set(asyncio.run(numbers_of(pager)))) == list(range(30))
    assert len(fetch.numbers) <= 3 + 16
    complete = total == 30 and has_more is None
    assert (pager.completeness.verdict is Verdict.COMPLETE) is complete


def test_a_wrong_page_number_in_the_answer_is_inconsistent() -> None:
    """A server that calls each page the first one is walked, and not vouched for."""
    pager = pager_of(Fetches(steady(30, 10, current_page=1)))
    assert asyncio.run(numbers_of(pager)) == list(range(30))
    assert pager.completeness.verdict is Verdict.INCONSISTENT


def test_an_absurd_total_allocates_nothing() -> None:
    """A total of 10**15 is not planned by: two empty pages end the walk."""
    fetch = Fetches(lambda number: attrs.evolve(steady(30, 10)(number), total=10**15))
    pager = pager_of(fetch)
    assert asyncio.run(numbers_of(pager)) == list(range(30))
    assert len(fetch.numbers) < 12
    assert pager.completeness.verdict is Verdict.CAPPED


def test_pages_added_during_the_walk_are_fetched() -> None:
    """A total that grows extends the walk; both totals are in the verdict."""

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
def test_a_refused_page_is_the_cap_or_an_error(error: Exception, at: int, ends: bool) -> None:
    """Two 422s in a row are the end; a 400 means server trouble, save past the documented cap of 10,000."""

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


def test_of_two_versions_on_a_page_the_later_is_kept() -> None:
    """One uuid twice with other content: counted, and the one with the later ``updated_at`` stays."""
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


def test_without_unique_repetitions_are_yielded_and_still_noticed() -> None:
    """``unique=False`` hands on every row; one that came before, on whatever page, is counted all the same."""
    pages = {1: [1, 2], 2: [3, 4], 3: [1, 5]}
    pager = pager_of(Fetches(lambda number: page(number, pages[number], 6)), unique=False, per_page=2)
    assert asyncio.run(numbers_of(pager)) == [1, 2, 3, 4, 1, 5]
    assert (pager.completeness.distinct, pager.completeness.duplicates) == (5, 1)
    assert pager.completeness.verdict is Verdict.DRIFTED


def test_without_unique_memory_does_not_grow() -> None:
    """The last few thousand uuids are remembered, however long the list; it can still be COMPLETE."""
    pager = pager_of(Fetches(steady(30_000, 100)), unique=False, per_page=100)
    assert len(asyncio.run(numbers_of(pager))) == 30_000
    assert pager.completeness.verdict is Verdict.COMPLETE
    seen = pager._fetcher.walk.seen
    assert len(seen._keys) + len(seen._older_keys) <= 10_100


def test_without_unique_repetitions_are_noticed_within_five_thousand() -> None:
    """A page that comes again 4,900 customers later is counted, though nobody is dropped."""

    def server(number: int) -> Page:
        numbers = range(2_000, 2_100) if number == 70 else range((number - 1) * 100, number * 100)
        return page(number, numbers, 10_000)

    pager = pager_of(Fetches(server), unique=False, per_page=100)
    assert len(asyncio.run(numbers_of(pager))) == 10_000
    assert (pager.completeness.duplicates, pager.completeness.verdict) == (100, Verdict.DRIFTED)


def test_a_row_that_slid_onto_the_next_page_is_no_server_that_ignores_page() -> None:
    """With one customer a page, an insertion balanced by a deletion repeats a page: counted, and walked on."""
    rows = {1: [1], 2: [1], 3: [3]}
    pager = pager_of(Fetches(lambda number: page(number, rows[number], 3)), per_page=1)
    assert asyncio.run(numbers_of(pager)) == [1, 3]
    assert pager.completeness.verdict is Verdict.DRIFTED


def test_a_server_that_ignores_page_in_changing_order_is_an_error() -> None:
    """It may shuffle: that it calls the page the first one, and holds somebody of the first one, is enough."""

    def server(number: int) -> Page:
        return page(number, [number, 5, 6], 30, current_page=1)

    with pytest.raises(APIResponseError, match="ignores page"):
        asyncio.run(numbers_of(pager_of(Fetches(server), per_page=3)))


def test_one_refused_page_in_the_middle_is_not_the_end() -> None:
    """A 404 that passes by is a hole: the walk goes on past it, and does not call the list complete."""

    def server(number: int) -> Page:
        if number == 3:
            raise NotFoundError("404", status=404)
        return steady(60, 10)(number)

    pager = pager_of(Fetches(server))
    assert asyncio.run(numbers_of(pager)) == [*range(20), *range(30, 60)]
    assert pager.completeness.verdict is Verdict.INCONSISTENT


def test_a_walk_that_begins_with_the_last_page_asks_for_one_page() -> None:
    """A short first page further back is the last one, not a smaller page size."""
    fetch = Fetches(steady(25, 10))
    pager = pager_of(fetch, first_page=3)
    assert asyncio.run(numbers_of(pager)) == list(range(20, 25))
    assert fetch.numbers == [3]
    assert pager.completeness.verdict is Verdict.INCONSISTENT


def bad(number: int) -> tuple[dict[str, Any], RecordError]:
    return {"uuid": customer(number).uuid, "name": 5}, RecordError("bad", field="name")


def test_rejected_records_are_told_apart() -> None:
    """A bad record that comes twice is one customer: somebody is missing, and the list is not complete."""
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


async def test_each_bad_record_is_reported_once() -> None:
    """Not again when a page is fetched again, or the list walked again; and a listener that raises loses no page."""
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
async def test_after_an_error_every_page_is_handed_on_once(ordered: bool) -> None:
    """Errors anywhere in the walk: iterating again goes on until all is there, without a gap or a repetition."""
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
                numbers.append(int(found.uuid[:8]))  # noqa: PERF401  # what came before an error counts
        except APIConnectionError as error:
            errors += 1
            assert error.next_page is not None
            continue
        break
    assert 1 < errors <= 4
    assert (numbers if ordered else sorted(numbers)) == list(range(95))
    assert pager.completeness.verdict is Verdict.COMPLETE


@pytest.mark.parametrize(("failures", "asked"), [(1, 2), (2, 3), (3, 3)])
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_page_that_fails_where_most_come_gets_two_more_chances(
    failures: int, asked: int, concurrency: int
) -> None:
    """The service stumbles and is not down; a page that always fails ends the walk all the same."""
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
    assert fetch.numbers.count(9) == asked


@pytest.mark.parametrize(
    ("error", "retry_pages", "at"),
    [
        (APIConnectionError("reset"), True, 4),
        (APIConnectionError("reset"), False, 9),
        (APIConnectionError("TLS", transient=False), True, 9),
        (APIStatusError("403", status=403), True, 9),
        (APIStatusError("503", status=503, retry_after=900.0), True, 9),
    ],
    ids=["too early", "not wanted", "not transient", "refused", "told to stay away"],
)
async def test_a_page_gets_no_second_chance(error: CustomersError, retry_pages: bool, at: int) -> None:
    """Before four pages have come, when it is not wanted, and when asking again could not help."""

    def server(number: int) -> Page:
        if number == at:
            raise error
        return steady(200, 10)(number)

    fetch = Fetches(server)
    with pytest.raises(type(error)):
        await numbers_of(pager_of(fetch, retry_pages=retry_pages, concurrency=1))
    assert fetch.numbers.count(at) == 1


async def test_an_outage_is_not_multiplied_by_a_walk() -> None:
    """Everything fails from page 101 on: the walk asks for each page in flight three times at most, and ends."""

    def server(number: int) -> Page:
        if number > 100:
            raise APIConnectionError("refused")
        return steady(5_000, 10)(number)

    fetch = Fetches(server)
    with pytest.raises(APIConnectionError):
        await numbers_of(pager_of(fetch, retry_pages=True, concurrency=4))
    assert len(fetch.numbers) <= 100 + 3 * 4


async def test_a_held_iterator_goes_on_after_an_error() -> None:
    """Not only the pager, its iterators survive errors as well: a generator would end, and truncate the list."""
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


async def test_a_second_consumer_is_refused_and_harms_nobody() -> None:
    """While one task waits for the next page another gets a clear error; the first one gets the whole list."""
    pager = pager_of(Fetches(steady(95, 10), (5,)))
    first = asyncio.ensure_future(numbers_of(pager))
    await asyncio.sleep(0)
    for intrude in (lambda: numbers_of(pager), pager.aclose):
        with pytest.raises(RuntimeError, match="use a pager in one task at a time"):
            await intrude()
    assert await first == list(range(95))
    assert pager.completeness.verdict is Verdict.COMPLETE


@pytest.mark.parametrize("steps", range(12))
async def test_a_walk_cancelled_twice_loses_nothing(steps: int) -> None:
    """A second Ctrl-C while the first is being cleaned up: the pager still knows what it has not handed on."""
    pager = pager_of(Fetches(steady(95, 10), (9,)))
    numbers: list[int] = []

    async def collect() -> None:
        async for found in pager:
            numbers.append(int(found.uuid[:8]))  # noqa: PERF401  # what came before the cancellation counts

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
    """However long the walk, no more pages are alive than the window and the one at hand."""
    pages: list[weakref.ref[Page]] = []

    def server(number: int) -> Page:
        served = steady(1_000, 10)(number)
        pages.append(weakref.ref(served))
        return served

    most = 0
    async for _ in pager_of(Fetches(server), ordered=ordered).pages():
        most = max(most, sum(page() is not None for page in pages))
    assert most <= 4 + 2


async def test_a_failed_walk_leaves_no_task_behind() -> None:
    """An error in one page ends the fetches of the others."""

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


async def test_a_forgotten_pager_leaves_no_task_behind() -> None:
    """A ``break`` without ``async with``: the fetches in flight end as soon as the pager is dropped."""
    async for _ in pager_of(Fetches(steady(95, 10), (9,))):
        break
    for _ in range(20):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_cancelled_walk_goes_on() -> None:
    """A timeout around a walk ends its fetches; the pager then goes on where it was."""
    pager = pager_of(Fetches(steady(95, 10), (9,)))
    numbers: list[int] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            numbers += await numbers_of(pager)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert numbers + await numbers_of(pager) == list(range(95))


def test_a_pager_goes_on_when_its_loop_has_ended() -> None:
    """A loop that ends closes the pager's generator, which then ends as if the list did: the next one goes on."""
    pager = pager_of(Fetches(steady(95, 10)))

    async def begin() -> int:
        return int((await anext(aiter(pager))).uuid[:8])

    numbers = [asyncio.run(begin())]
    assert numbers + asyncio.run(numbers_of(pager)) == list(range(95))
