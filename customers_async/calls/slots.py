"""A client's slots, its lines of waiting calls, and what they wait for: permits."""

import asyncio
from collections import deque
from typing import Literal

import attrs

from customers_async.calls.window_facts import Snapshot

__all__ = ["LANES", "Lane", "Line", "Permit", "Slots", "Waiter"]

Lane = Literal["interactive", "bulk"]
LANES: tuple[Lane, ...] = ("interactive", "bulk")
"""In the order of their priority."""


class _Stopwatch:
    """Adds up the seconds for which the rate limit alone blocked a line; compared with ``max_wait``."""

    def __init__(self) -> None:
        self._total = 0.0
        self._started: float | None = None

    def read(self, now: float) -> float:
        """The seconds until now."""
        return self._total + (0.0 if self._started is None else now - self._started)

    def run(self, now: float, *, running: bool) -> None:
        """Let it run from now on, or stop it."""
        self._total = self.read(now)
        self._started = now if running else None


@attrs.define(eq=False)
class Waiter:
    """A waiting call.

    Attributes:
        granted: Gets the permit, or the refusal.
        max_wait: The longest wait for the rate limit in seconds.
        blocked_before: The line's stopwatch when the call began to wait.
        order: The number of its arrival, over all clients of the limiter.
    """

    granted: "asyncio.Future[Permit]"
    max_wait: float
    blocked_before: float
    order: int


class Line:
    """The calls of one client that wait in one lane, in the order of their arrival."""

    def __init__(self, slots: "Slots") -> None:
        self.slots = slots
        self.waiters: deque[Waiter] = deque()
        self.blocked: _Stopwatch = _Stopwatch()

    @property
    def is_empty(self) -> bool:
        """Whether no call waits; removes cancelled ones from the head."""
        while self.waiters and self.waiters[0].granted.done():
            self.waiters.popleft()
        return not self.waiters


class Slots:
    """Counts the requests in flight of one client, and holds its lines of waiting calls."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.lines: dict[Lane, Line] = {lane: Line(self) for lane in LANES}

    @property
    def has_free(self) -> bool:
        """Whether another request may be in flight."""
        return self.used < self.limit


@attrs.define(eq=False)
class Permit:
    """The right to send one request now: a slot, and one request of the rate limit.

    Passed to `RateLimiter.release` when the request has ended, or to `RateLimiter.withdraw` if it was not sent.

    Attributes:
        slots: The client's slots, one of which this permit holds.
        snapshot: What was known of the window when it was granted.
        loop: The event loop it was granted on.
        waited: Seconds that the rate limit alone made the call wait.
    """

    slots: Slots
    snapshot: Snapshot
    loop: asyncio.AbstractEventLoop
    waited: float = 0.0
