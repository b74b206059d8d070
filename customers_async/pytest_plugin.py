"""The pytest plugin: ``customers_emulator`` and ``customers_client``.

pytest imports this at the start of every run, before coverage can measure anything: it loads nothing else of the
package. What stands behind the fixtures is in `stage`.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

try:
    from pytest_asyncio import fixture as asyncio_fixture
except ModuleNotFoundError:
    asyncio_fixture: Callable[..., Any] = pytest.fixture  # type: ignore[no-redef]  # never used then

if TYPE_CHECKING:
    from customers_async import CustomersClient
    from customers_async.emulator import Emulator
    from customers_async.testing.fixtures import EmulatorFixture

_STAGE: "pytest.StashKey[EmulatorFixture]" = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "customers_emulator(*, strict=True, **settings): settings of the Emulator of the fixture; strict=False lets a "
        "test send requests that the service does not know, and script what never happens.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that went well, but sent what the service does not know or left undone what it scripted."""
    yield
    stage = item.stash.get(_STAGE, None)
    if stage is not None and (complaint := stage.complaint()):
        pytest.fail(complaint, pytrace=False)


@pytest.fixture
def customers_emulator(_customers_stage: "EmulatorFixture", monkeypatch: pytest.MonkeyPatch) -> "Emulator":
    """The customers service on loopback; ``CustomersClient()`` finds it by the environment.

    An ``Emulator(customers=250)``, or one with the settings of ``@pytest.mark.customers_emulator(...)``.
    """
    emulator = _customers_stage.emulator
    monkeypatch.setenv("CUSTOMERS_BASE_URL", emulator.url)
    monkeypatch.setenv("CUSTOMERS_TOKEN", emulator.token)
    return emulator


@pytest.fixture
def customers_client(customers_emulator: "Emulator", _customers_stage: "EmulatorFixture") -> "CustomersClient":
    """A client of ``customers_emulator``, closed after the test."""
    if not _customers_stage.in_loop:
        pytest.fail(
            "customers_client needs an async test, run by pytest-asyncio or anyio. In other tests use "
            "customers_emulator, and let your code make its own CustomersClient(), which finds it by the environment.",
            pytrace=False,
        )
    return _customers_stage.client_of(customers_emulator)


@pytest.fixture
def _customers_stage(request: pytest.FixtureRequest) -> "EmulatorFixture":
    """The emulator where the test can reach it: in its event loop if it has one, else in a thread."""
    stage: EmulatorFixture = request.getfixturevalue(_loop_of(request))
    request.node.stash[_STAGE] = stage
    return stage


def _loop_of(request: pytest.FixtureRequest) -> str:
    """The fixture to use, by what runs the test."""
    if "anyio_backend" in request.fixturenames:
        backend = request.getfixturevalue("anyio_backend_name")
        if backend != "asyncio":
            pytest.fail(f"customers_async runs on asyncio, not on {backend}: see anyio_backend.", pytrace=False)
        return "_customers_stage_on_anyio"
    marker = request.node.get_closest_marker("asyncio")
    by_pytest_asyncio = request.config.getoption("asyncio_mode", "absent") != "absent"
    if marker is None or not by_pytest_asyncio or not inspect.iscoroutinefunction(request.function):
        return "_customers_stage_in_a_thread"
    of_test = marker.kwargs.get("loop_scope") or request.config.getini("asyncio_default_test_loop_scope")
    of_fixtures = request.config.getini("asyncio_default_fixture_loop_scope") or "function"
    if of_test != of_fixtures:
        pytest.fail(
            f"The test runs in the event loop of its {of_test}, and customers_emulator in that of its {of_fixtures}: "
            f"set asyncio_default_fixture_loop_scope = {of_test}.",
            pytrace=False,
        )
    return "_customers_stage_on_asyncio"


@asyncio_fixture
async def _customers_stage_on_asyncio(request: pytest.FixtureRequest) -> "AsyncIterator[EmulatorFixture]":
    from customers_async.testing.fixtures import set_up

    async with set_up(request.node) as stage:
        yield stage


@pytest.fixture
async def _customers_stage_on_anyio(request: pytest.FixtureRequest) -> "AsyncIterator[EmulatorFixture]":
    from customers_async.testing.fixtures import set_up

    async with set_up(request.node) as stage:
        yield stage


@pytest.fixture
def _customers_stage_in_a_thread(request: pytest.FixtureRequest) -> "Iterator[EmulatorFixture]":
    from customers_async.testing.fixtures import set_up_in_a_thread

    with set_up_in_a_thread(request.node) as stage:
        yield stage
