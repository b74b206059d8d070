"""What is known of one rate-limit window, and what was known when a request was sent."""

import math
from collections import deque

import attrs

__all__ = ["Snapshot", "WindowFacts"]

_MEANINGFUL_FALL, _MEANINGFUL_NUMBER = 20, 16
"""The fall of ``Remaining``, and the number of our own requests, from which our share is computed."""
_ALONE = 0.95
"""With a larger share there are no other processes: some of our responses were lost."""
_DOUBTS = 2
"""This many responses in a row whose ``Remaining`` is far too low are not believed."""


@attrs.define(eq=False)
class WindowFacts:
    """What is known of one window. When the window ends, another object replaces this one.

    Attributes:
        not_before: The next window to open opens at this time or later.
        sent: Requests that may have been counted in this window.
        is_open: Whether a response of this window has arrived.
        is_ours: Whether one of our own requests opened it.
        earliest: The lower bound of its start.
        ends: When it ends at the latest, with a margin; infinity until it is open.
        first: The first ``Remaining`` received, or None.
        lowest: The lowest ``Remaining`` received, or None.
        doubts: How many responses in a row had a ``Remaining`` too low to be believed.
        ended: Our own requests that have ended.
        ended_before: How many of them, and of those then in flight, the first ``Remaining`` counts.
        responses: Responses received since it is open.
        unreported: When requests ended that did not name what remains: each of them may or may not have been counted.
        probe_at: When one more request may be sent, even if those in flight have no response.
        stalls_at: Before the window is open: when its first request has gone without a response for too long.
        closed_until: After a 429: when the next request may be sent; else 0.
    """

    not_before: float = -math.inf
    sent: int = 0
    is_open: bool = False
    is_ours: bool = False
    earliest: float = -math.inf
    ends: float = math.inf
    first: int | None = None
    lowest: int | None = None
    doubts: int = 0
    ended: int = 0
    ended_before: int = 0
    responses: int = 0
    unreported: deque[float] = attrs.field(factory=deque)
    probe_at: float = -math.inf
    stalls_at: float = math.inf
    closed_until: float = 0.0

    def forget(self, now: float, *, age: float = 0.0) -> None:
        """Forget the unreported requests that ended at least ``age`` seconds ago."""
        while self.unreported and self.unreported[0] + age <= now:
            self.unreported.popleft()

    def measure_share(self) -> float | None:
        """Return which part of the fall of ``Remaining`` our own requests caused; None if they are too few."""
        if self.first is None or self.lowest is None:
            return None
        fall, ours = self.first - self.lowest, self.ended - self.ended_before
        if fall < _MEANINGFUL_FALL or ours < _MEANINGFUL_NUMBER:
            return None
        return ours / fall if ours <= _ALONE * fall else 1.0

    def doubt(self, remaining: int, share: float | None, in_flight: int) -> bool:
        """Count a ``Remaining`` that is far too low; return whether to ignore it: the first two in a row.

        While the share is unknown, only a 0 is doubted: other processes may have taken the rest, but then a success
        seldom names exactly 0.
        """
        if share is None and remaining > 0:
            return False
        explained = 2 * (1 + in_flight + len(self.unreported)) + _MEANINGFUL_FALL
        is_doubtful = self.lowest is not None and (self.lowest - remaining) * (share or 1.0) > explained
        self.doubts = self.doubts + 1 if is_doubtful else 0
        return is_doubtful and self.doubts <= _DOUBTS

    def stop_probing(self) -> None:
        """A response has arrived, or no request is in flight: probes need not wait."""
        self.probe_at, self.stalls_at = -math.inf, math.inf


@attrs.define
class Snapshot:
    """What was known when a request was sent.

    Attributes:
        facts: What is known of the window it was sent in.
        lowest: The lowest ``Remaining`` received until then, or None. Only a response with a higher one proves that
            the server has opened another window.
        sent_at: When it was sent, in seconds on the event loop's clock.
    """

    facts: WindowFacts
    lowest: int | None
    sent_at: float
