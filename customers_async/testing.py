"""What tests of your own code need: an event loop on which waiting takes no time."""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

__all__ = ["VirtualTimeLoop"]

_PATIENCE = 0.0005
_STEP = 0.5


class _SkippingSelector(selectors.DefaultSelector):
    """Waits a moment for sockets; when none has anything to say, moves the clock instead."""

    skipped = 0.0
    threads_at_work = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0 or self.threads_at_work:
            return super().select(timeout)
        ready = super().select(min(timeout, _PATIENCE))
        if not ready:
            # Small steps: a busy kernel may need a moment to hand over what a socket was sent.
            self.skipped += min(timeout, _STEP)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock runs ahead while nothing happens, so that a minute's wait costs about 0.1 s.

    Sockets and threads work as ever, and the clock waits for both, provided the other end of each socket
    lives in the same loop (as the emulator does when a test starts it).

    Example:
        >>> import asyncio, time
        >>> from customers_async.testing import VirtualTimeLoop
        >>> started = time.monotonic()
        >>> with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        ...     runner.run(asyncio.sleep(60))
        >>> time.monotonic() - started < 10
        True
    """

    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        """The loop's clock in seconds: the monotonic clock plus all that was skipped."""
        return super().time() + self._skipping.skipped

    def run_in_executor(  # type: ignore[override]  # typeshed types the base with TypeVarTuple, in two editions
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run ``func`` in a thread; the clock keeps real time until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._skipping.threads_at_work += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._skipping.threads_at_work -= 1
