"""The service's rate limit: Laravel's fixed window for each client address."""

from collections.abc import Callable

import attrs

__all__ = ["Quota"]


@attrs.define
class _Window:
    opened: float
    hits: int = 0


class Quota:
    """At most ``limit`` requests in a window that the first of them opens.

    A rejected request is not counted and does not lengthen the window. As in Laravel, the time is taken in whole
    seconds for the headers only, so ``Retry-After`` may be 0 up to a second before the window reopens.

    Args:
        limit: Requests in one window, at least 1.
        window: Length of a window in seconds.
        clock: Tells the time in Unix seconds.

    Example:
        >>> quota = Quota(limit=2, window=60, clock=lambda: 1744373843.5)
        >>> [quota.admit("192.0.2.1") for _ in range(3)]
        [True, True, False]
        >>> quota.remaining("192.0.2.1"), quota.retry_after("192.0.2.1"), quota.reopens_at("192.0.2.1")
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

    def change(self, limit: int, window: float) -> None:
        """Apply another limit and forget all open windows."""
        self._limit, self._window = limit, window
        self._windows.clear()

    def admit(self, address: str) -> bool:
        """Count a request from ``address``, or refuse it when its window is used up."""
        window = self._open_window(address)
        if window is None:
            window = self._windows[address] = _Window(self._clock())
        if window.hits >= self._limit:
            return False
        window.hits += 1
        return True

    def remaining(self, address: str) -> int:
        """Requests that ``address`` may still send in its window; all of them when none is open."""
        window = self._open_window(address)
        return self._limit - window.hits if window else self._limit

    def retry_after(self, address: str) -> int:
        """Whole seconds until the window of ``address`` reopens."""
        window = self._open_window(address)
        return max(0, int(window.opened + self._window) - int(self._clock())) if window else 0

    def reopens_at(self, address: str) -> int:
        """Unix time in whole seconds at which the window of ``address`` reopens."""
        return int(self._clock()) + self.retry_after(address)

    def _open_window(self, address: str) -> _Window | None:
        window = self._windows.get(address)
        return window if window and self._clock() < window.opened + self._window else None
