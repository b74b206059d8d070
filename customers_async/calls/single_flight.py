"""What look-ups of one customer share: the request under way, and for a while the answer."""

import asyncio
import copy
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

import attrs

from customers_async.calls.retry import check_count, check_seconds
from customers_async.errors import CustomersError
from customers_async.models import Customer

__all__ = ["SingleFlight", "TTLCache"]

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


@attrs.define(eq=False)
class _Flight(Generic[Result]):
    """Work under way: of whoever asked first, or, once that one has left, of a task for those who wait."""

    waiters: "list[asyncio.Future[Result]]" = attrs.field(factory=list)
    task: "asyncio.Task[None] | None" = None

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits but whoever asked first."""
        return any(not waiter.done() for waiter in self.waiters)


class SingleFlight(Generic[Key, Result]):
    """Calls that want the same while one of them is under way share it: its result, or its error.

    Whoever asks first does the work itself, so that a call without company costs no task. If that one is cancelled, the
    work begins once more for those who wait, as a task that no one of them can take along. It ends when nobody waits.
    """

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[Result]] = {}

    async def join(self, key: Key, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of the work under way for this key, which begins now if there is none."""
        flight = self._flights.get(key)
        if flight is not None:
            return await self._wait(key, flight)
        flight = self._flights[key] = _Flight()
        try:
            result = await work()
        except asyncio.CancelledError:
            if flight.is_awaited:
                flight.task = asyncio.create_task(self._carry_on(key, flight, work))
            else:
                self._forget(key, flight)
            raise
        except BaseException as error:
            self._fail(key, flight, error)
            raise
        self._land(key, flight, result)
        return result

    async def _wait(self, key: Key, flight: _Flight[Result]) -> Result:
        waiter: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        flight.waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if flight.task is not None and not flight.is_awaited:
                self._forget(key, flight)
                flight.task.cancel()
                await asyncio.wait((flight.task,))
            raise

    async def _carry_on(
        self, key: Key, flight: _Flight[Result], work: Callable[[], Coroutine[Any, Any, Result]]
    ) -> None:
        try:
            result = await work()
        except Exception as error:  # it is for those who wait
            self._fail(key, flight, error)
        except BaseException as error:
            self._fail(key, flight, error)
            raise
        else:
            self._land(key, flight, result)

    def _land(self, key: Key, flight: _Flight[Result], result: Result) -> None:
        self._forget(key, flight)
        for waiter in flight.waiters:
            if not waiter.done():
                waiter.set_result(result)

    def _fail(self, key: Key, flight: _Flight[Result], error: BaseException) -> None:
        """Tell those who wait, each with an error of its own where it is ours: to raise one changes it."""
        self._forget(key, flight)
        for waiter in flight.waiters:
            if waiter.done():
                continue
            if isinstance(error, Exception):
                waiter.set_exception(copy.copy(error) if isinstance(error, CustomersError) else error)
            else:
                waiter.cancel()

    def _forget(self, key: Key, flight: _Flight[Result]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


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
