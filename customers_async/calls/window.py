"""The server's rate-limit window, inferred from its responses. Arithmetic only: no queue, no clock.

The service counts requests in a fixed window (500 in 60 s for each IP address), which the first request opens. On
success its headers name the limit and what remains, but not when the window ends; that has to be inferred.
"""

from customers_async.calls.window_facts import Snapshot, WindowFacts

__all__ = ["Window"]

_MARGIN = 0.05
"""Seconds added to the inferred end of a window, for the resolution of the clocks."""
_RETRY_MARGIN = 1.0
"""Seconds added to ``Retry-After``: Laravel rounds down, and may send 0 for up to a second."""
_BELIEVED_WINDOWS = 5
"""The longest ``Retry-After`` that is believed, in windows."""
_KNOWN_WITHIN = 2.0
"""Seconds: if the bounds of a window's start are at most this far apart, its end counts as known."""
_FIRST_REQUESTS = 8
"""The most requests in flight while nothing is known of the window: an eighth of the limit, if that is less."""
_PROBE_AFTER = 1.0
"""Seconds after which one more request may be sent, even if those in flight have no response."""


class Window:
    """The present window of the server. Each method takes the time in seconds.

    Its start lies between two bounds. If they are close, or one of our own requests opened the window, its end is known
    well enough. Otherwise, when nothing remains, one request is sent although it will be rejected, to learn
    ``Retry-After``.

    Other processes behind the same address are visible only in what remains. ``share`` is the part of its fall that our
    own requests caused, and is kept from window to window. With others, half of our share of the rest may be in flight
    at a time, because what remains falls by their requests in flight, too. Until the share is known, the requests in
    flight double with each round trip.

    Args:
        limit: Requests per window, until a response names another limit.
        length: Seconds that a window lasts.
    """

    def __init__(self, limit: int, length: float) -> None:
        self.limit: int = limit
        self.length = length
        self.share: float | None = None
        self.in_flight: int = 0
        self._facts = WindowFacts()
        self._is_doubted = False  # whether the last Retry-After was absurd
        self._margin = 0.0  # added to Retry-After; doubles with each 429 in a row that closes the window

    def free(self, now: float, reserve: int = 0) -> int:
        """How many requests may be sent now, keeping ``reserve`` for other callers."""
        facts = self._current(now)
        if now < facts.closed_until:
            return 0
        if not facts.is_open:
            return self._free_to_open(now, reserve)
        if facts.lowest is not None and facts.lowest <= len(facts.unreported):
            return int(self._may_learn_end())
        return self._free_share(now, reserve)

    def remaining(self, now: float) -> int:
        """How many requests of this window are left to us, by our share; not all of them may be sent at once."""
        free, facts = self.free(now), self._facts
        if facts.lowest is None or now < facts.closed_until:
            return free
        return int(facts.lowest * (self.share or 1.0)) - len(facts.unreported) - self.in_flight

    def opens_at(self, now: float, reserve: int = 0) -> float | None:
        """When requests are possible again at the latest, if none may be sent before that; else None."""
        free, facts = self.free(now, reserve), self._facts
        if now < facts.closed_until:
            return facts.closed_until
        if not facts.is_open:
            return self._forgets_at(reserve)
        return facts.ends if free <= 0 and self._left <= reserve else None

    def wakes_at(self, now: float, reserve: int = 0) -> float | None:
        """When time alone frees a request; None if one is free now, or if only a response can free one."""
        if self.free(now, reserve) > 0:
            return None
        opens_at = self.opens_at(now, reserve)
        wakes_at = self._facts.probe_at if opens_at is None else opens_at
        return wakes_at if wakes_at > now else None

    def is_stalled(self, now: float) -> bool:
        """Whether the window is not open yet, and its first request has gone without a response for too long."""
        facts = self._current(now)
        return not facts.is_open and now >= facts.stalls_at

    def is_closed(self, now: float) -> bool:
        """Whether a 429 has closed the window."""
        return now < self._current(now).closed_until

    def ends_at(self, now: float) -> float | None:
        """When the window ends at the latest; None if no window is known to be open."""
        facts = self._current(now)
        return facts.closed_until or (facts.ends if facts.is_open else None)

    def _free_to_open(self, now: float, reserve: int) -> int:
        """How many requests may be sent while the window is not open. If they stall, one more each second.

        If no request gets a response, the server may count them all: no more than the limit are sent in any period of
        a window's length.
        """
        self._facts.forget(now, age=self.length + _MARGIN)
        first = self._first_requests - self.in_flight
        return max(0, min(self._left_to_open(reserve), first if first > 0 else int(now >= self._facts.probe_at)))

    @property
    def _first_requests(self) -> int:
        return max(1, min(_FIRST_REQUESTS, self.limit // 8))

    def _forgets_at(self, reserve: int) -> float | None:
        """Before the window is open: when another request becomes possible because old ones are forgotten, or None."""
        left, unreported = self._left_to_open(reserve), self._facts.unreported
        return unreported[-left] + (self.length + _MARGIN) if left <= 0 and -left < len(unreported) else None

    def _left_to_open(self, reserve: int) -> int:
        """Before the window is open: the limit, less all requests that may be counted."""
        return max(self.limit - reserve, 1) - self.in_flight - len(self._facts.unreported)

    def _may_learn_end(self) -> bool:
        """Whether one request may be sent although nothing remains: its rejection names ``Retry-After``."""
        return not self.in_flight and not self._end_is_known

    def _free_share(self, now: float, reserve: int) -> int:
        """Our share of what remains; when it is in flight, one request at a time."""
        left = self._left - reserve
        if (free := min(left, self._most_in_flight - self.in_flight)) > 0:
            return free
        return int(left > 0 and (now >= self._facts.probe_at or not self.in_flight))

    @property
    def _most_in_flight(self) -> int:
        """How many requests may be in flight, considering other processes."""
        facts = self._facts
        if facts.lowest is None or self.share == 1.0:
            return self.limit
        if self.share is None:
            return self._first_requests + facts.responses
        return int(facts.lowest * self.share / 2) - len(facts.unreported)

    @property
    def _left(self) -> int:
        """What remains, less all that may still be counted."""
        facts = self._facts
        if facts.lowest is None:
            return self.limit - facts.sent
        return facts.lowest - len(facts.unreported) - self.in_flight

    @property
    def _end_is_known(self) -> bool:
        opened_before = self._facts.ends - self.length - _MARGIN
        return self._facts.is_ours or opened_before - self._facts.earliest <= _KNOWN_WITHIN

    def send(self, now: float) -> Snapshot:
        """Count a request as sent."""
        facts = self._current(now)
        facts.probe_at = now + _PROBE_AFTER
        if not facts.is_open:
            facts.stalls_at = min(facts.stalls_at, facts.probe_at)
        facts.sent += 1
        self.in_flight += 1
        return Snapshot(facts, facts.lowest, now)

    def settle(
        self, snapshot: Snapshot, now: float, *, limit: int | None, remaining: int | None, answered: bool
    ) -> None:
        """Evaluate a response; without one, the request may or may not have been counted."""
        facts = self._current(now)
        self.in_flight -= 1
        if limit is not None:
            self.limit = limit
        if remaining is not None and facts.doubt(remaining, self.share, self.in_flight):
            remaining = None
        is_present = snapshot.facts is facts
        is_higher = remaining is not None and snapshot.lowest is not None and remaining > snapshot.lowest
        if is_higher and is_present and now >= facts.not_before:  # not_before comes from a 429, and is more reliable
            self._replace(facts.earliest + self.length)
            self._open(snapshot, now, remaining)
        elif is_higher or is_present or not answered:
            self._learn(snapshot, now, remaining, answered)

    def withdraw(self, snapshot: Snapshot) -> None:
        """Take back a request that was not sent after all."""
        self.in_flight -= 1
        if snapshot.facts is self._facts:
            self._facts.sent -= 1
            self._facts.stop_probing()

    def abandon(self) -> None:
        """Forget the requests in flight, because their event loop has ended."""
        self.in_flight = 0
        self._facts.stop_probing()

    def reject(self, now: float, retry_after: float) -> None:
        """Close the window for all callers after a 429, until ``retry_after`` and a second have passed.

        An absurd ``retry_after`` must not end all work: it is believed for five windows at most, and from the second
        one in a row for one window, so that a request tests it once a window.
        """
        believed = self.length * (1 if self._is_doubted else _BELIEVED_WINDOWS)
        if retry_after > believed:
            self._is_doubted, retry_after = True, believed
        facts = self._facts
        facts.ended -= 1  # the server does not count it
        if now >= facts.closed_until:
            self._margin = min(2 * self._margin or _RETRY_MARGIN, self.length)
        facts.closed_until = max(facts.closed_until, now + max(retry_after, 0.0) + (self._margin or _RETRY_MARGIN))
        facts.not_before = max(facts.not_before, now + retry_after - _RETRY_MARGIN)

    def trust(self) -> None:
        """Note a response other than 429: the next ``Retry-After`` is believed again."""
        self._is_doubted, self._margin = False, 0.0

    def _learn(self, snapshot: Snapshot, now: float, remaining: int | None, answered: bool) -> None:
        """Add what the end of a request shows about the present window."""
        facts = self._facts
        if not facts.is_open and snapshot.facts is facts:
            facts.stop_probing()
        if answered and not facts.is_open:
            self._open(snapshot, now, remaining)
            return
        if remaining is None:
            facts.unreported.append(now)
        else:
            facts.first = remaining if facts.first is None else facts.first
            facts.lowest = remaining if facts.lowest is None else min(facts.lowest, remaining)
            if facts.unreported:
                facts.forget(snapshot.sent_at)
        if remaining == self.limit - 1:  # this request opened the window
            facts.is_ours, facts.earliest = True, snapshot.sent_at
        if snapshot.facts is facts:
            facts.ended += 1
        if answered:
            facts.responses += 1
        share = facts.measure_share()
        self.share = self.share if share is None else share

    def _open(self, snapshot: Snapshot, now: float, remaining: int | None) -> None:
        """Note the first response of a window: the window opened now at the latest."""
        facts = self._facts
        facts.forget(now, age=self.length + _MARGIN)
        counted = 1 + self.in_flight + len(facts.unreported)
        facts.is_open = True
        facts.earliest = max(facts.not_before, snapshot.sent_at - self.length)
        facts.ends = now + self.length + _MARGIN
        facts.sent = counted if remaining is None else self.in_flight
        facts.ended = 1
        if remaining is None:
            facts.earliest = snapshot.sent_at  # nothing says that another process opened the window
        else:
            facts.first = facts.lowest = remaining
            facts.ended_before = min(counted, self.limit - remaining)
            facts.forget(snapshot.sent_at)
            facts.is_ours = remaining >= self.limit - counted  # our own requests explain all that is used
        if remaining == self.limit - 1:
            facts.earliest = snapshot.sent_at

    def _current(self, now: float) -> WindowFacts:
        """What is known of the present window, as a new object if the one before has ended."""
        facts = self._facts
        if facts.closed_until:
            if now >= facts.closed_until:
                self._replace(facts.not_before)
        elif now >= facts.ends:
            self._replace(facts.earliest + self.length)
        return self._facts

    def _replace(self, opens_not_before: float) -> None:
        """Begin the next window, of which nothing else is known."""
        not_before = max(self._facts.not_before, opens_not_before)
        self._facts = WindowFacts(not_before=not_before, sent=self.in_flight, unreported=self._facts.unreported)
        self._facts.forget(not_before)
