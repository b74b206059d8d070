"""Who may send now, and when the rest may: the queue in front of `Window`.

It grants a place in flight and a request of the quota together, so that nobody holds one while waiting for the other.
"""

import asyncio
import math
from collections import deque
from typing import Literal

import attrs

from customers_async.errors import RateLimitError
from customers_async.models import RateLimit
from customers_async.window import Stamp, Window

__all__ = ["Lane", "Permit", "RateLimiter", "Slots"]

Lane = Literal["interactive", "bulk"]
_LANES: tuple[Lane, ...] = ("interactive", "bulk")


@attrs.define(eq=False)
class Permit:
    """The right to send one request now; given back with what its answer said.

    Attributes:
        slots: The client's places in flight, one of which this permit holds.
        stamp: What was known of the quota when it was granted.
        waited: Seconds that its owner waited for the quota, beyond waiting for a place.
    """

    slots: "Slots"
    stamp: Stamp
    waited: float = 0.0


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
            permit = self._grant(slots, now)
            if self._queues:
                self._refuse(now)  # it may have been the last of the window
            return permit
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
        self._window.settle(permit.stamp, now, limit=limit, remaining=remaining, answered=answered)
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
            self._window.abandon()
        return loop.time()

    def _grant(self, slots: Slots, now: float) -> Permit:
        slots.used += 1
        return Permit(slots, self._window.send(now))

    def _dispatch(self, now: float) -> None:
        """Grant what can be granted, in order; refuse who would wait too long; sleep for the rest."""
        waited_until = self._shut_seconds(now)
        while self._window.free(now) > 0 and (waiter := self._take_first()) is not None:
            permit = self._grant(waiter.slots, now)
            permit.waited = waited_until - waiter.shut_before
            waiter.granted.set_result(permit)
        self._queues = [queued for queued in self._queues if any(queued.waiting.values())]
        if self._queues:
            self._refuse(now)
        else:
            self._refused_for = None
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
        shut, opens_at = self._shut_seconds(now), self._window.opens_at(now)
        judged, self._refused_for = self._refused_for, opens_at
        if opens_at is None and not self._window.is_stalled(now):
            return
        if opens_at is not None and opens_at == judged:
            return
        ahead = 0.0 if opens_at is None else opens_at - now
        for queued in self._queues:
            for lane, waiters in queued.waiting.items():
                patient = deque[_Waiter]()
                for waiter in waiters:
                    if shut - waiter.shut_before + ahead <= waiter.max_wait:
                        patient.append(waiter)
                    elif not waiter.granted.done():
                        waiter.granted.set_exception(_refusal(max(ahead, 1.0), waiter.max_wait))
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
        """For how long the quota has been spent or in the dark, in all: what patience is measured by."""
        shut = self._window.opens_at(now) is not None or self._window.is_stalled(now)
        if self._shut_since is not None:
            self._shut_before += now - self._shut_since
        self._shut_since = now if shut else None
        return self._shut_before

    def _abandon(self, waiter: _Waiter) -> None:
        """The waiter's owner was cancelled, perhaps in the moment between grant and wake-up."""
        granted = waiter.granted
        if not granted.cancelled() and granted.exception() is None:
            waiter.slots.used -= 1
            self._window.withdraw(granted.result().stamp)
        self._dispatch(self._now())


def _refusal(seconds: float, max_wait: float) -> RateLimitError:
    return RateLimitError(
        f"the quota is spent for another {seconds:.1f} s, and max_rate_limit_wait is {max_wait:g} s; nothing was sent",
        retry_after=seconds,
        sent=False,
        attempts=0,
    )
