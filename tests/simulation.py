"""Clients and a server on one simulated clock: Laravel's fixed window, and three strategies for it."""

import asyncio
import heapq
import itertools
import random
import selectors
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from customers_async.calls.window import Window
from customers_async.calls.window_facts import Snapshot


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


@attrs.frozen
class Scenario:
    """Processes behind one address, the service's behaviour, and the network's.

    Attributes:
        processes: Each has a `Window` of its own, and does not know of the others.
        slots: The most requests in flight of each process.
        calls: Calls of all processes together.
        limit: Requests that the server admits in 60 s.
        latency: Shortest and longest time of a request, and of a response, in seconds.
        slow: Probability that one of them takes up to 3 s more.
        lost: Probability that a response is lost.
        unnamed: Probability that a response does not name what remains.
        false_zero: Probability that a response names 0 although more remains.
        starts_within: Seconds in which the processes start.
    """

    processes: int = 1
    slots: int = 8
    calls: int = 2_200
    limit: int = 500
    latency: tuple[float, float] = (0.02, 0.06)
    slow: float = 0.0
    lost: float = 0.0
    unnamed: float = 0.0
    false_zero: float = 0.0
    starts_within: float = 0.0


@attrs.define(eq=False)
class _Process:
    window: Window
    calls: int
    wakes_at: float | None = None


class ScenarioSimulation:
    """Runs a scenario to its end.

    Attributes:
        rejected: The 429s in each window of the server, by the window's end.
        seconds: The time of the last response.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario, self._random, self._clock = scenario, random.Random(seed), Clock()
        self._server = LaravelWindow(scenario.limit, 60.0)
        self._processes = [
            _Process(Window(scenario.limit, 60.0), scenario.calls // scenario.processes)
            for _ in range(scenario.processes)
        ]
        self.rejected: Counter[float] = Counter()
        self.seconds = 0.0

    @property
    def ideal_seconds(self) -> float:
        """The time of used-up windows, and of the last one without a rate limit."""
        scenario = self._scenario
        windows, rest = divmod(scenario.calls - 1, scenario.limit)
        round_trips = -(-(rest + 1) // (scenario.slots * scenario.processes))
        return windows * 60.0 + round_trips * sum(scenario.latency)

    @property
    def most_rejected(self) -> int:
        """The most 429s in one window."""
        return max(self.rejected.values(), default=0)

    def run(self) -> None:
        """Run until every call has its response."""
        for process in self._processes:
            starts_at = self._random.uniform(0, self._scenario.starts_within)
            self._clock.call_at(starts_at, partial(self._send, process))
        while self._clock.next_time is not None:
            self._clock.run_next()
        assert not any(process.calls or process.window.in_flight for process in self._processes)

    def _send(self, process: _Process, now: float) -> None:
        window = process.window
        while process.calls and window.in_flight < self._scenario.slots and window.free(now) > 0:
            process.calls -= 1
            self._clock.call_at(now + self._latency(), partial(self._arrive, process, window.send(now)))
        wakes_at = window.wakes_at(now) if process.calls else None
        if wakes_at is not None and wakes_at != process.wakes_at:
            process.wakes_at = wakes_at
            self._clock.call_at(wakes_at, partial(self._wake, process))

    def _wake(self, process: _Process, now: float) -> None:
        process.wakes_at = None
        self._send(process, now)

    def _latency(self) -> float:
        more = self._random.uniform(0, 3) if self._random.random() < self._scenario.slow else 0.0
        return self._random.uniform(*self._scenario.latency) + more

    def _arrive(self, process: _Process, snapshot: Snapshot, now: float) -> None:
        remaining = self._server.hit(now)
        self.rejected[self._server.ends] += remaining is None
        respond = partial(self._respond, process, snapshot, remaining, self._server.ends)
        self._clock.call_at(now + self._latency(), respond)

    def _respond(self, process: _Process, snapshot: Snapshot, remaining: int | None, ends: float, now: float) -> None:
        scenario, chance, window = self._scenario, self._random.random, process.window
        is_lost = chance() < scenario.lost
        named = None if is_lost or chance() < scenario.unnamed else remaining or 0
        if named and chance() < scenario.false_zero:
            named = 0
        window.settle(snapshot, now, limit=None, remaining=named, answered=not is_lost)
        if remaining is None:
            process.calls += 1
        if not is_lost and remaining is None:
            window.reject(now, float(int(max(0.0, ends - now))))
        elif not is_lost:
            window.trust()
        self.seconds = now
        self._send(process, now)
