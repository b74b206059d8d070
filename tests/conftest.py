"""Every test runs on virtual time: a wait of a minute costs a few milliseconds."""

from collections.abc import Callable, Mapping
from asyncio import AbstractEventLoop

from customers_async.testing import VirtualTimeLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    return {"virtual": VirtualTimeLoop}
