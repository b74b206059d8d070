"""``python -m tests.mirroring TARGET``: a mirror whose syncs are killed many times.

Each sync is a fork, because a fork starts at once, and is killed by SIGKILL at a random moment. The list changes before
each. Prints the moments, each as a fraction of the time that an undisturbed sync takes.
"""

import asyncio
import json
import logging
import random
import sys
import time

from customers_async import Customer, CustomersClient
from customers_async.emulator import Emulator
from customers_async.mirror import Mirror
from tests.killing import run_in_fork
from tests.test_cli import in_a_thread

KILLS = 20


def run(emulator: Emulator, target: str, moment: float | None) -> bool:
    """Sync in a fork, and kill it after ``moment`` seconds; return whether it completed."""
    token = emulator.token  # a fork would have the emulator issue another one, which the real one does not know

    async def sync() -> None:
        async with CustomersClient(token, base_url=emulator.url) as client, Mirror.open(target) as mirror:
            await mirror.sync(client)

    return run_in_fork(sync, moment)


async def read_mirror(target: str) -> dict[str, Customer]:
    """Return what the mirror holds."""
    async with Mirror.open(target) as mirror:
        return {customer.uuid: customer async for customer in mirror.find("", limit=None)}


async def read_list(emulator: Emulator) -> dict[str, Customer]:
    """Return what the service lists."""
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        return {customer.uuid: customer async for customer in client.list_customers(on_incomplete="ignore")}


def main(target: str) -> None:
    """Kill syncs until there are enough."""
    logging.disable()  # that the list has changed while it was read is no news here
    with in_a_thread(Emulator(customers=500, limit=10**9)) as emulator:
        started = time.monotonic()
        assert run(emulator, target, None)
        seconds = time.monotonic() - started
        held = asyncio.run(read_list(emulator))
        assert asyncio.run(read_mirror(target)) == held
        moments: list[float] = []
        while len(moments) < KILLS:
            emulator.touch(random.randrange(400), name=f"{random.random()}")
            emulator.delete(1, at=random.randrange(400))
            emulator.insert(1, at=random.randrange(400))
            listed = asyncio.run(read_list(emulator))
            while not run(emulator, target, moment := random.uniform(0, 1.2 * seconds)):
                moments.append(moment / seconds)
                assert asyncio.run(read_mirror(target)) in (held, listed)
            assert asyncio.run(read_mirror(target)) == listed
            held = listed
        assert run(emulator, target, None)
        assert asyncio.run(read_mirror(target)) == asyncio.run(read_list(emulator))
    sys.stdout.write(json.dumps(moments))


if __name__ == "__main__":
    main(*sys.argv[1:])
