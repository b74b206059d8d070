"""Lists of the emulator's users: several tokens, each with its own list, and given records."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from customers_async import AuthenticationError, CustomersClient, NotFoundError, customer_from_dict
from customers_async.emulator import Emulator, addresses
from customers_async.emulator.positions import Positions

FIRST = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
SECOND = "00000000-0000-0000-0000-00000000000z"
RECORDS: list[dict[str, Any]] = [
    {"uuid": SECOND, "name": "Kan4ri", "created_at": 1744373843, "color": "blue"},
    {"uuid": FIRST},
]


# Tokens


async def test_each_token_has_a_list_of_its_own() -> None:
    """With its own length, customers and owner."""
    async with Emulator(tokens={"one": 3, "two": 5, "three": None}, customers=7) as emulator:
        assert emulator.token == "one"
        uuids: dict[str, list[str]] = {}
        owners = set()
        for token in ("one", "two", "three"):
            async with CustomersClient(token, base_url=emulator.url) as client:
                uuids[token] = [customer.uuid async for customer in client.list_customers()]
                owners.add((await client.whoami()).uuid)
                assert uuids[token] == list(emulator.uuids(token=token))
                *_, other = emulator.uuids(token="two" if token == "one" else "one")
                with pytest.raises(NotFoundError):
                    await client.get_customer(other)
        assert [len(listed) for listed in uuids.values()] == [3, 5, 7]
        assert len(set().union(*uuids.values())) == 3 + 5 + 7 - 2  # the customer of the API reference is on each
        assert len(owners) == 3


async def test_lists_change_separately() -> None:
    """``token`` chooses the list; without it, it is the first one."""
    async with Emulator(tokens={"one": 3, "two": 5}) as emulator:
        emulator.insert(2)
        emulator.delete(1, token="two")
        emulator.touch(0, token="two", name="Changed")
        emulator.swap(1, 2, token="two")
        emulator.on_page(1, delete=4, token="two")
        assert emulator.total == 5
        assert len(list(emulator.uuids(token="two"))) == 4
        async with CustomersClient("one", base_url=emulator.url) as client:
            assert await client.count_customers() == 5
            assert emulator.pending == ["on_page(1)"]
        async with CustomersClient("two", base_url=emulator.url) as client:
            assert await client.count_customers() == 0


async def test_tokens_share_the_rate_limit_of_the_address() -> None:
    """As the service's accounts do."""
    async with Emulator(tokens={"one": 3, "two": 5}) as emulator:
        for token, remaining in (("one", 499), ("two", 498)):
            async with CustomersClient(token, base_url=emulator.url) as client:
                await client.whoami()
                assert client.rate_limit.remaining == remaining


async def test_one_token_is_revoked_alone() -> None:
    """The others stay valid."""
    async with Emulator(tokens={"one": 3, "two": 5}) as emulator:
        emulator.revoke("one")
        async with CustomersClient("one", base_url=emulator.url) as client:
            with pytest.raises(AuthenticationError):
                await client.whoami()
        async with CustomersClient("two", base_url=emulator.url) as client:
            await client.whoami()
        assert emulator.token not in ("one", "two")


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        ({}, "must not be empty"),
        (["Kan4ri"], "must be a mapping"),
        ({1: 1}, "token 0 must be a str"),
        ({"ok": 1, "Kan4ri x": 1}, "token 1 must be of visible"),
        ({"": 1}, "token 0 must be of visible"),
        ({"Kan4rié": 1}, "token 0 must be of visible"),
        ({"Kan4ri": -1}, "customers of token 0 must be at least 0"),
        ({"Kan4ri": True}, "customers of token 0 must be an int"),
        ({"Kan4ri": 1.5}, "customers of token 0 must be an int"),
    ],
)
def test_bad_tokens_are_refused_without_their_value(tokens: Any, problem: str) -> None:
    """At once, by their position."""
    with pytest.raises((TypeError, ValueError), match=problem) as caught:
        Emulator(tokens=tokens)
    assert "Kan4ri" not in str(caught.value)


def test_unknown_token_has_no_list() -> None:
    """The error does not repeat it."""
    with pytest.raises(ValueError, match="the emulator has no such token"):
        Emulator(customers=3).insert(token="Kan4ri")


# Records


async def check_served(emulator: Emulator) -> None:
    """Check that a client receives `RECORDS` from the emulator."""
    async with emulator, CustomersClient(emulator.token, base_url=emulator.url, keep_unknown=True) as client:
        listed = [customer async for customer in client.list_customers()]
        assert listed == [customer_from_dict(record) for record in RECORDS]
        assert (await client.get_customer(SECOND)).name == "Kan4ri"


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(map(json.dumps, RECORDS)),
        "\n\n".join(map(json.dumps, RECORDS)) + "\r\n\n",
        json.dumps(RECORDS),
        "  \n" + json.dumps(RECORDS, indent=2),
    ],
    ids=["lines", "blank lines", "array", "indented array"],
)
async def test_records_of_a_file_are_served(tmp_path: Path, text: str) -> None:
    """JSON Lines or an array, in their order."""
    path = tmp_path / "customers"
    path.write_text(text, encoding="utf-8")
    await check_served(Emulator(records=path))
    await check_served(Emulator(records=str(path)))


async def test_records_of_an_iterable_are_served() -> None:
    """A list or a generator of dicts, with any number of tokens."""
    await check_served(Emulator(records=RECORDS))
    await check_served(Emulator(records=(record for record in RECORDS)))
    await check_served(Emulator(records=RECORDS, tokens={"mine": None}))


async def test_given_list_can_be_changed() -> None:
    """Invented customers are inserted, given ones touched and deleted, and a reset restores the list."""
    async with Emulator(records=RECORDS, unstable_order=True) as emulator:
        emulator.touch(1, name="Changed")
        emulator.insert(2)
        async with CustomersClient(emulator.token, base_url=emulator.url) as client:
            listed = {customer.uuid: customer async for customer in client.list_customers()}
            assert len(listed) == 4
            assert listed[FIRST].name == "Changed"
            assert listed[FIRST].updated_at is not None
            new, *_ = emulator.uuids()
            assert (await client.get_customer(new)).created_at is not None
            emulator.reset("list")
            assert list(emulator.uuids()) == [SECOND, FIRST]
            with pytest.raises(NotFoundError):
                await client.get_customer(new)


async def test_each_token_has_the_first_records() -> None:
    """A number of records, or all."""
    async with Emulator(records=RECORDS, tokens={"one": 1, "all": None}) as emulator:
        assert list(emulator.uuids(token="one")) == [SECOND]
        assert list(emulator.uuids(token="all")) == [SECOND, FIRST]


def test_list_cannot_be_longer_than_the_records() -> None:
    """It is known at once."""
    with pytest.raises(ValueError, match="a list of 3 customers needs as many records, and there are 2"):
        Emulator(records=RECORDS, tokens={"one": 3})


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (["Kan4ri"], "a record is an object, not list"),
        (None, "a record is an object, not NoneType"),
        ({"name": "Kan4ri"}, "uuid must be"),
        ({"uuid": "Kan4ri"}, "uuid must be"),
        ({"uuid": f"{SECOND}\n"}, "uuid must be"),
        ({"uuid": FIRST}, "an earlier record has the same uuid"),
        ({"uuid": SECOND, "name": 1}, "name must be a string or null, not int"),
        ({"uuid": SECOND, "post_address_index": 1109}, "post_address_index must be a string or null"),
        ({"uuid": SECOND, "created_at": "Kan4ri"}, "created_at must be a whole number of Unix seconds or null"),
        ({"uuid": SECOND, "created_at": True}, "created_at must be a whole number"),
        ({"uuid": SECOND, "updated_at": -1}, "updated_at must be a whole number"),
        ({"uuid": SECOND, "updated_at": 1.5}, "updated_at must be a whole number"),
    ],
)
def test_bad_record_is_named_by_its_position(tmp_path: Path, record: Any, problem: str) -> None:
    """In an iterable, in JSON Lines and in an array; before anything is served, and without its values."""
    records = [{"uuid": FIRST}, record]
    lines, array = tmp_path / "lines", tmp_path / "array"
    lines.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    array.write_text(json.dumps(records), encoding="utf-8")
    for given, position in ((records, "records[1]"), (lines, f"{lines}, line 2"), (array, f"{array}[1]")):
        with pytest.raises(ValueError, match=r"must be|a record|earlier") as caught:
            Emulator(records=given)
        assert str(caught.value).startswith(f"{position}: {problem}")
        assert "Kan4ri" not in str(caught.value)


@pytest.mark.parametrize("text", ["nonsense", '{"uuid":', "[" * 5000, "[{}", "\x00"])
def test_file_that_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    """The position is named."""
    path = tmp_path / "records"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"records.*: it is not JSON"):
        Emulator(records=path)


@pytest.mark.parametrize("records", [1, b"path", {"uuid": FIRST}])
def test_records_of_another_type_are_refused(records: Any) -> None:
    """A TypeError says what they may be."""
    with pytest.raises(TypeError, match="records must be a path or an iterable of dicts"):
        Emulator(records=records)


def test_record_that_json_cannot_hold_is_refused() -> None:
    """Its position is named."""
    for value in ("\ud800", object(), {1j}):
        with pytest.raises(ValueError, match=r"records\[0\]: it cannot be written as JSON"):
            Emulator(records=[{"uuid": FIRST, "color": value}])


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    """It names the file."""
    with pytest.raises(FileNotFoundError):
        Emulator(records=tmp_path / "missing")


def test_repr_shows_no_record_and_no_token() -> None:
    """Only the settings."""
    shown = repr(Emulator(records=RECORDS, tokens={"Kan4ri": None}))
    assert "Kan4ri" not in shown
    assert SECOND not in shown


# The order


def test_swap_exchanges_two_positions() -> None:
    """Next to each other, at the ends, and one with itself."""
    for first, second in ((0, 1), (1, 0), (0, 9), (4, 6), (3, 3)):
        positions, expected = Positions(10), list(range(10))
        positions.swap(first, second)
        expected[first], expected[second] = expected[second], expected[first]
        assert list(positions.numbers(0, 10)) == expected
        assert len(positions) == 10


def test_swap_checks_its_positions() -> None:
    """Both must exist."""
    emulator = Emulator(customers=3)
    for first, second in ((0, 3), (3, 0), (-1, 0)):
        with pytest.raises(ValueError, match=r"position|at least 0"):
            emulator.swap(first, second)


# Memory


def test_many_customers_take_little_memory() -> None:
    """A million on each of a hundred lists, and changes."""
    tracemalloc.start()
    try:
        emulator = Emulator(tokens={f"token-{number}": 1_000_000 for number in range(100)})
        for number in range(100):
            emulator.swap(number, 999_999 - number, token=f"token-{number}")
            list(emulator.uuids(500_000, 500_100, token=f"token-{number}"))
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


# Reset


async def test_reset_begins_the_unstable_order_again() -> None:
    """After it, the list is returned in the orders in which it was returned at first."""
    async with (
        Emulator(customers=100, unstable_order=True) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        first, second = [(await client.get_page(1)).raw for _ in range(2)]
        assert first != second
        emulator.reset("list")
        assert [(await client.get_page(1)).raw for _ in range(2)] == [first, second]


@pytest.mark.parametrize("part", ["list", "faults", "tokens", "rate_limit", "stats"])
async def test_reset_of_one_part_leaves_the_others(part: Any) -> None:
    """Each can be reset by itself."""
    async with Emulator(tokens={"one": 3}) as emulator:
        emulator.insert(2)
        emulator.fail_next(500)
        emulator.revoke("one")
        emulator.rate_limit(7)
        emulator.stats.requests = 9
        emulator.reset(part)
        state = {
            "list": emulator.total == 3,
            "faults": not emulator.pending,
            "tokens": emulator.token == "one",
            "rate_limit": emulator._service.windows.limit == 500,
            "stats": emulator.stats.requests == 0,
        }
        assert [name for name, is_reset in state.items() if is_reset] == [part]


def test_unknown_part_is_not_reset() -> None:
    """Nothing else is, either."""
    emulator = Emulator(customers=3)
    emulator.insert(1)
    with pytest.raises(ValueError, match="there is nothing called 'everything' to reset"):
        emulator.reset("list", "everything")  # type: ignore[arg-type]  # the mistake under test
    assert emulator.total == 4


# Addresses


@pytest.mark.parametrize(
    ("host", "local", "reached_by"),
    [
        ("127.0.0.1", "127.0.0.1", "this machine"),
        ("localhost", "localhost", "this machine"),
        ("::1", "::1", "this machine"),
        ("0.0.0.0", "127.0.0.1", "all"),  # noqa: S104  # the addresses under test
        ("::", "::1", "all"),
        ("", "localhost", "all"),
        ("192.0.2.1", "192.0.2.1", "some"),
        ("emulator", "emulator", "some"),
    ],
)
def test_addresses_to_listen_on(host: str, local: str, reached_by: str) -> None:
    """How this machine reaches it, and who else does."""
    assert addresses.find_local_host(host) == local
    assert addresses.is_loopback(host) == (reached_by == "this machine")
    assert addresses.is_unspecified(host) == (reached_by == "all")


@pytest.mark.parametrize(
    ("host", "local"),
    [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")],  # noqa: S104  # the addresses under test
)
async def test_url_works_for_every_address(host: str, local: str) -> None:
    """That of all addresses is no address to connect to, so the URL names this machine's."""
    try:
        async with Emulator(customers=3, host=host) as emulator:
            assert emulator.url.startswith(f"http://{local}:")
            async with CustomersClient(emulator.token, base_url=emulator.url) as client:
                assert await client.count_customers() == 3
    except OSError as error:
        pytest.skip(f"this machine has no such address: {error.strerror}")
