"""A cache of the customers that `CustomersClient.get_customer` returns."""

import asyncio
from collections import OrderedDict

import attrs

from customers_async.checks import check_count, check_seconds
from customers_async.models import Customer

__all__ = ["TTLCache"]


def _check_lifetime(cache: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    check_seconds(cache, attribute, value)
    if not value:
        raise ValueError(f"{attribute.name} must be above 0")


@attrs.define(eq=False)
class TTLCache:
    """Remembers whom `CustomersClient.get_customer` found, for a while. Errors are never remembered.

    When it is full, whoever was asked for longest ago is forgotten. It serves one client and its views: another client
    may not be allowed to see the same customers. Its repr shows no customer.

    Attributes:
        seconds: How old an answer may be, on the event loop's clock.
        size: How many customers it holds at most.

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
    _kept: OrderedDict[tuple[str, bool], tuple[float, Customer]] = attrs.field(
        factory=OrderedDict, init=False, repr=False
    )
    _is_taken: bool = attrs.field(default=False, init=False, repr=False)

    def __len__(self) -> int:
        return len(self._kept)

    def discard(self, uuid: str) -> None:
        """Forget a customer, such as one that you know to have changed."""
        for keep_unknown in (False, True):
            self._kept.pop((uuid, keep_unknown), None)

    def clear(self) -> None:
        """Forget everybody."""
        self._kept.clear()

    def take(self) -> None:
        """Make it the cache of a client.

        Raises:
            ValueError: It is that of another client.
        """
        if self._is_taken:
            raise ValueError("cache must not be shared with another client, which may see other customers")
        self._is_taken = True

    def get(self, uuid: str, *, keep_unknown: bool) -> Customer | None:
        """Who was found so short a while ago, as a client with this option reads customers."""
        key = uuid, keep_unknown
        until, customer = self._kept.get(key, (0.0, None))
        if customer is None:
            return None
        if asyncio.get_running_loop().time() >= until:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return customer

    def put(self, customer: Customer, *, keep_unknown: bool) -> None:
        """Remember a customer from now on."""
        key = customer.uuid, keep_unknown
        self._kept[key] = asyncio.get_running_loop().time() + self.seconds, customer
        self._kept.move_to_end(key)
        if len(self._kept) > self.size:
            self._kept.popitem(last=False)
