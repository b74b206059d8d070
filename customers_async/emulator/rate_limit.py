"""The service's rate limit: Laravel's fixed window for each client address."""

from collections.abc import Callable

import attrs

__all__ = ["RateLimitWindows"]


@attrs.define
class _Window:
    opened_at: float
    hits: int = 0


class RateLimitWindows:
    """One window for each client address: opened by a request, open for a fixed time, at most ``limit`` requests.

    A rejected request is not counted and does not extend the window. As in Laravel, only the headers are in whole
    seconds, so ``Retry-After`` may be 0 up to a second before the window ends.

    Args:
        limit: Requests in one window, at least 1.
        window: Length of a window in seconds.
        clock: Returns the current Unix time in seconds.

    Example:
        >>> windows = RateLimitWindows(limit=2, window=60, clock=lambda: 1744373843.5)
        >>> [windows.admit("192.0.2.1") for _ in range(3)]
        [True, True, False]
        >>> windows.remaining("192.0.2.1"), windows.retry_after("192.0.2.1"), windows.resets_at("192.0.2.1")
        (0, 60, 1744373903)
    """

    def __init__(self, limit: int, window: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._window = window
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    @property
    def limit(self) -> int:
        """Requests in one window."""
        return self._limit

    @property
    def window(self) -> float:
        """Length of a window in seconds."""
        return self._window

    def addresses(self) -> list[str]:
        """The client addresses that have an open window."""
        return [address for address in self._windows if self._open_window(address)]

    def change(self, limit: int, window: float) -> None:
        """Apply another limit and discard all open windows."""
        self._limit, self._window = limit, window
        self._windows.clear()

    def admit(self, address: str) -> bool:
        """Count a request from ``address`` and return True, or return False if its window is full."""
        window = self._open_window(address)
        if window is None:
            window = self._windows[address] = _Window(self._clock())
        if window.hits >= self._limit:
            return False
        window.hits += 1
        return True

    def remaining(self, address: str) -> int:
        """Return how many requests ``address`` may still send in its window, or the limit if none is open."""
        window = self._open_window(address)
        return self._limit - window.hits if window else self._limit

    def retry_after(self, address: str) -> int:
        """Return the whole seconds until the window of ``address`` ends."""
        window = self._open_window(address)
        return max(0, int(window.opened_at + self._window) - int(self._clock())) if window else 0

    def resets_at(self, address: str) -> int:
        """Return the Unix time in whole seconds at which the window of ``address`` ends."""
        return int(self._clock()) + self.retry_after(address)

    def _open_window(self, address: str) -> _Window | None:
        window = self._windows.get(address)
        return window if window and self._clock() < window.opened_at + self._window else None
