"""A client and a server on one simulated clock: Laravel's fixed window, and three strategies for it."""

import asyncio
import heapq
import itertools
import random
import selectors
from collections.abc import Callable
from functools import partial
from typing import Any

from customers_async.calls.window import Snapshot, Window


class LaravelWindow:
    """The server: a fixed window that the first request opens; rejected requests are not counted."""

    def __init__(self, limit: int, length: float) -> None:
        self.limit, self.length = limit, length
        self.ends, self.hits, self.rejected = -1.0, 0, 0
        self.admitted: list[float] = []

    def hit(self, now: float) -> int | None:
        """Count a request; return how many remain, or None if it is rejected."""
        if now >= self.ends:
            self.ends, self.hits = now + self.length, 0
        if self.hits >= self.limit:
            self.rejected += 1
            return None
        self.hits += 1
        self.admitted.append(now)
        return self.limit - self.hits


class Clock:
    """Runs callbacks in the order of their times."""

    def __init__(self) -> None:
        self._timers: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()

    @property
    def next_time(self) -> float | None:
        """The time of the next callback, or None."""
        return self._timers[0][0] if self._timers else None

    def call_at(self, time: float, callback: Callable[[float], None]) -> None:
        heapq.heappush(self._timers, (time, next(self._order), callback))

    def run_next(self) -> float:
        time, _, callback = heapq.heappop(self._timers)
        callback(time)
        return time


class _Skipping(selectors.DefaultSelector):
    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.skipped += timeout or 0.0
        return []


class SocketlessLoop(asyncio.SelectorEventLoop):
    """An event loop with timers only: its clock moves on to the next timer at once."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped


class LimiterSimulation:
    """A client that always has calls to make under a `Window`; responses take their time and overtake one another.

    Args:
        limit: Requests that the server admits in 60 s.
        calls: Number of calls to make.
        seed: Selects the latencies.
        slowest: Longest travel time of a request, and of a response, in seconds.
        lost: Probability that a response is lost.
        slots: The most requests in flight.
    """

    def __init__(
        self, limit: int, calls: int, seed: int, slowest: float, *, lost: float = 0.0, slots: int = 10_000
    ) -> None:
        self._random = random.Random(seed)
        self.window, self.server = Window(limit, 60.0), LaravelWindow(limit, 60.0)
        self._calls, self._slowest, self._lost, self._slots = calls, slowest, lost, slots
        self._clock = Clock()
        self.losses = 0

    def run(self) -> None:
        """Run until every call has its response."""
        now = 0.0
        while True:
            while self._calls and self.window.in_flight < self._slots and self.window.free(now) > 0:
                self._calls -= 1
                arrive = partial(self._arrive, self.window.send(now))
                self._clock.call_at(now + self._random.uniform(0, self._slowest), arrive)
            opens_at = self.window.opens_at(now) if self._calls else None
            next_time = self._clock.next_time
            if next_time is not None and (opens_at is None or next_time <= opens_at):
                now = self._clock.run_next()
            elif opens_at is not None:
                now = opens_at
            else:
                break
        assert not self._calls

    def _arrive(self, snapshot: Snapshot, now: float) -> None:
        remaining = self.server.hit(now)
        lost = self._random.random() < self._lost
        self.losses += lost
        respond = partial(self._respond, snapshot, remaining, lost)
        self._clock.call_at(now + self._random.uniform(0, self._slowest), respond)

    def _respond(self, snapshot: Snapshot, remaining: int | None, lost: bool, now: float) -> None:
        received = None if lost else remaining or 0
        self.window.settle(snapshot, now, limit=None, remaining=received, answered=not lost)
        if remaining is None:
            self._calls += 1
            if not lost:
                self.window.reject(now, max(0.0, self.server.ends - now))


def pace(limit: int, calls: int) -> LaravelWindow:
    """Send a request every 60 s / limit, as paced limiters do."""
    server = LaravelWindow(limit, 60.0)
    for call in range(calls):
        server.hit(call * 60.0 / limit)
    return server


def back_off(limit: int, calls: int, workers: int = 8, latency: float = 0.04, seed: int = 1) -> LaravelWindow:
    """Send until a 429, then wait 1, 2, 4 ... 32 s with 50 % jitter, and send again."""
    rng, server, clock = random.Random(seed), LaravelWindow(limit, 60.0), Clock()

    def work(failures: int, now: float) -> None:
        if len(server.admitted) >= calls:
            return
        if server.hit(now) is None:
            pause = min(32.0, 2.0**failures) * rng.uniform(0.5, 1.5)
            clock.call_at(now + pause, partial(work, failures + 1))
        else:
            clock.call_at(now + latency, partial(work, 0))

    for _ in range(workers):
        clock.call_at(0.0, partial(work, 0))
    while clock.next_time is not None:
        clock.run_next()
    return server
