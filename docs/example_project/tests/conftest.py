"""Every test runs on a clock that does not wait."""

from customers_async.testing import VirtualTimeLoop


def pytest_asyncio_loop_factories(config, item):
    """The event loop of each async test."""
    return {"virtual": VirtualTimeLoop}
