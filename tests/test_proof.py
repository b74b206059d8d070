"""The proof of completeness, on lists that change at random while they are read."""

import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customers_async import Completeness, IncompleteListError, Verdict
from tests.drifting import Drift, read
from tests.wire import make_response, serve

PLACES = st.sampled_from(["front", "end", "anywhere"])


@settings(max_examples=150, deadline=None)
@given(
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
def test_proven_listing_missed_no_customer(
    size: int, growth: float, deletes: float, place: Any, seed: int, options: dict[str, Any]
) -> None:
    """Whatever joins, leaves, waits or resumes: every customer of the first response that is still there was seen."""
    inserts = growth * options["per_page"] * options["window"] / 60  # fewer than are read, or it would never end
    reading = read(size, Drift(inserts, deletes, place), seed, **options)
    found = reading.completeness
    assert not (found.proven and reading.missed)
    assert found.proven == (found.verdict is Verdict.COMPLETE)  # every age is known here


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
        rereads: sum(read(390, drift, seed, rereads=rereads).missed > 0 for seed in range(30))
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


@pytest.mark.parametrize("age", [600, None])
async def test_response_from_a_cache_proves_nothing(age: int | None) -> None:
    """A page that is older than the first response, or has no date, may show customers that were deleted before."""
    now = 1_750_000_000
    records = [
        {"uuid": f"00000000-0000-4000-8000-{number:012}", "created_at": now - 10**6 + number} for number in range(200)
    ]

    def reply(number: int, age: int | None) -> bytes:
        body = json.dumps(records[100 * (number - 1) : 100 * number]).encode()
        fields = {} if age is None else {"Date": formatdate(now - age, usegmt=True)}
        return make_response(body, X_Api_Total="200", X_Api_Current_Page=str(number), **fields)

    for late, proven in ((age, False), (0, True)):
        async with serve(reply(1, 0), reply(2, late)) as (client, _):
            pager = client.list_customers(on_incomplete="ignore")
            assert len([found async for found in pager]) == 200
            assert (pager.completeness.verdict, pager.completeness.proven) == (Verdict.COMPLETE, proven)
