"""Many time limits on one timer: each ends its own block, in time."""

import asyncio
import gc
import weakref
from contextvars import ContextVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customers_async.calls.timeouts import Timeouts
from customers_async.testing import VirtualTimeLoop

TENTHS = st.integers(1, 60).map(lambda tenths: tenths / 10)


class _Value:
    """A value in a context."""


async def work_within(timeouts: Timeouts, limit: float, work: float) -> tuple[bool, float]:
    """Work within a limit; return whether it finished, and how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        with timeouts.limit(limit):
            await asyncio.sleep(work)
    except TimeoutError:
        return False, loop.time() - began
    return True, loop.time() - began


@settings(max_examples=20)
@given(st.lists(st.tuples(TENTHS, TENTHS, TENTHS), min_size=1, max_size=12))
def test_each_block_ends_with_its_work_or_its_limit(blocks: list[tuple[float, float, float]]) -> None:
    """Each limit holds, whenever the other blocks begin and end."""
    timeouts = Timeouts()

    async def block(delay: float, limit: float, work: float) -> None:
        await asyncio.sleep(delay)
        in_time, took = await work_within(timeouts, limit, work)
        assert took == pytest.approx(min(limit, work), abs=0.05)
        assert in_time == (work < limit) or work == limit

    async def crowd() -> None:
        await asyncio.gather(*(block(*each) for each in blocks))

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(crowd())


async def test_cancellation_is_not_a_timeout() -> None:
    """A cancelled block raises CancelledError, and later limits still hold."""
    timeouts = Timeouts()
    task = asyncio.create_task(work_within(timeouts, 5.0, 60.0))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    in_time, took = await work_within(timeouts, 5.0, 60.0)
    assert not in_time
    assert took == pytest.approx(5.0, abs=0.05)


async def test_cancellation_takes_precedence_over_a_timeout() -> None:
    """If both come at the same time, CancelledError is raised."""
    loop, timeouts = asyncio.get_running_loop(), Timeouts()

    async def work() -> None:
        with timeouts.limit(5.0) as ends_at:
            loop.call_at(ends_at, task.cancel)
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_limits_can_be_nested() -> None:
    """The inner limit ends the inner block, the outer one both."""
    timeouts = Timeouts()
    with timeouts.limit(10.0):
        in_time, took = await work_within(timeouts, 2.0, 60.0)
        assert not in_time
        assert took == pytest.approx(2.0, abs=0.05)
    with pytest.raises(TimeoutError), timeouts.limit(3.0):
        await work_within(timeouts, 60.0, 60.0)


async def test_timer_keeps_no_context() -> None:
    """The timer does not keep the context of the caller that started it."""
    timeouts = Timeouts()
    variable: ContextVar[_Value] = ContextVar("variable")
    value = _Value()
    gone = weakref.ref(value)

    async def caller(value: _Value) -> None:
        variable.set(value)
        await work_within(timeouts, 30.0, 0.0)

    await asyncio.create_task(caller(value))
    del value
    await asyncio.sleep(0)  # the loop releases the last step
    gc.collect()
    assert gone() is None


async def test_one_timer_serves_all_blocks() -> None:
    """A hundred blocks set one timer, which closing cancels."""
    loop = asyncio.get_running_loop()
    timeouts = Timeouts()
    before = len(loop._scheduled)  # type: ignore[attr-defined]
    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(work_within(timeouts, 30.0, 0.0))
    assert len(loop._scheduled) == before + 1  # type: ignore[attr-defined]
    timeouts.close()
    assert all(timer.cancelled() for timer in loop._scheduled)  # type: ignore[attr-defined]
