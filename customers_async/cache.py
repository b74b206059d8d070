"""A cache of the customers that `CustomersClient.get_customer` returns."""

import asyncio
import copy
from collections import OrderedDict
from contextlib import suppress
from typing import Self

import attrs

from customers_async.checks import check_count, check_seconds
from customers_async.models import Customer

__all__ = ["TTLCache", "isolated"]


def _check_lifetime(cache: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    check_seconds(cache, attribute, value)
    if not value:
        raise ValueError(f"{attribute.name} must be above 0")


@attrs.define(eq=False)
class TTLCache:
    """Caches the customers that `CustomersClient.get_customer` returns, for a limited time. Errors are not cached.

    When the cache is full, the customer that was requested longest ago is removed. A cache belongs to one client and
    its views: another client's token may not be allowed to see the same customers. Its repr shows no customer.

    Attributes:
        seconds: How long a customer stays in the cache, in seconds on the event loop's clock.
        size: The largest number of customers in the cache.

    Raises:
        TypeError: A value is not a number.
        ValueError: A value is not above 0.

    Example:
        >>> cache = TTLCache(seconds=30, size=1_000)
        >>> async with CustomersClient(cache=cache) as client:
        ...     customer = await client.get_customer("e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g")
        ...     assert await client.get_customer(customer.uuid) is customer
        ...     cache.discard(customer.uuid)
    """

    seconds: float = attrs.field(validator=_check_lifetime, on_setattr=attrs.setters.frozen)
    size: int = attrs.field(validator=check_count, on_setattr=attrs.setters.frozen)
    # By the uuid in lower case, so that `discard` finds what was requested in another case. The service decides whether
    # that is the same customer, so an entry serves requests for the same spelling only.
    _entries: OrderedDict[tuple[str, bool], tuple[str, float, Customer]] = attrs.field(
        factory=OrderedDict, init=False, repr=False
    )
    _is_claimed: bool = attrs.field(default=False, init=False, repr=False)

    def __reduce__(self) -> str:
        raise TypeError("a cache holds customers and belongs to one client, and does not pickle")

    def __len__(self) -> int:
        return len(self._entries)

    def discard(self, uuid: str) -> None:
        """Remove a customer, for example one that you know has changed, whatever the case of the letters."""
        for keep_unknown in (False, True):
            self._entries.pop((uuid.lower(), keep_unknown), None)

    def clear(self) -> None:
        """Remove all customers."""
        self._entries.clear()

    def claim(self) -> None:
        """Make this the cache of one client, which calls this.

        Raises:
            ValueError: It belongs to another client.
        """
        if self._is_claimed:
            raise ValueError("cache must not be shared with another client, which may see other customers")
        self._is_claimed = True

    def successor(self) -> Self:
        """Make an empty cache with the same settings, for a view with another token. For `CustomersClient`."""
        cache = attrs.evolve(self)
        cache.claim()
        return cache

    def get(self, uuid: str, *, keep_unknown: bool) -> Customer | None:
        """Return a cached customer that was decoded with this option, or None. For `CustomersClient`."""
        key = uuid.lower(), keep_unknown
        requested, expires, customer = self._entries.get(key, ("", 0.0, None))
        if customer is None or requested != uuid:
            return None
        if asyncio.get_running_loop().time() >= expires:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return customer

    def put(self, uuid: str, customer: Customer, *, keep_unknown: bool) -> None:
        """Cache the customer that was requested as ``uuid`` and decoded with this option. For `CustomersClient`."""
        key = uuid.lower(), keep_unknown
        self._entries[key] = uuid, asyncio.get_running_loop().time() + self.seconds, customer
        self._entries.move_to_end(key)
        if len(self._entries) > self.size:
            self._entries.popitem(last=False)


def isolated(customer: Customer) -> Customer:
    """Return the customer, or a copy if it has parts that a caller could change for the others."""
    if isinstance(customer.related_persons, (list, dict)) or customer.extra:
        with suppress(RecursionError):  # nested too deeply to be copied
            return copy.deepcopy(customer)
    return customer
