"""The emulator's time."""

import asyncio
import time
from collections.abc import Callable

__all__ = ["Clock"]


class Clock:
    """Returns Unix time that advances with the event loop's clock."""

    def __init__(self) -> None:
        self._time: Callable[[], float] = time.monotonic
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Return the time in Unix seconds."""
        return self._offset + self._time()

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Advance with the clock of ``loop`` from now on."""
        self._offset = self() - loop.time()
        self._time = loop.time
