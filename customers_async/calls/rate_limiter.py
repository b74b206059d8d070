"""Who may send now, and when the rest may: the queue in front of `Window`.

It grants a place in flight and a request of the quota together, so that nobody holds one while waiting for the other.
"""

import asyncio
import math
from collections import deque
from typing import Literal

import attrs

from customers_async.calls.window import Stamp, Window
from customers_async.errors import RateLimitError
from customers_async.models import RateLimit

__all__ = ["Lane", "Permit", "RateLimiter", "Slots"]

Lane = Literal["interactive", "bulk"]
_LANES: tuple[Lane, ...] = ("interactive", "bulk")
_GRAIN = 0.001
"""Seconds: a patience that ends within them has ended."""


@attrs.define(eq=False)
class Permit:
    """The right to send one request now; given back with what its answer said.

    Attributes:
        slots: The client's places in flight, one of which this permit holds.
        stamp: What was known of the quota when it was granted.
        loop: The event loop that it was granted on.
        waited: Seconds that its owner waited for the quota, beyond waiting for a place.
    """

    slots: "Slots"
    stamp: Stamp
    loop: asyncio.AbstractEventLoop
    waited: float = 0.0


@attrs.define(eq=False)
class _Waiter:
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
        self._shut_before = dict.fromkeys(_LANES, 0.0)
        self._shut_since: dict[Lane, float | None] = dict.fromkeys(_LANES)

    @property
    def free(self) -> bool:
        """Whether another request may be in flight."""
        return self.used < self.limit

    def is_awaited(self, *lanes: Lane) -> bool:
        """Whether anybody waits, in these lanes or in any; drops from their heads who was cancelled."""
        queues = [self.waiting[lane] for lane in lanes or _LANES]
        for queue in queues:
            while queue and queue[0].granted.done():
                queue.popleft()
        return any(queues)

    def shut_seconds(self, lane: Lane, now: float) -> float:
        """For how long nothing but the quota kept a lane waiting, in all: what patience is measured by."""
        since = self._shut_since[lane]
        return self._shut_before[lane] + (0.0 if since is None else now - since)

    def note(self, lane: Lane, now: float, *, shut: bool) -> None:
        """From now on the quota keeps a lane waiting, or does not; without a place its calls wait for that."""
        self._shut_before[lane] = self.shut_seconds(lane, now)
        self._shut_since[lane] = now if shut and self.free else None


class RateLimiter:
    """Uses the quota to its last request without causing a 429.

    The quota is per IP address, so pass one limiter to all clients of a process. What answers say corrects
    ``limit``; other users of the same address are seen through what remains. It serves one event loop at a time.

    Args:
        limit: Requests a window, until an answer says otherwise.
        window: Seconds that a window lasts.
        reserve: Requests of each window that bulk work (walks and batches) leaves to look-ups. It has the rest, and
            at least one where the limit turns out to be lower.

    Raises:
        TypeError: A value is not a number.
        ValueError: A value is not above 0, or ``reserve`` is below 0 or not below ``limit``.

    Example:
        >>> limiter = RateLimiter()
        >>> first = CustomersClient("token-1", rate_limiter=limiter)
        >>> second = CustomersClient("token-2", rate_limiter=limiter)
    """

    def __init__(self, limit: int = 500, window: float = 60.0, *, reserve: int = 0) -> None:
        for name, value in (("limit", limit), ("reserve", reserve)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, not {type(value).__name__}")
        if isinstance(window, bool) or not isinstance(window, int | float):
            raise TypeError(f"window must be a number of seconds, not {type(window).__name__}")
        if limit < 1 or not 0 < window < math.inf:
            raise ValueError("limit and window must be above 0, and finite")
        if not 0 <= reserve < limit:
            raise ValueError("reserve must be 0 or more, and below limit")
        self._window = Window(limit, float(window))
        self._reserve = reserve
        self._queues: list[Slots] = []
        self._arrivals = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._judged: dict[Lane, float | None] = dict.fromkeys(_LANES)  # by this end of a spent window, who waits was

    def __repr__(self) -> str:
        reserve = f", reserve={self._reserve}" if self._reserve else ""
        return f"RateLimiter(limit={self._window.limit}, window={self._window.length:g}{reserve})"

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

    def bulk_wait(self, requests: int) -> float:
        """How many seconds the quota makes so much bulk work wait in all, as far as it is known now."""
        state, reserve = self.state, self._reserved("bulk")
        remaining = state.limit if state.remaining is None else state.remaining
        later = requests - max(0, remaining - reserve)
        if later <= 0:
            return 0.0
        opens_in = self._window.length if state.resets_in is None else state.resets_in
        return opens_in + (later - 1) // (state.limit - reserve) * self._window.length

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
        loop = self._attend()
        now, reserve = loop.time(), self._reserved(lane)
        if self._queues and self._window.free(now, reserve) > 0:
            self._dispatch(loop, now)
        if slots.free and self._window.free(now, reserve) > 0:
            permit = self._grant(slots, loop, now)
            if self._queues:
                self._review(now)  # it may have been the last of the window
            return permit
        self._arrivals += 1
        waiter = _Waiter(loop.create_future(), max_wait, slots.shut_seconds(lane, now), self._arrivals)
        opens_at = self._window.opens_at(now, reserve)
        if opens_at is not None and opens_at - now > max_wait:
            raise _refusal(opens_at - now, max_wait)
        slots.waiting[lane].append(waiter)
        if slots not in self._queues:
            self._queues.append(slots)
        self._review(now)
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            self._abandon(slots, waiter)
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
        permit.slots.used -= 1
        if permit.loop is not self._loop or permit.loop.is_closed():  # its requests are written off
            return
        now = permit.loop.time()
        self._window.settle(permit.stamp, now, limit=limit, remaining=remaining, answered=answered)
        if rejected_for is not None:
            self._window.reject(now, rejected_for)
        if self._queues:
            self._dispatch(permit.loop, now)

    def _attend(self) -> asyncio.AbstractEventLoop:
        """The running event loop, which is served from now on."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed() and (self._window.in_flight or self._queues):
                raise RuntimeError("the rate limiter is at work on another event loop")
            self._loop, self._timer, self._queues = loop, None, []
            self._window.abandon()
        return loop

    def _grant(self, slots: Slots, loop: asyncio.AbstractEventLoop, now: float) -> Permit:
        slots.used += 1
        return Permit(slots, self._window.send(now), loop)

    def _reserved(self, lane: Lane) -> int:
        """What a lane leaves of the window to the other."""
        return min(self._reserve, self._window.limit - 1) if self._reserve and lane == "bulk" else 0

    def _dispatch(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """Grant what can be granted, in order."""
        while (first := self._take_first(now)) is not None:
            slots, lane, waiter = first
            permit = self._grant(slots, loop, now)
            permit.waited = slots.shut_seconds(lane, now) - waiter.shut_before
            waiter.granted.set_result(permit)
        self._review(now)

    def _take_first(self, now: float) -> tuple[Slots, Lane, _Waiter] | None:
        """The first waiter to whom the quota leaves a request and whose client has a place, out of its queue."""
        for lane in _LANES:
            if self._window.free(now, self._reserved(lane)) <= 0:
                return None
            queued = [slots for slots in self._queues if slots.free and slots.is_awaited(lane)]
            if queued:
                first = min(queued, key=lambda slots: slots.waiting[lane][0].order)
                return first, lane, first.waiting[lane].popleft()
        return None

    def _review(self, now: float) -> None:
        """After any change: whom the quota keeps waiting, who has waited for too long, and when to look again."""
        wakes_at = min(self._review_lane(lane, now) for lane in _LANES)
        self._queues = [slots for slots in self._queues if slots.is_awaited()]
        self._sleep_until(wakes_at if self._queues and wakes_at < math.inf else None)

    def _review_lane(self, lane: Lane, now: float) -> float:
        """The same for one lane; returns when to look again, or infinity."""
        queues = [slots for slots in self._queues if slots.is_awaited(lane)]
        if not queues:
            self._judged[lane] = None
            return math.inf
        reserve = self._reserved(lane)
        opens_at, stalled = self._window.opens_at(now, reserve), self._window.is_stalled(now)
        wakes_at = self._window.wakes_at(now, reserve) or math.inf
        for slots in queues:
            slots.note(lane, now, shut=opens_at is not None or stalled)
        # While a spent window's end stands, time takes from the wait ahead what it adds to the wait so far.
        if stalled or (opens_at is not None and opens_at != self._judged[lane]):
            ahead = 0.0 if opens_at is None else opens_at - now
            for slots in queues:
                patience = self._refuse(slots, lane, now, ahead)
                if stalled and slots.free:
                    wakes_at = min(wakes_at, now + patience)
        self._judged[lane] = opens_at
        return wakes_at

    def _refuse(self, slots: Slots, lane: Lane, now: float, ahead: float) -> float:
        """Refuse each call whose patience ends before the quota is there again; returns the least patience left."""
        least, waited = math.inf, slots.shut_seconds(lane, now)
        patient = deque[_Waiter]()
        for waiter in slots.waiting[lane]:
            left = waiter.max_wait - (waited - waiter.shut_before) - ahead
            if waiter.granted.done():
                continue
            if left > _GRAIN or (ahead and left >= 0):
                patient.append(waiter)
                least = min(least, left)
            else:
                waiter.granted.set_exception(_refusal(max(ahead, 1.0), waiter.max_wait))
        slots.waiting[lane] = patient
        return least

    def _sleep_until(self, wakes_at: float | None) -> None:
        """Look again when time alone has changed something for those who wait."""
        if self._timer is not None and self._timer.when() != wakes_at:
            self._timer.cancel()
            self._timer = None
        if wakes_at is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(wakes_at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        loop = self._attend()
        self._dispatch(loop, loop.time())

    def _abandon(self, slots: Slots, waiter: _Waiter) -> None:
        """The waiter's owner was cancelled, perhaps in the moment between grant and wake-up."""
        granted = waiter.granted
        if not granted.cancelled() and granted.exception() is None:
            slots.used -= 1
            self._window.withdraw(granted.result().stamp)
        loop = self._attend()
        self._dispatch(loop, loop.time())


def _refusal(seconds: float, max_wait: float) -> RateLimitError:
    return RateLimitError(
        f"the quota is spent for another {seconds:.1f} s, and max_rate_limit_wait is {max_wait:g} s; nothing was sent",
        retry_after=seconds,
        sent=False,
        attempts=0,
    )
