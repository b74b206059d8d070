"""A bounded set of tasks: order, errors and cancellation."""

import asyncio

import pytest

from customers_async.listing.in_flight import InFlight


async def work(number: int, rounds: int) -> int:
    """Return the number after a few rounds of the event loop."""
    for _ in range(rounds):
        await asyncio.sleep(0)
    return number


@pytest.mark.parametrize(("ordered", "expected"), [(True, [1, 2, 3]), (False, [3, 2, 1])])
async def test_tasks_are_received_in_order_or_as_they_complete(ordered: bool, expected: list[int]) -> None:
    """The first task takes longest; each arrives with its key."""
    in_flight: InFlight[str, int] = InFlight(3, ordered=ordered)
    for number, rounds in ((1, 9), (2, 6), (3, 3)):
        in_flight.start(f"key {number}", work(number, rounds))
    received = [await in_flight.next() for _ in expected]
    assert [(key, task.result()) for key, task in received] == [(f"key {number}", number) for number in expected]
    assert not in_flight


async def test_tasks_count_until_they_are_received() -> None:
    """A completed task counts towards the limit until the consumer has received it."""
    in_flight: InFlight[int, int] = InFlight(2, ordered=True)
    in_flight.start(1, work(1, 0))
    assert not in_flight.is_full
    in_flight.start(2, work(2, 0))
    await asyncio.sleep(0)
    assert in_flight.is_full
    await in_flight.next()
    assert not in_flight.is_full


@pytest.mark.parametrize("ordered", [True, False])
async def test_error_stays_in_its_task(ordered: bool) -> None:
    """`next` returns a failed task with its key; its result raises."""

    async def fail() -> None:
        raise LookupError

    in_flight: InFlight[int, None] = InFlight(1, ordered=ordered)
    in_flight.start(7, fail())
    key, task = await in_flight.next()
    assert key == 7
    with pytest.raises(LookupError):
        task.result()


@pytest.mark.parametrize("ordered", [True, False])
async def test_cancelled_consumer_can_still_cancel_every_task(ordered: bool) -> None:
    """A task that the consumer was waiting for is still in the set, so `cancel` waits for its end, too."""
    ended: list[int] = []

    async def endless(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await work(number, 3)
            ended.append(number)

    async def consume() -> None:
        try:
            await in_flight.next()
        finally:
            await in_flight.cancel()

    in_flight: InFlight[int, None] = InFlight(2, ordered=ordered)
    in_flight.start(1, endless(1))
    in_flight.start(2, endless(2))
    consumer = asyncio.ensure_future(consume())
    await asyncio.sleep(0)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    assert sorted(ended) == [1, 2]
    assert asyncio.all_tasks() == {asyncio.current_task()}
