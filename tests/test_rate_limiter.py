"""The quota: arithmetic on a clock of the test's own, then the queue, then a real server's window."""

import asyncio
import math
import random
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customers_async import CustomersClient, QuotaWait, RateLimit, RateLimiter, RateLimitError
from customers_async.calls.slots import Permit, Slots
from customers_async.calls.window import Snapshot, Window
from customers_async.emulator import Emulator
from tests.simulation import Gate, LaravelWindow, SocketlessLoop

NOTHING: dict[str, Any] = {"limit": None, "remaining": None}


def settle(
    window: Window, snapshot: Snapshot, now: float, remaining: int | None = None, *, answered: bool = True
) -> None:
    window.settle(snapshot, now, limit=None, remaining=remaining, answered=answered)


def test_one_request_finds_out_then_the_rest_may_burst() -> None:
    """Nothing known: one in flight. Its answer opens the window for all that remains."""
    window = Window(500, 60.0)
    assert window.free(0.0) == 1
    permit = window.send(0.0)
    assert window.free(0.1) == 0
    settle(window, permit, 0.2, 499)
    assert window.free(0.2) == 499
    assert window.opens_at(0.2) is None


def test_the_window_ends_a_length_after_the_answer_that_opened_it() -> None:
    """Its true start lies between sending and answer, so the answer bounds its end; then one request finds out."""
    window = Window(2, 60.0)
    settle(window, window.send(1.0), 1.0, 1)
    settle(window, window.send(2.0), 2.0, 0)
    assert window.opens_at(2.0) == 61.05
    assert (window.free(61.0), window.free(61.06)) == (0, 1)


def test_answers_out_of_order_do_not_raise_what_remains() -> None:
    """The lowest remainder of the window counts; a higher one that was sent earlier proves nothing."""
    window = Window(10, 60.0)
    settle(window, window.send(0.0), 0.0, 9)
    permits = [window.send(0.0) for _ in range(3)]
    settle(window, permits[2], 0.1, 6)
    settle(window, permits[0], 0.2, 8)
    settle(window, permits[1], 0.3, 7)
    assert window.free(0.4) == 6


def test_a_higher_remainder_than_known_when_sent_proves_a_new_window() -> None:
    """The server's clock may be ahead of our guess: its new window is used at once."""
    window = Window(10, 60.0)
    settle(window, window.send(0.0), 0.0, 2)
    permit = window.send(29.9)
    settle(window, permit, 30.0, 9)
    assert window.free(30.0) == 9
    assert window.ends_at(30.0) == 90.05


def test_what_others_use_is_seen_through_what_remains() -> None:
    """Another process on the same address lowers the remainder, and with it our permits and our share of the rest."""
    window = Window(500, 60.0)
    settle(window, window.send(0.0), 0.0, 400)
    assert window.free(0.0) == 400
    for sent in range(1, 11):
        settle(window, window.send(1.0), 1.0, 400 - 4 * sent)
    assert window.share == 0.25
    assert window.free(1.0) == 90


def test_the_share_is_carried_to_the_next_window() -> None:
    """Several processes do not start over with each window."""
    window = Window(500, 60.0)
    settle(window, window.send(0.0), 0.0, 499)
    settle(window, window.send(1.0), 1.0, 459)
    settle(window, window.send(61.0), 61.0, 400)
    assert (window.share, window.free(61.0)) == (0.025, 10)


def test_a_small_share_is_no_standstill() -> None:
    """While anything remains one request may be in flight, however small our share."""
    window = Window(500, 60.0)
    settle(window, window.send(0.0), 0.0, 499)
    settle(window, window.send(0.0), 1.0, 2)
    assert window.free(1.0) == 1
    window.send(1.0)
    assert window.free(1.0) == 0


def test_alone_the_share_is_all() -> None:
    """However answers overtake one another, a client alone takes all that remains."""
    window = Window(500, 60.0)
    settle(window, window.send(0.0), 0.0, 499)
    permits = [window.send(0.0) for _ in range(100)]
    for remaining, permit in enumerate(permits, 399):
        settle(window, permit, 0.1, remaining)
    assert (window.share, window.free(0.2)) == (1.0, 399)


def test_one_request_is_sacrificed_when_the_end_is_unknown() -> None:
    """We joined a window that others had opened: once it is spent, one request asks for Retry-After."""
    window = Window(500, 60.0)
    settle(window, window.send(0.0), 0.0, 1)
    settle(window, window.send(0.0), 0.0, 0)
    assert (window.free(0.0), window.opens_at(0.0)) == (1, None)
    sacrifice = window.send(0.0)
    assert (window.free(0.0), window.opens_at(0.0)) == (0, 60.05)
    settle(window, sacrifice, 0.1, 0)
    window.reject(0.1, 20.0)
    assert window.opens_at(0.2) == pytest.approx(21.1)


def test_after_a_429_the_next_window_is_known() -> None:
    """Retry-After bounds the next window's start from below, our first answer from above: no second sacrifice."""
    window = Window(500, 60.0)
    permit = window.send(0.0)
    settle(window, permit, 0.0, 0)
    window.reject(0.0, 20.0)
    settle(window, window.send(21.0), 21.0, 300)
    settle(window, window.send(22.0), 22.0, 0)
    assert window.opens_at(22.0) == pytest.approx(81.05)
    assert window.free(22.0) == 0


def test_the_late_answer_of_an_older_window_raises_nothing() -> None:
    """A request of the old window that the new one answered tells what remains there, and begins no third one."""
    window = Window(10, 60.0)
    settle(window, window.send(0.0), 0.0, 3)
    late = window.send(59.0)
    settle(window, window.send(60.1), 60.1, 4)
    settle(window, late, 60.2, 9)
    assert window.free(60.2) == 4


def test_without_headers_a_local_window_is_counted() -> None:
    """A server that tells nothing is sent the limit at most in each window."""
    window = Window(3, 60.0)
    for _ in range(3):
        settle(window, window.send(0.0), 0.0)
    assert window.free(0.0) == 0
    assert window.opens_at(0.0) == 60.05
    assert window.free(61.0) == 1


def test_a_request_without_answer_may_have_counted() -> None:
    """A lost answer costs a permit of the window, and a lost first request lets the next one find out."""
    window = Window(10, 60.0)
    settle(window, window.send(0.0), 0.0, answered=False)
    assert window.free(0.0) == 1
    settle(window, window.send(0.0), 0.0, 9)
    settle(window, window.send(0.0), 0.0, answered=False)
    assert window.free(0.0) == 8


def test_a_late_answer_of_the_old_window_does_not_spoil_the_new_one() -> None:
    """A remainder of 0 that belongs to the window before is not taken for the present one."""
    window = Window(2, 60.0)
    settle(window, window.send(0.0), 0.0, 1)
    late = window.send(1.0)
    assert window.free(61.0) == 1
    settle(window, window.send(61.0), 61.0, 1)
    settle(window, late, 61.5, 0)
    assert window.free(61.5) == 1


def test_a_429_shuts_the_window_for_everyone() -> None:
    """Until Retry-After and a second; 0 or less means a second; then one request finds out."""
    for retry_after, opens in ((7.0, 8.0), (0.0, 1.0), (-5.0, 1.0)):
        window = Window(10, 60.0)
        permit = window.send(0.0)
        settle(window, permit, 0.0, 0)
        window.reject(0.0, retry_after)
        assert window.opens_at(0.0) == opens
        assert (window.free(opens - 0.01), window.free(opens)) == (0, 1)


@pytest.mark.parametrize("remaining", [19, 200])
def test_a_429_is_not_taken_back_by_an_answer_that_was_under_way(remaining: int) -> None:
    """Where Remaining rises though Retry-After said that the window is long to last, the window stays shut."""
    window = Window(500, 60.0)
    settle(window, window.send(0.0), 0.1, 100)
    first, second = window.send(1.0), window.send(1.0)
    settle(window, first, 1.1, 0)
    window.reject(1.1, 40.0)
    settle(window, second, 1.2, remaining)
    assert (window.free(1.2), window.opens_at(1.2)) == (0, 42.1)


def test_a_reserve_is_left_to_others() -> None:
    """Whoever leaves a reserve may send what is beyond it, then waits for the window's end while others go on."""
    window = Window(10, 60.0)
    settle(window, window.send(0.0), 0.0, 9)
    assert (window.free(0.0), window.free(0.0, reserve=4)) == (9, 5)
    for remaining in (8, 7, 6, 5, 4):
        settle(window, window.send(0.0), 0.0, remaining)
    assert (window.free(0.0), window.free(0.0, reserve=4)) == (4, 0)
    assert (window.opens_at(0.0), window.opens_at(0.0, reserve=4)) == (None, 60.05)
    assert window.wakes_at(0.0, reserve=4) == 60.05
    assert window.free(61.0, reserve=4) == 1


def test_the_limit_follows_the_server() -> None:
    """Limit and window start from what was given; answers correct the limit."""
    window = Window(500, 60.0)
    window.settle(window.send(0.0), 0.0, limit=50, remaining=49, answered=True)
    assert (window.limit, window.free(0.0)) == (50, 49)


@settings(max_examples=300)
@given(
    limit=st.integers(1, 12),
    calls=st.integers(1, 60),
    seed=st.integers(0, 10_000),
    slowest=st.sampled_from([0.01, 1.0, 15.0]),  # each way; an attempt ends after 30 s
)
def test_a_client_alone_never_causes_a_429(limit: int, calls: int, seed: int, slowest: float) -> None:
    """Whatever the latencies and the order of answers: no request meets a spent window."""
    simulation = Gate(limit, calls, seed, slowest)
    simulation.run()
    assert simulation.server.rejected == 0
    assert len(simulation.server.admitted) == calls


@given(limit=st.integers(1, 12), calls=st.integers(1, 60), seed=st.integers(0, 10_000))
def test_lost_answers_cost_at_most_a_rejection_each(limit: int, calls: int, seed: int) -> None:
    """When connections break nobody can know what the server counted; the damage is bounded by the losses."""
    simulation = Gate(limit, calls, seed, 1.0, lost=0.3)
    simulation.run()
    assert simulation.server.rejected <= simulation.losses


class Crowd:
    """Two clients of one limiter, in both lanes: calls without patience, cancelled calls, lost answers."""

    def __init__(self, limit: int, seed: int, slowest: float, lost: float, reserve: int = 0) -> None:
        self.chance = random.Random(seed)
        self.server = LaravelWindow(limit, 60.0)
        self.limiter, self.clients = RateLimiter(limit, reserve=reserve), [Slots(1), Slots(4)]
        self.bulk_work: Counter[float] = Counter()  # admitted, by the window's end
        self.unanswered = 0
        self.slowest, self.lost = slowest, lost
        self.broken: list[str] = []

    async def call(self) -> None:
        patience = self.chance.choice([0.0, 3.0, 70.0, math.inf])
        await asyncio.sleep(self.chance.choice([0.0, self.chance.uniform(0, 200)]))
        slots, waited, told = self.chance.choice(self.clients), 0.0, False
        while not told:
            lane: Any = self.chance.choice(["interactive", "bulk"])
            try:
                permit = await self.limiter.acquire(slots, lane=lane, max_wait=patience - waited)
            except RateLimitError:
                if patience == math.inf:
                    self.broken.append("a call that would wait for ever was refused")
                return
            waited += permit.waited
            if waited > patience + 0.01:
                self.broken.append(f"a call waited {waited} s, and {patience} were allowed")
            told = await self.exchange(permit, lane)

    async def exchange(self, permit: Permit, lane: str) -> bool:
        said: dict[str, Any] = {"answered": False}
        try:
            await asyncio.sleep(self.chance.uniform(0, self.slowest))
            remaining, ends = self.server.hit(asyncio.get_running_loop().time()), self.server.ends
            self.bulk_work[ends] += lane == "bulk" and remaining is not None
            await asyncio.sleep(self.chance.uniform(0, self.slowest))
            if self.chance.random() >= self.lost:
                said = {"answered": True, "limit": self.server.limit, "remaining": remaining or 0}
                if remaining is None:
                    said["rejected_for"] = max(0.0, ends - asyncio.get_running_loop().time())
        finally:
            self.unanswered += not said["answered"]
            self.limiter.release(permit, **said)
        return said["answered"] and "rejected_for" not in said

    async def run(self) -> None:
        calls = [asyncio.create_task(self.call()) for _ in range(40)]
        for call in self.chance.sample(calls, 8):
            asyncio.get_running_loop().call_later(self.chance.uniform(0, 250), call.cancel)
        _, hanging = await asyncio.wait(calls, timeout=50_000)
        assert not hanging
        assert not self.broken
        assert (self.limiter._window.in_flight, [slots.used for slots in self.clients]) == (0, [0, 0])
        assert (self.limiter._has_waiters, self.limiter._timer) == (False, None)


@given(
    limit=st.integers(1, 12),
    seed=st.integers(0, 10_000),
    slowest=st.sampled_from([0.01, 1.0, 10.0]),
    lost=st.sampled_from([0.0, 0.3]),
)
@settings(max_examples=25)
def test_nobody_hangs_and_nobody_waits_beyond_patience(limit: int, seed: int, slowest: float, lost: float) -> None:
    """Whatever is slow, lost or cancelled: each call is answered or refused in time, and nothing is left behind."""
    with asyncio.Runner(loop_factory=SocketlessLoop) as runner:
        runner.run(Crowd(limit, seed, slowest, lost).run())


@given(
    limit=st.integers(2, 12),
    reserve=st.integers(1, 11),
    seed=st.integers(0, 10_000),
    slowest=st.sampled_from([0.01, 1.0, 10.0]),
)
@settings(max_examples=20)
def test_bulk_work_leaves_the_reserve_of_each_window(limit: int, reserve: int, seed: int, slowest: float) -> None:
    """Whatever is slow: bulk work gets no more than its part of a window (a cancelled call may count unseen)."""
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
    """Numbers above 0 only."""
    with pytest.raises(kind):
        RateLimiter(**arguments)


async def acquire(limiter: RateLimiter, slots: Slots, lane: Any = "bulk", max_wait: float = 1000.0) -> Permit:
    return await limiter.acquire(slots, lane=lane, max_wait=max_wait)


async def opened(limit: int = 500, window: float = 60.0) -> tuple[RateLimiter, Slots]:
    """A limiter that has seen one answer."""
    limiter, slots = RateLimiter(limit, window), Slots(8)
    limiter.release(await acquire(limiter, slots), answered=True, remaining=limit - 1)
    return limiter, slots


async def test_place_and_permit_are_granted_together() -> None:
    """A call that waits for a place holds no permit: when the quota is spent nobody is in between."""
    limiter, _ = await opened()
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
    """A look-up overtakes the bulk calls that wait; within a lane first come, first served."""
    limiter, _ = await opened()
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


async def test_a_client_without_a_free_place_does_not_hold_up_another() -> None:
    """Two clients on one limiter: the one that is at its own limit is passed over."""
    limiter, _ = await opened()
    busy, idle = Slots(1), Slots(1)
    await acquire(limiter, busy)
    stuck = asyncio.ensure_future(acquire(limiter, busy))
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await acquire(limiter, idle)
    assert not stuck.done()
    stuck.cancel()


async def test_the_wait_for_the_quota_is_bounded() -> None:
    """A wait that would take longer than allowed is refused at once; 0 fails fast; a place may be waited for."""
    limiter, slots = await opened(limit=1)
    started = asyncio.get_running_loop().time()
    for max_wait in (0.0, 59.0):
        with pytest.raises(RateLimitError, match="nothing was sent") as caught:
            await acquire(limiter, slots, max_wait=max_wait)
        assert caught.value.sent is False
        assert 59 < caught.value.retry_after <= 60.05
    assert asyncio.get_running_loop().time() - started < 1
    permit = await acquire(limiter, slots, max_wait=61.0)
    assert 60 <= permit.waited < 61


async def test_waiters_are_refused_when_the_quota_runs_out_before_them() -> None:
    """Whoever waits for a place when a 429 shuts the gate for too long is told so at once."""
    limiter, _ = await opened()
    slots = Slots(1)
    held = await acquire(limiter, slots)
    waiting = asyncio.ensure_future(acquire(limiter, slots, max_wait=30.0))
    await asyncio.sleep(0)
    limiter.release(held, answered=True, rejected_for=60.0)
    with pytest.raises(RateLimitError) as caught:
        await waiting
    assert caught.value.retry_after == pytest.approx(61.0, abs=0.1)


async def test_waiting_for_a_place_past_a_spent_window_is_no_wait_for_the_quota() -> None:
    """Another client takes the last permit: who waits for a place half a minute was kept by the quota for a second."""
    limiter, other = await opened(limit=3, window=1.0)
    slots = Slots(1)
    held = await acquire(limiter, slots)
    waiting = asyncio.ensure_future(acquire(limiter, slots))
    await asyncio.sleep(0)
    await acquire(limiter, other)
    await asyncio.sleep(30)
    limiter.release(held, answered=True)
    assert (await waiting).waited < 2


@pytest.mark.parametrize("granted", [False, True])
async def test_a_cancelled_waiter_leaves_nothing_behind(granted: bool) -> None:
    """Cancelled while waiting, or between grant and wake-up: place and permit go to the next one."""
    limiter, _ = await opened()
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


async def test_the_state_is_there_for_the_asking() -> None:
    """Limit, what remains and when it resets, without I/O; nothing is made up before the first answer."""
    limiter = RateLimiter()
    assert limiter.state == RateLimit(500, None, None)
    limiter, slots = await opened()
    state = limiter.state
    assert (state.limit, state.remaining) == (500, 499)
    assert state.resets_in is not None
    assert 59 < state.resets_in <= 60.05
    limiter.release(await acquire(limiter, slots), answered=True, rejected_for=5.0)
    assert limiter.state.remaining == 0
    assert repr(limiter) == "RateLimiter(limit=500, window=60)"


def test_a_limiter_at_work_serves_one_loop() -> None:
    """On a second loop, while permits of the first are out, it says so; idle it moves along."""
    limiter, slots = RateLimiter(), Slots(8)

    async def give_back(permit: Permit) -> None:
        limiter.release(permit, answered=True)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        permit = first.run(acquire(limiter, slots))
        with pytest.raises(RuntimeError, match="another event loop"):
            second.run(acquire(limiter, slots))
        first.run(give_back(permit))
        second.run(acquire(limiter, slots))


@pytest.mark.parametrize("ending", ["cancelled", "refused"])
def test_who_waits_no_more_does_not_hold_the_limiter(ending: str) -> None:
    """A waiter that was cancelled or refused while the quota is spent leaves it idle: another loop may go on."""

    async def wait_in_vain() -> RateLimiter:
        limiter, _ = await opened()
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
        limiter = first.run(wait_in_vain())
        with pytest.raises(RateLimitError):
            second.run(acquire(limiter, Slots(1), max_wait=0.0))


def test_a_permit_of_a_loop_that_was_closed_wakes_nobody() -> None:
    """Its place is free again, and who waited on that loop is not called."""
    limiter, slots = RateLimiter(), Slots(1)
    loop = asyncio.new_event_loop()
    permit = loop.run_until_complete(acquire(limiter, slots))
    waiting = loop.create_task(acquire(limiter, slots))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    async def give_back_late() -> None:
        limiter.release(permit, answered=True)
        assert slots.used == 0
        await acquire(limiter, slots)

    asyncio.run(give_back_late())
    waiting.get_coro().close()
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_limiter_survives_the_end_of_its_loop() -> None:
    """A request in flight on a closed loop does not count on the next one, which sends its first request at once."""
    limiter = RateLimiter()
    for _ in range(3):
        permit = asyncio.run(acquire(limiter, Slots(8)))
        assert permit.waited == 0.0
        assert limiter._window.in_flight == 1


async def test_a_stalled_first_request_is_not_waited_for_long() -> None:
    """While the request that is to find out has no answer, another may go out after a second."""
    limiter, slots = RateLimiter(), Slots(8)
    await acquire(limiter, slots)
    started = asyncio.get_running_loop().time()
    await acquire(limiter, slots, max_wait=0.0)
    assert 1.0 <= asyncio.get_running_loop().time() - started < 1.5


def test_a_lost_answer_does_not_look_like_a_new_window() -> None:
    """What remains is higher than feared when a request never reached the server: the window stays the same."""
    window = Window(20, 60.0)
    settle(window, window.send(0.0), 0.1, 19)
    ends = window.ends_at(0.1)
    for _ in range(2):
        settle(window, window.send(1.0), 1.1, answered=False)
    assert window.free(2.0) == 17
    settle(window, window.send(2.0), 2.1, 18)
    assert (window.ends_at(2.0), window.free(2.2)) == (ends, 18)


async def test_many_waiters_cost_little() -> None:
    """Each call that waits for the next window is looked at once when it comes, not at every arrival."""

    async def cost(calls: int) -> float:
        limiter, slots = await opened(limit=1)
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


async def test_more_than_the_quota_takes_windows_and_no_429() -> None:
    """1,200 pages under 500 a minute: three windows, not one 429, hardly a second more than two minutes."""
    asyncio.get_running_loop().set_debug(False)  # debugging keeps a stack for each task
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
        assert emulator.stats.statuses == {200: 1200}
        assert 120 <= seconds <= 126
        assert waits
        assert max(waits) <= 61


async def test_fail_fast_while_a_walk_waits(emulator: Emulator) -> None:
    """A look-up that may not wait gets its answer at once while bulk work waits for the next window."""
    emulator.rate_limit(5)
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        walk = asyncio.ensure_future(anext(aiter(client.list_customers(per_page=1, first_page=200))))
        pager = client.list_customers(per_page=10)
        walking = asyncio.ensure_future(collect(pager))
        await walk
        async with asyncio.timeout(1):
            while client.rate_limit.remaining != 0:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.01)
        with pytest.raises(RateLimitError) as caught:
            await client.with_options(max_rate_limit_wait=0).get_customer(next(emulator.uuids()))
        assert (caught.value.sent, caught.value.url_path[:18]) == (False, "/api/v1/customers/")
        walking.cancel()
        await asyncio.gather(walking, return_exceptions=True)


async def test_a_walk_delays_a_look_up_by_one_round_trip_at_most() -> None:
    """10,000 customers are walked with every place in use: look-ups take the next ones that come free."""
    latency = 10.0  # so long that what a busy machine takes is nothing
    async with (
        Emulator(customers=10_000, latency=latency) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        walking = asyncio.ensure_future(collect(client.list_customers()))
        loop, times = asyncio.get_running_loop(), list[float]()
        await asyncio.sleep(2 * latency)
        while not walking.done():
            started = loop.time()
            await asyncio.gather(*(client.get_customer(uuid) for uuid in emulator.uuids(0, 8)))
            times.append(loop.time() - started)
        assert len(await walking) == 10_000
        assert len(times) > 5
        assert max(times) < 2.5 * latency
        assert emulator.stats.peak_in_flight == 8


async def test_a_reserve_keeps_look_ups_going_when_a_walk_has_spent_its_part(emulator: Emulator) -> None:
    """25 pages of a window of 30; the other 5 requests are there for look-ups that may not wait, and no sixth."""
    emulator.rate_limit(30)
    limiter = RateLimiter(30, reserve=5)
    async with CustomersClient(emulator.token, base_url=emulator.url, rate_limiter=limiter) as client:
        walking = asyncio.ensure_future(collect(client.list_customers(per_page=5)))
        await asyncio.sleep(5)
        assert emulator.stats.requests == 25
        hurried = client.with_options(max_rate_limit_wait=0)
        for page in (1, 2):  # bulk work that may not wait is refused, and takes nothing from the reserve
            with pytest.raises(RateLimitError, match="nothing was sent"):
                await anext(aiter(hurried.list_customers(first_page=page)))
        for uuid in emulator.uuids(0, 5):
            await hurried.get_customer(uuid)
        with pytest.raises(RateLimitError, match="nothing was sent"):
            await hurried.get_customer(next(emulator.uuids()))
        assert emulator.stats.requests == 30
        assert len(await walking) == 250
        assert emulator.stats.rejected == 0


async def test_a_reserve_above_the_true_limit_does_not_stop_bulk_work(emulator: Emulator) -> None:
    """The server tells of a limit below the reserve: a walk goes on with one request a window."""
    emulator.rate_limit(3, window=10)
    limiter = RateLimiter(window=10, reserve=25)
    async with CustomersClient(emulator.token, base_url=emulator.url, rate_limiter=limiter) as client:
        assert len(await collect(client.list_customers())) == 250
        assert emulator.stats.statuses == {200: 3}


async def test_a_window_that_others_opened_is_waited_for_with_a_reserve(emulator: Emulator) -> None:
    """Its end is known at the latest: no request is sacrificed while look-ups could still use it."""
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


async def test_waiting_for_a_place_in_the_dark_takes_no_patience() -> None:
    """While a first request finds out about the quota, the calls behind it in the only place wait for that place."""
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


async def test_patience_ends_in_the_dark_too() -> None:
    """Nothing is known, the only request that the limit allows has no answer: a look-up is refused in time."""
    loop = asyncio.get_running_loop()
    limiter = RateLimiter(limit=1)
    await limiter.acquire(Slots(8), lane="bulk", max_wait=10)
    started = loop.time()
    with pytest.raises(RateLimitError):
        await limiter.acquire(Slots(8), lane="interactive", max_wait=3)
    assert loop.time() - started == pytest.approx(4, abs=0.1)  # the first second in the dark is no wait for the quota


def test_a_permit_of_an_ended_loop_is_written_off() -> None:
    """A call that was torn down with its event loop gives its permit back late: the next loop does not count it."""
    limiter, slots = RateLimiter(), Slots(1)
    with asyncio.Runner() as runner:
        late = runner.run(limiter.acquire(slots, lane="bulk", max_wait=0))

    async def go_on() -> None:
        permit = await limiter.acquire(Slots(1), lane="bulk", max_wait=0)
        limiter.release(late, answered=False)
        limiter.release(permit, answered=True, limit=500, remaining=499)
        assert limiter._window.in_flight == 0

    with asyncio.Runner() as runner:
        runner.run(go_on())
