"""The verdict as a function of what the responses claim and what was seen."""

import copy
from typing import Any

import pytest

from customers_async import Customer, Page, Verdict
from customers_async.listing.verdict import Claims, Seen, find_verdict, key_of, keys_of


def evidence_of_two_pages() -> tuple[Claims, Seen]:
    """Return the claims and the customers of a complete list of three."""
    claims, seen = Claims(), Seen(unique=True)
    for number, names in ((1, "ab"), (2, "c")):
        customers = [Customer(uuid=name) for name in names]
        page = Page(number=number, per_page=2, total=3, has_more=number == 1, customers=customers, raw=b"")
        claims.add(page)
        seen.add(page, keys_of(page), set())
    return claims, seen


def test_verdict_on_consistent_evidence_is_complete() -> None:
    """All totals agree with the rows, and has-more is false on the last page only."""
    claims, seen = evidence_of_two_pages()
    assert find_verdict(claims, seen, first_page=1) is Verdict.COMPLETE
    assert (claims.pages, claims.more_after, claims.done_at, seen.last_page, seen.records) == (2, 1, 2, 2, 3)


@pytest.mark.parametrize(
    ("flaws", "verdict"),
    [
        ({"unmet": 3, "total_changed": True, "misnumbered": True}, Verdict.CAPPED),
        ({"unmet": 1}, Verdict.COMPLETE),
        ({"total_changed": True, "misnumbered": True}, Verdict.DRIFTED),
        ({"duplicates": 1, "total_missing": True}, Verdict.DRIFTED),
        ({"misnumbered": True}, Verdict.INCONSISTENT),
        ({"total_missing": True}, Verdict.INCONSISTENT),
        ({"total": None}, Verdict.INCONSISTENT),
        ({"total": 4}, Verdict.INCONSISTENT),
        ({"done_at": 1}, Verdict.INCONSISTENT),
        ({"more_after": 2}, Verdict.INCONSISTENT),
        ({"distinct": 2}, Verdict.INCONSISTENT),
        ({"distinct": 2, "rejected": 1}, Verdict.COMPLETE),
    ],
)
def test_each_flaw_changes_the_verdict(flaws: dict[str, Any], verdict: Verdict) -> None:
    """Where several flaws hold, CAPPED comes before DRIFTED, and DRIFTED before INCONSISTENT."""
    claims, seen = evidence_of_two_pages()
    for name, value in flaws.items():
        setattr(claims if hasattr(claims, name) else seen, name, value)
    assert find_verdict(claims, seen, first_page=1) is verdict


def test_verdict_on_a_part_of_the_list_is_inconsistent() -> None:
    """A listing that began after page 1 has not seen the whole list."""
    claims, seen = evidence_of_two_pages()
    assert find_verdict(claims, seen, first_page=2) is Verdict.INCONSISTENT


def test_record_without_uuid_is_identified_by_its_contents() -> None:
    """Also by half characters, infinity, long integers, and up to any depth that can be parsed."""
    parts: list[Any] = ["\ud83d", float("inf"), 10**5000, None, True, {"\ud83d": 1}, {"a": [{}]}, [], {}, "", 0, 1.5]
    records = [*parts, *({"name": part} for part in parts), *([part] for part in parts)]
    keys = list(map(key_of, records))
    assert len(set(keys)) == len(keys)
    assert keys == list(map(key_of, copy.deepcopy(records)))


@pytest.mark.parametrize("depth", [900, 1900, 5_000, 50_000])
def test_record_of_any_depth_has_a_key(depth: int) -> None:
    """Other versions of Python parse values that are nested more deeply."""
    record: Any = []
    for _ in range(depth):
        record = [record]
    assert key_of(record)
    assert key_of({"uuid": "a", "related_persons": record}) == "a"
