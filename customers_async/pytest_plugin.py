"""The pytest plugin: the fixtures ``customers_emulator`` and ``customers_client``.

pytest imports this module at the start of every run, before coverage can measure anything, so it imports nothing else
of the package. `testing.fixtures` implements the fixtures.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

try:
    from pytest_asyncio import fixture as asyncio_fixture
except ModuleNotFoundError:
    asyncio_fixture: Callable[..., Any] = pytest.fixture  # type: ignore[no-redef]  # unused without pytest-asyncio

if TYPE_CHECKING:
    from customers_async import CustomersClient
    from customers_async.emulator import Emulator
    from customers_async.testing.fixtures import EmulatorFixture

_FIXTURE: "pytest.StashKey[EmulatorFixture]" = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "customers_emulator(*, strict=True, **settings): settings of the fixture's Emulator; strict=False allows "
        "unexpected requests and unused scripts.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that passed but sent unexpected requests or left scripts unused."""
    yield
    fixture = item.stash.get(_FIXTURE, None)
    if fixture is not None and (problems := fixture.find_problems()):
        pytest.fail(problems, pytrace=False)


@pytest.fixture
def customers_emulator(_customers_emulator_fixture: "EmulatorFixture", monkeypatch: pytest.MonkeyPatch) -> "Emulator":
    """A running ``Emulator(customers=250)``, or one with the settings of ``@pytest.mark.customers_emulator(...)``.

    The environment variables ``CUSTOMERS_BASE_URL`` and ``CUSTOMERS_TOKEN`` point to it, so ``CustomersClient()``
    needs no arguments.
    """
    emulator = _customers_emulator_fixture.emulator
    monkeypatch.setenv("CUSTOMERS_BASE_URL", emulator.url)
    monkeypatch.setenv("CUSTOMERS_TOKEN", emulator.token)
    return emulator


@pytest.fixture
def customers_client(
    customers_emulator: "Emulator", _customers_emulator_fixture: "EmulatorFixture"
) -> "CustomersClient":
    """A client of ``customers_emulator``, which is closed after the test."""
    if not _customers_emulator_fixture.in_loop:
        pytest.fail(
            "customers_client needs an async test, run by pytest-asyncio or anyio. In other tests use "
            "customers_emulator, and let your code create its own CustomersClient(), which connects to the emulator.",
            pytrace=False,
        )
    return _customers_emulator_fixture.make_client(customers_emulator)


@pytest.fixture
def _customers_emulator_fixture(request: pytest.FixtureRequest) -> "EmulatorFixture":
    """The emulator, in the event loop of the test if it has one, otherwise in a thread."""
    fixture: EmulatorFixture = request.getfixturevalue(_choose_fixture(request))
    request.node.stash[_FIXTURE] = fixture
    return fixture


def _choose_fixture(request: pytest.FixtureRequest) -> str:
    """Return the name of the fixture for the plugin that runs the test."""
    if "anyio_backend" in request.fixturenames:
        backend = request.getfixturevalue("anyio_backend_name")
        if backend != "asyncio":
            pytest.fail(f"customers_async runs on asyncio, not on {backend}: see anyio_backend.", pytrace=False)
        return "_customers_emulator_on_anyio"
    marker = request.node.get_closest_marker("asyncio")
    by_pytest_asyncio = request.config.getoption("asyncio_mode", "absent") != "absent"
    if marker is None or not by_pytest_asyncio or not inspect.iscoroutinefunction(request.function):
        return "_customers_emulator_in_thread"
    test_scope = marker.kwargs.get("loop_scope") or request.config.getini("asyncio_default_test_loop_scope")
    fixture_scope = request.config.getini("asyncio_default_fixture_loop_scope") or "function"
    if test_scope != fixture_scope:
        pytest.fail(
            f"The test runs in the event loop of its {test_scope}, but customers_emulator in that of its "
            f"{fixture_scope}: set asyncio_default_fixture_loop_scope = {test_scope}.",
            pytrace=False,
        )
    return "_customers_emulator_on_asyncio"


@asyncio_fixture
async def _customers_emulator_on_asyncio(request: pytest.FixtureRequest) -> "AsyncIterator[EmulatorFixture]":
    from customers_async.testing.fixtures import start_emulator

    async with start_emulator(request.node) as fixture:
        yield fixture


@pytest.fixture
async def _customers_emulator_on_anyio(request: pytest.FixtureRequest) -> "AsyncIterator[EmulatorFixture]":
    from customers_async.testing.fixtures import start_emulator

    async with start_emulator(request.node) as fixture:
        yield fixture


@pytest.fixture
def _customers_emulator_in_thread(request: pytest.FixtureRequest) -> "Iterator[EmulatorFixture]":
    from customers_async.testing.fixtures import start_emulator_in_thread

    with start_emulator_in_thread(request.node) as fixture:
        yield fixture
