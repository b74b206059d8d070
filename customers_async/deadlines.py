"""Time limits of many exchanges behind one timer of the event loop.

To set and cancel one for each, as `asyncio.timeout` does, costs more than any other step of ours in an exchange.
"""

import asyncio
import math
from types import TracebackType

__all__ = ["Deadlines"]


class Deadlines:
    """Hands out time limits for blocks of code, on one event loop: that of the first."""

    def __init__(self) -> None:
        self._pending: dict[_Deadline, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf

    def within(self, seconds: float) -> "_Deadline":
        """A block for ``with`` that is cancelled after so many seconds, and then raises `TimeoutError`."""
        self._loop = self._loop or asyncio.get_running_loop()
        return _Deadline(self, self._loop, seconds)

    def add(self, deadline: "_Deadline") -> None:
        """Watch a block from now on."""
        self._pending[deadline] = None
        if deadline.at < self._wakes_at:
            self._wake_at(deadline.at)

    def remove(self, deadline: "_Deadline") -> None:
        """Watch it no longer. The timer stays: the next block needs one at about the same time."""
        del self._pending[deadline]

    def close(self) -> None:
        """Leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wakes_at = None, math.inf

    def _wake_at(self, at: float) -> None:
        self.close()
        self._timer, self._wakes_at = asyncio.get_running_loop().call_at(at, self._wake), at

    def _wake(self) -> None:
        self._timer, self._wakes_at = None, math.inf
        now = asyncio.get_running_loop().time()
        left = [deadline.at for deadline in self._pending if not deadline.expire(now)]
        if left:
            self._wake_at(min(left))


class _Deadline:
    """One limit. As with `asyncio.timeout`, another's cancellation is not mistaken for it."""

    __slots__ = ("_cancelled_before", "_deadlines", "_expired", "_loop", "_seconds", "_task", "at")

    def __init__(self, deadlines: Deadlines, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._deadlines = deadlines
        self._loop = loop
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> float:
        """When it ends, on the loop's clock."""
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a deadline needs a task to cancel")
        self._task, self._cancelled_before = task, task.cancelling()
        self.at = self._loop.time() + self._seconds
        self._deadlines.add(self)
        return self.at

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadlines.remove(self)
        if self._expired and self._task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self, now: float) -> bool:
        """Whether its time has passed; the first time that this is so, the block is cancelled."""
        if now >= self.at and not self._expired:
            self._expired = True
            self._task.cancel()
        return self._expired
