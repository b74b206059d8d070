"""Simultaneous calls for the same thing share one request."""

import asyncio
import copy
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

import attrs

from customers_async.errors import CustomersError

__all__ = ["SingleFlight"]

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
