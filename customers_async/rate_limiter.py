"""The quota: who may send now, and when the rest may.

The service counts requests in a fixed window (500 in 60 s for each IP address) that the first request opens, and
tells on success only the limit and what remains; the window's end has to be inferred. `Window` is that arithmetic,
told the time. `RateLimiter` is the queue in front of it: it grants a place in flight and a request of the quota
together, so that nobody holds one while waiting for the other.
"""

import asyncio
import math
from collections import deque
from typing import Literal

import attrs

from customers_async.errors import RateLimitError
from customers_async.models import RateLimit

__all__ = ["Lane", "Permit", "RateLimiter", "Slots", "Window"]

Lane = Literal["interactive", "bulk"]
_LANES: tuple[Lane, ...] = ("interactive", "bulk")
_MARGIN = 0.05
"""Seconds past the inferred end of a window, for the clocks' grain."""
_RETRY_MARGIN = 1.0
"""Seconds added to ``Retry-After``: Laravel rounds down, and may say 0 for up to a second."""
_CLOSE = 2.0
"""Seconds between the bounds of a window's start within which its end is taken as known."""
_ENOUGH = 20
"""Requests by which ``Remaining`` must have fallen before our share of them means something."""
_PROBE_PATIENCE = 1.0
"""Seconds after which another request may find out how much remains, while the first has no answer."""


@attrs.define(eq=False)
class Permit:
    """The right to send one request now; given back with what its answer said.

    Attributes:
        slots: The client's places in flight, one of which this permit holds.
        window: Which window it was granted in; windows are counted.
        floor: The lowest ``Remaining`` known when it was granted, or None. Only an answer with more proves that
            the server has begun another window.
        sent_at: When it was granted, in seconds.
        waited: Seconds that its owner waited for the quota, beyond waiting for a place.
    """

    slots: "Slots"
    window: int
    floor: int | None
    sent_at: float
    waited: float = 0.0


class Window:
    """What is known of the server's present window. Pure arithmetic: each method is told the time in seconds.

    The server opens a window with the first request it counts and tells what remains, not when the window ends. Its
    start lies between ``earliest`` and ``latest``; when these are close, or our own request began it, the end is known
    well enough. Otherwise, once the quota is spent, one request is sacrificed to learn ``Retry-After``.

    Other processes behind the same address show only in what remains. ``share`` is the part of its fall that was our
    own, carried on from window to window: each process takes its share of the rest, and all of it when alone.
    """

    def __init__(self, limit: int, length: float) -> None:
        self.limit = limit
        self.length = length
        self.share = 1.0
        self.in_flight = 0
        self.closed_until = 0.0
        self.count = 0
        self.known = self.is_ours = False
        self.probe_due = -math.inf  # while nothing is known: when the next request may find out
        self.floor: int | None = None
        self.sent = 0
        self.untold = 0  # requests since the last telling answer whose own told nothing of what remains
        self._untold_since = -math.inf
        self.earliest, self.latest = -math.inf, math.inf
        self._first: int | None = None
        self._not_before = -math.inf  # the next window cannot have begun earlier

    def free(self, now: float) -> int:
        """How many requests may be sent now."""
        self._roll(now)
        if now < self.closed_until:
            return 0
        if not self.known:  # one request finds out, then the rest may burst; a stalled one is not waited for
            return 1 if now >= self.probe_due and (self.in_flight < self.limit or not self.in_flight) else 0
        if self.floor is None:
            return self.limit - self.sent
        if self.floor > self.untold:
            return max(int(self.floor * self.share) - self.untold - self.in_flight, 0 if self.in_flight else 1)
        return 0 if self.in_flight or self._start_is_known else 1  # the sacrifice

    def opens_at(self, now: float) -> float | None:
        """When a spent quota is there again at the latest; None while more requests may go out before that."""
        free = self.free(now)
        if now < self.closed_until:
            return self.closed_until
        left = self.limit - self.sent if self.floor is None else self.floor - self.untold - self.in_flight
        return self.ends if self.known and free <= 0 and left <= 0 else None

    def wakes_at(self, now: float) -> float | None:
        """When time alone lets more requests go out; None when only an answer does."""
        opens_at = self.opens_at(now)
        if opens_at is None and not self.known and self.free(now) <= 0:
            return self.probe_due
        return opens_at

    @property
    def ends(self) -> float:
        """The latest end of the window."""
        return self.latest + self.length + _MARGIN

    @property
    def _start_is_known(self) -> bool:
        return self.is_ours or self.latest - self.earliest <= _CLOSE

    def grant(self, slots: "Slots", now: float) -> Permit:
        """Count a request as sent."""
        self._roll(now)
        if not self.known:
            self.probe_due = now + _PROBE_PATIENCE
        self.sent += 1
        self.in_flight += 1
        return Permit(slots, self.count, self.floor, now)

    def settle(self, permit: Permit, now: float, *, limit: int | None, remaining: int | None, answered: bool) -> None:
        """Take back a permit with what its answer said; without one, the request may or may not have counted."""
        self._roll(now)
        self.in_flight -= 1
        if limit is not None:
            self.limit = limit
        newer = remaining is not None and permit.floor is not None and remaining > permit.floor
        if newer and permit.window == self.count:
            self._forget(self.earliest + self.length)
            self._open(now, remaining)
            self._learn_start(permit, remaining)
        elif newer or permit.window == self.count:
            self._learn(permit, now, remaining, answered)

    def withdraw(self, permit: Permit) -> None:
        """Take back a permit that nothing was sent with."""
        self.in_flight -= 1
        if permit.window == self.count:
            self.sent -= 1
            self.probe_due = -math.inf

    def reject(self, now: float, retry_after: float) -> None:
        """A 429 closes the window for everyone, until its ``Retry-After`` and a second have passed."""
        self.closed_until = max(self.closed_until, now + max(retry_after, 0.0) + _RETRY_MARGIN)
        self._not_before = max(self._not_before, now + retry_after - _RETRY_MARGIN)

    def _learn(self, permit: Permit, now: float, remaining: int | None, answered: bool) -> None:
        self.probe_due = -math.inf
        if answered and not self.known:
            self._open(now, remaining)
        elif remaining is None:  # it may or may not have counted
            self.untold += 1
            self._untold_since = now
        else:
            self._first = remaining if self._first is None else self._first
            self.floor = remaining if self.floor is None else min(self.floor, remaining)
            if permit.sent_at >= self._untold_since:
                self.untold = 0
        self._learn_start(permit, remaining)
        if self._first is not None and self.floor is not None and self._first - self.floor >= _ENOUGH:
            self.share = min(1.0, self.sent / (self._first - self.floor))

    def _learn_start(self, permit: Permit, remaining: int | None) -> None:
        if remaining == self.limit - 1:  # this very request opened the window
            self.is_ours = True
            self.earliest = permit.sent_at

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
        elif self.known and now >= self.ends:
            self._forget(self.earliest + self.length)

    def _forget(self, next_begins: float) -> None:
        """Nothing is known of the server's next window, but that it cannot have begun earlier than this."""
        self._not_before = max(self._not_before, next_begins)
        self.count += 1
        self.closed_until = 0.0
        self.known = self.is_ours = False
        self.probe_due = -math.inf
        self.floor = self._first = None
        self.sent = self.in_flight
        self.untold, self._untold_since = 0, -math.inf
        self.earliest, self.latest = -math.inf, math.inf


@attrs.define(eq=False)
class _Waiter:
    slots: "Slots"
    granted: "asyncio.Future[Permit]"
    max_wait: float
    shut_before: float
    order: int


class Slots:
    """A client's places in flight, and those of its calls that wait for one or for the quota."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.waiting: dict[Lane, deque[_Waiter]] = {lane: deque() for lane in _LANES}

    @property
    def free(self) -> bool:
        """Whether another request may be in flight."""
        return self.used < self.limit


class RateLimiter:
    """Uses the quota to its last request without causing a 429.

    The quota is per IP address, so pass one limiter to all clients of a process. What answers say corrects
    ``limit``; other users of the same address are seen through what remains. It serves one event loop at a time.

    Args:
        limit: Requests a window, until an answer says otherwise.
        window: Seconds that a window lasts.

    Raises:
        TypeError: A value is not a number.
        ValueError: A value is not above 0.

    Example:
        >>> limiter = RateLimiter()
        >>> first = CustomersClient("token-1", rate_limiter=limiter)
        >>> second = CustomersClient("token-2", rate_limiter=limiter)
    """

    def __init__(self, limit: int = 500, window: float = 60.0) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int):
            raise TypeError(f"limit must be an int, not {type(limit).__name__}")
        if isinstance(window, bool) or not isinstance(window, int | float):
            raise TypeError(f"window must be a number of seconds, not {type(window).__name__}")
        if limit < 1 or not 0 < window < math.inf:
            raise ValueError("limit and window must be above 0, and finite")
        self._window = Window(limit, float(window))
        self._queues: list[Slots] = []
        self._arrivals = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refused_for: float | None = None
        self._shut_since: float | None = None
        self._shut_before = 0.0

    def __repr__(self) -> str:
        return f"RateLimiter(limit={self._window.limit}, window={self._window.length:g})"

    @property
    def state(self) -> RateLimit:
        """What is known of the quota, without I/O."""
        window = self._window
        if self._loop is None:
            return RateLimit(window.limit, None, None)
        now = self._loop.time()
        free = window.free(now)
        ends = max(window.closed_until, window.ends if window.known else 0.0)
        return RateLimit(window.limit, max(free, 0), ends - now) if ends else RateLimit(window.limit, None, None)

    async def acquire(self, slots: Slots, *, lane: Lane, max_wait: float) -> Permit:
        """Wait for a place in flight and a request of the quota, granted together.

        Interactive calls come before bulk ones, and first come, first served within a lane.

        Args:
            slots: The client's places in flight.
            lane: ``"interactive"`` or ``"bulk"``.
            max_wait: Seconds to wait for the quota at most; waiting for a place does not count.

        Raises:
            RateLimitError: The quota is spent for longer than that. Nothing was sent.
            RuntimeError: The limiter is at work on another event loop.
        """
        now = self._now()
        if self._queues and self._window.free(now) > 0:
            self._dispatch(now)
        if slots.free and self._window.free(now) > 0:
            return self._grant(slots, now)
        self._arrivals += 1
        future = asyncio.get_running_loop().create_future()
        waiter = _Waiter(slots, future, max_wait, self._shut_seconds(now), self._arrivals)
        opens_at = self._window.opens_at(now)
        if opens_at is not None and opens_at - now > max_wait:
            raise _refusal(opens_at - now, max_wait)
        slots.waiting[lane].append(waiter)
        if slots not in self._queues:
            self._queues.append(slots)
        self._sleep(now)
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise

    def release(
        self,
        permit: Permit,
        *,
        answered: bool,
        limit: int | None = None,
        remaining: int | None = None,
        rejected_for: float | None = None,
    ) -> None:
        """Give a permit back, with what the answer said.

        Args:
            permit: What `acquire` returned.
            answered: Whether an answer came; without one the request may or may not have counted.
            limit: The answer's ``X-RateLimit-Limit``.
            remaining: The answer's ``X-RateLimit-Remaining``.
            rejected_for: For a 429: the seconds to stay away.
        """
        now = self._now()
        permit.slots.used -= 1
        self._window.settle(permit, now, limit=limit, remaining=remaining, answered=answered)
        if rejected_for is not None:
            self._window.reject(now, rejected_for)
        if self._queues:
            self._dispatch(now)

    def _now(self) -> float:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed() and (self._window.in_flight or self._queues):
                raise RuntimeError("the rate limiter is at work on another event loop")
            self._loop, self._timer, self._queues = loop, None, []
            self._window.in_flight = 0
        return loop.time()

    def _grant(self, slots: Slots, now: float) -> Permit:
        slots.used += 1
        return self._window.grant(slots, now)

    def _dispatch(self, now: float) -> None:
        """Grant what can be granted, in order; refuse who would wait too long; sleep for the rest."""
        waited_until = self._shut_seconds(now)
        while self._window.free(now) > 0 and (waiter := self._take_first()) is not None:
            permit = self._grant(waiter.slots, now)
            permit.waited = waited_until - waiter.shut_before
            waiter.granted.set_result(permit)
        self._queues = [queued for queued in self._queues if any(queued.waiting.values())]
        self._refuse(now)
        self._sleep(now)

    def _take_first(self) -> _Waiter | None:
        """The first waiter whose client has a place, out of its queue."""
        for lane in _LANES:
            queues = [slots.waiting[lane] for slots in self._queues if slots.free]
            for queue in queues:
                while queue and queue[0].granted.done():  # cancelled, and not yet woken to leave
                    queue.popleft()
            waiting = [queue for queue in queues if queue]
            if waiting:
                return min(waiting, key=lambda queue: queue[0].order).popleft()
        return None

    def _refuse(self, now: float) -> None:
        """Refuse each waiter whose patience ends before the quota is there again, whenever that has moved."""
        opens_at = self._window.opens_at(now)
        if opens_at is None or opens_at == self._refused_for:
            return
        self._refused_for = opens_at
        shut = self._shut_seconds(now)
        for queued in self._queues:
            for lane, waiters in queued.waiting.items():
                patient = deque[_Waiter]()
                for waiter in waiters:
                    if shut - waiter.shut_before + opens_at - now <= waiter.max_wait:
                        patient.append(waiter)
                    elif not waiter.granted.done():
                        waiter.granted.set_exception(_refusal(opens_at - now, waiter.max_wait))
                queued.waiting[lane] = patient

    def _sleep(self, now: float) -> None:
        """Wake up when time alone lets the next waiter go on."""
        wakes_at = self._window.wakes_at(now) if self._queues else None
        if self._timer is not None and self._timer.when() != wakes_at:
            self._timer.cancel()
            self._timer = None
        if wakes_at is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(wakes_at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._dispatch(self._now())

    def _shut_seconds(self, now: float) -> float:
        """For how long the quota has been spent, in all: what each waiter's patience is measured by."""
        shut = self._window.opens_at(now) is not None
        if self._shut_since is not None:
            self._shut_before += now - self._shut_since
        self._shut_since = now if shut else None
        return self._shut_before

    def _abandon(self, waiter: _Waiter) -> None:
        """The waiter's owner was cancelled, perhaps in the moment between grant and wake-up."""
        granted = waiter.granted
        if not granted.cancelled() and granted.exception() is None:
            waiter.slots.used -= 1
            self._window.withdraw(granted.result())
        self._dispatch(self._now())


def _refusal(seconds: float, max_wait: float) -> RateLimitError:
    return RateLimitError(
        f"the quota is spent for another {seconds:.1f} s, and max_rate_limit_wait is {max_wait:g} s; nothing was sent",
        retry_after=seconds,
        sent=False,
        attempts=0,
    )
