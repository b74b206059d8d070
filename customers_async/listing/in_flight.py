"""A bounded set of tasks, received in the order of their start or as they complete."""

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar

__all__ = ["InFlight"]

Key = TypeVar("Key")
Result = TypeVar("Result")


class InFlight(Generic[Key, Result]):
    """Tasks in flight, at most `limit` at a time, for one consumer.

    `cancel` discards what has not been received. A consumer that will request it again must note that before it awaits
    `cancel`, which may itself be cancelled.

    Args:
        limit: Tasks at most, counting those that have completed and are not received yet.
        ordered: `next` returns tasks in the order of their start, otherwise as they complete.
    """

    def __init__(self, limit: int, *, ordered: bool) -> None:
        self._limit = limit
        self._ordered = ordered
        self._tasks: dict[asyncio.Task[Result], Key] = {}  # in the order of their start
        self._completed: asyncio.Queue[asyncio.Task[Result]] = asyncio.Queue()

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def is_full(self) -> bool:
        """Whether `limit` is reached."""
        return len(self._tasks) >= self._limit

    @property
    def pending(self) -> Iterable[Key]:
        """The keys of the tasks that have not been received."""
        return self._tasks.values()

    def start(self, key: Key, work: Coroutine[Any, Any, Result]) -> None:
        """Start a task; `next` returns it with its key."""
        task = asyncio.create_task(work)
        if not self._ordered:
            task.add_done_callback(self._completed.put_nowait)
        self._tasks[task] = key

    async def next(self) -> tuple[Key, asyncio.Task[Result]]:
        """Wait for the next task, remove it, and return its key and the completed task."""
        if self._ordered:
            task = next(iter(self._tasks))
            if not task.done():
                with suppress(Exception):  # the caller reads it from the task
                    await task  # 15 µs less than asyncio.wait, which would not raise
        else:
            task = await self._completed.get()
        return self._tasks.pop(task), task

    async def cancel(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
