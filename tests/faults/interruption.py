"""Cancels a coroutine at each of its await points in turn, and looks at what it leaves behind."""

import asyncio
import itertools
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from functools import partial
from pathlib import Path
from typing import Any

import customers_async
from customers_async import CustomersClient

__all__ = ["Interrupted", "check_nothing_held", "interruptions", "tasks_of_the_client"]

_PACKAGE = Path(customers_async.__file__).parent


class Interrupted:
    """A coroutine whose task is cancelled the n-th time that it has to wait.

    Args:
        coroutine: What to run.
        at: Which wait, from 0.
        late: Cancel when what was waited for has come, and the coroutine does not know it yet.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], at: int, *, late: bool) -> None:
        self._coroutine = coroutine
        self._at = at
        self._late = late
        self.fired = False

    async def run(self) -> Any:
        """Run it in the present task."""
        return await self._steps()

    @types.coroutine
    def _steps(self) -> Generator[Any, Any, Any]:
        resume = partial(self._coroutine.send, None)
        for step in itertools.count():
            try:
                waits_for = resume()
            except StopIteration as stop:
                return stop.value
            if step == self._at:
                self._cancel(waits_for)
            try:
                yield waits_for
            except BaseException as error:  # passed on to the coroutine, whatever it is
                resume = partial(self._coroutine.throw, error)
            else:
                resume = partial(self._coroutine.send, None)
        return None

    def _cancel(self, waits_for: Any) -> None:
        self.fired = True
        task = asyncio.current_task()
        assert task is not None
        if self._late and waits_for is not None:
            waits_for.add_done_callback(lambda _: task.cancel())  # runs right before the task is woken
        else:
            task.cancel()


async def interruptions(work: Callable[[], Coroutine[Any, Any, Any]]) -> AsyncIterator[asyncio.Task[Any]]:
    """A cancelled task for each await point of the work, early and late; ends with the run that has no more."""
    for late in (False, True):
        for at in itertools.count():
            interrupted = Interrupted(work(), at, late=late)
            task = asyncio.ensure_future(interrupted.run())
            await asyncio.wait([task])
            if not interrupted.fired:
                task.result()
                break
            yield task


def tasks_of_the_client() -> list[asyncio.Task[Any]]:
    """The tasks under way in the code under test; those of the emulator are aiohttp's."""
    return [task for task in asyncio.all_tasks() if _PACKAGE in _file_of(task).parents]


def _file_of(task: asyncio.Task[Any]) -> Path:
    code = getattr(task.get_coro(), "cr_code", None)
    return Path(code.co_filename) if code is not None else Path()


def check_nothing_held(client: CustomersClient) -> None:
    """No place, no request of the quota, no waiter, no call, shared or not, and no task of the client is left."""
    limiter = client._api.session.limiter
    assert client._api.slots.used == 0
    waiters = itertools.chain.from_iterable(line.waiters for line in client._api.slots.lines.values())
    assert all(waiter.granted.done() for waiter in waiters)
    assert limiter._window.in_flight == 0
    assert not client._api.session._calls
    assert not client._flights._flights
    assert tasks_of_the_client() == []
