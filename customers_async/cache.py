"""A cache of the customers that were requested by their uuids."""

import asyncio
import copy
from collections import OrderedDict
from contextlib import suppress
from typing import Self

import attrs

from customers_async.checks import check_count, check_seconds
from customers_async.errors import NotFoundError
from customers_async.models import Customer

__all__ = ["TTLCache", "claim_for_client", "isolated"]


def _check_lifetime(cache: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    check_seconds(cache, attribute, value)
    if not value:
        raise ValueError(f"{attribute.name} must be above 0")


@attrs.frozen
class _Entry:
    """A customer, or the error that there is none; ``requested`` is the spelling of the uuid that was requested."""

    requested: str
    value: Customer | NotFoundError = attrs.field(repr=False)
    received: float


@attrs.define(eq=False)
class TTLCache:
    """Caches customers that were requested by their uuids, for a limited time.

    `CustomersClient.get_customer` and `CustomersClient.get_customers` read and fill it. When it is full, what was
    requested longest ago is removed. A cache belongs to one client and its views with the same token: another token may
    not be allowed to see the same customers. Its repr shows no customer.

    Attributes:
        seconds: How long a customer is returned without a request, in seconds on the event loop's clock.
        size: The largest number of entries: customers and remembered 404s.
        stale_if_error: For how many seconds after that a customer is still returned if its request fails with an error
            that may pass (``retryable``), such as a used up rate limit. The log says so at INFO, and `age` shows it.
        remember_missing: For how many seconds a 404 is remembered. The `NotFoundError` is raised again without a
            request: each time a new one, whose ``attempts`` is 0.

    Raises:
        TypeError: A value is not a number.
        ValueError: ``seconds`` or ``size`` is not above 0, or another value is negative.

    Example:
        >>> cache = TTLCache(seconds=30, size=1_000)
        >>> async with CustomersClient(cache=cache) as client:
        ...     customer = await client.get_customer("e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g")
        ...     assert await client.get_customer(customer.uuid) is customer
        ...     cache.discard(customer.uuid)
    """

    seconds: float = attrs.field(validator=_check_lifetime, on_setattr=attrs.setters.frozen)
    size: int = attrs.field(validator=check_count, on_setattr=attrs.setters.frozen)
    stale_if_error: float = attrs.field(
        default=0.0, kw_only=True, validator=check_seconds, on_setattr=attrs.setters.frozen
    )
    remember_missing: float = attrs.field(
        default=0.0, kw_only=True, validator=check_seconds, on_setattr=attrs.setters.frozen
    )
    # By the uuid in lower case, so that `discard` finds what was requested in another case. The service decides whether
    # that is the same customer, so an entry serves requests for the same spelling only. The second part of the key is
    # ``keep_unknown``, or None for a customer that is missing.
    _entries: OrderedDict[tuple[str, bool | None], _Entry] = attrs.field(factory=OrderedDict, init=False, repr=False)
    _is_claimed: bool = attrs.field(default=False, init=False, repr=False)
    _epoch: int = attrs.field(default=0, init=False, repr=False)

    def __reduce__(self) -> str:
        raise TypeError("a cache holds customers and belongs to one client, and does not pickle")

    def __len__(self) -> int:
        return len(self._entries)

    def age(self, uuid: str) -> float | None:
        """Return how many seconds ago a cached customer was received, or None if it is not cached.

        Above ``seconds`` it has expired, and is returned only in place of an error. Call this on the client's event
        loop.
        """
        now, entries = asyncio.get_running_loop().time(), self._entries
        ages = [now - entries[key].received for kept in (False, True) if (key := (uuid.lower(), kept)) in entries]
        return max((age for age in ages if age < self._lifetime(kind=False)), default=None)

    def discard(self, uuid: str) -> None:
        """Forget a customer, for example one that you know has changed, whatever the case of the letters.

        Look-ups in progress are not cached, and later calls do not share them: they may return the customer as it was.
        """
        self._epoch += 1
        for kind in (False, True, None):
            self._entries.pop((uuid.lower(), kind), None)

    def clear(self) -> None:
        """Forget everything, also what look-ups in progress return."""
        self._epoch += 1
        self._entries.clear()

    @property
    def epoch(self) -> int:
        """A number that each `discard` and `clear` changes. For `CustomersClient`, which notes it before a request."""
        return self._epoch

    def claim(self) -> None:
        """Make this the cache of one client. For `CustomersClient`.

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

    def get(self, uuid: str, *, keep_unknown: bool) -> Customer | NotFoundError | None:
        """Return a customer that was decoded with this option, or the error that there is none, or None.

        For `CustomersClient`.
        """
        missing = self._find(uuid, None, self.remember_missing)
        if isinstance(missing, NotFoundError):
            return copy.copy(missing)
        return self._find(uuid, keep_unknown, self.seconds)

    def get_stale(self, uuid: str, *, keep_unknown: bool) -> Customer | None:
        """Return a customer that may take the place of an error, or None. For `CustomersClient`."""
        found = self._find(uuid, keep_unknown, self._lifetime(keep_unknown))
        return found if isinstance(found, Customer) else None

    def put(self, uuid: str, customer: Customer, *, keep_unknown: bool, epoch: int) -> None:
        """Cache a customer, unless it was requested before the last `discard` or `clear`. For `CustomersClient`.

        Args:
            uuid: As it was requested.
            customer: The customer.
            keep_unknown: The option with which it was decoded.
            epoch: The `epoch` when it was requested.
        """
        if epoch == self._epoch:
            self._entries.pop((uuid.lower(), None), None)
            self._put(uuid, keep_unknown, customer)

    def put_missing(self, uuid: str, error: NotFoundError, *, epoch: int) -> None:
        """Note that the service does not know ``uuid``: remove its customer, and remember the error for a while."""
        for keep_unknown in (False, True):
            entry = self._entries.get((uuid.lower(), keep_unknown))
            if entry is not None and entry.requested == uuid:
                del self._entries[uuid.lower(), keep_unknown]
        if self.remember_missing and epoch == self._epoch:
            remembered = copy.copy(error)  # without the traceback
            remembered.attempts, remembered.__notes__ = 0, []  # those are about the request
            self._put(uuid, None, remembered)

    def _lifetime(self, kind: bool | None) -> float:
        """For how many seconds an entry is of use."""
        return self.remember_missing if kind is None else self.seconds + self.stale_if_error

    def _find(self, uuid: str, kind: bool | None, lifetime: float) -> Customer | NotFoundError | None:
        """Return what was received for this spelling within ``lifetime``; delete what is of no more use."""
        key = uuid.lower(), kind
        entry = self._entries.get(key)
        if entry is None or entry.requested != uuid:
            return None
        age = asyncio.get_running_loop().time() - entry.received
        if age >= self._lifetime(kind):
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry.value if age < lifetime else None

    def _put(self, uuid: str, kind: bool | None, value: Customer | NotFoundError) -> None:
        key = uuid.lower(), kind
        self._entries[key] = _Entry(uuid, value, asyncio.get_running_loop().time())
        self._entries.move_to_end(key)
        if len(self._entries) > self.size:
            self._entries.popitem(last=False)


def claim_for_client(cache: TTLCache) -> TTLCache:
    """Make this the cache of one client, and return it.

    Raises:
        TypeError: It is no cache.
        ValueError: It belongs to another client.
    """
    if not isinstance(cache, TTLCache):
        raise TypeError(f"cache must be a TTLCache, not {type(cache).__name__}")
    cache.claim()
    return cache


def isolated(customer: Customer) -> Customer:
    """Return the customer, or a copy if it has parts that a caller could change for the others."""
    if isinstance(customer.related_persons, (list, dict)) or customer.extra:
        with suppress(RecursionError):  # nested too deeply to be copied
            return copy.deepcopy(customer)
    return customer
