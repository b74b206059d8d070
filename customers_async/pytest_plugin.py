"""The pytest plugin: the fixtures ``customers_emulator`` and ``customers_client``.

pytest imports this module at the start of every run, in projects that never use it, before coverage can measure
anything. So it imports nothing else of the package, and uses only what pytest 6.2 and pluggy 1.0 have already.
`testing.fixtures` implements the fixtures.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from types import ModuleType
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import pytest

if TYPE_CHECKING:
    from customers_async import CustomersClient
    from customers_async.emulator import Emulator
    from customers_async.testing.fixtures import EmulatorFixture

_used: "MutableMapping[pytest.Item, EmulatorFixture]" = WeakKeyDictionary()
"""The fixture of each test that uses one."""


def pytest_configure(config: "pytest.Config") -> None:
    """Register the marker, and the fixture for pytest-asyncio if that is loaded."""
    config.addinivalue_line(
        "markers",
        "customers_emulator(*, strict=True, **settings): settings of the fixture's Emulator; strict=False allows "
        "unexpected requests and unused scripts.",
    )
    if _runs_pytest_asyncio(config):
        from pytest_asyncio import fixture  # not earlier: it may be installed, and disabled or broken

        plugin = ModuleType("customers_async.pytest_asyncio_plugin")
        vars(plugin)["_customers_emulator_on_asyncio"] = fixture(_start_on_asyncio)
        config.pluginmanager.register(plugin, plugin.__name__)


@pytest.hookimpl(trylast=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Fail a test that passed but sent unexpected requests or left scripts unused."""
    fixture = _used.get(item)
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
            "customers_client needs an async test, run by anyio or by pytest-asyncio 0.17 or later. In other tests "
            "use customers_emulator, and let your code create its own CustomersClient(), which connects to it.",
            pytrace=False,
        )
    return _customers_emulator_fixture.make_client(customers_emulator)


@pytest.fixture
def _customers_emulator_fixture(request: pytest.FixtureRequest) -> "EmulatorFixture":
    """The emulator, in the event loop of the test if it has one, otherwise in a thread."""
    fixture: EmulatorFixture = request.getfixturevalue(_choose_fixture(request))
    _used[request.node] = fixture
    return fixture


def _choose_fixture(request: pytest.FixtureRequest) -> str:
    """Return the name of the fixture for the plugin that runs the test."""
    marker = request.node.get_closest_marker("asyncio")
    by_pytest_asyncio = _runs_pytest_asyncio(request.config) and _is_async(request.function)
    if "anyio_backend" in request.fixturenames:
        if marker is not None and by_pytest_asyncio:
            pytest.fail("pytest-asyncio and anyio both run this test: set asyncio_mode = strict.", pytrace=False)
        backend = request.getfixturevalue("anyio_backend_name")
        if backend != "asyncio":
            pytest.fail(f"customers_async runs on asyncio, not on {backend}: see anyio_backend.", pytrace=False)
        return "_customers_emulator_on_anyio"
    if marker is None or not by_pytest_asyncio:
        return "_customers_emulator_in_thread"
    own_scope = marker.kwargs.get("loop_scope") or marker.kwargs.get("scope")  # "scope" until pytest-asyncio 0.23
    test_scope = own_scope or _read_scope(request.config, "asyncio_default_test_loop_scope")
    fixture_scope = _read_scope(request.config, "asyncio_default_fixture_loop_scope")
    if test_scope != fixture_scope:
        pytest.fail(
            f"The test runs in the event loop of its {test_scope}, but customers_emulator in that of its "
            f"{fixture_scope}: set asyncio_default_fixture_loop_scope = {test_scope} (needs pytest-asyncio 0.24).",
            pytrace=False,
        )
    return "_customers_emulator_on_asyncio"


def _is_async(test: Callable[..., object]) -> bool:
    """Whether a test is a coroutine function, perhaps one that Hypothesis calls with examples."""
    if hasattr(test, "hypothesis"):
        test = inspect.unwrap(test.hypothesis.inner_test)  # which pytest-asyncio wraps for the first set of parameters
    return inspect.iscoroutinefunction(test)


def _runs_pytest_asyncio(config: "pytest.Config") -> bool:
    """Whether pytest-asyncio 0.17 or later is loaded: older versions have no option ``asyncio_mode``."""
    return bool(config.getoption("asyncio_mode", "absent") != "absent")


def _read_scope(config: "pytest.Config", name: str) -> str:
    """Return the event loop's scope that a setting of pytest-asyncio means for a test, or for the fixture of one."""
    try:
        scope = str(config.getini(name))
    except ValueError:  # an older version has no such setting
        return "function"
    return "function" if scope in ("", "None", "fixture-scope") else scope


async def _start_on_asyncio(request: pytest.FixtureRequest) -> "AsyncIterator[EmulatorFixture]":
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
