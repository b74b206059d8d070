"""The pytest plugin, used as in other projects: in pytest runs of their own."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
UNUSED = ("cacheprovider", "hypothesispytest", "randomly", "schemathesis", "timeout", "xdist", "pytest_cov")
"""Plugins that are not needed and take time."""


def run_pytest(directory: Path, *arguments: str) -> tuple[dict[str, str], str]:
    """Run pytest; return the outcome of each test by its name, and everything printed."""
    off = [argument for plugin in UNUSED for argument in ("-p", f"no:{plugin}")]
    command = [sys.executable, "-m", "pytest", "-rA", "--color=no", "-W", "error", *off, *arguments]
    run = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)  # noqa: S603  # a fixed command
    outcomes = re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) \S+::(\w+)", run.stdout, re.MULTILINE)
    return {name: outcome for outcome, name in outcomes}, run.stdout + run.stderr


def test_example_project_passes(tmp_path: Path) -> None:
    """The documentation's example project works unchanged."""
    shutil.copytree(ROOT / "docs/example_project", tmp_path, dirs_exist_ok=True)
    outcomes, printed = run_pytest(tmp_path)
    assert len(outcomes) == 8, printed
    assert set(outcomes.values()) == {"PASSED"}, printed


START = """
import sys

loaded = set(sys.modules)  # before other test files are read

def test_package_is_not_loaded_at_the_start():
    own = {name for name in loaded if name.startswith("customers_async")}
    assert own == {"customers_async", "customers_async._version", "customers_async.pytest_plugin"}
    assert not loaded & {"aiohttp", "attrs", "msgspec"}
"""

STRICT = """
import pytest
import pytest_asyncio
from customers_async import CustomersClient
from customers_async.emulator import Emulator

pytestmark = pytest.mark.asyncio

async def test_environment_points_to_the_emulator(customers_emulator):
    async with CustomersClient() as client:
        assert await client.count_customers() == 250

async def test_unknown_path(customers_emulator):
    import aiohttp
    async with aiohttp.ClientSession() as session, session.get(customers_emulator.url + "/api/v2/customers?a=1"):
        pass

@pytest.mark.customers_emulator(strict=False)
async def test_allowed_unknown_path(customers_emulator):
    import aiohttp
    async with aiohttp.ClientSession() as session, session.get(customers_emulator.url + "/api/v2/customers"):
        pass

async def test_unknown_parameter(customers_emulator):
    import aiohttp
    async with aiohttp.ClientSession() as session:
        for target in ("/api/v1/customers?perpage=5&page=1", "/api/v1/auth?page=1"):
            async with session.get(customers_emulator.url + target):
                pass

async def test_unused_scripts(customers_emulator, customers_client):
    customers_emulator.fail_next(503, path="/api/v1/auth")
    customers_emulator.fail_next("reset", times=None, page=99)
    customers_emulator.on_page(9, delete=1)
    customers_emulator.expire_token(after=7)
    assert await customers_client.count_customers() == 250

async def test_own_failure_comes_first(customers_emulator):
    customers_emulator.fail_next(503)
    raise LookupError("own failure")

@pytest.mark.customers_emulator(customers=10, limit=5)
class TestSettings:
    @pytest.mark.customers_emulator(customers=20)
    async def test_closest_marker_wins(self, customers_emulator, customers_client):
        assert await customers_client.count_customers() == 20
        assert customers_client.rate_limit.limit == 5

@pytest.mark.asyncio(loop_scope="module")
async def test_another_loop(customers_client):
    pass

class TestOwnEmulator:
    @pytest_asyncio.fixture
    async def customers_emulator(self):
        async with Emulator(customers=3) as emulator:
            yield emulator

    async def test_client_connects_to_own_emulator(self, customers_client):
        assert await customers_client.count_customers() == 3
"""


def test_unexpected_requests_and_unused_scripts_fail_a_test(tmp_path: Path) -> None:
    """Unexpected requests and unused scripts fail a test that would pass otherwise.

    This runs in pytest-asyncio's strict mode; nothing of the package is loaded before.
    """
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (tmp_path / "test_0_start.py").write_text(START)
    (tmp_path / "test_1_strict.py").write_text(STRICT)
    outcomes, printed = run_pytest(tmp_path)
    assert outcomes == {
        "test_package_is_not_loaded_at_the_start": "PASSED",
        "test_environment_points_to_the_emulator": "PASSED",
        "test_unknown_path": "FAILED",
        "test_allowed_unknown_path": "PASSED",
        "test_unknown_parameter": "FAILED",
        "test_unused_scripts": "FAILED",
        "test_own_failure_comes_first": "FAILED",
        "test_closest_marker_wins": "PASSED",
        "test_another_loop": "ERROR",
        "test_client_connects_to_own_emulator": "PASSED",
    }, printed
    assert "  GET /api/v2/customers\n" in printed
    assert "  GET /api/v1/auth: no parameter page\n" in printed
    assert "  GET /api/v1/customers: no parameter perpage\n" in printed
    assert "Unused scripts:\n  fail_next(503)\n  on_page(9)\n  expire_token(after=6)\n" in printed
    assert "LookupError: own failure" in printed
    assert "set asyncio_default_fixture_loop_scope = module (needs pytest-asyncio 0.24)." in printed


WITHOUT_PYTEST_ASYNCIO = """
import asyncio

import pytest
from customers_async import CustomersClient
from customers_async.testing import VirtualTimeLoop

@pytest.fixture(params=[("asyncio", {}), ("asyncio", {"loop_factory": VirtualTimeLoop})])
def anyio_backend(request):
    return request.param

@pytest.mark.anyio
async def test_on_anyio(customers_emulator, customers_client):
    assert customers_client.rate_limit.limit == 500
    assert await customers_client.get_customer(next(customers_emulator.uuids()))

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["curio"])
async def test_on_another_backend(customers_client):
    pass

def test_without_a_loop(customers_emulator):
    async def count():
        async with CustomersClient() as client:
            return await client.count_customers()

    assert asyncio.run(count()) == 250
    assert customers_emulator.stats.requests == 1

def test_client_without_a_loop(customers_client):
    pass

async def test_without_a_plugin(customers_emulator):
    pass
"""


def test_plugin_works_without_pytest_asyncio(tmp_path: Path) -> None:
    """The fixtures work on anyio and without an event loop; where they cannot work, the error says why."""
    (tmp_path / "test_others.py").write_text(WITHOUT_PYTEST_ASYNCIO)
    outcomes, printed = run_pytest(tmp_path, "-p", "no:asyncio")
    assert outcomes == {
        "test_on_anyio": "PASSED",
        "test_on_another_backend": "ERROR",
        "test_without_a_loop": "PASSED",
        "test_client_without_a_loop": "ERROR",
        "test_without_a_plugin": "FAILED",
    }, printed
    assert "customers_async runs on asyncio, not on curio" in printed
    assert "customers_client needs an async test" in printed
    assert "async def functions are not natively supported" in printed


HYPOTHESIS = """
import pytest
from hypothesis import HealthCheck, given, settings, strategies

examples = given(page=strategies.integers(1, 3))
few = settings(max_examples=3, suppress_health_check=list(HealthCheck), deadline=None, database=None)

@few
@examples
@pytest.mark.asyncio
@pytest.mark.parametrize("per_page", [10, 20])
async def test_on_asyncio(page, per_page, customers_client):
    assert (await customers_client.get_page(page, per_page=per_page)).number == page

@few
@examples
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_on_anyio(page, customers_client):
    assert (await customers_client.get_page(page)).number == page

@few
@examples
def test_without_a_loop(page, customers_client):
    pass
"""


def test_hypothesis_may_call_an_async_test(tmp_path: Path) -> None:
    """The test that Hypothesis wraps decides, also where pytest-asyncio has wrapped it for other parameters."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (tmp_path / "test_examples.py").write_text(HYPOTHESIS)
    outcomes, printed = run_pytest(tmp_path)
    assert outcomes == {
        "test_on_asyncio": "PASSED",
        "test_on_anyio": "PASSED",
        "test_without_a_loop": "ERROR",
    }, printed
    assert printed.count("PASSED test_examples.py::test_on_asyncio") == 2
    assert "customers_client needs an async test" in printed


AMBIGUOUS = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_by_both(customers_client):
    pass
"""


def test_two_plugins_that_run_the_same_test_are_reported(tmp_path: Path) -> None:
    """In pytest-asyncio's auto mode a test of anyio would use two event loops: the error says what to set."""
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    (tmp_path / "test_both.py").write_text(AMBIGUOUS)
    outcomes, printed = run_pytest(tmp_path)
    assert outcomes == {"test_by_both": "ERROR"}, printed
    assert "pytest-asyncio and anyio both run this test: set asyncio_mode = strict." in printed


def test_plugin_loads_without_asyncio_plugins(tmp_path: Path) -> None:
    """The plugin loads without pytest-asyncio and anyio."""
    script = (
        "import sys; sys.modules['pytest_asyncio'] = None; import customers_async.pytest_plugin; print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603  # a fixed command
    assert "customers_async.pytest_plugin" in run.stdout
    assert "customers_async.client" not in run.stdout
