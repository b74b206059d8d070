"""Runs every test on virtual time: waiting a minute takes a few milliseconds."""

import os
import signal
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
from hypothesis import settings

from customers_async import CustomersClient, RetryPolicy
from customers_async.calls import bodies
from customers_async.emulator import Emulator
from customers_async.testing import VirtualTimeLoop

# Development mode for the workers of pytest-xdist, which inherit the environment but not ``-X dev``.
os.environ.setdefault("PYTHONDEVMODE", "1")
os.environ.setdefault("PYTHONMALLOC", "default")  # the debugging allocator checks C code, and there is none here
signal.signal(signal.SIGINT, signal.default_int_handler)  # the background jobs of a shell ignore it
settings.register_profile("suite", deadline=None, max_examples=50)  # the machine may be slow
settings.load_profile("suite")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """Use one event loop class for all async tests."""
    return {"virtual": _make_virtual_loop}


def _make_virtual_loop() -> AbstractEventLoop:
    loop = VirtualTimeLoop()
    loop.set_debug(False)  # debug mode keeps a stack for each of many thousand tasks
    return loop


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator with 250 customers."""
    async with Emulator(customers=250) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[CustomersClient]:
    """A client of that emulator."""
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        yield client


_EMULATOR = ("CUSTOMERS_EMULATOR_TOKENS", "CUSTOMERS_EMULATOR_CONTROL_TOKEN")


@pytest.fixture(params=["isal", "zlib"])
def _with_and_without_isal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vars(bodies)["_fast_zlib"] is not None
    if request.param == "zlib":
        monkeypatch.setattr(bodies, "_fast_zlib", None)


@pytest.fixture(autouse=True)
def _clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # In development mode asyncio in a child process reports slow steps of a busy machine on stderr.
    settings = ("TOKEN", "TOKEN_FILE", "BASE_URL", "LOG", "ALLOW_HTTP", "PROXY", "CA_FILE")
    for name in (*(f"CUSTOMERS_{setting}" for setting in settings), "PYTHONDEVMODE", *_EMULATOR):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def impatient() -> RetryPolicy:
    """A retry policy without delays."""
    return RetryPolicy(base_delay=0)
