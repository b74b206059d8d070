"""Every test runs on virtual time: a wait of a minute costs a few milliseconds."""

import os
import signal
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
from hypothesis import settings

from customers_async import CustomersClient, RetryPolicy
from customers_async.emulator import Emulator
from customers_async.testing import VirtualTimeLoop

# Development mode for the workers of pytest-xdist, which inherit the environment but not ``-X dev``.
os.environ.setdefault("PYTHONDEVMODE", "1")
os.environ.setdefault("PYTHONMALLOC", "default")  # the debugging allocator checks C code, and there is none here
signal.signal(signal.SIGINT, signal.default_int_handler)  # the background jobs of a shell ignore it
settings.register_profile("suite", deadline=None, max_examples=50)  # how long an example takes is the machine's affair
settings.load_profile("suite")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """The loop of all async tests."""
    return {"virtual": _virtual_loop}


def _virtual_loop() -> AbstractEventLoop:
    loop = VirtualTimeLoop()
    loop.set_debug(False)  # asyncio's debugging keeps a stack for each of many thousand tasks
    return loop


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """A service of 250 customers."""
    async with Emulator(customers=250) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[CustomersClient]:
    """A client of that service."""
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    # In development mode asyncio of a child process reports each slow step of a busy machine on stderr.
    for name in ("CUSTOMERS_TOKEN", "CUSTOMERS_TOKEN_FILE", "CUSTOMERS_BASE_URL", "PYTHONDEVMODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def impatient() -> RetryPolicy:
    """Retries without a pause."""
    return RetryPolicy(base_delay=0)
