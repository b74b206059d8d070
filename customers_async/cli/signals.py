"""Ends a command on a signal, soon even if one of its threads is blocked."""

import _thread
import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from customers_async.cli.output import print_message

__all__ = ["Interruption"]

_GRACE = 1.0
"""Seconds for closing files and connections. A thread that writes to a full pipe or a stalled disk may never end."""
_MESSAGE_TIME = 0.2
"""Seconds for the message, because stderr may be blocked, too."""
_WORDS: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
if sys.platform != "win32":
    _WORDS |= {signal.SIGHUP: "the terminal was closed", signal.SIGQUIT: "quit"}


class Interruption:
    """Handles the signals that end a process, except SIGKILL, in a ``with`` block.

    The first signal cancels the command, and ends the process if the block does not end in time. A second one ends the
    process at once.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._cancel: Callable[[], object] | None = None
        self._ended = threading.Event()
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _WORDS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # such as SIGINT in the background of a script
                    self._earlier[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        for number, handler in self._earlier.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def run(self, work: Coroutine[Any, Any, int | None]) -> int | None:
        """Run a coroutine, which the first signal cancels.

        Raises:
            CancelledError: It was cancelled.
        """
        return asyncio.run(self._run(work))

    def report(self) -> int:
        """Print one line about the signal, and return the exit code."""
        number = signal.SIGINT if self._number is None else self._number
        print_message(_WORDS[number])
        return 128 + number

    async def _run(self, work: Coroutine[Any, Any, int | None]) -> int | None:
        task, loop = asyncio.create_task(work), asyncio.get_running_loop()
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        return await task

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._number is not None:
            os._exit(128 + number)
        self._number = number
        _thread.start_new_thread(self._end_late, ())  # threading takes a lock, which this thread may hold
        if self._cancel is None:
            raise KeyboardInterrupt
        with suppress(RuntimeError):  # the event loop is closed: the command ends anyway
            self._cancel()

    def _end_late(self) -> None:
        if not self._ended.wait(_GRACE):
            _thread.start_new_thread(self.report, ())
            if not self._ended.wait(_MESSAGE_TIME):
                os._exit(128 + (self._number or 0))
