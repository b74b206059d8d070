"""What stands behind the fixtures of the pytest plugin: an emulator for one test, and what to say of its end.

The fixtures themselves are in `pytest_plugin`, which loads nothing of this before a test asks for it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from threading import Thread
from typing import Any

import attrs
import pytest

from customers_async.client import CustomersClient
from customers_async.emulator import Emulator

__all__ = ["EmulatorFixture", "set_up", "set_up_in_a_thread"]

_CUSTOMERS = 250


@attrs.frozen
class EmulatorFixture:
    """What a test plays on.

    Attributes:
        emulator: The service.
        strict: Whether to complain.
        in_loop: Whether it is set up in the event loop of the test.
        clients: Those to be closed after the test.
    """

    emulator: Emulator
    strict: bool
    in_loop: bool
    clients: list[CustomersClient] = attrs.field(factory=list)

    def client_of(self, emulator: Emulator) -> CustomersClient:
        """A client of the emulator that the test uses, which may be another than ours."""
        client = CustomersClient(emulator.token, base_url=emulator.url)
        self.clients.append(client)
        return client

    def complaint(self) -> str:
        """What the test did that the service does not know, and what was scripted in vain; empty when all is well."""
        if not self.strict:
            return ""
        unexpected, pending = self.emulator.stats.unexpected, self.emulator.pending
        return "\n".join(
            [
                *(["Requests that the service does not know:"] if unexpected else []),
                *(f"  {request}" for request in unexpected),
                *(["Scripted, but it never happened:"] if pending else []),
                *(f"  {script}" for script in pending),
            ]
        )


@asynccontextmanager
async def set_up(test: pytest.Item) -> AsyncIterator[EmulatorFixture]:
    """An emulator in the running event loop."""
    settings, strict = _read_marker(test)
    async with Emulator(**settings) as emulator:
        stage = EmulatorFixture(emulator, strict, in_loop=True)
        try:
            yield stage
        finally:
            for client in stage.clients:
                await client.close()


@contextmanager
def set_up_in_a_thread(test: pytest.Item) -> Iterator[EmulatorFixture]:
    """The emulator in an event loop of its own, for tests that have none or one in another thread."""
    settings, strict = _read_marker(test)
    emulator = Emulator(**settings)
    with _loop_in_a_thread() as loop:
        asyncio.run_coroutine_threadsafe(emulator.start(), loop).result()
        try:
            yield EmulatorFixture(emulator, strict, in_loop=False)
        finally:
            asyncio.run_coroutine_threadsafe(emulator.close(), loop).result()


@contextmanager
def _loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:  # which leaves the thread's current loop alone
        loop = runner.get_loop()
        thread = Thread(target=loop.run_forever, name="customers_emulator")
        thread.start()
        try:
            yield loop
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


def _read_marker(test: pytest.Item) -> tuple[dict[str, Any], bool]:
    """The settings of the emulator, and whether the test is watched."""
    settings: dict[str, Any] = {"customers": _CUSTOMERS}
    for marker in reversed(list(test.iter_markers("customers_emulator"))):  # the closest comes last, and wins
        settings |= marker.kwargs
    return settings, settings.pop("strict", True)
