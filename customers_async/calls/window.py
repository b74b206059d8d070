"""What one can know of the server's quota from its answers. Arithmetic, without a queue and without a clock.

The service counts requests in a fixed window (500 in 60 s for each IP address) that the first request opens, and
tells on success only the limit and what remains. When the window ends has to be inferred.
"""

import math

import attrs

__all__ = ["Stamp", "Window"]

_MARGIN = 0.05
"""Seconds past the inferred end of a window, for the clocks' grain."""
_RETRY_MARGIN = 1.0
"""Seconds added to ``Retry-After``: Laravel rounds down, and may say 0 for up to a second."""
_CLOSE = 2.0
"""Seconds between the bounds of a window's start within which its end is taken as known."""
_ENOUGH = 20
"""Requests by which ``Remaining`` must have fallen before our share of them means something."""
_PATIENCE = 1.0
"""Seconds after which one more request may go out, though those in flight have no answer."""


@attrs.define
class Stamp:
    """What was known when a request was sent.

    Attributes:
        window: Which window it was sent in; windows are counted.
        floor: The lowest ``Remaining`` known, or None. Only an answer with more proves that the server has begun
            another window.
        sent_at: When, in seconds.
    """

    window: int
    floor: int | None
    sent_at: float


class Window:
    """What is known of the server's present window. Pure arithmetic: each method is told the time in seconds.

    The server opens a window with the first request it counts and tells what remains, not when the window ends. Its
    start lies between ``earliest`` and ``latest``; when these are close, or our own request began it, the end is known
    well enough. Otherwise, once the quota is spent, one request is sacrificed to learn ``Retry-After``.

    Other processes behind the same address show only in what remains. ``share`` is the part of its fall that was our
    own, carried on from window to window: each process takes its share of the rest, and all of it when alone.
    """

    def __init__(self, limit: int, length: float) -> None:
        self.limit: int = limit
        self.length = length
        self.share: float = 1.0
        self.in_flight: int = 0
        self.closed_until: float = 0.0
        self.count: int = 0
        self.known: bool = False
        self.is_ours: bool = False
        self.due: float = -math.inf  # when one more request may go out, though those in flight have no answer
        self.floor: int | None = None
        self.sent: int = 0
        self.stalls_at: float = math.inf  # while nothing is known: when the first request has been out for too long
        self.untold: int = 0  # requests since the last telling answer whose own told nothing of what remains
        self._untold_since = -math.inf
        self.earliest: float = -math.inf
        self.latest: float = math.inf
        self._first: int | None = None
        self._not_before = -math.inf  # the next window cannot have begun earlier

    def free(self, now: float, reserve: int = 0) -> int:
        """How many requests may be sent now, by those who leave so many to others."""
        self._roll(now)
        if now < self.closed_until:
            return 0
        if not self.known:  # one request finds out, then the rest may burst; a stalled one is not waited for
            return 1 if now >= self.due and (self.in_flight < self.limit - reserve or not self.in_flight) else 0
        if self.floor is not None and self.floor <= self.untold:
            return 0 if self.in_flight or self._start_is_known else 1  # the sacrifice
        if (fair := self._fair - reserve) > 0:
            return fair
        return 1 if self._left > reserve and (now >= self.due or not self.in_flight) else 0

    def opens_at(self, now: float, reserve: int = 0) -> float | None:
        """When a spent quota is there again at the latest; None while more requests may go out before that."""
        free = self.free(now, reserve)
        if now < self.closed_until:
            return self.closed_until
        return self.ends if self.known and free <= 0 and self._left <= reserve else None

    def wakes_at(self, now: float, reserve: int = 0) -> float | None:
        """When time alone lets more requests go out; None while some may go out now, or only an answer helps."""
        if self.free(now, reserve) > 0:
            return None
        opens_at = self.opens_at(now, reserve)
        wakes_at = self.due if opens_at is None else opens_at
        return wakes_at if wakes_at > now else None

    def is_stalled(self, now: float) -> bool:
        """Whether nothing is known, and the request that was to find out has no answer for too long."""
        self._roll(now)
        return not self.known and now >= self.stalls_at

    @property
    def _left(self) -> int:
        """What remains less all that may yet count."""
        return self.limit - self.sent if self.floor is None else self.floor - self.untold - self.in_flight

    @property
    def _fair(self) -> int:
        """Our share of what remains, less the same."""
        return self._left if self.floor is None else int(self.floor * self.share) - self.untold - self.in_flight

    @property
    def ends(self) -> float:
        """The latest end of the window."""
        return self.latest + self.length + _MARGIN

    @property
    def _start_is_known(self) -> bool:
        return self.is_ours or self.latest - self.earliest <= _CLOSE

    def send(self, now: float) -> Stamp:
        """Count a request as sent."""
        self._roll(now)
        self.due = now + _PATIENCE
        if not self.known:
            self.stalls_at = min(self.stalls_at, self.due)
        self.sent += 1
        self.in_flight += 1
        return Stamp(self.count, self.floor, now)

    def settle(self, stamp: Stamp, now: float, *, limit: int | None, remaining: int | None, answered: bool) -> None:
        """Note what a request's answer said; without one, it may or may not have counted."""
        self._roll(now)
        self.in_flight -= 1
        if limit is not None:
            self.limit = limit
        newer = remaining is not None and stamp.floor is not None and remaining > stamp.floor
        if newer and stamp.window == self.count and now >= self._not_before:  # what a 429 said goes before
            self._forget(self.earliest + self.length)
            self._open(now, remaining)
            self._learn_start(stamp, remaining)
        elif newer or stamp.window == self.count:
            self._learn(stamp, now, remaining, answered)

    def withdraw(self, stamp: Stamp) -> None:
        """Take back a request that was not sent after all."""
        self.in_flight -= 1
        if stamp.window == self.count:
            self.sent -= 1
            self.due, self.stalls_at = -math.inf, math.inf

    def abandon(self) -> None:
        """The requests in flight will never be settled: their event loop has ended."""
        self.in_flight = 0
        self.due, self.stalls_at = -math.inf, math.inf

    def reject(self, now: float, retry_after: float) -> None:
        """A 429 closes the window for everyone, until its ``Retry-After`` and a second have passed."""
        self.closed_until = max(self.closed_until, now + max(retry_after, 0.0) + _RETRY_MARGIN)
        self._not_before = max(self._not_before, now + retry_after - _RETRY_MARGIN)

    def _learn(self, stamp: Stamp, now: float, remaining: int | None, answered: bool) -> None:
        if not self.known:
            self.due, self.stalls_at = -math.inf, math.inf
        if answered and not self.known:
            self._open(now, remaining)
        elif remaining is None:  # it may or may not have counted
            self.untold += 1
            self._untold_since = now
        else:
            self._first = remaining if self._first is None else self._first
            self.floor = remaining if self.floor is None else min(self.floor, remaining)
            if stamp.sent_at >= self._untold_since:
                self.untold = 0
        self._learn_start(stamp, remaining)
        if self._first is not None and self.floor is not None and self._first - self.floor >= _ENOUGH:
            self.share = min(1.0, self.sent / (self._first - self.floor))

    def _learn_start(self, stamp: Stamp, remaining: int | None) -> None:
        if remaining == self.limit - 1:  # this very request opened the window
            self.is_ours = True
            self.earliest = stamp.sent_at

    def _open(self, now: float, remaining: int | None) -> None:
        """The first answer of a window: it began at the latest now."""
        self.known = True
        self.floor = self._first = remaining
        self.untold = 0
        self.sent = self.in_flight if remaining is not None else self.in_flight + 1
        self.earliest, self.latest = self._not_before, now

    def _roll(self, now: float) -> None:
        if self.closed_until:
            if now >= self.closed_until:
                self._forget(self._not_before)
        elif self.known and now >= self.latest + self.length + _MARGIN:
            self._forget(self.earliest + self.length)

    def _forget(self, next_begins: float) -> None:
        """Nothing is known of the server's next window, but that it cannot have begun earlier than this."""
        self._not_before = max(self._not_before, next_begins)
        self.count += 1
        self.closed_until = 0.0
        self.known = self.is_ours = False
        self.due, self.stalls_at = -math.inf, math.inf
        self.floor = self._first = None
        self.sent = self.in_flight
        self.untold, self._untold_since = 0, -math.inf
        self.earliest, self.latest = -math.inf, math.inf
