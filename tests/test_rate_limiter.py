"""The rate limiter: the window's arithmetic, the queue, and real windows of the emulator."""

import asyncio
import math
import random
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customers_async import (
    APIConnectionError,
    APITimeoutError,
    CustomersClient,
    Event,
    QuotaWait,
    RateLimit,
    RateLimiter,
    RateLimitError,
    RetryPolicy,
    RetryScheduled,
)
from customers_async.calls.slots import Permit, Slots
from customers_async.calls.window import Window
from customers_async.calls.window_facts import Snapshot
from customers_async.emulator import Emulator
from tests.simulation import LaravelWindow, LimiterSimulation, Scenario, ScenarioSimulation, SocketlessLoop
from tests.wire import make_response, serve

NOTHING: dict[str, Any] = {"limit": None, "remaining": None}


def settle(
    window: Window, snapshot: Snapshot, now: float, remaining: int | None = None, *, answered: bool = True
) -> None:
    window.settle(snapshot, now, limit=None, remaining=remaining, answered=answered)


def respond_to_all(window: Window, permits: list[Snapshot], now: float, remaining: int, fall: int = 1) -> int:
    """Settle requests in order, each of which lowers Remaining by ``fall``; return the last one."""
    for permit in permits:
        remaining -= fall
        settle(window, permit, now, remaining)
    return remaining


def test_requests_in_flight_double_until_the_share_is_known() -> None:
    """Eight before the first response, about twice as many after it, and all when no other process shows."""
    window, remaining, bursts = Window(500, 60.0), 500, []
    for trip in range(4):
        bursts.append(window.free(trip))
        remaining = respond_to_all(window, [window.send(trip) for _ in range(bursts[-1])], trip + 0.5, remaining)
    assert (bursts, window.share, remaining) == ([8, 15, 477, 0], 1.0, 0)


@pytest.mark.parametrize(("limit", "first"), [(500, 8), (64, 8), (40, 5), (12, 1), (1, 1)])
def test_small_limit_begins_with_fewer_requests(limit: int, first: int) -> None:
    """An eighth of the limit: several processes may begin at the same time."""
    window = Window(limit, 60.0)
    assert window.free(0.0) == first
    for _ in range(first):
        window.send(0.0)
    assert (window.free(0.5), window.free(1.5)) == (0, int(first < limit))


def test_window_ends_after_the_response_that_opened_it() -> None:
    """The window started before that response, so it ends at most its length later."""
    window = Window(2, 60.0)
    settle(window, window.send(1.0), 1.0, 1)
    settle(window, window.send(2.0), 2.0, 0)
    assert window.opens_at(2.0) == 61.05
    assert (window.free(61.0), window.free(61.06)) == (0, 1)


def test_responses_out_of_order_do_not_raise_remaining() -> None:
    """The lowest Remaining of the window counts, whatever the order of the responses."""
    window = Window(10, 60.0)
    settle(window, window.send(0.0), 0.0, 9)
    permits = [window.send(0.0) for _ in range(3)]
    settle(window, permits[2], 0.1, 6)
    settle(window, permits[0], 0.2, 8)
    settle(window, permits[1], 0.3, 7)
    assert window.remaining(0.4) == 6


def test_higher_remaining_than_at_sending_is_a_new_window() -> None:
    """A new window of the server is used at once, even before its expected start."""
    window = Window(10, 60.0)
    settle(window, window.send(0.0), 0.0, 2)
    permit = window.send(29.9)
    settle(window, permit, 30.0, 9)
    assert window.remaining(30.0) == 9
    assert window.ends_at(30.0) == 90.05


def test_use_by_others_lowers_the_share() -> None:
    """Another process on the same address lowers Remaining, and with it the limiter's share of the rest."""
    window = Window(500, 60.0)
    settle(window, window.send(0.0), 0.0, 400)
    respond_to_all(window, [window.send(1.0) for _ in range(16)], 1.0, 400, fall=4)
    assert window.share == 0.25
    assert (window.remaining(1.0), window.free(1.0)) == (84, 42)  # 336 remain; others have requests in flight, too


def test_share_is_kept_for_the_next_window() -> None:
    """The share of several processes is not reset with each window."""
    window = Window(500, 60.0)
    settle(window, window.send(0.0), 0.0, 499)
    respond_to_all(window, [window.send(1.0) for _ in range(16)], 1.0, 499, fall=20)
    settle(window, window.send(61.0), 61.0, 400)
    assert (window.share, window.remaining(61.0), window.free(61.0)) == (0.05, 20, 10)


def test_small_share_allows_one_request() -> None:
    """While anything remains, one request can be in flight."""
    window = Window(500, 60.0)
    settle(window, window.send(0.0), 0.0, 499)
    respond_to_all(window, [window.send(0.5) for _ in range(16)], 1.0, 498, fall=31)
    assert window.share is not None
    assert window.share < 0.04
    assert window.free(1.0) == 1
    window.send(1.0)
    assert window.free(1.0) == 0


def test_single_client_has_the_whole_share() -> None:
    """A client alone uses all that remains, whatever the order of the responses."""
    window = Window(500, 60.0)
    settle(window, window.send(0.0), 0.0, 499)
    permits = [window.send(0.0) for _ in range(100)]
    for remaining, permit in enumerate(permits, 399):
        settle(window, permit, 0.1, remaining)
    assert (window.share, window.free(0.2)) == (1.0, 399)


def test_one_request_is_sacrificed_if_the_end_is_unknown() -> None:
    """If others opened the window, one request is sent after it is used up, for its Retry-After."""
    window = Window(500, 60.0)
    settle(window, window.send(0.0), 0.0, 1)
    settle(window, window.send(0.0), 0.0, 0)
    assert (window.free(0.0), window.opens_at(0.0)) == (1, None)
    sacrifice = window.send(0.0)
    assert (window.free(0.0), window.opens_at(0.0)) == (0, 60.05)
    settle(window, sacrifice, 0.1, 0)
    window.reject(0.1, 20.0)
    assert window.opens_at(0.2) == pytest.approx(21.1)


def test_end_of_the_window_after_a_429_is_known() -> None:
    """Retry-After and the first response bound the window's start, so no second request is sacrificed."""
    window = Window(500, 60.0)
    permit = window.send(0.0)
    settle(window, permit, 0.0, 0)
    window.reject(0.0, 20.0)
    settle(window, window.send(21.0), 21.0, 3)
    settle(window, window.send(22.0), 22.0, 0)
    assert window.opens_at(22.0) == pytest.approx(81.05)
    assert window.free(22.0) == 0


def test_late_response_of_an_older_window_raises_nothing() -> None:
    """A late response from a request of the old window does not start a third window."""
    window = Window(10, 60.0)
    settle(window, window.send(0.0), 0.0, 3)
    late = window.send(59.0)
    settle(window, window.send(60.1), 60.1, 4)
    settle(window, late, 60.2, 9)
    assert window.remaining(60.2) == 4


def test_requests_are_counted_without_headers() -> None:
    """Without headers at most the limit is sent in each window."""
    window = Window(3, 60.0)
    for _ in range(3):
        settle(window, window.send(0.0), 0.0)
    assert window.free(0.0) == 0
    assert window.opens_at(0.0) == 60.05
    assert window.free(61.0) == 1


def test_request_without_a_response_counts() -> None:
    """A lost response uses up a permit; after a lost first request the next one is sent alone."""
    window = Window(10, 60.0)
    settle(window, window.send(0.0), 0.0, answered=False)
    assert window.remaining(0.0) == 1
    settle(window, window.send(0.0), 0.0, 9)
    settle(window, window.send(0.0), 0.0, answered=False)
    assert window.remaining(0.0) == 8


def test_late_response_does_not_end_the_new_window() -> None:
    """A Remaining of 0 from the previous window is ignored."""
    window = Window(2, 60.0)
    settle(window, window.send(0.0), 0.0, 1)
    late = window.send(1.0)
    assert window.free(61.0) == 1
    settle(window, window.send(61.0), 61.0, 1)
    settle(window, late, 61.5, 0)
    assert window.free(61.5) == 1


def test_429_blocks_all_requests() -> None:
    """All requests wait for Retry-After and a second more, at least a second; then one is sent."""
    for retry_after, opens in ((7.0, 8.0), (0.0, 1.0), (-5.0, 1.0)):
        window = Window(10, 60.0)
        permit = window.send(0.0)
        settle(window, permit, 0.0, 0)
        window.reject(0.0, retry_after)
        assert window.opens_at(0.0) == opens
        assert (window.free(opens - 0.01), window.free(opens)) == (0, 1)


@pytest.mark.parametrize("remaining", [19, 200])
def test_429_is_not_undone_by_a_response_in_flight(remaining: int) -> None:
    """A response in flight with a higher Remaining does not end the wait for Retry-After."""
    window = Window(500, 60.0)
    settle(window, window.send(0.0), 0.1, 100)
    first, second = window.send(1.0), window.send(1.0)
    settle(window, first, 1.1, 0)
    window.reject(1.1, 40.0)
    settle(window, second, 1.2, remaining)
    assert (window.free(1.2), window.opens_at(1.2)) == (0, 42.1)


def test_reserve_is_kept_for_other_callers() -> None:
    """With a reserve fewer requests can be sent, and the wait is until the end of the window."""
    window = Window(10, 60.0)
    settle(window, window.send(0.0), 0.0, 9)
    for remaining in (8, 7, 6):
        settle(window, window.send(0.0), 0.0, remaining)
    assert (window.free(0.0), window.free(0.0, reserve=4)) == (4, 2)
    for remaining in (5, 4):
        settle(window, window.send(0.0), 0.0, remaining)
    assert (window.free(0.0), window.free(0.0, reserve=4)) == (4, 0)
    assert (window.opens_at(0.0), window.opens_at(0.0, reserve=4)) == (None, 60.05)
    assert window.wakes_at(0.0, reserve=4) == 60.05
    assert window.free(61.0, reserve=4) == 1


def test_limit_follows_the_server() -> None:
    """The limit given at first is replaced by the limit in the responses."""
    window = Window(500, 60.0)
    window.settle(window.send(0.0), 0.0, limit=50, remaining=49, answered=True)
    assert (window.limit, window.remaining(0.0)) == (50, 49)


@settings(max_examples=300)
@given(
    limit=st.integers(1, 12),
    calls=st.integers(1, 60),
    seed=st.integers(0, 10_000),
    slowest=st.sampled_from([0.01, 1.0, 15.0]),  # in each direction; an attempt ends after 30 s
)
def test_single_client_never_causes_a_429(limit: int, calls: int, seed: int, slowest: float) -> None:
    """Whatever the latencies and the order of responses, no request is rejected."""
    simulation = LimiterSimulation(limit, calls, seed, slowest)
    simulation.run()
    assert simulation.server.rejected == 0
    assert len(simulation.server.admitted) == calls


@given(
    limit=st.integers(1, 12),
    calls=st.integers(1, 60),
    seed=st.integers(0, 10_000),
    slowest=st.sampled_from([0.01, 1.0, 10.0]),
    lost=st.sampled_from([0.05, 0.3, 0.7, 1.0]),
)
def test_lost_responses_cause_no_429(limit: int, calls: int, seed: int, slowest: float, lost: float) -> None:
    """A request without a response may have been counted, in any order and even if no response ever arrives."""
    simulation = LimiterSimulation(limit, calls, seed, slowest, lost=lost)
    simulation.run()
    assert simulation.server.rejected == 0
    assert len(simulation.server.admitted) == calls


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
@pytest.mark.parametrize("slots", [1, 8, 75, 600])
def test_processes_that_begin_together_share_the_window(processes: int, slots: int) -> None:
    """None knows of the others: at the end of the window each causes one 429, and a process alone causes none."""
    simulation = ScenarioSimulation(Scenario(processes=processes, slots=slots, calls=1_200), seed=processes + slots)
    simulation.run()
    assert simulation.most_rejected <= (processes if processes > 1 else 0)
    assert simulation.seconds <= 1.03 * simulation.ideal_seconds


@pytest.mark.parametrize(
    ("scenario", "rejected", "ratio"),
    [
        (Scenario(slow=0.02), 0, 1.03),
        (Scenario(lost=0.3, slots=75), 0, 1.01),
        (Scenario(unnamed=0.5), 1, 1.01),
        (Scenario(unnamed=0.5, slots=75), 1, 1.01),
        (Scenario(unnamed=1.0), 0, 1.01),
        (Scenario(false_zero=0.02, calls=1_200), 0, 1.6),
        (Scenario(processes=4, slots=75, unnamed=0.5), 8, 1.03),
        (Scenario(processes=4, false_zero=0.02), 8, 1.3),
        (Scenario(processes=4, limit=20, calls=200), 16, 1.03),
    ],
    ids=repr,
)
def test_unusual_responses_cost_little(scenario: Scenario, rejected: int, ratio: float) -> None:
    """Slow, lost and unnamed responses, false zeros and small limits: few 429s, and little of each window unused."""
    for seed in range(3):
        simulation = ScenarioSimulation(scenario, seed)
        simulation.run()
        assert simulation.most_rejected <= rejected
        assert simulation.seconds <= ratio * simulation.ideal_seconds


class Crowd:
    """Two clients of one limiter, in both lanes: calls with short waits, cancelled calls, lost responses."""

    def __init__(
        self, limit: int, seed: int, slowest: float, lost: float, reserve: int = 0, most: int | None = None
    ) -> None:
        self.random = random.Random(seed)
        self.server = LaravelWindow(limit, 60.0)
        self.limiter = RateLimiter(limit, reserve=reserve, max_in_flight=most)
        self.clients, self.most = [Slots(1), Slots(4)], most or 5
        self.bulk_work: Counter[float] = Counter()  # admitted, by the window's end
        self.unanswered = 0
        self.slowest, self.lost = slowest, lost
        self.failures: list[str] = []

    async def call(self) -> None:
        max_wait = self.random.choice([0.0, 3.0, 70.0, math.inf])
        await asyncio.sleep(self.random.choice([0.0, self.random.uniform(0, 200)]))
        slots, waited, done = self.random.choice(self.clients), 0.0, False
        while not done:
            lane: Any = self.random.choice(["interactive", "bulk"])
            try:
                permit = await self.limiter.acquire(slots, lane=lane, max_wait=max_wait - waited)
            except RateLimitError:
                if max_wait == math.inf:
                    self.failures.append("a call without a bound was refused")
                return
            waited += permit.waited
            if sum(slots.used for slots in self.clients) > self.most:
                self.failures.append("too many requests were in flight")
            if waited > max_wait + 0.01:
                self.failures.append(f"a call waited {waited} s, more than {max_wait} s")
            done = await self.send(permit, lane)

    async def send(self, permit: Permit, lane: str) -> bool:
        settled: dict[str, Any] = {"answered": False}
        try:
            await asyncio.sleep(self.random.uniform(0, self.slowest))
            remaining, ends = self.server.hit(asyncio.get_running_loop().time()), self.server.ends
            self.bulk_work[ends] += lane == "bulk" and remaining is not None
            await asyncio.sleep(self.random.uniform(0, self.slowest))
            if self.random.random() >= self.lost:
                settled = {"answered": True, "limit": self.server.limit, "remaining": remaining or 0}
                if remaining is None:
                    settled["rejected_for"] = max(0.0, ends - asyncio.get_running_loop().time())
        finally:
            self.unanswered += not settled["answered"]
            self.limiter.release(permit, **settled)
        return settled["answered"] and "rejected_for" not in settled

    async def run(self) -> None:
        calls = [asyncio.create_task(self.call()) for _ in range(40)]
        for call in self.random.sample(calls, 8):
            asyncio.get_running_loop().call_later(self.random.uniform(0, 250), call.cancel)
        _, hanging = await asyncio.wait(calls, timeout=50_000)
        assert not hanging
        assert not self.failures
        assert (self.limiter._window.in_flight, [slots.used for slots in self.clients]) == (0, [0, 0])
        assert (self.limiter._has_waiters, self.limiter._timer) == (False, None)


@given(
    limit=st.integers(1, 12),
    seed=st.integers(0, 10_000),
    slowest=st.sampled_from([0.01, 1.0, 10.0]),
    lost=st.sampled_from([0.0, 0.3]),
    most=st.sampled_from([None, 1, 2, 3]),
)
@settings(max_examples=25)
def test_no_call_hangs_or_waits_too_long(limit: int, seed: int, slowest: float, lost: float, most: int | None) -> None:
    """Whatever is slow, lost or cancelled, each call succeeds or is refused in time, and nothing is left."""
    with asyncio.Runner(loop_factory=SocketlessLoop) as runner:
        runner.run(Crowd(limit, seed, slowest, lost, most=most).run())


@given(
    limit=st.integers(2, 12),
    reserve=st.integers(1, 11),
    seed=st.integers(0, 10_000),
    slowest=st.sampled_from([0.01, 1.0, 10.0]),
)
@settings(max_examples=20)
def test_bulk_calls_keep_the_reserve_of_each_window(limit: int, reserve: int, seed: int, slowest: float) -> None:
    """Bulk calls use only their part of a window (a cancelled call may count without a response)."""
    reserve = min(reserve, limit - 1)
    crowd = Crowd(limit, seed, slowest, 0.0, reserve)
    with asyncio.Runner(loop_factory=SocketlessLoop) as runner:
        runner.run(crowd.run())
    assert max(crowd.bulk_work.values()) <= limit - reserve + crowd.unanswered


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"reserve": -1}, ValueError),
        ({"reserve": 500}, ValueError),
        ({"reserve": True}, TypeError),
        ({"reserve": 2.5}, TypeError),
        ({"max_in_flight": 0}, ValueError),
        ({"max_in_flight": False}, TypeError),
        ({"max_in_flight": 2.5}, TypeError),
        ({"limit": 0}, ValueError),
        ({"limit": True}, TypeError),
        ({"limit": 1.5}, TypeError),
        ({"window": 0}, ValueError),
        ({"window": float("inf")}, ValueError),
        ({"window": float("nan")}, ValueError),
        ({"window": "60"}, TypeError),
    ],
)
def test_bad_limits_are_refused(arguments: dict[str, Any], kind: type[Exception]) -> None:
    """Only numbers above 0 are accepted."""
    with pytest.raises(kind):
        RateLimiter(**arguments)


async def acquire(limiter: RateLimiter, slots: Slots, lane: Any = "bulk", max_wait: float = 1000.0) -> Permit:
    return await limiter.acquire(slots, lane=lane, max_wait=max_wait)


async def make_used_limiter(limit: int = 500, window: float = 60.0) -> tuple[RateLimiter, Slots]:
    """Return a limiter that has seen one response."""
    limiter, slots = RateLimiter(limit, window), Slots(8)
    limiter.release(await acquire(limiter, slots), answered=True, remaining=limit - 1)
    return limiter, slots


async def test_slot_and_permit_are_granted_together() -> None:
    """A call that waits for a slot holds no permit."""
    limiter, _ = await make_used_limiter()
    slots = Slots(2)
    held = [await acquire(limiter, slots) for _ in range(2)]
    waiting = asyncio.ensure_future(acquire(limiter, slots))
    await asyncio.sleep(0)
    assert limiter.state.remaining == 497
    limiter.release(held[0], answered=True, remaining=498)
    permit = await waiting
    assert slots.used == 2
    assert permit.waited == 0


async def test_interactive_calls_come_first() -> None:
    """A look-up overtakes waiting bulk calls; within a lane the order is first come, first served."""
    limiter, _ = await make_used_limiter()
    slots = Slots(1)
    held = await acquire(limiter, slots)
    order: list[str] = []

    async def call(name: str, lane: str) -> None:
        permit = await acquire(limiter, slots, lane)
        order.append(name)
        limiter.release(permit, answered=True)

    calls = [
        call("bulk 1", "bulk"),
        call("bulk 2", "bulk"),
        call("look-up 1", "interactive"),
        call("look-up 2", "interactive"),
    ]
    tasks = []
    for waiting in calls:
        tasks.append(asyncio.ensure_future(waiting))
        await asyncio.sleep(0)
    limiter.release(held, answered=True)
    await asyncio.gather(*tasks)
    assert order == ["look-up 1", "look-up 2", "bulk 1", "bulk 2"]


async def test_client_without_a_free_slot_does_not_block_another() -> None:
    """Of two clients of one limiter, the one without a free slot is passed over."""
    limiter, _ = await make_used_limiter()
    busy, idle = Slots(1), Slots(1)
    await acquire(limiter, busy)
    stuck = asyncio.ensure_future(acquire(limiter, busy))
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await acquire(limiter, idle)
    assert not stuck.done()
    stuck.cancel()


async def test_client_with_the_fewest_requests_in_flight_comes_first() -> None:
    """A client that floods the limiter delays another one by one request, however many of its calls wait."""
    limiter = RateLimiter(max_in_flight=2)
    flooding, other = Slots(8), Slots(8)
    limiter.release(await acquire(limiter, flooding), answered=True, remaining=499)
    held = [await acquire(limiter, flooding) for _ in range(2)]
    flood = [asyncio.ensure_future(acquire(limiter, flooding)) for _ in range(20)]
    await asyncio.sleep(0)
    late = asyncio.ensure_future(acquire(limiter, other))
    await asyncio.sleep(0)
    assert flooding.used == 2
    limiter.release(held[0], answered=True, remaining=498)
    await asyncio.sleep(0)
    assert (late.done(), other.used, flooding.used) == (True, 1, 1)
    assert (await late).waited == 0  # waiting for a slot is not a wait for the rate limit
    for call in flood:
        call.cancel()


async def test_wait_for_the_rate_limit_is_bounded() -> None:
    """A wait longer than ``max_wait`` is refused at once; 0 fails fast."""
    limiter, slots = await make_used_limiter(limit=1)
    started = asyncio.get_running_loop().time()
    for max_wait in (0.0, 59.0):
        with pytest.raises(RateLimitError, match="nothing was sent") as caught:
            await acquire(limiter, slots, max_wait=max_wait)
        assert caught.value.sent is False
        assert 59 < caught.value.retry_after <= 60.05
    assert asyncio.get_running_loop().time() - started < 1
    permit = await acquire(limiter, slots, max_wait=61.0)
    assert 60 <= permit.waited < 61


async def test_waiters_are_refused_after_a_long_429() -> None:
    """A call that waits for a slot is refused at once if a 429 makes its wait too long."""
    limiter, _ = await make_used_limiter()
    slots = Slots(1)
    held = await acquire(limiter, slots)
    waiting = asyncio.ensure_future(acquire(limiter, slots, max_wait=30.0))
    await asyncio.sleep(0)
    limiter.release(held, answered=True, rejected_for=60.0)
    with pytest.raises(RateLimitError) as caught:
        await waiting
    assert caught.value.retry_after == pytest.approx(61.0, abs=0.1)


async def test_waiting_for_a_slot_is_not_a_wait_for_the_rate_limit() -> None:
    """A call waits half a minute for a slot; only the second without permits counts."""
    limiter, other = await make_used_limiter(limit=3, window=1.0)
    slots = Slots(1)
    held = await acquire(limiter, slots)
    waiting = asyncio.ensure_future(acquire(limiter, slots))
    await asyncio.sleep(0)
    await acquire(limiter, other)
    await asyncio.sleep(30)
    limiter.release(held, answered=True)
    assert (await waiting).waited < 2


@pytest.mark.parametrize("granted", [False, True])
async def test_cancelled_waiter_leaves_nothing_behind(granted: bool) -> None:
    """If it is cancelled while waiting or after its grant, the next call gets slot and permit."""
    limiter, _ = await make_used_limiter()
    slots = Slots(1)
    held = await acquire(limiter, slots)
    first, second = (asyncio.ensure_future(acquire(limiter, slots)) for _ in range(2))
    await asyncio.sleep(0)
    if granted:
        limiter.release(held, answered=True)
        first.cancel()
    else:
        first.cancel()
        limiter.release(held, answered=True)
    async with asyncio.timeout(1):
        await second
    assert slots.used == 1
    assert limiter.state.remaining == 497


async def test_state_shows_limit_remaining_and_reset() -> None:
    """The state needs no request; before the first response, remaining and reset are None."""
    limiter = RateLimiter()
    assert limiter.state == RateLimit(500, None, None)
    limiter, slots = await make_used_limiter()
    state = limiter.state
    assert (state.limit, state.remaining) == (500, 499)
    assert state.resets_in is not None
    assert 59 < state.resets_in <= 60.05
    limiter.release(await acquire(limiter, slots), answered=True, rejected_for=5.0)
    assert limiter.state.remaining == 0
    assert limiter.state.resets_in == pytest.approx(6, abs=0.1)  # not the end of the window, which is later
    assert repr(limiter) == "RateLimiter(limit=500, window=60)"


def test_limiter_with_permits_serves_one_loop() -> None:
    """A second loop is refused while the first has permits; an idle limiter moves to another loop."""
    limiter, slots = RateLimiter(), Slots(8)

    async def release_permit(permit: Permit) -> None:
        limiter.release(permit, answered=True)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        permit = first.run(acquire(limiter, slots))
        with pytest.raises(RuntimeError, match="another event loop"):
            second.run(acquire(limiter, slots))
        first.run(release_permit(permit))
        second.run(acquire(limiter, slots))


@pytest.mark.parametrize("ending", ["cancelled", "refused"])
def test_ended_waiter_does_not_keep_the_limiter_busy(ending: str) -> None:
    """After its waiter was cancelled or refused the limiter is idle, so another loop can use it."""

    async def end_a_wait() -> RateLimiter:
        limiter, _ = await make_used_limiter()
        slots = Slots(1)
        held = await acquire(limiter, slots)
        waiting = asyncio.ensure_future(acquire(limiter, slots, max_wait=100.0))
        await asyncio.sleep(0)
        if ending == "cancelled":
            limiter.release(held, answered=True, rejected_for=50.0)
            waiting.cancel()
        else:
            limiter.release(held, answered=True, rejected_for=500.0)
        await asyncio.gather(waiting, return_exceptions=True)
        return limiter

    with asyncio.Runner() as first, asyncio.Runner() as second:
        limiter = first.run(end_a_wait())
        with pytest.raises(RateLimitError):
            second.run(acquire(limiter, Slots(1), max_wait=0.0))


def test_permit_of_a_closed_loop_wakes_no_waiter() -> None:
    """Its slot is free again, and the waiter on the closed loop is not called."""
    limiter, slots = RateLimiter(), Slots(1)
    loop = asyncio.new_event_loop()
    permit = loop.run_until_complete(acquire(limiter, slots))
    waiting = loop.create_task(acquire(limiter, slots))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    async def release_late() -> None:
        limiter.release(permit, answered=True)
        assert slots.used == 0
        await acquire(limiter, slots)

    asyncio.run(release_late())
    waiting.get_coro().close()
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]


def test_limiter_survives_the_end_of_its_loop() -> None:
    """A request in flight on a closed loop does not count on the next loop."""
    limiter = RateLimiter()
    for _ in range(3):
        permit = asyncio.run(acquire(limiter, Slots(8)))
        assert permit.waited == 0.0
        assert limiter._window.in_flight == 1


async def test_stalled_first_request_delays_others_by_a_second() -> None:
    """If the first requests have no response after a second, another one is sent."""
    limiter, slots = RateLimiter(), Slots(9)
    for _ in range(8):
        await acquire(limiter, slots)
    started = asyncio.get_running_loop().time()
    await acquire(limiter, slots, max_wait=0.0)
    assert 1.0 <= asyncio.get_running_loop().time() - started < 1.5


def test_lost_response_is_not_a_new_window() -> None:
    """If a lost request never reached the server, Remaining is higher than assumed in the same window."""
    window = Window(20, 60.0)
    settle(window, window.send(0.0), 0.1, 19)
    ends = window.ends_at(0.1)
    for _ in range(2):
        settle(window, window.send(1.0), 1.1, answered=False)
    assert window.remaining(2.0) == 17
    settle(window, window.send(2.0), 2.1, 18)
    assert (window.ends_at(2.0), window.remaining(2.2)) == (ends, 18)


def test_limit_holds_in_any_minute_before_the_first_response() -> None:
    """If no request gets a response, the third one is sent when the first is too old to be in the same window."""
    window = Window(2, 60.0)
    for now in (0.0, 20.0):
        settle(window, window.send(now), now + 1, answered=False)
    assert window.free(30.0) == 0
    assert window.opens_at(30.0) == pytest.approx(61.05)
    assert (window.free(61.05), window.opens_at(61.05)) == (1, None)
    settle(window, window.send(61.05), 62.0, answered=False)
    assert window.opens_at(62.0) == pytest.approx(81.05)


def test_requests_without_a_response_may_have_opened_the_window() -> None:
    """What is missing from the first Remaining is explained by our own requests: no request is sacrificed."""
    window = Window(3, 60.0)
    settle(window, window.send(0.0), 1.0, answered=False)
    settle(window, window.send(1.0), 1.1, 1)
    settle(window, window.send(1.1), 1.2, 0)
    assert window.free(1.2) == 0
    assert window.opens_at(1.2) == pytest.approx(61.15)


def test_late_timeout_counts_in_the_next_window() -> None:
    """A request of the last window that ends without a response may have been counted in this one."""
    window = Window(5, 60.0)
    settle(window, window.send(0.0), 0.1, 4)
    late = window.send(59.9)
    settle(window, window.send(60.2), 60.3, 4)
    settle(window, late, 60.4, answered=False)
    assert window.remaining(60.4) == 3


async def test_refused_connections_do_not_use_the_rate_limit(unused_tcp_port: int) -> None:
    """A request that was never sent is not counted, so an outage ends without a wait for the rate limit."""
    limiter = RateLimiter(2)
    async with CustomersClient(
        "token", base_url=f"http://127.0.0.1:{unused_tcp_port}", max_rate_limit_wait=0, rate_limiter=limiter
    ) as client:
        for _ in range(5):
            with pytest.raises(APIConnectionError) as caught:
                await client.count_customers()
            assert not caught.value.sent


async def test_refusal_of_a_retry_counts_the_attempts_before() -> None:
    """Nothing was sent for the retry, but its error has the attempt that failed."""
    reply = make_response(b"", "500 Oh", X_RateLimit_Limit="1", X_RateLimit_Remaining="0")
    async with serve(reply, max_rate_limit_wait=0) as (client, server):
        with pytest.raises(RateLimitError) as caught:
            await client.count_customers()
    assert (len(server.requests), caught.value.sent, caught.value.attempts) == (1, False, 1)


async def test_retry_without_a_first_response_counts_the_attempts_before(unused_tcp_port: int) -> None:
    """The connection is refused, and before the retry another client takes the only request allowed."""
    limiter, tasks = RateLimiter(limit=1), list[Any]()

    def take(event: Event) -> None:
        if isinstance(event, RetryScheduled):
            tasks.append(asyncio.ensure_future(limiter.acquire(Slots(1), lane="bulk", max_wait=0)))

    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with CustomersClient(
        "token", base_url=url, rate_limiter=limiter, max_rate_limit_wait=2, on_event=take
    ) as client:
        with pytest.raises(APITimeoutError, match="nothing was sent") as caught:
            await client.count_customers()
    assert (len(tasks), caught.value.sent, caught.value.attempts) == (1, False, 1)


async def test_many_waiters_are_cheap() -> None:
    """A new waiter does not make the limiter check all others."""

    async def cost(calls: int) -> float:
        limiter, slots = await make_used_limiter(limit=1)
        waiting = [asyncio.ensure_future(acquire(limiter, slots)) for _ in range(calls)]
        started = time.process_time()
        await asyncio.sleep(0)
        seconds = time.process_time() - started
        for call in waiting:
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return seconds / calls

    few, many = [min([await cost(calls) for _ in range(3)]) for calls in (500, 5_000)]
    assert many < 4 * few


async def test_listing_over_three_windows_causes_no_429() -> None:
    """1,200 pages under 500 a minute take three windows, little more than two minutes, without a 429."""
    asyncio.get_running_loop().set_debug(False)  # debug mode keeps a stack for each task
    waits: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, QuotaWait):
            waits.append(event.seconds)

    async with (
        Emulator(customers=1_200) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url, on_event=listen) as client,
    ):
        started = asyncio.get_running_loop().time()
        pager = client.list_customers(per_page=1, on_incomplete="raise")
        assert len([page async for page in pager.pages()]) == 1200
        seconds = asyncio.get_running_loop().time() - started
        assert emulator.stats.statuses == {200: 1200 + 2}  # each pause adds one
        assert 120 <= seconds <= 126
        assert waits
        assert max(waits) <= 61


async def test_fail_fast_call_while_a_listing_waits(emulator: Emulator) -> None:
    """A look-up that may not wait is refused at once while bulk calls wait for the next window."""
    emulator.rate_limit(5)
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        first = asyncio.ensure_future(anext(aiter(client.list_customers(per_page=1, first_page=200))))
        pager = client.list_customers(per_page=10)
        listing = asyncio.ensure_future(collect(pager))
        await first
        async with asyncio.timeout(1):
            while client.rate_limit.remaining != 0:  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(0.01)
        with pytest.raises(RateLimitError) as caught:
            await client.with_options(max_rate_limit_wait=0).get_customer(next(emulator.uuids()))
        assert (caught.value.sent, caught.value.url_path[:18]) == (False, "/api/v1/customers/")
        listing.cancel()
        await asyncio.gather(listing, return_exceptions=True)


async def test_whole_fresh_window_is_free_to_calls_that_may_not_wait() -> None:
    """500 calls at once that fail fast are all sent: waiting for what the first responses say is no wait."""
    limiter, slots, server = RateLimiter(), Slots(500), LaravelWindow(500, 60.0)

    async def call() -> None:
        permit = await acquire(limiter, slots, "interactive", max_wait=0.0)
        remaining = server.hit(asyncio.get_running_loop().time())
        await asyncio.sleep(0.1)
        limiter.release(permit, answered=True, limit=500, remaining=remaining)

    await asyncio.gather(*(call() for _ in range(500)))
    assert (len(server.admitted), server.rejected) == (500, 0)
    with pytest.raises(RateLimitError):
        await acquire(limiter, slots, "interactive", max_wait=0.0)


async def test_slow_service_is_no_used_up_rate_limit() -> None:
    """Eight look-ups after idling, from a service that takes longer than a second, are all sent at once."""
    async with (
        Emulator(customers=8, latency=1.2) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url, max_rate_limit_wait=0) as client,
    ):
        await asyncio.gather(*(client.get_customer(uuid) for uuid in emulator.uuids()))


async def test_service_that_does_not_respond_is_a_timeout(emulator: Emulator) -> None:
    """Of 20 look-ups that may not wait, eight time out, and the others end in the same error without being sent."""
    emulator.fail_next("stall", times=None)
    async with CustomersClient(
        emulator.token,
        base_url=emulator.url,
        concurrency=20,
        max_rate_limit_wait=0,
        timeout=5,
        retry=RetryPolicy(max_attempts=1),
    ) as client:
        calls = (client.get_customer(uuid) for uuid in emulator.uuids(0, 20))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {APITimeoutError}


async def test_one_warning_for_each_closing(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """However many responses were 429s at the same time, and however many clients share the limiter."""
    emulator.fail_next(429, times=8)
    limiter = RateLimiter()
    async with (
        CustomersClient(emulator.token, base_url=emulator.url, rate_limiter=limiter) as first,
        CustomersClient(emulator.token, base_url=emulator.url, rate_limiter=limiter) as second,
    ):
        await asyncio.gather(*(client.get_page(1) for client in (first, second) for _ in range(4)))
    assert [record.message for record in caplog.records if "429" in record.message] == [
        "The service responded 429: nothing is sent for 61 s."
    ]


async def test_only_the_429_that_closes_the_limiter_learns_for_how_long() -> None:
    """The other 429s find it closed, and no other call is given the time in their place."""
    limiter, slots = RateLimiter(), Slots(4)
    permits = [await limiter.acquire(slots, lane="bulk", max_wait=0.0) for _ in range(4)]
    closed_for = [limiter.release(permit, answered=True, rejected_for=30.0) for permit in permits[:3]]
    assert closed_for == [pytest.approx(31.0), None, None]
    assert limiter.release(permits[3], answered=True, limit=500, remaining=400) is None


def test_retry_after_of_zero_without_end_is_tested_more_and_more_rarely() -> None:
    """The pause doubles with each closing up to a window, and is short again after a success."""
    window, now, pauses = Window(500, 60.0), 0.0, []
    for _ in range(2_000):
        settle(window, window.send(now), now, 0)
        for _ in range(3):  # in flight at the same time: one closing
            window.reject(now, 0.0)
        opens_at = window.opens_at(now)
        assert opens_at is not None
        pauses.append(opens_at - now)
        now = opens_at
    assert pauses == [1, 2, 4, 8, 16, 32, *[60] * 1_994]
    window.trust()
    window.reject(now, 0.0)
    assert window.opens_at(now) == now + 1


async def test_listing_delays_a_look_up_by_at_most_one_round_trip() -> None:
    """While a listing uses every slot, look-ups get the next free ones."""
    latency = 10.0  # much longer than the delays of a busy machine
    async with (
        Emulator(customers=10_000, latency=latency) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        listing = asyncio.ensure_future(collect(client.list_customers()))
        loop, times = asyncio.get_running_loop(), list[float]()
        await asyncio.sleep(2 * latency)
        while not listing.done():
            started = loop.time()
            await asyncio.gather(*(client.get_customer(uuid) for uuid in emulator.uuids(0, 8)))
            times.append(loop.time() - started)
        assert len(await listing) == 10_000
        assert len(times) > 5
        assert max(times) < 2.5 * latency
        assert emulator.stats.peak_in_flight == 8


@pytest.mark.slow
async def test_look_ups_are_quick_beside_an_endless_listing_of_another_process() -> None:
    """With a reserve in the process that lists 30,000 customers, none fails, and the slowest ones are hardly slower."""
    clock = asyncio.get_running_loop().time
    async with Emulator(customers=30_000, latency=0.1) as emulator:
        uuids = list(emulator.uuids(0, 300))
        async with (
            CustomersClient(emulator.token, base_url=emulator.url, max_rate_limit_wait=1) as service,
            CustomersClient(
                emulator.token,
                base_url=emulator.url,
                rate_limiter=RateLimiter(reserve=100),
                max_rate_limit_wait=10_000,
            ) as job,
        ):

            async def measure_look_ups() -> float:
                durations = []
                for uuid in uuids:
                    started = clock()
                    await service.get_customer(uuid)
                    durations.append(clock() - started)
                    await asyncio.sleep(0.7)
                return sorted(durations)[len(durations) * 99 // 100]

            async def list_endlessly() -> None:
                while True:
                    await collect(job.list_customers(on_incomplete="ignore"))

            alone = await measure_look_ups()
            listing = asyncio.create_task(list_endlessly())
            beside = await measure_look_ups()
            assert not listing.done()
            listing.cancel()
    assert emulator.stats.statuses[200] > 900
    assert beside <= 1.5 * alone


async def test_reserve_is_available_to_look_ups(emulator: Emulator) -> None:
    """A listing sends 25 of 30 requests in a window; five look-ups that may not wait get the rest."""
    emulator.rate_limit(30)
    limiter = RateLimiter(30, reserve=5)
    async with CustomersClient(emulator.token, base_url=emulator.url, rate_limiter=limiter) as client:
        listing = asyncio.ensure_future(collect(client.list_customers(per_page=5)))
        await asyncio.sleep(5)
        assert emulator.stats.requests == 25
        hurried = client.with_options(max_rate_limit_wait=0)
        for page in (1, 2):  # bulk calls that may not wait are refused, and use nothing of the reserve
            with pytest.raises(RateLimitError, match="nothing was sent"):
                await anext(aiter(hurried.list_customers(first_page=page)))
        for uuid in emulator.uuids(0, 5):
            await hurried.get_customer(uuid)
        with pytest.raises(RateLimitError, match="nothing was sent"):
            await hurried.get_customer(next(emulator.uuids()))
        assert emulator.stats.requests == 30
        assert len(await listing) == 250
        assert emulator.stats.rejected == 0


async def test_reserve_above_the_limit_does_not_stop_bulk_calls(emulator: Emulator) -> None:
    """If the server's limit is below the reserve, a listing sends one request in each window; each pause adds one."""
    emulator.rate_limit(3, window=10)
    limiter = RateLimiter(window=10, reserve=25)
    async with CustomersClient(emulator.token, base_url=emulator.url, rate_limiter=limiter) as client:
        assert len(await collect(client.list_customers())) == 250
        assert emulator.stats.statuses == {200: 3 + 2}


async def test_reserve_needs_no_sacrificed_request(emulator: Emulator) -> None:
    """If others opened the window, bulk calls wait for its latest end and sacrifice no request."""
    emulator.rate_limit(10)
    limiter = RateLimiter(10, reserve=5)
    async with (
        CustomersClient(emulator.token, base_url=emulator.url) as other,
        CustomersClient(emulator.token, base_url=emulator.url, rate_limiter=limiter) as client,
    ):
        await other.whoami()
        await asyncio.sleep(20)
        assert len(await collect(client.list_customers(per_page=50))) == 250
        assert emulator.stats.rejected == 0


async def collect(pager: Any) -> list[Any]:
    return [customer async for customer in pager]


async def test_waiting_for_a_slot_before_the_first_response_is_free() -> None:
    """Before the first response, calls behind the only slot wait for the slot, not for the rate limit."""
    limiter, slots = RateLimiter(), Slots(1)
    first = await limiter.acquire(slots, lane="bulk", max_wait=10)
    second = asyncio.create_task(limiter.acquire(slots, lane="bulk", max_wait=10))
    await asyncio.sleep(2)
    third = asyncio.create_task(limiter.acquire(slots, lane="bulk", max_wait=10))
    await asyncio.sleep(23)
    limiter.release(first, answered=True, limit=500, remaining=499)
    permit = await second
    assert permit.waited == 0
    third.cancel()


async def test_wait_before_the_first_response_is_bounded() -> None:
    """If the only request allowed has no response, a look-up ends in time, and does not blame the rate limit."""
    loop = asyncio.get_running_loop()
    limiter = RateLimiter(limit=1)
    await limiter.acquire(Slots(8), lane="bulk", max_wait=10)
    started = loop.time()
    with pytest.raises(APITimeoutError) as caught:
        await limiter.acquire(Slots(8), lane="interactive", max_wait=3)
    assert (caught.value.sent, caught.value.attempts) == (False, 0)
    assert loop.time() - started == pytest.approx(4, abs=0.1)  # the first second before a response does not count


def test_permit_of_an_ended_loop_is_not_counted() -> None:
    """A permit that is released after its event loop ended does not count on the next loop."""
    limiter, slots = RateLimiter(), Slots(1)
    with asyncio.Runner() as runner:
        late = runner.run(limiter.acquire(slots, lane="bulk", max_wait=0))

    async def acquire_on_the_next_loop() -> None:
        permit = await limiter.acquire(Slots(1), lane="bulk", max_wait=0)
        limiter.release(late, answered=False)
        limiter.release(permit, answered=True, limit=500, remaining=499)
        assert limiter._window.in_flight == 0

    with asyncio.Runner() as runner:
        runner.run(acquire_on_the_next_loop())
