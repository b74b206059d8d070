"""The emulator's customers and the changes to their list."""

import asyncio
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
from tests.test_emulator import DOCUMENTED, run_emulator

UUID = re.compile(r"[a-zA-Z0-9]{8}-([a-zA-Z0-9]{4}-){3}[a-zA-Z0-9]{12}")

FAKE_CUSTOMERS = FakeCustomers(size=1_000_000, seed=1)
SAMPLE = [FAKE_CUSTOMERS.customer(number) for number in range(0, 1_000_000, 499)]

numbers = st.integers(0, 2**63 - 1)


@given(key=st.binary(min_size=1, max_size=32), number=numbers)
def test_uuid_maps_back_to_its_number(key: bytes, number: int) -> None:
    """Every number has a well-formed uuid, which maps back to that number."""
    uuid = Uuids(key).uuid(number)
    assert UUID.fullmatch(uuid)
    assert Uuids(key).number(uuid) == number


@given(numbers=st.sets(numbers, max_size=50))
def test_uuids_are_distinct(numbers: set[int]) -> None:
    """No two numbers share a uuid."""
    uuids = Uuids(b"key")
    assert len({uuids.uuid(number) for number in numbers}) == len(numbers)


@given(text=st.one_of(st.text(max_size=40), st.from_regex(UUID, fullmatch=True)))
def test_other_text_has_no_number(text: str) -> None:
    """Text that is not the uuid of a number maps to None, well-formed or not."""
    number = Uuids(b"key").number(text)
    assert number is None or Uuids(b"key").uuid(number) == text


def test_uuids_are_case_sensitive() -> None:
    """A uuid in other case or with other hyphens maps to None."""
    uuids = Uuids(b"key")
    for number in range(1, 40):
        uuid = uuids.uuid(number)
        assert uuids.number(uuid.swapcase()) is None
        assert uuids.number(uuid.replace("-", "")) is None
        assert uuids.number(uuid[:9] + "-" + uuid[9:]) is None


def test_uuids_are_of_several_kinds() -> None:
    """Most uuids are hex, some end in a letter beyond f, and some have letters of both cases."""
    uuids = [customer["uuid"] for customer in SAMPLE]
    hexadecimal = [uuid for uuid in uuids if re.fullmatch("[0-9a-f-]+", uuid)]
    documented = [uuid for uuid in uuids if re.fullmatch("[0-9a-f-]+[g-v]", uuid)]
    mixed = [uuid for uuid in uuids if re.search("[A-Z]", uuid) and re.search("[a-z]", uuid)]
    assert len(hexadecimal) > len(uuids) / 2
    assert len(documented) > len(uuids) / 10
    assert len(mixed) > len(uuids) / 10


def test_records_have_the_documented_fields() -> None:
    """Each record has the 14 fields, of the documented types and lengths."""
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


def test_seed_determines_the_customers() -> None:
    """The seed determines all customers but the documented one."""
    again, other = FakeCustomers(1_000_000, seed=1), FakeCustomers(1_000_000, seed=2)
    assert again.customer(5) == FAKE_CUSTOMERS.customer(5)
    assert other.customer(5) != FAKE_CUSTOMERS.customer(5)
    assert other.customer(0) == FAKE_CUSTOMERS.customer(0)


@pytest.mark.parametrize("customers", [1, 250])
async def test_documented_customer_is_first(customers: int) -> None:
    """The first customer is the one in the API reference."""
    async with run_emulator(customers) as (_, caller):
        one = (await caller.get(DOCUMENTED)).json
        assert one["name"] == "John Doe"
        assert one["registration_address_index"] == "01109"
        assert (await caller.page()).json[0] == one


def test_million_customers_take_no_memory() -> None:
    """The last page of a million is quick, even if they were inserted, and no memory is allocated in advance."""
    start = time.process_time()
    emulator = Emulator(1_000_000)
    last = list(emulator.uuids(999_900))
    assert len(last) == 100
    assert list(islice(emulator.uuids(999_990), 3)) == last[90:93]
    emulator.insert(1_000_000)
    assert list(emulator.uuids(1_999_900)) == last
    assert time.process_time() - start < 0.5


changes = st.lists(st.tuples(st.sampled_from(["insert", "delete"]), st.integers(0, 6), st.integers(0, 30)))


@given(size=st.integers(0, 20), changes=changes, start=st.integers(0, 30), length=st.integers(0, 30))
def test_positions_behave_like_a_list(size: int, changes: list[tuple[str, int, int]], start: int, length: int) -> None:
    """Insertions and deletions have the same effect as on a plain list."""
    positions, model, next_number = Positions(size), list(range(size)), size
    for change, count, at in changes:
        if change == "insert":
            new = range(next_number, next_number + count)
            positions.insert(new, at=at)
            model[at:at] = new
            next_number += count
        else:
            positions.delete(count, at=at)
            del model[at : at + count]
    assert len(positions) == len(model)
    assert list(positions.numbers(0, len(model))) == model
    assert list(positions.numbers(start, start + length)) == model[start : start + length]
    assert {number for number in range(next_number + 1) if number in positions} == set(model)


async def test_inserted_customers_are_new() -> None:
    """Inserted customers have new uuids and were created later than all others."""
    async with run_emulator(50) as (emulator, caller):
        before = (await caller.page(per_page=100)).json
        emulator.insert(3, at=1)
        after = (await caller.page(per_page=100)).json
        assert [after[0], *after[4:]] == before
        newest = max(customer["created_at"] for customer in before)
        assert all(customer["created_at"] > newest for customer in after[1:4])
        assert {customer["uuid"] for customer in after[1:4]}.isdisjoint(c["uuid"] for c in before)
        assert emulator.total == 53


async def test_inserted_customers_were_created_at_insertion() -> None:
    """Their created_at and updated_at are the emulator's time in whole seconds, the time in the responses' Date."""
    async with run_emulator(50) as (emulator, caller):
        await asyncio.sleep(120)
        before = await caller.page()
        emulator.insert(2)
        await asyncio.sleep(20)
        emulator.on_page(1, insert=1, at=1)
        after = await caller.page()
        first, scripted, second = (customer["created_at"] for customer in after.json[:3])
        assert time.time() + 100 < before.date <= first == second <= before.date + 2
        assert first + 18 <= scripted <= after.date <= scripted + 2
        assert all(customer["updated_at"] == customer["created_at"] for customer in after.json[:3])
        assert after.json[3:] == before.json[:7]


async def test_insertion_time_changes_no_other_field() -> None:
    """A seed determines all other fields of inserted customers, their uuids too."""
    inserted = []
    for seconds in (0, 10):
        async with run_emulator(50) as (emulator, caller):
            await asyncio.sleep(seconds)
            emulator.insert(10)
            inserted.append((await caller.page()).json)
    first, second = inserted
    assert all(one["created_at"] < other["created_at"] for one, other in zip(first, second, strict=True))
    times = {"created_at": 0, "updated_at": 0}
    assert [one | times for one in first] == [other | times for other in second]


async def test_documented_customer_can_be_inserted() -> None:
    """In a list that was empty at first the first inserted customer is the documented one, created now."""
    async with run_emulator(0) as (emulator, caller):
        emulator.insert()
        response = await caller.get(DOCUMENTED)
        assert response.json["name"] == "John Doe"
        assert response.date - 2 <= response.json["created_at"] == response.json["updated_at"] <= response.date


@given(size=st.integers(0, 5), insertions=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1))))
def test_each_run_of_customers_has_its_time(size: int, insertions: list[tuple[int, int]]) -> None:
    """Customers have the time at which they were created, however many were created then."""
    fake_customers, now = FakeCustomers(size, seed=1), 2_000_000_000
    times: list[int] = []
    for count, seconds in insertions:
        now += seconds
        assert fake_customers.create(count, now) == range(size + len(times), size + len(times) + count)
        times += [now] * count
    assert [fake_customers.created_at(size + index) for index in range(len(times))] == times


async def test_deleted_customers_are_gone() -> None:
    """A deleted customer is neither listed nor found by uuid."""
    async with run_emulator(50) as (emulator, caller):
        gone, stays = emulator.uuids(0, 2)
        emulator.delete()
        assert (await caller.get(f"/api/v1/customers/{gone}")).status == 404
        assert (await caller.get(f"/api/v1/customers/{stays}")).status == 200
        assert (await caller.page()).uuids == list(emulator.uuids(0, 10))
        assert emulator.total == 49


async def test_scripted_change_happens_before_its_page() -> None:
    """A scripted change happens once, right before its page is read; deletions come first."""
    async with run_emulator(50) as (emulator, caller):
        emulator.on_page(2, delete=3)
        emulator.on_page(2, insert=1, at=49)
        uuids = list(emulator.uuids())
        assert (await caller.page(1)).uuids == uuids[:10]
        assert (await caller.page(2)).uuids == uuids[13:23]
        assert (await caller.page(2)).headers["X-Api-Total"] == "48"
        assert list(emulator.uuids())[:47] == uuids[3:]


async def test_touch_changes_a_customer() -> None:
    """A touched customer has a later updated_at and the given fields, in the list and by uuid."""
    async with run_emulator(50) as (emulator, caller):
        before = (await caller.page()).json
        emulator.touch(4)
        emulator.touch(5, name="Changed", related_persons=[])
        after = (await caller.page()).json
        assert after[4]["updated_at"] > before[4]["updated_at"]
        assert {**after[4], "updated_at": 0} == {**before[4], "updated_at": 0}
        assert (after[5]["name"], after[5]["related_persons"]) == ("Changed", [])
        assert (await caller.get(f"/api/v1/customers/{after[5]['uuid']}")).json == after[5]
        emulator.touch(5)
        again = (await caller.page()).json
        assert again[5]["name"] == "Changed"
        assert again[5]["updated_at"] > after[5]["updated_at"]
        assert again[:4] + again[6:] == after[:4] + after[6:]


async def test_unstable_order_makes_pages_overlap() -> None:
    """With an unstable order, reading all pages returns some customers twice and others never."""
    async with run_emulator(200, unstable_order=True) as (emulator, caller):
        seen = [uuid for page in range(1, 21) for uuid in (await caller.page(page)).uuids]
        assert len(seen) == 200
        assert 100 < len(set(seen)) < 200
        emulator.unstable_order = False
        steady = [uuid for page in range(1, 21) for uuid in (await caller.page(page)).uuids]
        assert steady == list(emulator.uuids())


@given(
    start=st.integers(0, 300),
    length=st.integers(0, 100),
    draw=st.integers(0, 1000),
    at=st.integers(0, 300),
    inserted=st.integers(0, 100),
)
def test_unstable_order_permutes_ties_only(start: int, length: int, draw: int, at: int, inserted: int) -> None:
    """Each page is a slice of one list, the same for the same draw, still sorted by created_at."""
    customer_list = CustomerList(FakeCustomers(300, seed=3), seed=3, clock=lambda: 2e9)
    customer_list.delete(20, at=at)
    customer_list.insert(inserted, at=0)
    whole = customer_list.shuffled_rows(0, 400, draw)
    assert sorted(whole) == sorted(customer_list.rows(0, 400))
    assert customer_list.shuffled_rows(start, start + length, draw) == whole[start : start + length]
    created = [msgspec.json.decode(row)["created_at"] for row in whole]
    assert created == sorted(created, reverse=True)
    assert created.count(created[inserted + 150]) <= TIES
