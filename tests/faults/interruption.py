"""Cancels a coroutine at each of its await points in turn, and checks what remains."""

import asyncio
import itertools
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from functools import partial
from pathlib import Path
from typing import Any

import customers_async
from customers_async import CustomersClient

__all__ = ["Interrupted", "check_nothing_held", "find_client_tasks", "interrupt_at_each_await"]

_PACKAGE = Path(customers_async.__file__).parent


class Interrupted:
    """A coroutine whose task is cancelled at its n-th wait.

    Args:
        coroutine: The coroutine to run.
        at: The number of the wait, from 0.
        late: Cancel after the awaited future is done, right before the coroutine resumes.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], at: int, *, late: bool) -> None:
        self._coroutine = coroutine
        self._at = at
        self._late = late
        self.fired = False

    async def run(self) -> Any:
        """Run the coroutine in the current task."""
        return await self._steps()

    @types.coroutine
    def _steps(self) -> Generator[Any, Any, Any]:
        resume = partial(self._coroutine.send, None)
        for step in itertools.count():
            try:
                awaited = resume()
            except StopIteration as stop:
                return stop.value
            if step == self._at:
                self._cancel(awaited)
            try:
                yield awaited
            except BaseException as error:  # the coroutine handles it
                resume = partial(self._coroutine.throw, error)
            else:
                resume = partial(self._coroutine.send, None)
        return None

    def _cancel(self, awaited: Any) -> None:
        self.fired = True
        task = asyncio.current_task()
        assert task is not None
        if self._late and awaited is not None:
            awaited.add_done_callback(lambda _: task.cancel())  # runs right before the task is woken
        else:
            task.cancel()


async def interrupt_at_each_await(work: Callable[[], Coroutine[Any, Any, Any]]) -> AsyncIterator[asyncio.Task[Any]]:
    """Yield a cancelled task for each await point of the work, early and late, until a run completes."""
    for late in (False, True):
        for at in itertools.count():
            interrupted = Interrupted(work(), at, late=late)
            task = asyncio.ensure_future(interrupted.run())
            await asyncio.wait([task])
            if not interrupted.fired:
                task.result()
                break
            yield task


def find_client_tasks() -> list[asyncio.Task[Any]]:
    """Return the running tasks of the package; those of the emulator are aiohttp's."""
    return [task for task in asyncio.all_tasks() if _PACKAGE in _find_file(task).parents]


def _find_file(task: asyncio.Task[Any]) -> Path:
    code = getattr(task.get_coro(), "cr_code", None)
    return Path(code.co_filename) if code is not None else Path()


def check_nothing_held(client: CustomersClient) -> None:
    """Check that the client has no slot in use, request in flight, waiter, call, shared look-up or task left."""
    limiter = client._api.session.limiter
    assert client._api.slots.used == 0
    waiters = itertools.chain.from_iterable(line.waiters for line in client._api.slots.lines.values())
    assert all(waiter.granted.done() for waiter in waiters)
    assert limiter._window.in_flight == 0
    assert not client._api.session._calls
    assert not client._look_ups.shared._flights
    assert find_client_tasks() == []
