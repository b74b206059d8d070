"""Every async test runs on a clock that skips waits."""

from customers_async.testing import VirtualTimeLoop


def pytest_asyncio_loop_factories(config, item):
    """Return the event loop of the async tests."""
    return {"virtual": VirtualTimeLoop}
