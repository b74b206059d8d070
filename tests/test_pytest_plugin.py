"""The pytest plugin as its users have it: in projects of their own, run by a pytest of their own."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
UNUSED = ("cacheprovider", "hypothesispytest", "randomly", "schemathesis", "timeout", "xdist", "pytest_cov")
"""Plugins that would only take time."""


def run_pytest(directory: Path, *arguments: str) -> tuple[dict[str, str], str]:
    """How each test ended, by its name, and all that was printed."""
    off = [argument for plugin in UNUSED for argument in ("-p", f"no:{plugin}")]
    command = [sys.executable, "-m", "pytest", "-rA", "--color=no", "-W", "error", *off, *arguments]
    run = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    ends = re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) \S+::(\w+)", run.stdout, re.MULTILINE)
    return {name: end for end, name in ends}, run.stdout + run.stderr


def test_the_example_project_passes(tmp_path: Path) -> None:
    """The project that the documentation shows works as it stands."""
    shutil.copytree(ROOT / "docs/example_project", tmp_path, dirs_exist_ok=True)
    ends, printed = run_pytest(tmp_path)
    assert len(ends) == 8, printed
    assert set(ends.values()) == {"PASSED"}, printed


START = """
import sys

loaded = set(sys.modules)  # before other test files are read

def test_nothing_of_the_package_is_loaded_at_the_start():
    ours = {name for name in loaded if name.startswith("customers_async")}
    assert ours == {"customers_async", "customers_async._version", "customers_async.pytest_plugin"}
    assert not loaded & {"aiohttp", "attrs", "msgspec"}
"""

STRICT = """
import pytest
import pytest_asyncio
from customers_async import CustomersClient
from customers_async.emulator import Emulator

pytestmark = pytest.mark.asyncio

async def test_the_environment_names_the_emulator(customers_emulator):
    async with CustomersClient() as client:
        assert await client.count_customers() == 250

async def test_an_unknown_path(customers_emulator):
    import aiohttp
    async with aiohttp.ClientSession() as session, session.get(customers_emulator.url + "/api/v2/customers?a=1"):
        pass

@pytest.mark.customers_emulator(strict=False)
async def test_an_unknown_path_on_purpose(customers_emulator):
    import aiohttp
    async with aiohttp.ClientSession() as session, session.get(customers_emulator.url + "/api/v2/customers"):
        pass

async def test_an_unknown_parameter(customers_emulator):
    import aiohttp
    async with aiohttp.ClientSession() as session:
        for target in ("/api/v1/customers?perpage=5&page=1", "/api/v1/auth?page=1"):
            async with session.get(customers_emulator.url + target):
                pass

async def test_scripts_that_never_happen(customers_emulator, customers_client):
    customers_emulator.fail_next(503, path="/api/v1/auth")
    customers_emulator.fail_next("reset", times=None, page=99)
    customers_emulator.on_page(9, delete=1)
    customers_emulator.expire_token(after=7)
    assert await customers_client.count_customers() == 250

async def test_a_failure_of_its_own_comes_first(customers_emulator):
    customers_emulator.fail_next(503)
    raise LookupError("of its own")

@pytest.mark.customers_emulator(customers=10, limit=5)
class TestSettings:
    @pytest.mark.customers_emulator(customers=20)
    async def test_the_closest_marker_wins(self, customers_emulator, customers_client):
        assert await customers_client.count_customers() == 20
        assert customers_client.rate_limit.limit == 5

@pytest.mark.asyncio(loop_scope="module")
async def test_another_loop(customers_client):
    pass

class TestAnEmulatorOfOnesOwn:
    @pytest_asyncio.fixture
    async def customers_emulator(self):
        async with Emulator(customers=3) as emulator:
            yield emulator

    async def test_the_client_is_of_ones_own_emulator(self, customers_client):
        assert await customers_client.count_customers() == 3
"""


def test_a_test_that_surprises_the_service_fails(tmp_path: Path) -> None:
    """Unknown paths and parameters, and scripts that never happened, fail a test that went well otherwise.

    In pytest-asyncio's strict mode; before that, nothing of the package had been loaded.
    """
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (tmp_path / "test_0_start.py").write_text(START)
    (tmp_path / "test_1_strict.py").write_text(STRICT)
    ends, printed = run_pytest(tmp_path)
    assert ends == {
        "test_nothing_of_the_package_is_loaded_at_the_start": "PASSED",
        "test_the_environment_names_the_emulator": "PASSED",
        "test_an_unknown_path": "FAILED",
        "test_an_unknown_path_on_purpose": "PASSED",
        "test_an_unknown_parameter": "FAILED",
        "test_scripts_that_never_happen": "FAILED",
        "test_a_failure_of_its_own_comes_first": "FAILED",
        "test_the_closest_marker_wins": "PASSED",
        "test_another_loop": "ERROR",
        "test_the_client_is_of_ones_own_emulator": "PASSED",
    }, printed
    assert "  GET /api/v2/customers\n" in printed
    assert "  GET /api/v1/auth: no parameter page\n" in printed
    assert "  GET /api/v1/customers: no parameter perpage\n" in printed
    assert "Scripted, but it never happened:\n  fail_next(503)\n  on_page(9)\n  expire_token(after=6)\n" in printed
    assert "LookupError: of its own" in printed
    assert "set asyncio_default_fixture_loop_scope = module." in printed


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

def test_a_client_without_a_loop(customers_client):
    pass

async def test_that_nobody_runs(customers_emulator):
    pass
"""


def test_it_works_without_pytest_asyncio(tmp_path: Path) -> None:
    """On anyio, and in tests without an event loop; where a fixture cannot work, it says why."""
    (tmp_path / "test_others.py").write_text(WITHOUT_PYTEST_ASYNCIO)
    ends, printed = run_pytest(tmp_path, "-p", "no:asyncio")
    assert ends == {
        "test_on_anyio": "PASSED",
        "test_on_another_backend": "ERROR",
        "test_without_a_loop": "PASSED",
        "test_a_client_without_a_loop": "ERROR",
        "test_that_nobody_runs": "FAILED",
    }, printed
    assert "customers_async runs on asyncio, not on curio" in printed
    assert "customers_client needs an async test" in printed
    assert "async def functions are not natively supported" in printed


def test_the_plugin_needs_neither_asyncio_plugin(tmp_path: Path) -> None:
    """Where pytest-asyncio is not installed, the plugin loads all the same."""
    script = (
        "import sys; sys.modules['pytest_asyncio'] = None; import customers_async.pytest_plugin; print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603  # ours
    assert "customers_async.pytest_plugin" in run.stdout
    assert "customers_async.client" not in run.stdout
