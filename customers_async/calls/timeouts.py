"""Time limits of many exchanges behind one timer of the event loop.

To set and cancel one for each, as `asyncio.timeout` does, is dear beside the rest of an exchange.
"""

import asyncio
from contextvars import Context
from types import TracebackType

__all__ = ["Timeouts"]


class Timeouts:
    """Hands out time limits for blocks of code, on one event loop: that of the first."""

    def __init__(self) -> None:
        self._pending: dict[_Timeout, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> "_Timeout":
        """A block for ``with`` that is cancelled after so many seconds, and then raises `TimeoutError`."""
        self._loop = self._loop or asyncio.get_running_loop()
        return _Timeout(self, self._loop, seconds)

    def watch(self, deadline: "_Timeout") -> None:
        """A block has begun."""
        self._pending[deadline] = None
        if self._timer is None or deadline.at < self._timer.when():
            self.close()
            self._set_timer(deadline.loop, deadline.at)

    def forget(self, deadline: "_Timeout") -> None:
        """A block has ended. The timer stays: the next block needs one at about the same time."""
        del self._pending[deadline]

    def close(self) -> None:
        """Leave no timer behind, when no block is under way."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _set_timer(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        # In a context of its own, or it would keep alive what is in that of whoever happened to come first.
        self._timer = loop.call_at(at, self._wake, loop, context=Context())

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, now = None, loop.time()
        running = [deadline for deadline in self._pending if not deadline.has_expired]
        for deadline in running:
            if deadline.at <= now:
                deadline.expire()
        later = [deadline.at for deadline in running if not deadline.has_expired]
        if later:
            self._set_timer(loop, min(later))


class _Timeout:
    """One limit. As with `asyncio.timeout`, another's cancellation is not mistaken for it."""

    __slots__ = ("_cancelled_before", "_deadlines", "_seconds", "_task", "at", "has_expired", "loop")

    def __init__(self, deadlines: Timeouts, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self.loop: asyncio.AbstractEventLoop = loop
        self.has_expired: bool = False

    def __enter__(self) -> float:
        """When it ends, on the loop's clock."""
        task = asyncio.current_task(self.loop)
        if task is None:
            raise RuntimeError("a deadline needs a task to cancel, on the event loop that came first")
        self._task, self._cancelled_before = task, task.cancelling()
        self.at: float = self.loop.time() + self._seconds
        self._deadlines.watch(self)
        return self.at

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadlines.forget(self)
        if self.has_expired and self._task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancel the block: its time has passed."""
        self.has_expired = True
        self._task.cancel()
