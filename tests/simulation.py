"""A client and a server on one simulated clock: Laravel's fixed window, and three ways to live with it."""

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
    """The server's side: a fixed window that the first hit opens; rejected hits do not count."""

    def __init__(self, limit: int, length: float) -> None:
        self.limit, self.length = limit, length
        self.ends, self.hits, self.rejected = -1.0, 0, 0
        self.admitted: list[float] = []

    def hit(self, now: float) -> int | None:
        """What remains after this hit, or None when it is rejected."""
        if now >= self.ends:
            self.ends, self.hits = now + self.length, 0
        if self.hits >= self.limit:
            self.rejected += 1
            return None
        self.hits += 1
        self.admitted.append(now)
        return self.limit - self.hits


class Clock:
    """Acts in the order of their times."""

    def __init__(self) -> None:
        self._acts: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()

    def at(self, moment: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._acts, (moment, next(self._order), act))

    def next(self) -> float | None:
        """When the next act is due."""
        return self._acts[0][0] if self._acts else None

    def run_next(self) -> float:
        moment, _, act = heapq.heappop(self._acts)
        act(moment)
        return moment


class _Skipping(selectors.DefaultSelector):
    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.skipped += timeout or 0.0
        return []


class SocketlessLoop(asyncio.SelectorEventLoop):
    """An event loop that knows nothing but its timers: its clock moves on to the next of them at once."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped


class Gate:
    """A client with enough work behind the limiter's arithmetic; answers take their time and overtake one another.

    Args:
        limit: Requests that the server admits in 60 s.
        calls: How many are to be made.
        seed: Chooses the latencies.
        slowest: Longest way of a request, and of an answer, in seconds.
        lost: How likely an answer gets lost.
        places: Requests in flight at most.
    """

    def __init__(
        self, limit: int, calls: int, seed: int, slowest: float, *, lost: float = 0.0, places: int = 10_000
    ) -> None:
        self._chance = random.Random(seed)
        self.window, self.server = Window(limit, 60.0), LaravelWindow(limit, 60.0)
        self._calls, self._slowest, self._lost, self._places = calls, slowest, lost, places
        self._clock = Clock()
        self.losses = 0

    def run(self) -> None:
        """Until every call was sent and answered."""
        now = 0.0
        while True:
            while self._calls and self.window.in_flight < self._places and self.window.free(now) > 0:
                self._calls -= 1
                arrive = partial(self._arrive, self.window.send(now))
                self._clock.at(now + self._chance.uniform(0, self._slowest), arrive)
            opens_at = self.window.opens_at(now) if self._calls else None
            due = self._clock.next()
            if due is not None and (opens_at is None or due <= opens_at):
                now = self._clock.run_next()
            elif opens_at is not None:
                now = opens_at
            else:
                break
        assert not self._calls

    def _arrive(self, snapshot: Snapshot, now: float) -> None:
        remaining = self.server.hit(now)
        lost = self._chance.random() < self._lost
        self.losses += lost
        answer = partial(self._answer, snapshot, remaining, lost)
        self._clock.at(now + self._chance.uniform(0, self._slowest), answer)

    def _answer(self, snapshot: Snapshot, remaining: int | None, lost: bool, now: float) -> None:
        told = None if lost else remaining or 0
        self.window.settle(snapshot, now, limit=None, remaining=told, answered=not lost)
        if remaining is None:
            self._calls += 1
            if not lost:
                self.window.reject(now, max(0.0, self.server.ends - now))


def pace(limit: int, calls: int) -> LaravelWindow:
    """A request each 60 s / limit, as paced limiters send them."""
    server = LaravelWindow(limit, 60.0)
    for call in range(calls):
        server.hit(call * 60.0 / limit)
    return server


def back_off(limit: int, calls: int, workers: int = 8, latency: float = 0.04, seed: int = 1) -> LaravelWindow:
    """Workers that send until a 429 comes, then wait 1, 2, 4 ... 32 s, give or take half, and try again."""
    chance, server, clock = random.Random(seed), LaravelWindow(limit, 60.0), Clock()

    def work(failures: int, now: float) -> None:
        if len(server.admitted) >= calls:
            return
        if server.hit(now) is None:
            pause = min(32.0, 2.0**failures) * chance.uniform(0.5, 1.5)
            clock.at(now + pause, partial(work, failures + 1))
        else:
            clock.at(now + latency, partial(work, 0))

    for _ in range(workers):
        clock.at(0.0, partial(work, 0))
    while clock.next() is not None:
        clock.run_next()
    return server
