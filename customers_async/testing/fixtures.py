"""Implements the pytest fixtures: starts an emulator for one test and reports anything unexpected or unused.

The fixtures themselves are in `pytest_plugin`, which imports this module only for a test that uses them.
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

__all__ = ["EmulatorFixture", "start_emulator", "start_emulator_in_thread"]

_CUSTOMERS = 250


@attrs.frozen
class EmulatorFixture:
    """The emulator of one test.

    Attributes:
        emulator: The emulator.
        strict: Whether to report unexpected requests and unused scripts.
        in_loop: Whether the emulator runs in the event loop of the test.
        clients: The clients to close after the test.
    """

    emulator: Emulator
    strict: bool
    in_loop: bool
    clients: list[CustomersClient] = attrs.field(factory=list)

    def make_client(self, emulator: Emulator) -> CustomersClient:
        """Return a client of ``emulator``, which the test may have replaced by its own."""
        client = CustomersClient(emulator.token, base_url=emulator.url)
        self.clients.append(client)
        return client

    def find_problems(self) -> str:
        """Return a report of unexpected requests and unused scripts; empty if there are none."""
        if not self.strict:
            return ""
        unexpected, pending = self.emulator.stats.unexpected, self.emulator.pending
        return "\n".join(
            [
                *(["Unexpected requests:"] if unexpected else []),
                *(f"  {request}" for request in unexpected),
                *(["Unused scripts:"] if pending else []),
                *(f"  {script}" for script in pending),
            ]
        )


@asynccontextmanager
async def start_emulator(test: pytest.Item) -> AsyncIterator[EmulatorFixture]:
    """Run an emulator in the running event loop."""
    settings, strict = _read_marker(test)
    async with Emulator(**settings) as emulator:
        fixture = EmulatorFixture(emulator, strict, in_loop=True)
        try:
            yield fixture
        finally:
            for client in fixture.clients:
                await client.close()


@contextmanager
def start_emulator_in_thread(test: pytest.Item) -> Iterator[EmulatorFixture]:
    """Run an emulator in an event loop of its own, for tests that have no event loop when it starts."""
    settings, strict = _read_marker(test)
    emulator = Emulator(**settings)
    with _run_loop_in_thread() as loop:
        asyncio.run_coroutine_threadsafe(emulator.start(), loop).result()
        try:
            yield EmulatorFixture(emulator, strict, in_loop=False)
        finally:
            asyncio.run_coroutine_threadsafe(emulator.close(), loop).result()


@contextmanager
def _run_loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:  # with a factory it sets no current loop
        loop = runner.get_loop()
        thread = Thread(target=loop.run_forever, name="customers_emulator")
        thread.start()
        try:
            yield loop
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


def _read_marker(test: pytest.Item) -> tuple[dict[str, Any], bool]:
    """Return the settings of the emulator, and whether the test is strict."""
    settings: dict[str, Any] = {"customers": _CUSTOMERS}
    for marker in reversed(list(test.iter_markers("customers_emulator"))):  # the closest marker comes last and wins
        settings |= marker.kwargs
    return settings, settings.pop("strict", True)
