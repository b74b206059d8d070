"""Many timeouts on one timer of the event loop.

`asyncio.timeout` sets and cancels a timer for each block, which costs more than the rate limiter does for a request.
"""

import asyncio
from contextvars import Context
from types import TracebackType

__all__ = ["Timeouts", "UnexpectedCancelledError"]


class UnexpectedCancelledError(Exception):
    """Foreign code raised `asyncio.CancelledError`, although nothing has cancelled the task that runs it.

    As a cancellation it would end the caller's task without an error, and its result would be missing.
    """


class Timeouts:
    """Limits the duration of ``with`` blocks, on the event loop of the first one."""

    def __init__(self) -> None:
        self.pending: dict[_Timeout, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def limit(self, seconds: float) -> "_Timeout":
        """Return a context manager that cancels its block after ``seconds`` and then raises `TimeoutError`.

        It raises `UnexpectedCancelledError` if the block is cancelled, but its task is not.
        """
        self._loop = self._loop or asyncio.get_running_loop()
        return _Timeout(self, self._loop, seconds)

    def wake_at(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        """Set the timer, unless it is set for an earlier time; for `_Timeout` only."""
        if self._timer is None or at < self._timer.when():
            self.close()
            self._set_timer(loop, at)

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _set_timer(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        # With a context of its own: otherwise the timer would keep the first caller's context variables alive.
        self._timer = loop.call_at(at, self._wake, loop, context=Context())

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, now = None, loop.time()
        running = [timeout for timeout in self.pending if not timeout.has_expired]
        for timeout in running:
            if timeout.at <= now:
                timeout.expire()
        later = [timeout.at for timeout in running if not timeout.has_expired]
        if later:
            self._set_timer(loop, min(later))


class _Timeout:
    """One timeout. Like `asyncio.timeout`, it tells its own cancellation from that of other callers."""

    __slots__ = ("_cancelled_before", "_seconds", "_task", "_timeouts", "at", "has_expired", "loop")

    def __init__(self, timeouts: Timeouts, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._timeouts = timeouts
        self._seconds = seconds
        self.loop: asyncio.AbstractEventLoop = loop
        self.has_expired: bool = False

    def __enter__(self) -> float:
        """Start the timeout; return its end on the loop's clock."""
        task = asyncio.current_task(self.loop)
        if task is None:
            raise RuntimeError("a timeout needs a task to cancel, on the event loop of the first timeout")
        self._task, self._cancelled_before = task, task.cancelling()
        self.at: float = self.loop.time() + self._seconds
        self._timeouts.pending[self] = None
        self._timeouts.wake_at(self.loop, self.at)
        return self.at

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        del self._timeouts.pending[self]  # the timer is kept: the next block needs one at about the same time
        is_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        if self.has_expired and self._task.uncancel() <= self._cancelled_before and is_cancelled:
            raise TimeoutError from error
        if is_cancelled and not self.has_expired and not self._task.cancelling():
            raise UnexpectedCancelledError from error

    def expire(self) -> None:
        """Cancel the block, because its time has passed."""
        self.has_expired = True
        self._task.cancel()
