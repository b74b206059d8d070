"""Who the emulator's customers are, and how their list changes."""

import re
import time
import unicodedata
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers_async.emulator import Emulator
from customers_async.emulator.customer_list import CustomerList
from customers_async.emulator.fake_customers import TIES, FakeCustomers
from customers_async.emulator.positions import Positions
from customers_async.emulator.uuids import Uuids
from tests.test_emulator import DOCUMENTED, serving

UUID = re.compile(r"[a-zA-Z0-9]{8}-([a-zA-Z0-9]{4}-){3}[a-zA-Z0-9]{12}")

POPULATION = FakeCustomers(size=1_000_000, seed=1)
SAMPLE = [POPULATION.customer(number) for number in range(0, 1_000_000, 499)]

numbers = st.integers(0, 2**63 - 1)


@given(key=st.binary(min_size=1, max_size=32), number=numbers)
def test_a_uuid_leads_back_to_its_number(key: bytes, number: int) -> None:
    """Every number has a well-formed uuid, which is read back to that number."""
    uuid = Uuids(key).uuid(number)
    assert UUID.fullmatch(uuid)
    assert Uuids(key).number(uuid) == number


@given(numbers=st.sets(numbers, max_size=50))
def test_uuids_are_distinct(numbers: set[int]) -> None:
    """No two numbers share a uuid, not even in another spelling of case."""
    uuids = Uuids(b"key")
    assert len({uuids.uuid(number) for number in numbers}) == len(numbers)


@given(text=st.one_of(st.text(max_size=40), st.from_regex(UUID, fullmatch=True)))
def test_other_texts_are_nobodys_uuid(text: str) -> None:
    """Text that no number was turned into leads to none: malformed, or well-formed and unknown."""
    number = Uuids(b"key").number(text)
    assert number is None or Uuids(b"key").uuid(number) == text


def test_another_spelling_is_another_uuid() -> None:
    """A uuid is case-sensitive, and its hyphens belong where they are."""
    uuids = Uuids(b"key")
    for number in range(1, 40):
        uuid = uuids.uuid(number)
        assert uuids.number(uuid.swapcase()) is None
        assert uuids.number(uuid.replace("-", "")) is None
        assert uuids.number(uuid[:9] + "-" + uuid[9:]) is None


def test_uuids_are_of_several_kinds() -> None:
    """Most uuids are hex, some end in a letter beyond f, and some mix letters of both cases."""
    uuids = [customer["uuid"] for customer in SAMPLE]
    hexadecimal = [uuid for uuid in uuids if re.fullmatch("[0-9a-f-]+", uuid)]
    documented = [uuid for uuid in uuids if re.fullmatch("[0-9a-f-]+[g-v]", uuid)]
    mixed = [uuid for uuid in uuids if re.search("[A-Z]", uuid) and re.search("[a-z]", uuid)]
    assert len(hexadecimal) > len(uuids) / 2
    assert len(documented) > len(uuids) / 10
    assert len(mixed) > len(uuids) / 10


def test_records_have_the_documented_fields() -> None:
    """Each record has the 14 fields, of the documented types and lengths, whatever language it is in."""
    fields: dict[str, Any] = {
        "uuid": str,
        "identity_uuid": str,
        "type": str,
        "updated_at": int,
        "created_at": int,
        "name": str,
        "risk_country_code": None,
        "registration_country_code": str | None,
        "registration_address_line": str | None,
        "registration_address_index": str | None,
        "post_address_country_code": str | None,
        "post_address_line": str | None,
        "post_address_index": str | None,
        "related_persons": None,
    }
    record = msgspec.defstruct("Record", list(fields.items()), forbid_unknown_fields=True)
    msgspec.convert(SAMPLE, list[record])  # type: ignore[valid-type]  # made from the table above
    for customer in SAMPLE:
        assert UUID.fullmatch(customer["identity_uuid"])
        assert customer["type"] in {"individual", "company"}
        assert customer["updated_at"] >= customer["created_at"]
        assert 0 < len(customer["name"]) <= 255
        assert len(customer["registration_address_line"] or "") <= 255
        assert len(customer["registration_address_index"] or "") <= 20
        assert re.fullmatch("[A-Z]{2}", customer["registration_country_code"] or "LT")


def test_customers_are_varied() -> None:
    """There are people and companies, several countries and alphabets, leading zeros and nulls."""
    assert {customer["type"] for customer in SAMPLE} == {"individual", "company"}
    countries = {customer["registration_country_code"] for customer in SAMPLE}
    assert {"LT", "LV", "EE", "DE", "PL", None} < countries
    alphabets = {unicodedata.name(next(filter(str.isalpha, customer["name"]))).split()[0] for customer in SAMPLE}
    assert {"LATIN", "CYRILLIC", "GREEK", "GEORGIAN", "ARMENIAN", "HEBREW", "CJK"} <= alphabets
    codes = [customer["registration_address_index"] for customer in SAMPLE]
    assert None in codes
    assert any(code and code.startswith("0") for code in codes)
    assert None in {customer["post_address_line"] for customer in SAMPLE}
    assert len({customer["name"] for customer in SAMPLE}) > 300


def test_the_same_seed_makes_the_same_customers() -> None:
    """A seed decides the customers, all but the documented one."""
    again, other = FakeCustomers(1_000_000, seed=1), FakeCustomers(1_000_000, seed=2)
    assert again.customer(5) == POPULATION.customer(5)
    assert other.customer(5) != POPULATION.customer(5)
    assert other.customer(0) == POPULATION.customer(0)


@pytest.mark.parametrize("customers", [1, 250])
async def test_the_documented_customer_is_there(customers: int) -> None:
    """The uuid of the API reference belongs to the first customer."""
    async with serving(customers) as (_, caller):
        one = (await caller.get(DOCUMENTED)).json
        assert one["name"] == "John Doe"
        assert one["registration_address_index"] == "01109"
        assert (await caller.page()).json[0] == one


def test_a_million_customers_cost_nothing() -> None:
    """The last page of a million takes no longer than the first, and no memory is taken in advance."""
    start = time.process_time()
    emulator = Emulator(1_000_000)
    last = list(emulator.uuids(999_900))
    assert len(last) == 100
    assert list(islice(emulator.uuids(999_990), 3)) == last[90:93]
    assert time.process_time() - start < 0.5


changes = st.lists(st.tuples(st.sampled_from(["insert", "delete"]), st.integers(0, 6), st.integers(0, 30)))


@given(size=st.integers(0, 20), changes=changes, start=st.integers(0, 30), length=st.integers(0, 30))
def test_the_roster_is_a_list(size: int, changes: list[tuple[str, int, int]], start: int, length: int) -> None:
    """Insertions and deletions change the roster exactly as they change a plain list."""
    roster, model, newcomer = Positions(size), list(range(size)), size
    for change, count, at in changes:
        if change == "insert":
            roster.insert(count, at=at)
            model[at:at] = range(newcomer, newcomer + count)
            newcomer += count
        else:
            roster.delete(count, at=at)
            del model[at : at + count]
    assert len(roster) == len(model)
    assert list(roster.numbers(0, len(model))) == model
    assert list(roster.numbers(start, start + length)) == model[start : start + length]
    assert {number for number in range(newcomer + 1) if number in roster} == set(model)


async def test_inserted_customers_are_new() -> None:
    """Customers inserted have uuids of their own and were created later than all before them."""
    async with serving(50) as (emulator, caller):
        before = (await caller.page(per_page=100)).json
        emulator.insert(3, at=1)
        after = (await caller.page(per_page=100)).json
        assert [after[0], *after[4:]] == before
        newest = max(customer["created_at"] for customer in before)
        assert all(customer["created_at"] > newest for customer in after[1:4])
        assert {customer["uuid"] for customer in after[1:4]}.isdisjoint(c["uuid"] for c in before)
        assert emulator.total == 53


async def test_deleted_customers_are_gone() -> None:
    """A customer deleted is neither on the list nor to be looked up."""
    async with serving(50) as (emulator, caller):
        gone, stays = emulator.uuids(0, 2)
        emulator.delete()
        assert (await caller.get(f"/api/v1/customers/{gone}")).status == 404
        assert (await caller.get(f"/api/v1/customers/{stays}")).status == 200
        assert (await caller.page()).uuids == list(emulator.uuids(0, 10))
        assert emulator.total == 49


async def test_the_list_changes_right_before_a_page() -> None:
    """A scripted change happens once, when its page is asked for, deletions first."""
    async with serving(50) as (emulator, caller):
        emulator.on_page(2, delete=3)
        emulator.on_page(2, insert=1, at=49)
        uuids = list(emulator.uuids())
        assert (await caller.page(1)).uuids == uuids[:10]
        assert (await caller.page(2)).uuids == uuids[13:23]
        assert (await caller.page(2)).headers["X-Api-Total"] == "48"
        assert list(emulator.uuids())[:47] == uuids[3:]


async def test_touching_changes_a_customer() -> None:
    """A customer touched has a later updated_at and any other content asked for, everywhere."""
    async with serving(50) as (emulator, caller):
        before = (await caller.page()).json
        emulator.touch(4)
        emulator.touch(5, name="Nobody", related_persons=[])
        after = (await caller.page()).json
        assert after[4]["updated_at"] > before[4]["updated_at"]
        assert {**after[4], "updated_at": 0} == {**before[4], "updated_at": 0}
        assert (after[5]["name"], after[5]["related_persons"]) == ("Nobody", [])
        assert (await caller.get(f"/api/v1/customers/{after[5]['uuid']}")).json == after[5]
        emulator.touch(5)
        again = (await caller.page()).json
        assert again[5]["name"] == "Nobody"
        assert again[5]["updated_at"] > after[5]["updated_at"]
        assert again[:4] + again[6:] == after[:4] + after[6:]


async def test_an_unstable_order_makes_pages_overlap() -> None:
    """Customers of equal created_at change places between requests, so that a walk sees some twice, some never."""
    async with serving(200, unstable_order=True) as (emulator, caller):
        seen = [uuid for page in range(1, 21) for uuid in (await caller.page(page)).uuids]
        assert len(seen) == 200
        assert 100 < len(set(seen)) < 200
        emulator.unstable_order = False
        steady = [uuid for page in range(1, 21) for uuid in (await caller.page(page)).uuids]
        assert steady == list(emulator.uuids())


@given(start=st.integers(0, 300), length=st.integers(0, 100), draw=st.integers(0, 1000), at=st.integers(0, 300))
def test_an_unstable_order_is_still_an_order(start: int, length: int, draw: int, at: int) -> None:
    """Any page is a slice of one complete list, the same for the same draw, ordered by created_at."""
    directory = CustomerList(300, seed=3)
    directory.delete(20, at=at)
    whole = directory.shuffled_rows(0, 300, draw)
    assert sorted(whole) == sorted(directory.rows(0, 300))
    assert directory.shuffled_rows(start, start + length, draw) == whole[start : start + length]
    created = [msgspec.json.decode(row)["created_at"] for row in whole]
    assert created == sorted(created, reverse=True)
    assert created.count(created[150]) <= TIES
