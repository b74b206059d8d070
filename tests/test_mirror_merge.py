"""What a table, a listing and look-ups add up to."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers_async.mirror import MassRemovalError, MirroredCustomer
from customers_async.mirror.merge import Known, Merge, check_removals, default_max_removals
from customers_async.mirror.recent import Recent
from customers_async.mirror.records import fold, is_same
from customers_async.testing import make_customer

UUIDS = st.sampled_from("abcdefgh")
DIGESTS = st.sampled_from([b"1", b"2"])


@given(
    held=st.dictionaries(UUIDS, DIGESTS),
    removed=st.frozensets(UUIDS),
    seen=st.dictionaries(UUIDS, DIGESTS),
    rejected=st.sets(UUIDS),
    found=st.dictionaries(UUIDS, DIGESTS),
)
def test_every_customer_is_accounted_for(
    held: dict[str, bytes], removed: frozenset[str], seen: dict[str, bytes], rejected: set[str], found: dict[str, bytes]
) -> None:
    """Who is neither listed nor looked up is a suspect; all others are what they were, or changed, added, restored."""
    merge = Merge(Known(held, removed - held.keys()))
    kinds = {uuid: merge.see(uuid, digest) for uuid, digest in seen.items()}
    for uuid in rejected:
        merge.keep(uuid)
    assert merge.suspects == sorted(held.keys() - seen.keys() - rejected)
    kinds |= {uuid: merge.see(uuid, digest) for uuid, digest in found.items() if uuid not in kinds}
    assert merge.suspects == sorted(held.keys() - seen.keys() - rejected - found.keys())
    for uuid, kind in kinds.items():
        digest = seen.get(uuid, found.get(uuid))
        if uuid in held:
            assert kind == (None if held[uuid] == digest else "changed")
        else:
            assert kind == ("restored" if uuid in removed else "added")


@given(size=st.integers(0, 10**6))
def test_default_allows_some_removals(size: int) -> None:
    """5 %, and at least 20."""
    limit = default_max_removals(size)
    assert limit == max(20, size // 20)
    check_removals(limit, limit)
    with pytest.raises(MassRemovalError):
        check_removals(limit + 1, limit)


RECORD = '{"uuid":"00000000-0000-4000-8000-00000000000z","name":"Ona","created_at":1744373843'


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("}", "}", True),
        (',"type":null}', "}", True),
        (',"created_at":"2025-04-11T12:17:23Z"}', "}", True),
        (',"score":1}', ',"score":1.0}', True),
        (',"score":1}', ',"score":2}', False),
        (',"score":1}', "}", False),
        (',"name":"On\\u0061"}', "}", True),
        (',"name":"ona"}', "}", False),
        (',"related_persons":[]}', ',"related_persons":null}', False),
    ],
)
def test_values_count_not_their_spelling(before: str, after: str, same: bool) -> None:
    """Two records are the same if they decode to the same customer, with the same unknown fields."""
    assert is_same(RECORD + before, RECORD + after) is same
    assert is_same(RECORD + after, RECORD + before) is same


@given(text=st.text())
def test_folding_again_changes_nothing(text: str) -> None:
    """So a folded text finds itself."""
    assert fold(fold(text)) == fold(text)
    assert fold(text.upper()) == fold(text.lower()) or not text.isascii()


@given(text=st.text(min_size=150))
def test_names_are_searched_by_their_beginning(text: str) -> None:
    """An index does not hold texts of any length."""
    assert len(fold(2 * text)) <= 200


def test_only_the_last_responses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are forgotten, however recent they are."""
    monkeypatch.setattr("customers_async.mirror.recent._SIZE", 2)
    recent = Recent()
    for uuid in "abc":
        customer = make_customer()
        recent.put(
            uuid, MirroredCustomer(customer=customer, seen_at=datetime.now(UTC), stale=False), epoch=recent.epoch
        )
    assert recent.get("a", newer_than=0) is None
    assert recent.get("c", newer_than=0) is not None
    recent.erase("c")
    assert recent.get("c", newer_than=0) is None
