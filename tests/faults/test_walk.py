"""Rows 30 to 41: faults in the pages of the list."""

import json
import logging
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from customers_async import CustomerPager, CustomersClient, CustomersError, Verdict
from customers_async.emulator import Emulator
from customers_async.emulator.faults import Exchange, Fault
from tests.faults.canary import DATA, EXAMPLE
from tests.wire import make_response, serve

METADATA = ("Total", "Per-Page", "Has-More-Pages", "Current-Page")


def rows_changed(change: Callable[[list[Any]], list[Any]]) -> Fault:
    """Return a fault that changes the rows of a page, and not its headers."""

    async def fault(exchange: Exchange) -> web.Response:
        response = await exchange.answer()
        assert isinstance(response.body, bytes)
        response.body = json.dumps(change(json.loads(response.body))).encode()
        return response

    return fault


async def uuids_of(pager: CustomerPager) -> list[str]:
    return [customer.uuid async for customer in pager]


@pytest.mark.parametrize("value", [None, "many", "", "-5", "1e3", "２５０", "99999999999999999999999", "250, 251"])
async def test_fault_30_list_without_metadata_is_inconsistent(
    emulator: Emulator, client: CustomersClient, value: str | None
) -> None:
    """Missing or garbled headers are None in a page; a listing ends with a short page, and is INCONSISTENT."""
    for name in METADATA:
        emulator.headers[f"X-Api-{name}"] = value
    page = await client.get_page(1)
    assert (page.total, page.per_page, page.current_page) == (None, None, None)
    assert page.has_more is (False if value == "" else None)
    if value == "":  # in edition b this means no, and nothing contradicts it
        return
    pager = client.list_customers(per_page=7, on_incomplete="ignore")
    assert await uuids_of(pager) == list(emulator.uuids())
    assert pager.completeness.verdict is Verdict.INCONSISTENT
    assert pager.completeness.total is None


@pytest.mark.parametrize("value", [None, "many", "", "-5", "0", "1", "251"])
@pytest.mark.parametrize("name", METADATA)
async def test_fault_30_odd_header_never_hides_a_customer(
    emulator: Emulator, client: CustomersClient, name: str, value: str | None
) -> None:
    """Whatever the value of one header, a COMPLETE listing has yielded every customer."""
    emulator.headers[f"X-Api-{name}"] = value
    pager = client.list_customers(on_incomplete="ignore")
    uuids = await uuids_of(pager)
    assert uuids == list(emulator.uuids()) or pager.completeness.verdict is not Verdict.COMPLETE
    if name != "Total":
        assert uuids == list(emulator.uuids())


@pytest.mark.parametrize(
    ("more", "done"), [("1", ""), ("1", "0"), ("True", "False"), ("true", "false"), ("TRUE", "FALSE"), (" true ", "")]
)
async def test_fault_31_has_more_is_parsed_in_all_its_forms(
    emulator: Emulator, client: CustomersClient, more: str, done: str
) -> None:
    """PHP and the vendor's pages have several forms of true and false."""
    emulator.headers["X-Api-Has-More-Pages"] = lambda value: more if value == "true" else done
    assert [(await client.get_page(number)).has_more for number in (1, 2, 3)] == [True, True, False]
    pager = client.list_customers(on_incomplete="raise")
    assert await uuids_of(pager) == list(emulator.uuids())


async def test_fault_32_customers_added_at_the_end_are_fetched(emulator: Emulator, client: CustomersClient) -> None:
    """A total that grows extends the listing; both totals are reported, and the listing is proven COMPLETE."""
    emulator.on_page(2, insert=130, at=10**6)
    pager = client.with_options(concurrency=1).list_customers(on_incomplete="ignore")
    assert await uuids_of(pager) == list(emulator.uuids())
    completeness = pager.completeness
    assert (completeness.first_total, completeness.last_total, completeness.newcomers) == (250, 380, 130)
    assert (completeness.verdict, completeness.proven) == (Verdict.COMPLETE, True)


async def test_fault_32_shrinking_total_ends_the_listing(emulator: Emulator, client: CustomersClient) -> None:
    """After deletions at the end the listing ends as DRIFTED, with the first and the last total."""
    emulator.on_page(2, delete=120, at=130)
    pager = client.with_options(concurrency=1).list_customers(on_incomplete="ignore")
    assert await uuids_of(pager) == list(emulator.uuids())
    completeness = pager.completeness
    assert (completeness.verdict, completeness.first_total, completeness.last_total) == (Verdict.DRIFTED, 250, 130)
    assert emulator.stats.requests <= 4


async def test_fault_33_insertions_at_the_front_hide_no_customer(emulator: Emulator, client: CustomersClient) -> None:
    """Records move back and appear twice, but every customer of the list was seen: the listing is COMPLETE."""
    before = list(emulator.uuids())
    emulator.on_page(2, insert=3)
    pager = client.with_options(concurrency=1).list_customers(per_page=50, on_incomplete="raise")
    assert await uuids_of(pager) == before
    assert (pager.completeness.duplicates, pager.completeness.proven) == (3, True)


@pytest.mark.parametrize("change", [{"delete": 3}, {"insert": 3, "delete": 5}])
async def test_fault_33_moved_rows_are_reported(
    emulator: Emulator, client: CustomersClient, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Deletions on pages that were read cause DRIFTED, and one warning without customer data."""
    emulator.on_page(3, **change)
    pager = client.with_options(concurrency=1).list_customers(per_page=50)
    uuids = await uuids_of(pager)
    assert len(uuids) == len(set(uuids))
    completeness = pager.completeness
    assert completeness.verdict is Verdict.DRIFTED
    assert (completeness.first_total, completeness.last_total) == (250, emulator.total)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [f"The list is not complete: {completeness.describe()}."]


async def test_fault_33_equal_totals_hide_no_gap(emulator: Emulator, client: CustomersClient) -> None:
    """Three leave at the front and three join at the end: all figures agree, and three customers were missed."""
    emulator.on_page(3, delete=3)
    emulator.on_page(3, insert=3, at=10**6)
    pager = client.with_options(concurrency=1).list_customers(per_page=50, on_incomplete="ignore")
    seen = set(await uuids_of(pager))
    missed = set(emulator.uuids()) - seen
    found = pager.completeness
    assert (found.first_total, found.last_total, found.distinct, found.duplicates) == (250, 250, 250, 0)
    assert (found.verdict, found.newcomers, len(missed)) == (Verdict.DRIFTED, 3, 3)


async def test_fault_33_reconciling_closes_a_gap(emulator: Emulator, client: CustomersClient) -> None:
    """Customers that moved to a page that was read already are found by reading again, and none is yielded twice."""
    before = set(emulator.uuids())
    emulator.on_page(2, delete=5)
    pager = client.with_options(concurrency=1).list_customers(per_page=50, on_incomplete="reconcile")
    uuids = await uuids_of(pager)
    assert len(uuids) == len(set(uuids))
    assert set(emulator.uuids()) <= set(uuids) <= before
    assert pager.completeness.verdict is Verdict.COMPLETE


@pytest.mark.parametrize("rows", [0, 40])
async def test_fault_34_short_page_in_the_middle_is_not_the_end(
    emulator: Emulator, client: CustomersClient, rows: int
) -> None:
    """The listing continues past a short or an empty page, and is not COMPLETE."""
    emulator.fail_next(rows_changed(lambda page: page[:rows]), page=2)
    pager = client.list_customers(on_incomplete="ignore")
    expected = list(emulator.uuids())
    assert await uuids_of(pager) == expected[: 100 + rows] + expected[200:]
    assert pager.completeness.verdict is not Verdict.COMPLETE
    assert pager.completeness.distinct == 150 + rows


async def test_fault_35_longer_page_than_requested_is_kept(emulator: Emulator, client: CustomersClient) -> None:
    """120 rows instead of 100: all are kept, and the remaining pages are planned by the larger size."""
    emulator.ignore_per_page = 120
    pager = client.list_customers(on_incomplete="raise")
    assert await uuids_of(pager) == list(emulator.uuids())
    assert len((await client.get_page(1)).customers) == 120


async def test_fault_35_page_longer_than_the_others_is_kept(emulator: Emulator, client: CustomersClient) -> None:
    """One row too many on a single page: it is kept, and the list is not COMPLETE."""
    extra = json.dumps({"uuid": EXAMPLE.replace("2g", "2h"), "name": DATA})
    emulator.fail_next(rows_changed(lambda page: [*page, json.loads(extra)]), page=2)
    pager = client.list_customers(on_incomplete="ignore")
    assert len(await uuids_of(pager)) == 251
    assert pager.completeness.verdict is not Verdict.COMPLETE


@pytest.mark.parametrize("edition", ["a", "b"])
async def test_fault_36_server_with_its_own_page_size_is_read_completely(edition: Any) -> None:
    """If ``per_page`` is ignored, the pages are planned by the size that the server applies: all 250, never 45."""
    async with (
        Emulator(customers=250, ignore_per_page=15, edition=edition) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        pager = client.list_customers(on_incomplete="raise")
        assert await uuids_of(pager) == list(emulator.uuids())
        assert emulator.stats.requests == 17


async def test_fault_37_server_that_ignores_page_is_an_error(emulator: Emulator, client: CustomersClient) -> None:
    """The second copy of a page raises, and the listing is not finished."""
    emulator.ignore_page = True
    pager = client.list_customers()
    uuids: list[str] = []
    with pytest.raises(CustomersError, match="the server ignores page") as caught:
        async for customer in pager:
            uuids.append(customer.uuid)  # noqa: PERF401  # customers before the error count
    assert len(uuids) == 100
    assert caught.value.next_page == pager.next_page == 2


async def test_fault_38_has_more_that_stays_true_is_bounded(emulator: Emulator, client: CustomersClient) -> None:
    """At most two pages past the end are requested; without a proof, the verdict is INCONSISTENT."""
    emulator.headers.update({"X-Api-Has-More-Pages": "true", "Date": None})
    pager = client.list_customers(on_incomplete="ignore")
    assert await uuids_of(pager) == list(emulator.uuids())
    assert emulator.stats.requests <= 3 + 2
    assert pager.completeness.verdict is Verdict.INCONSISTENT


async def test_fault_38_without_a_total_concurrency_is_the_bound(emulator: Emulator, client: CustomersClient) -> None:
    """If has-more stays true and there is no total, at most ``concurrency`` pages past the end are requested."""
    emulator.headers.update({"X-Api-Has-More-Pages": "true", "X-Api-Total": None})
    pager = client.with_options(concurrency=4).list_customers(on_incomplete="ignore")
    assert await uuids_of(pager) == list(emulator.uuids())
    assert emulator.stats.requests <= 3 + 4
    assert pager.completeness.verdict is not Verdict.COMPLETE


@pytest.mark.parametrize("total", [True, False])
async def test_fault_39_has_more_that_is_false_too_early_is_noticed(
    emulator: Emulator, client: CustomersClient, total: bool
) -> None:
    """has-more is false on the first of three pages: the total decides; without a proof, the list is not COMPLETE."""
    emulator.headers.update({"X-Api-Has-More-Pages": "false", "Date": None})
    if not total:
        emulator.headers["X-Api-Total"] = None
    pager = client.list_customers(on_incomplete="ignore")
    uuids = await uuids_of(pager)
    assert pager.completeness.verdict is Verdict.INCONSISTENT
    assert uuids == list(emulator.uuids()) if total else uuids == list(emulator.uuids())[: len(uuids)]


@pytest.mark.parametrize("later_first", [False, True])
async def test_fault_40_later_version_on_a_page_is_kept(later_first: bool) -> None:
    """Of two rows with one uuid, the one with the later ``updated_at`` is kept, and a duplicate is counted."""
    versions = [{"uuid": EXAMPLE, "name": f"{DATA} {year}", "updated_at": year} for year in (2024, 2025)]
    body = json.dumps(versions[::-1] if later_first else versions).encode()
    fields = {"X_Api_Total": "2", "X_Api_Has_More_Pages": "false"}
    async with serve(make_response(body, **fields), make_response(b"[]", **fields)) as (client, _):
        pager = client.list_customers(on_incomplete="ignore")
        assert [customer.name async for customer in pager] == [f"{DATA} 2025"]
    assert pager.completeness.verdict is not Verdict.COMPLETE
    assert (pager.completeness.distinct, pager.completeness.duplicates) == (1, 1)


async def test_fault_40_first_version_on_two_pages_is_kept(emulator: Emulator, client: CustomersClient) -> None:
    """A customer that was yielded stays: the later row is dropped and counted as a duplicate."""
    twin = {"uuid": EXAMPLE, "name": f"{DATA} again", "updated_at": 2_000_000_000}
    emulator.fail_next(rows_changed(lambda page: [twin, *page[1:]]), page=2)
    pager = client.list_customers(on_incomplete="ignore")
    names = [customer.name async for customer in pager if customer.uuid == EXAMPLE]
    assert names == [f"{DATA} John Doe"]
    assert (pager.completeness.verdict, pager.completeness.duplicates) == (Verdict.DRIFTED, 1)


async def test_fault_41_absurd_total_allocates_nothing(emulator: Emulator, client: CustomersClient) -> None:
    """With a total of 10**15, empty pages end the listing, within a few megabytes."""
    emulator.headers["X-Api-Total"] = str(10**15)
    tracemalloc.start()
    pager = client.list_customers(on_incomplete="ignore")
    uuids = await uuids_of(pager)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert uuids == list(emulator.uuids())
    assert peak < 16e6
    assert emulator.stats.requests <= 3 + 8
    assert pager.completeness.verdict is Verdict.CAPPED
