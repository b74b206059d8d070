"""The proof of completeness, on lists that change at random while they are read."""

import json
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customers_async import BadRequestError, Completeness, IncompleteListError, Verdict, export_customers
from tests.drifting import Drift, read
from tests.wire import make_response, serve

PLACES = st.sampled_from(["front", "end", "anywhere"])


LISTINGS = given(
    size=st.integers(0, 150),
    growth=st.floats(0, 0.5),
    deletes=st.floats(0, 0.5),
    place=PLACES,
    seed=st.integers(0, 10**6),
    options=st.fixed_dictionaries(
        {
            "per_page": st.integers(2, 20),
            "concurrency": st.integers(1, 6),
            "ordered": st.booleans(),
            "window": st.integers(2, 20),
            "rereads": st.booleans(),
            "stops": st.integers(0, 2),
        }
    ),
)


def read_and_check(size: int, growth: float, deletes: float, place: Any, seed: int, options: dict[str, Any]) -> None:
    inserts = growth * options["per_page"] * options["window"] / 60  # fewer than are read, or it would never end
    reading = read(size, Drift(inserts, deletes, place), seed, **options)
    found = reading.completeness
    assert not (found.proven and reading.missed)
    assert found.proven == (found.verdict is Verdict.COMPLETE)  # every age is known here


@settings(max_examples=30, deadline=None)
@LISTINGS
def test_proven_listing_missed_no_customer(**listing: Any) -> None:
    """Whatever joins, leaves, waits or resumes: every customer of the first response that is still there was seen."""
    read_and_check(**listing)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@LISTINGS
def test_proven_listing_missed_no_customer_in_300_listings(**listing: Any) -> None:
    """As above, for longer."""
    read_and_check(**listing)


@given(size=st.integers(0, 150), inserts=st.floats(0, 0.2), place=PLACES, seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_list_that_only_grows_is_complete_one_page_at_a_time(size: int, inserts: float, place: Any, seed: int) -> None:
    """Newcomers may appear or not: who was there at first cannot be passed over, except between pages in flight."""
    reading = read(size, Drift(inserts, 0.0, place, settled=True), seed, concurrency=1)
    assert (reading.completeness.verdict, reading.missed) == (Verdict.COMPLETE, 0)


@given(size=st.integers(0, 150), seed=st.integers(0, 10**6), stops=st.integers(0, 2), ordered=st.booleans())
@settings(max_examples=30, deadline=None)
def test_list_that_stands_still_is_proven_complete(size: int, seed: int, stops: int, ordered: bool) -> None:
    """Pauses and resumes cost a request each, and no verdict."""
    reading = read(size, Drift(), seed, stops=stops, ordered=ordered)
    assert (reading.completeness.proven, reading.completeness.duplicates) == (True, 0)


def test_second_look_after_a_pause_finds_who_moved() -> None:
    """With deletions during pauses, most listings miss a customer unless the highest page is read again."""
    drift = Drift(1 / 60, 1 / 60)
    missed = {
        rereads: sum(read(390, drift, seed, rereads=rereads).missed > 0 for seed in range(20))
        for rereads in (False, True)
    }
    assert missed[True] < missed[False] / 4


def completeness(**figures: Any) -> Completeness:
    plain = {"verdict": Verdict.COMPLETE, "total": 3, "first_total": 3, "last_total": 3}
    return Completeness(**{**plain, "distinct": 3, "duplicates": 0, "pages": 1, **figures})


def test_proof_can_be_insisted_on() -> None:
    """``raise_if_incomplete(proven=True)`` refuses a COMPLETE listing that rests on evidence only."""
    completeness(proven=True).raise_if_incomplete(proven=True)
    completeness().raise_if_incomplete()
    with pytest.raises(IncompleteListError, match="not proven complete: COMPLETE, 3 of 3"):
        completeness().raise_if_incomplete(proven=True)
    with pytest.raises(IncompleteListError, match="not complete: DRIFTED"):
        completeness(verdict=Verdict.DRIFTED).raise_if_incomplete(proven=True)


def reply(number: int, age: int | None, **fields: str) -> bytes:
    """Return a page of a list of 200 customers, which was up to date some seconds ago."""
    now = int(time.time())
    numbers = range(100 * (number - 1), 100 * number)
    records = [{"uuid": f"00000000-0000-4000-8000-{n:012}", "created_at": now - 10**6} for n in numbers]
    if age is not None:
        fields["Date"] = formatdate(now - age, usegmt=True)
    return make_response(json.dumps(records).encode(), X_Api_Total="200", **fields)


@pytest.mark.parametrize("age", [600, None])
async def test_response_from_a_cache_proves_nothing(age: int | None) -> None:
    """A page that is older than the first response, or has no date, may show customers that were deleted before."""
    for late, proven in ((age, False), (0, True)):
        async with serve(reply(1, 0), reply(2, late)) as (client, _):
            pager = client.list_customers(on_incomplete="ignore")
            assert len([found async for found in pager]) == 200
            assert (pager.completeness.verdict, pager.completeness.proven) == (Verdict.COMPLETE, proven)


@pytest.mark.parametrize(
    ("old", "age", "late", "proven"),
    [
        (0, None, 0, True),
        (0, "0", 0, True),
        (1, "2", 0, True),
        (0, None, 2, True),
        (3600, "3600", 0, False),
        (3600, None, 0, False),
        (30, None, 0, False),
        (0, "30", 0, False),
        (0, "3600, 2", 0, False),
        (0, "soon", 0, False),
        (-3600, None, -3600, True),  # the service's clock is an hour ahead
        (3600, None, 3600, True),  # or behind
    ],
)
async def test_first_response_from_a_cache_proves_nothing(old: int, age: str | None, late: int, proven: bool) -> None:
    """Its ``Age`` shows it, or the next ``Date``, which is later than the time between them explains.

    Meanwhile customers were added: the listing counts as many old customers as the first response, and misses others.
    """
    fields = {} if age is None else {"Age": age}
    async with serve(reply(1, old, **fields), reply(2, late)) as (client, server):
        pager = client.list_customers(on_incomplete="ignore")
        assert len([found async for found in pager]) == 200
        assert pager.completeness.proven is proven
        assert all(b"Cache-Control: no-cache\r\n" in request for request in server.requests)


@pytest.mark.parametrize(("old", "fields", "proven"), [(0, {}, True), (0, {"Age": "3600"}, False), (3600, {}, False)])
async def test_export_that_resumes_from_a_cached_page_proves_nothing(
    old: int, fields: dict[str, str], proven: bool, tmp_path: Path
) -> None:
    """The journal keeps ``Age``, and when each page was received."""
    first = reply(1, old, **fields)
    async with serve(first, make_response(b"{}", "400 Bad"), reply(2, 0), reply(1, 0)) as (client, server):
        with pytest.raises(BadRequestError):
            await export_customers(client, tmp_path / "customers.jsonl")
        report = await export_customers(client, tmp_path / "customers.jsonl")
        assert report.resumed_from is not None
        assert server.targets[2:] == [f"/api/v1/customers?per_page=100&page={number}" for number in (2, 1)]
        assert (report.completeness.verdict, report.completeness.proven) == (Verdict.COMPLETE, proven)
