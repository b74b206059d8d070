"""The accounts: each with its owner, its list, and the changes scripted for it."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import attrs

from customers_async.emulator.checks import MOST_CUSTOMERS, check_secret, check_whole_number
from customers_async.emulator.customer_list import CustomerList
from customers_async.emulator.drift import Drift
from customers_async.emulator.fake_customers import FakeCustomers
from customers_async.emulator.records import GivenCustomers

__all__ = ["OWNER", "Account", "check_tokens", "make_accounts"]

OWNER = {
    "uuid": "0f0e0d0c-0b0a-4908-8706-050403020100",
    "is_active": 1,
    "name": "API user",
    "email": "api@example.com",
    "created_at": 1744373843,
    "updated_at": 1744373843,
}
_CACHED_RECORDS = 16_384


@attrs.frozen
class Account:
    """One account: the owner that the service names, the list, and the changes scripted for it."""

    owner: Mapping[str, Any]
    customer_list: CustomerList
    drift: Drift


def make_accounts(
    sizes: list[int | None], records: Mapping[str, bytes] | None, seed: int, clock: Callable[[], float]
) -> list[Account]:
    """Make an account for each size of a list; None means all records.

    Raises:
        ValueError: A list would be longer than there are records.
    """
    cached = max(_CACHED_RECORDS // len(sizes), 100)
    accounts: list[Account] = []
    for number, size in enumerate(sizes):
        list_seed = seed if number == 0 else f"{seed}/{number}"
        customers = FakeCustomers(size or 0, list_seed) if records is None else _take(records, size, list_seed)
        customer_list = CustomerList(customers, seed, clock, cached)
        accounts.append(Account(_make_owner(number), customer_list, Drift(customer_list)))
    return accounts


def _take(records: Mapping[str, bytes], size: int | None, seed: int | str) -> GivenCustomers:
    if size is not None and size > len(records):
        raise ValueError(f"tokens: a list of {size} customers needs as many records, and there are {len(records)}")
    return GivenCustomers(records if size is None else dict(islice(records.items(), size)), seed)


def _make_owner(number: int) -> dict[str, Any]:
    if number == 0:
        return OWNER
    uuid = f"{str(OWNER['uuid'])[:24]}{number:012x}"
    return {**OWNER, "uuid": uuid, "name": f"API user {number + 1}", "email": f"api{number + 1}@example.com"}


def check_tokens(_: object, __: object, tokens: Any) -> None:
    """Check the tokens that are given, as an attrs validator. The errors do not repeat them.

    Raises:
        TypeError: They are no mapping of strings to ints or None.
        ValueError: There are none, or one is not of visible ASCII characters.
    """
    if not isinstance(tokens, Mapping):
        raise TypeError(f"tokens must be a mapping of tokens to numbers of customers, not {type(tokens).__name__}")
    if not tokens:
        raise ValueError("tokens must not be empty")
    for position, (token, size) in enumerate(tokens.items()):
        check_secret(f"token {position}", token)
        if size is not None:
            check_whole_number(f"the number of customers of token {position}", size, 0, MOST_CUSTOMERS)
