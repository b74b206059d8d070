"""Many customers by their uuids: the requests, counted at the server, and the result of each uuid."""

import asyncio
import pickle
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customers_async import (
    AuthenticationError,
    BatchPlan,
    BatchResult,
    Customer,
    CustomerBatch,
    CustomersClient,
    Failed,
    Found,
    NotFoundError,
    Page,
    PermissionDeniedError,
    RateLimitError,
    RecordError,
    RetryPolicy,
    ServerError,
)
from customers_async.emulator import Emulator
from customers_async.listing.batch import BatchReader
from customers_async.listing.page_fetcher import PageSource
from tests.faults.interruption import check_nothing_held

UNKNOWN = "00000000-0000-0000-0000-00000000000z"
LIST = "/api/v1/customers"


@pytest.fixture
async def crowd() -> AsyncIterator[Emulator]:
    """A service of 5,000 customers, under its real quota."""
    async with Emulator(customers=5_000) as emulator:
        yield emulator


@pytest.fixture
async def reader(crowd: Emulator) -> AsyncIterator[CustomersClient]:
    """A client of that service."""
    async with CustomersClient(crowd.token, base_url=crowd.url) as client:
        yield client


def spread(emulator: Emulator, count: int) -> list[str]:
    """Return uuids from all over the list, the last customer's among them, in reverse order."""
    uuids = list(emulator.uuids())
    step = len(uuids) // count
    return uuids[::-1][::step][:count]


def check_found(results: Iterable[BatchResult], uuids: list[str]) -> None:
    """Check that each uuid has its customer, in the order of the uuids."""
    found = list(results)
    assert [result.uuid for result in found] == uuids
    assert [result.customer and result.customer.uuid for result in found] == uuids
    assert {result.error for result in found} == {None}


class Service:
    """Serves look-ups and pages from a list in memory, in any order, some with an error, and counts them."""

    def __init__(
        self,
        numbers: Sequence[int],
        hidden: set[int],
        failing: set[int],
        cached: set[int],
        wanted: Sequence[str],
        size: int,
        seed: int,
    ) -> None:
        self.numbers, self.hidden, self.failing, self.size = numbers, hidden, failing, size
        self.cached, self.wanted = cached, wanted
        self.epoch = 7
        self.chance = random.Random(seed)
        self.look_ups: Counter[str] = Counter()
        self.pages: Counter[int] = Counter()
        self.in_flight = self.peak = 0

    async def _take_time(self) -> None:
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            for _ in range(self.chance.randrange(4)):
                await asyncio.sleep(0)
        finally:
            self.in_flight -= 1

    def find(self, uuid: str) -> Customer | NotFoundError | None:
        number = int(uuid[:8])
        if number not in self.cached:
            return None
        known = number in self.numbers or number in self.hidden
        return Customer(uuid=uuid) if known else NotFoundError("no such customer", status=404)

    def remember(self, uuid: str, customer: Customer, epoch: int) -> Customer:
        assert epoch == self.epoch
        assert uuid in self.wanted
        return customer

    async def get_customer(self, uuid: str, lane: str) -> Customer:
        assert lane == "bulk"
        assert int(uuid[:8]) not in self.cached
        self.look_ups[uuid] += 1
        await self._take_time()
        number = int(uuid[:8])
        if number in self.failing:
            raise ServerError("down", status=500)
        if number not in self.numbers and number not in self.hidden:
            raise NotFoundError("no such customer", status=404)
        return Customer(uuid=uuid)

    async def page(self, number: int) -> Page:
        self.pages[number] += 1
        await self._take_time()
        rows = self.numbers[(number - 1) * self.size : number * self.size]
        if -number in self.failing:
            raise ServerError("down", status=500)
        customers = [Customer(uuid=uuid_of(row)) for row in rows]
        more, total = number * self.size < len(self.numbers), len(self.numbers)
        return Page(number=number, per_page=None, total=total, has_more=more, customers=customers, raw=b"")


def uuid_of(number: int) -> str:
    return f"{number:08d}-0000-0000-0000-000000000000"


@settings(max_examples=150)
@given(
    length=st.integers(0, 60),
    wanted=st.lists(st.integers(0, 70), max_size=50),
    hidden=st.sets(st.integers(0, 70), max_size=3),
    failing=st.sets(st.integers(-6, 70), max_size=4),
    cached=st.sets(st.integers(0, 70)),
    size=st.integers(2, 20),
    concurrency=st.integers(1, 9),
    strategy=st.sampled_from(["auto", "lookups", "list"]),
    ordered=st.booleans(),
    stops=st.lists(st.integers(1, 9), max_size=4),
    seed=st.integers(0, 1_000),
)
def test_each_uuid_gets_its_result(
    length: int,
    wanted: list[int],
    hidden: set[int],
    failing: set[int],
    cached: set[int],
    size: int,
    concurrency: int,
    strategy: Any,
    ordered: bool,
    stops: list[int],
    seed: int,
) -> None:
    """Whatever fails, is missing from the list, is repeated or late, and however often the batch is left."""
    uuids = tuple(map(uuid_of, wanted))
    service: Any = Service(range(length), hidden - failing, failing, cached, uuids, size, seed)
    source: Any = PageSource(service.page, lambda number, page: page)  # type: ignore[arg-type,return-value]  # pages come decoded
    reader = BatchReader(
        uuids,
        service,
        source,
        concurrency=concurrency,
        strategy=strategy,
        on_missing="yield",
        ordered=ordered,
        lane="bulk",
    )
    results: list[BatchResult] = []

    async def run() -> None:
        for stop in [*stops, len(wanted) + 1]:
            async with CustomerBatch(reader) as batch:
                async for result in batch:
                    results.append(result)
                    stop -= 1
                    if not stop:
                        break
            assert service.in_flight == 0

    with asyncio.Runner(debug=False) as runner:
        runner.run(run())
    assert (
        [result.uuid for result in results] == list(uuids)
        if ordered
        else Counter(uuids) == Counter(result.uuid for result in results)
    )
    for result in results:
        number = int(result.uuid[:8])
        if result.customer is not None:
            assert result.customer.uuid == result.uuid
            assert number in service.numbers or number in service.hidden
        else:
            assert type(result.error) is (ServerError if number in failing - cached else NotFoundError)
    assert service.peak <= concurrency
    if not stops:
        assert max(service.look_ups.values(), default=0) <= 1
        assert max(service.pages.values(), default=0) <= 1
        if strategy == "lookups":
            assert sum(service.look_ups.values()) == len({*wanted} - cached)
            assert not service.pages


def test_results_are_told_apart_and_pickle() -> None:
    """Each has all three attributes, and can be matched by position."""
    found, failed = Found("a", Customer(uuid="a")), Failed("b", NotFoundError("404", status=404))
    for result in (found, failed):
        assert isinstance(result, BatchResult)
        assert repr(pickle.loads(pickle.dumps(result))) == repr(result)
    assert (found.error, failed.customer) == (None, None)
    assert repr(found) == "Found(uuid='a', customer=Customer(uuid='a', ...))"
    assert repr(failed) == "Failed(uuid='b', error=NotFoundError('404'))"
    match found, failed:
        case Found(uuid, customer), Failed(other, NotFoundError()):
            assert (uuid, customer.uuid, other) == ("a", "a", "b")
        case _:
            raise AssertionError


async def test_800_of_5000_customers_cost_51_requests_at_most(crowd: Emulator, reader: CustomersClient) -> None:
    """The list is read, because its 50 pages cost less than 800 look-ups."""
    uuids = spread(crowd, 800)
    check_found([result async for result in reader.get_customers(uuids)], uuids)
    assert crowd.stats.requests <= 51
    assert set(crowd.stats.paths) == {LIST}


async def test_few_customers_are_looked_up_without_a_request_for_the_total(
    crowd: Emulator, reader: CustomersClient
) -> None:
    """Ten customers, ten requests."""
    uuids = spread(crowd, 10)
    check_found([result async for result in reader.get_customers(uuids)], uuids)
    assert crowd.stats.requests == 10
    assert LIST not in crowd.stats.paths


async def test_list_is_left_if_look_ups_cost_less(crowd: Emulator, reader: CustomersClient) -> None:
    """40 of 5,000: the other 49 pages would cost more. Customers of the first page are not looked up."""
    uuids = [*crowd.uuids(0, 3), *spread(crowd, 40)[:37]]
    check_found([result async for result in reader.get_customers(uuids)], uuids)
    assert crowd.stats.paths[LIST] == 1
    assert crowd.stats.requests == 1 + 37


async def test_listing_stops_when_every_customer_was_found(crowd: Emulator, reader: CustomersClient) -> None:
    """300 customers of the first pages: no request is sent after the last of them was found."""
    uuids = list(crowd.uuids(0, 300))
    check_found([result async for result in reader.get_customers(uuids)], uuids)
    assert crowd.stats.requests <= 3 + 8


async def test_last_few_customers_are_looked_up_if_more_pages_are_left(
    crowd: Emulator, reader: CustomersClient
) -> None:
    """All but two are on the first pages: two look-ups cost less than the 40 pages that are left."""
    uuids = [*crowd.uuids(0, 500), *crowd.uuids(4_998, 5_000)]
    check_found([result async for result in reader.get_customers(uuids)], uuids)
    assert crowd.stats.requests <= 5 + 8 + 2


@pytest.mark.parametrize("strategy", ["lookups", "list"])
async def test_strategy_can_be_chosen(emulator: Emulator, client: CustomersClient, strategy: Any) -> None:
    """Three customers by three look-ups, or by the three pages of the list."""
    uuids = list(emulator.uuids(247, 250))
    check_found([result async for result in client.get_customers(uuids, strategy=strategy)], uuids)
    assert emulator.stats.paths[LIST] == (3 if strategy == "list" else 0)
    assert emulator.stats.requests == 3


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("strategy", ["lookups", "list"])
async def test_repeated_uuid_costs_one_request(
    emulator: Emulator, client: CustomersClient, strategy: Any, ordered: bool
) -> None:
    """Each position still gets its result."""
    first, second = emulator.uuids(0, 2)
    uuids = [first, second, first, UNKNOWN, first, UNKNOWN]
    results = [result async for result in client.get_customers(uuids, strategy=strategy, ordered=ordered)]
    assert sorted(result.uuid for result in results) == sorted(uuids)
    if ordered:
        assert [result.uuid for result in results] == uuids
    assert emulator.stats.requests == (3 if strategy == "lookups" else 3 + 1)


async def test_unordered_results_are_yielded_as_they_arrive(emulator: Emulator) -> None:
    """A slow first result delays the others only if ``ordered``."""
    waits = iter([5.0, *[0.1] * 100])
    emulator.latency = lambda: next(waits)
    uuids = list(emulator.uuids(0, 8))
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        await client.whoami()
        waits = iter([5.0, *[0.1] * 7])
        results = [result.uuid async for result in client.get_customers(uuids, ordered=False)]
        assert sorted(results) == sorted(uuids)
        assert results != uuids
        waits = iter([5.0, *[0.1] * 7])
        assert [result.uuid async for result in client.get_customers(uuids)] == uuids


@pytest.mark.parametrize("strategy", ["lookups", "list"])
async def test_missing_customer_is_a_result_by_default(
    emulator: Emulator, client: CustomersClient, strategy: Any
) -> None:
    """Its position gets a result with the error of its look-up."""
    first, second = emulator.uuids(0, 2)
    batch = client.get_customers([first, UNKNOWN, second], strategy=strategy)
    results = [result async for result in batch]
    assert [result.customer is not None for result in results] == [True, False, True]
    assert isinstance(results[1].error, NotFoundError)
    assert results[1].error.url_path == f"{LIST}/{UNKNOWN}"


async def test_missing_customer_can_be_skipped(emulator: Emulator, client: CustomersClient) -> None:
    """``on_missing="skip"`` omits unknown customers, but no other failure."""
    first, second = emulator.uuids(0, 2)
    emulator.fail_next(400, path=f"{LIST}/{second}")
    results = [result async for result in client.get_customers([first, UNKNOWN, second], on_missing="skip")]
    assert [result.uuid for result in results] == [first, second]
    assert results[1].error is not None


async def test_missing_customer_can_be_raised_and_the_batch_resumes(
    emulator: Emulator, client: CustomersClient
) -> None:
    """``on_missing="raise"`` raises in its turn; iterated again, the batch resumes after it."""
    first, second = emulator.uuids(0, 2)
    batch = client.get_customers([first, UNKNOWN, second], on_missing="raise")
    seen: list[str] = []
    with pytest.raises(NotFoundError):
        async for result in batch:
            seen.append(result.uuid)  # noqa: PERF401  # results before the error count
    check_nothing_held(client)
    assert seen == [first]
    assert [result.uuid async for result in batch] == [second]
    assert [result async for result in batch] == []


@pytest.mark.parametrize(
    ("uuids", "kind", "message"),
    [
        ([UNKNOWN, "wrong"], ValueError, r"^uuids\[1\]: uuid must be 8-4-4-4-12"),
        ([UNKNOWN, UNKNOWN, None], TypeError, r"^uuids\[2\]: uuid must be a str, not NoneType"),
        (UNKNOWN, TypeError, "not a single string"),
        (5, TypeError, "iterable"),
    ],
)
async def test_bad_uuid_is_refused_before_anything_is_sent(
    emulator: Emulator, client: CustomersClient, uuids: Any, kind: type[Exception], message: str
) -> None:
    """The message names its position, not the value."""
    for use in (client.get_customers, lambda uuids: client.plan_customers(uuids).send(None)):
        with pytest.raises(kind, match=message) as caught:
            use(uuids)
        assert "wrong" not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert emulator.stats.requests == 0


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"strategy": "best"}, ValueError), ({"on_missing": None}, ValueError), ({"ordered": 1}, TypeError)],
)
def test_bad_options_are_refused(options: dict[str, Any], kind: type[Exception]) -> None:
    """The call raises, not the first iteration."""
    with pytest.raises(kind):
        CustomersClient("x").get_customers([], **options)


async def test_any_iterable_is_accepted(emulator: Emulator, client: CustomersClient) -> None:
    """A generator, a set, an empty list."""
    uuids = list(emulator.uuids(0, 3))
    check_found([result async for result in client.get_customers(uuid for uuid in uuids)], uuids)
    assert {result.uuid async for result in client.get_customers(set(uuids))} == set(uuids)
    assert [result async for result in client.get_customers([])] == []
    assert emulator.stats.requests == 6


async def test_failed_look_up_does_not_affect_the_others(
    emulator: Emulator, client: CustomersClient, impatient: RetryPolicy
) -> None:
    """Its error is in its own result."""
    uuids = list(emulator.uuids(0, 9))
    emulator.fail_next(500, path=f"{LIST}/{uuids[3]}", times=None)
    results = [result async for result in client.with_options(retry=impatient).get_customers(uuids)]
    assert [result.uuid for result in results] == uuids
    assert [index for index, result in enumerate(results) if result.error] == [3]
    assert isinstance(results[3].error, ServerError)
    assert results[3].error.__traceback__ is None


async def test_customers_of_a_failed_page_are_looked_up(
    emulator: Emulator, client: CustomersClient, impatient: RetryPolicy
) -> None:
    """The other pages are read all the same."""
    uuids = [*emulator.uuids(0, 40), *emulator.uuids(120, 124), *emulator.uuids(210, 250)]
    emulator.fail_next(500, page=2, times=None)
    batch = client.with_options(retry=impatient).get_customers(uuids)
    check_found([result async for result in batch], uuids)
    assert emulator.stats.paths[LIST] == 1 + 4 + 1
    assert emulator.stats.requests == 6 + 4


@pytest.mark.parametrize("fault", [503, "html", "cut"])
async def test_all_customers_are_looked_up_if_the_list_fails(
    emulator: Emulator, client: CustomersClient, impatient: RetryPolicy, fault: Any
) -> None:
    """If the first page fails for good, the batch does without the list."""
    uuids = list(emulator.uuids(0, 30))
    emulator.fail_next(fault, page=1, times=None)
    check_found([result async for result in client.with_options(retry=impatient).get_customers(uuids)], uuids)
    assert emulator.stats.paths[LIST] <= 4
    assert emulator.stats.requests - emulator.stats.paths[LIST] == 30


async def test_bad_record_on_a_page_is_the_error_of_its_result(emulator: Emulator, client: CustomersClient) -> None:
    """The other records of the page are used."""
    uuids = list(emulator.uuids(0, 200))
    emulator.touch(3, name=5)
    results = [result async for result in client.get_customers(uuids)]
    assert [index for index, result in enumerate(results) if result.error] == [3]
    assert isinstance(results[3].error, RecordError)
    assert emulator.stats.requests <= 3


async def test_rejected_token_is_raised_and_the_batch_resumes(emulator: Emulator) -> None:
    """It would affect every customer, so it is raised at once, after at most ``concurrency`` requests."""
    uuids = list(emulator.uuids(0, 100))
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        emulator.whitelisted = False
        batch = client.get_customers(uuids)
        with pytest.raises(PermissionDeniedError):
            [result async for result in batch]
        emulator.whitelisted = True
        check_found([result async for result in batch], uuids)
        emulator.revoke(emulator.token)
        batch = client.get_customers(uuids, strategy="lookups")
        requests = emulator.stats.requests
        with pytest.raises(AuthenticationError):
            [result async for result in batch]
        assert emulator.stats.requests - requests <= 8
        check_nothing_held(client)


async def test_customer_that_moved_to_an_earlier_page_is_looked_up(emulator: Emulator, client: CustomersClient) -> None:
    """The list may change while it is read: a customer is missing only if its look-up says so."""
    uuids = list(emulator.uuids())
    emulator.on_page(2, delete=5)
    results = [result async for result in client.with_options(concurrency=1).get_customers(uuids)]
    assert [result.uuid for result in results] == uuids
    assert {result.customer is not None for result in results} == {True}
    assert emulator.stats.requests == 3 + 5


async def test_list_above_the_cap_is_not_read() -> None:
    """A list of more than 10,000 may be capped, so all customers are looked up."""
    async with (
        Emulator(customers=12_000, capped=True) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        uuids = list(emulator.uuids(11_000, 11_200))
        check_found([result async for result in client.get_customers(uuids)], uuids)
        assert emulator.stats.paths[LIST] == 1
        assert emulator.stats.requests == 1 + 200


async def test_customers_above_the_cap_are_looked_up() -> None:
    """``strategy="list"`` reads to the cap; customers above it are looked up."""
    async with (
        Emulator(customers=400, capped=True, cap=200, cap_refuses=True) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        uuids = list(emulator.uuids(150, 230))
        check_found([result async for result in client.get_customers(uuids, strategy="list")], uuids)
        assert emulator.stats.paths[LIST] == 4
        assert emulator.stats.requests == 4 + 30


async def test_list_of_unknown_length_is_not_read(emulator: Emulator, client: CustomersClient) -> None:
    """If the first page has no total, all customers that are not on it are looked up."""
    emulator.headers["X-Api-Total"] = None
    uuids = list(emulator.uuids(90, 120))
    check_found([result async for result in client.get_customers(uuids)], uuids)
    assert emulator.stats.requests == 1 + 20


@pytest.mark.parametrize("strategy", ["auto", "list"])
@pytest.mark.parametrize("quirk", ["ignore_page", "ignore_per_page"])
async def test_server_that_ignores_paging_does_no_harm(
    emulator: Emulator, client: CustomersClient, strategy: Any, quirk: str
) -> None:
    """It ignores ``page`` or ``per_page``: every customer is found all the same."""
    setattr(emulator, quirk, True if quirk == "ignore_page" else 15)
    uuids = list(emulator.uuids(0, 130))
    check_found([result async for result in client.get_customers(uuids, strategy=strategy)], uuids)
    assert emulator.stats.requests <= 2 + 8 + 115


async def test_batch_beyond_the_rate_limit_waits_for_the_next_window(crowd: Emulator, reader: CustomersClient) -> None:
    """600 look-ups under 500 a minute: two windows, and no 429."""
    uuids = spread(crowd, 600)
    started = asyncio.get_running_loop().time()
    check_found([result async for result in reader.get_customers(uuids, strategy="lookups")], uuids)
    assert 60 <= asyncio.get_running_loop().time() - started < 65
    assert crowd.stats.statuses == {200: 600}


async def test_spent_rate_limit_is_the_error_of_the_remaining_customers(
    emulator: Emulator, client: CustomersClient
) -> None:
    """A batch that may not wait gets as many customers as the window allows, and errors for the others."""
    emulator.rate_limit(4)
    uuids = list(emulator.uuids(0, 6))
    hurried = client.with_options(max_rate_limit_wait=0, concurrency=1)
    results = [result async for result in hurried.get_customers(uuids)]
    assert [type(result.error) for result in results] == [type(None)] * 4 + [RateLimitError] * 2
    assert emulator.stats.requests == 4


async def test_ordered_look_ups_run_a_hundred_ahead_at_most(emulator: Emulator, client: CustomersClient) -> None:
    """While the first customer is delayed, no more than a hundred are looked up."""
    uuids = list(emulator.uuids())
    emulator.fail_next("stall", path=f"{LIST}/{uuids[0]}")
    async with client.get_customers(uuids, strategy="lookups") as batch:
        waiting = asyncio.ensure_future(anext(batch))
        await asyncio.sleep(20)
        assert not waiting.done()
        assert emulator.stats.requests == 100
        assert (await waiting).uuid == uuids[0]


async def test_concurrency_bounds_the_requests_in_flight(emulator: Emulator, client: CustomersClient) -> None:
    """``concurrency`` bounds a batch as it bounds a listing."""
    emulator.latency = 0.1
    view = client.with_options(concurrency=3)
    assert len([result async for result in view.get_customers(emulator.uuids(0, 30), strategy="lookups")]) == 30
    assert emulator.stats.peak_in_flight == 3


async def test_plan_names_strategy_and_requests(crowd: Emulator, reader: CustomersClient) -> None:
    """It costs no request for a few customers, and one for the total otherwise."""
    assert await reader.plan_customers(spread(crowd, 10)) == BatchPlan(strategy="lookups", requests=10, seconds=0.0)
    assert crowd.stats.requests == 0
    assert await reader.plan_customers(spread(crowd, 800)) == BatchPlan(strategy="list", requests=50, seconds=0.0)
    assert await reader.plan_customers(spread(crowd, 40)) == BatchPlan(strategy="lookups", requests=41, seconds=0.0)
    assert crowd.stats.requests == 2


async def test_plan_names_the_wait_for_the_rate_limit() -> None:
    """1,200 look-ups at 500 a minute wait for two more windows, less what has passed of this one."""
    async with (
        Emulator(customers=12_000) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        plan = await client.plan_customers(emulator.uuids(0, 1_200))
        assert (plan.strategy, plan.requests) == ("lookups", 1_201)
        assert plan.seconds == pytest.approx(120, abs=0.2)


@pytest.mark.parametrize("strategy", ["lookups", "list"])
async def test_leaving_early_cancels_the_requests_in_flight(
    emulator: Emulator, client: CustomersClient, strategy: Any
) -> None:
    """The end of ``async with`` cancels them; iterated again, the batch resumes."""
    emulator.latency = 0.1
    uuids = list(emulator.uuids())
    async with client.get_customers(uuids, strategy=strategy) as batch:
        async for result in batch:
            assert result.uuid == uuids[0]
            break
    check_nothing_held(client)
    check_found([result async for result in batch], uuids[1:])
    assert repr(batch) == "<CustomerBatch 0 customers pending>"


async def test_cancelled_consumer_leaves_nothing_behind(emulator: Emulator, client: CustomersClient) -> None:
    """A timeout around the batch cancels its requests; iterated again, the batch yields the rest."""
    emulator.latency = 1.0
    uuids = list(emulator.uuids(0, 20))
    batch = client.get_customers(uuids, strategy="lookups")
    results: list[BatchResult] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.5):
            async for result in batch:
                results.append(result)  # noqa: PERF401  # results before the timeout count
    check_nothing_held(client)
    assert 0 < len(results) < 20
    results += [result async for result in batch]
    check_found(results, uuids)


@pytest.mark.parametrize("strategy", ["lookups", "list"])
async def test_closing_the_client_ends_the_batch(emulator: Emulator, client: CustomersClient, strategy: Any) -> None:
    """The waiting consumer and each later one get a RuntimeError, and no task is left."""
    emulator.latency = 1.0
    batch = client.get_customers(emulator.uuids(), strategy=strategy)
    waiting = asyncio.ensure_future(anext(batch))
    await asyncio.sleep(0.5)
    await client.close()
    with pytest.raises(RuntimeError, match="client is closed"):
        await waiting
    check_nothing_held(client)
    with pytest.raises(RuntimeError, match="client is closed"):
        await anext(batch)
    check_nothing_held(client)


async def test_second_consumer_of_a_batch_is_refused(emulator: Emulator, client: CustomersClient) -> None:
    """While one task waits for a result, another gets an error."""
    batch = client.get_customers(emulator.uuids(0, 5))
    waiting = asyncio.ensure_future(anext(batch))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one task at a time"):
        await anext(batch)
    with pytest.raises(RuntimeError, match="one task at a time"):
        await batch.aclose()
    await waiting
    await batch.aclose()
