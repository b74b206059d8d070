"""The rate limiter: a queue in front of `Window`.

It grants a slot (one of a client's requests in flight) and a request of the rate limit together, as one permit, so that
no call holds one while it waits for the other.
"""

import asyncio
import math
import os
from collections import deque

from customers_async.calls.slots import LANES, Lane, Line, Permit, Slots, Waiter
from customers_async.calls.window import Window
from customers_async.checks import check_int
from customers_async.errors import APITimeoutError, RateLimitError
from customers_async.models import RateLimit

__all__ = ["RateLimiter"]

_RESOLUTION = 0.001
"""Seconds: a call whose remaining ``max_wait`` is shorter is refused, because sums of waits are not exact."""


class RateLimiter:
    """Uses the rate limit to its last request. Causes a 429 only if other processes use the address.

    The service's limit is per IP address, so pass one limiter to all clients of a process. Responses correct ``limit``,
    and show what other users of the address take. A limiter works on one event loop at a time.

    Args:
        limit: Requests per window, until a response names another limit.
        window: Seconds that a window lasts.
        reserve: Requests of each window that bulk work (listings and batches) leaves to look-ups. Bulk work always has
            at least one request per window.
        max_in_flight: The largest number of requests in flight, over all clients that use this limiter; each client
            also has a limit of its own, ``concurrency``. None: no further limit. When a request ends, the client with
            the fewest requests in flight goes next.

    Raises:
        TypeError: A value is not a number.
        ValueError: A value is not above 0, or ``reserve`` is below 0 or not below ``limit``.

    Example:
        >>> limiter = RateLimiter()
        >>> first = CustomersClient("token-1", rate_limiter=limiter)
        >>> second = CustomersClient("token-2", rate_limiter=limiter)
    """

    def __init__(
        self, limit: int = 500, window: float = 60.0, *, reserve: int = 0, max_in_flight: int | None = None
    ) -> None:
        check_int("limit", limit)
        check_int("reserve", reserve)
        if max_in_flight is not None:
            check_int("max_in_flight", max_in_flight)
        if isinstance(window, bool) or not isinstance(window, int | float):
            raise TypeError(f"window must be a number of seconds, not {type(window).__name__}")
        if limit < 1 or not 0 < window < math.inf:
            raise ValueError("limit and window must be above 0, and finite")
        if not 0 <= reserve < limit:
            raise ValueError("reserve must be 0 or more, and below limit")
        if max_in_flight is not None and max_in_flight < 1:
            raise ValueError("max_in_flight must be at least 1, or None")
        self._window = Window(limit, float(window))
        self._reserve = reserve
        self._max_in_flight = max_in_flight
        self._lines: dict[Lane, list[Line]] = {lane: [] for lane in LANES}  # those with waiting calls
        self._arrivals = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0  # of the loop: after a fork, the child has a copy of this limiter
        self._last_opens_at: dict[Lane, float | None] = dict.fromkeys(LANES)  # at the last check for refusals

    def __repr__(self) -> str:
        reserve = f", reserve={self._reserve}" if self._reserve else ""
        in_flight = f", max_in_flight={self._max_in_flight}" if self._max_in_flight is not None else ""
        return f"RateLimiter(limit={self._window.limit}, window={self._window.length:g}{reserve}{in_flight})"

    def __reduce__(self) -> str:
        raise TypeError("a rate limiter counts the requests of its process, and does not pickle: make one per process")

    @property
    def state(self) -> RateLimit:
        """The state of the rate limit, without I/O."""
        window = self._window
        now = 0.0 if self._loop is None else self._loop.time()
        ends_at = None if self._loop is None else window.ends_at(now)
        if ends_at is None:
            return RateLimit(window.limit, None, None)
        return RateLimit(window.limit, max(window.remaining(now), 0), ends_at - now)

    def bulk_wait(self, requests: int) -> float:
        """Seconds that the rate limit makes this many bulk requests wait in total, as far as is known now."""
        state, reserve = self.state, self._reserved("bulk")
        remaining = state.limit if state.remaining is None else state.remaining
        later = requests - max(0, remaining - reserve)
        if later <= 0:
            return 0.0
        opens_in = self._window.length if state.resets_in is None else state.resets_in
        return opens_in + (later - 1) // (state.limit - reserve) * self._window.length

    async def acquire(self, slots: Slots, *, lane: Lane, max_wait: float) -> Permit:
        """Wait until a slot and a request of the rate limit are free, and take both.

        Interactive calls are served before bulk ones. Within a lane, the client with the fewest requests in flight is
        served first, and its calls in the order of their arrival.

        Args:
            slots: The client's slots.
            lane: ``"interactive"`` or ``"bulk"``.
            max_wait: The longest wait for the rate limit in seconds; waiting for a slot does not count.

        Raises:
            APITimeoutError: What remains is unknown, because no request gets a response. Nothing was sent.
            RateLimitError: The wait would be longer. Nothing was sent.
            RuntimeError: The limiter is in use on another event loop.
        """
        loop = self._bind_loop()
        now, reserve = loop.time(), self._reserved(lane)
        has_waiters = self._has_waiters
        if has_waiters and self._window.free(now, reserve) > 0:
            self._dispatch(loop, now)
        if slots.has_free and not self._is_full and self._window.free(now, reserve) > 0:
            permit = self._grant(slots, loop, now)
            if has_waiters:
                self._review(now)  # it may have been the last request of the window
            return permit
        opens_at = self._window.opens_at(now, reserve)
        if opens_at is not None and opens_at - now > max_wait:
            raise _refusal(opens_at - now, max_wait)
        line = slots.lines[lane]
        self._arrivals += 1
        waiter = Waiter(loop.create_future(), max_wait, line.blocked.read(now), self._arrivals)
        line.waiters.append(waiter)
        if line not in self._lines[lane]:
            self._lines[lane].append(line)
        self._review(now)
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            self._abandon(waiter.granted)
            raise

    def release(
        self,
        permit: Permit,
        *,
        answered: bool,
        limit: int | None = None,
        remaining: int | None = None,
        rejected_for: float | None = None,
    ) -> float | None:
        """Return a permit, with what the response's headers say.

        Args:
            permit: The result of `acquire`.
            answered: Whether a response arrived; without one the request may or may not have been counted.
            limit: The response's ``X-RateLimit-Limit``.
            remaining: The response's ``X-RateLimit-Remaining``.
            rejected_for: After a 429, the seconds to send nothing.

        Returns:
            The seconds for which a 429 has just closed the limiter; None if there was none, or it was closed already.
        """
        permit.slots.used -= 1
        if permit.loop is not self._loop or permit.loop.is_closed():  # the window has abandoned its requests
            return None
        now, closed_for = permit.loop.time(), None
        self._window.settle(permit.snapshot, now, limit=limit, remaining=remaining, answered=answered)
        if rejected_for is not None:
            is_news = not self._window.is_closed(now)
            self._window.reject(now, rejected_for)
            closed_for = (self._window.opens_at(now) or now) - now if is_news else None
        elif answered:
            self._window.trust()
        if self._has_waiters:
            self._dispatch(permit.loop, now)
        return closed_for

    def withdraw(self, permit: Permit) -> None:
        """Return a permit whose request was not sent."""
        permit.slots.used -= 1
        if permit.loop is self._loop and not permit.loop.is_closed():
            self._window.withdraw(permit.snapshot)
            self._dispatch(permit.loop, permit.loop.time())

    @property
    def _has_waiters(self) -> bool:
        return bool(self._lines["interactive"] or self._lines["bulk"])

    def _bind_loop(self) -> asyncio.AbstractEventLoop:
        """Return the running event loop, and work on that from now on."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            is_busy = self._window.in_flight or self._has_waiters
            if is_busy and self._loop is not None and not self._loop.is_closed() and self._process == os.getpid():
                raise RuntimeError("the rate limiter is at work on another event loop")
            self._loop, self._process, self._timer = loop, os.getpid(), None
            self._lines = {lane: [] for lane in LANES}
            self._window.abandon()
        return loop

    @property
    def _is_full(self) -> bool:
        """Whether all clients together have as many requests in flight as they may have."""
        return self._max_in_flight is not None and self._window.in_flight >= self._max_in_flight

    def _grant(self, slots: Slots, loop: asyncio.AbstractEventLoop, now: float) -> Permit:
        slots.used += 1
        return Permit(slots, self._window.send(now), loop)

    def _reserved(self, lane: Lane) -> int:
        """How many requests of the window a lane leaves to the other."""
        return min(self._reserve, self._window.limit - 1) if self._reserve and lane == "bulk" else 0

    def _dispatch(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """Grant all permits that can be granted, in order."""
        while (line := self._next_line(now)) is not None:
            waiter = line.waiters.popleft()
            permit = self._grant(line.slots, loop, now)
            permit.waited = line.blocked.read(now) - waiter.blocked_before
            waiter.granted.set_result(permit)
        self._review(now)

    def _next_line(self, now: float) -> Line | None:
        """The line whose first call is sent next: its lane has a request left, and its client a slot.

        Among several clients it is the one with the fewest requests in flight, so that a long listing does not delay
        the others; then the one that has waited longest.
        """
        for lane in LANES:
            if self._is_full or self._window.free(now, self._reserved(lane)) <= 0:
                return None
            ready = [line for line in self._lines[lane] if line.slots.has_free and not line.is_empty]
            if ready:
                return min(ready, key=lambda line: (line.slots.used, line.waiters[0].order))
        return None

    def _review(self, now: float) -> None:
        """Update what depends on time after any change: stopwatches, refusals and the timer."""
        wakes_at = min(self._review_lane(lane, now) for lane in LANES)
        self._sleep_until(wakes_at if wakes_at < math.inf else None)

    def _review_lane(self, lane: Lane, now: float) -> float:
        """Update one lane; return when to update it again, or infinity."""
        lines = self._lines[lane] = [line for line in self._lines[lane] if not line.is_empty]
        if not lines:
            self._last_opens_at[lane] = None
            return math.inf
        reserve = self._reserved(lane)
        opens_at, stalled = self._window.opens_at(now, reserve), self._window.is_stalled(now)
        wakes_at = self._window.wakes_at(now, reserve) or math.inf
        is_blocked = (opens_at is not None or stalled) and not self._is_full
        for line in lines:  # a line without a free slot waits for that, not for the rate limit
            line.blocked.run(now, running=is_blocked and line.slots.has_free)
        # If opens_at has not changed, no call's total wait has: there is nothing to check again.
        if stalled or (opens_at is not None and opens_at != self._last_opens_at[lane]):
            ahead = 0.0 if opens_at is None else opens_at - now
            for line in lines:
                patience = _refuse_impatient(line, now, ahead)
                if stalled and is_blocked and line.slots.has_free:
                    wakes_at = min(wakes_at, now + patience)
            self._lines[lane] = [line for line in lines if line.waiters]
        self._last_opens_at[lane] = opens_at
        return wakes_at if self._lines[lane] else math.inf

    def _sleep_until(self, wakes_at: float | None) -> None:
        """Set the timer for the moment when time alone changes something for a waiting call."""
        if self._timer is not None and self._timer.when() != wakes_at:
            self._timer.cancel()
            self._timer = None
        if wakes_at is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(wakes_at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        loop = self._bind_loop()
        self._dispatch(loop, loop.time())

    def _abandon(self, granted: "asyncio.Future[Permit]") -> None:
        """Clean up after a cancelled call, which may already have been granted a permit."""
        if not granted.cancelled() and granted.exception() is None:
            self.withdraw(granted.result())
        else:
            loop = self._bind_loop()
            self._dispatch(loop, loop.time())


def _refuse_impatient(line: Line, now: float, ahead: float) -> float:
    """Refuse the calls of a line that would wait for too long; return the shortest remaining ``max_wait``.

    Args:
        line: The line.
        now: The time.
        ahead: Seconds until the rate limit has requests again, or 0 if that is not known.
    """
    shortest, blocked = math.inf, line.blocked.read(now)
    patient = deque[Waiter]()
    for waiter in line.waiters:
        left = waiter.max_wait - (blocked - waiter.blocked_before) - ahead
        if waiter.granted.done():
            continue
        if left > _RESOLUTION or (ahead and left >= 0):
            patient.append(waiter)
            shortest = min(shortest, left)
        else:
            waiter.granted.set_exception(_refusal(ahead, waiter.max_wait) if ahead else _no_response(waiter.max_wait))
    line.waiters = patient
    return shortest


def _refusal(seconds: float, max_wait: float) -> RateLimitError:
    return RateLimitError(
        f"the rate limit is used up for another {seconds:.1f} s, and max_rate_limit_wait is {max_wait:g} s; "
        "nothing was sent",
        retry_after=seconds,
        sent=False,
        attempts=0,
    )


def _no_response(max_wait: float) -> APITimeoutError:
    return APITimeoutError(
        f"the service has not responded to the requests in flight yet, and max_rate_limit_wait is {max_wait:g} s; "
        "nothing was sent",
        sent=False,
        attempts=0,
    )
