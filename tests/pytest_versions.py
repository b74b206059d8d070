"""Checks the pytest plugin with several versions of pytest and pytest-asyncio, each in a virtual environment.

Run it with ``python -m tests.pytest_versions``. It needs a package index and prints a line for each combination. It
installs the package from this directory.
"""

import os
import re
import subprocess
import sys
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent

UNRELATED: Final = """
def test_unrelated(tmp_path):
    pass
"""
"""A project that never uses the package."""

SYNC: Final = """
import asyncio
from customers_async import CustomersClient

def test_sync(customers_emulator):
    async def count():
        async with CustomersClient() as client:
            return await client.count_customers()

    assert asyncio.run(count()) == 250

def test_unused_script(customers_emulator):
    customers_emulator.fail_next(503)
"""

ASYNC: Final = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.MARKER
async def test_async(customers_emulator, customers_client):
    assert await customers_client.count_customers() == 250
    assert customers_emulator.stats.requests == 1
"""

NEEDED: Final = "customers_client needs an async test, run by anyio or by pytest-asyncio"

COMBINATIONS: Final = {
    "pytest==6.2.5 pluggy==1.0.0": "",
    "pytest==7.2.1 pluggy==1.0.0 anyio>=4.6": "anyio",
    "pytest==7.2.1 pluggy==1.0.0 pytest-asyncio==0.20.3": "asyncio",  # Debian 12
    "pytest<9 pytest-asyncio==0.23.8": "asyncio",
    "pytest==8.4.* pytest-asyncio==0.26.*": "asyncio",
    "pytest>=9 pytest-asyncio>=1": "asyncio",
}
"""What to install, and the plugin that runs the async test, if any."""


class UnexpectedResultError(Exception):
    """A run of pytest that did not end as it should; the argument is what it printed."""


def main() -> None:
    """Check all combinations, and exit with status 1 if one fails."""
    failed = False
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(2) as executor:
        python = create_environment(Path(directory, "package"), str(ROOT))
        packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        checks = [
            executor.submit(check, Path(directory, str(number)), packages, requirements.split(), plugin)
            for number, (requirements, plugin) in enumerate(COMBINATIONS.items())
        ]
        for requirements, done in zip(COMBINATIONS, checks, strict=True):
            try:
                print(f"ok      {requirements}: {done.result()}", flush=True)  # noqa: T201  # a command
            except UnexpectedResultError as error:
                failed = True
                print(f"FAILED  {requirements}\n{error}", flush=True)  # noqa: T201  # a command
    sys.exit(failed)


def check(directory: Path, packages: str, requirements: list[str], plugin: str) -> str:
    """Check one combination, with ``packages`` as a further directory of packages; return what was checked."""
    python = create_environment(directory, *requirements)
    (site_packages,) = directory.glob("lib/*/site-packages")
    (site_packages / "shared.pth").write_text(f"{packages}\n")
    unrelated, user = directory / "unrelated", directory / "user"
    for project in (unrelated, user):
        project.mkdir()
    (unrelated / "test_unrelated.py").write_text(UNRELATED)
    (user / "test_sync.py").write_text(SYNC)
    (user / "test_async.py").write_text(ASYNC.replace("MARKER", plugin or "customers_emulator"))

    setting = ("-o", "asyncio_default_fixture_loop_scope=function") if plugin == "asyncio" else ()
    known = ("-W", "ignore::pytest.PytestConfigWarning")  # older versions do not have this setting
    for options in ([], ["-p", "no:asyncio"], ["-p", "no:customers"]):
        printed = run(
            python, "-m", "pytest", "-q", "--strict-markers", "-W", "error", *known, *options, *setting, cwd=unrelated
        )
        expect(re.fullmatch(r"\.\s+\[100%\]\s+1 passed in \S+\s+", printed) is not None, printed)
    printed = run(python, "-m", "pytest", "-q", cwd=unrelated, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    expect("1 passed" in printed, printed)

    printed = run(python, "-m", "pytest", "-rA", "--color=no", *setting, cwd=user)
    outcomes = {name: outcome for outcome, name in re.findall(r"^([A-Z]+) \S+::(\w+)", printed, re.MULTILINE)}
    ran = "PASSED" if plugin else "ERROR"
    expect(outcomes == {"test_sync": "PASSED", "test_unused_script": "FAILED", "test_async": ran}, printed)
    expect("Unused scripts:\n  fail_next(503)\n" in printed, printed)
    expect((NEEDED in printed) is not bool(plugin), printed)
    return f"silent when unused; sync test passed; async test {'passed' if plugin else 'says what it needs'}"


def create_environment(directory: Path, *requirements: str) -> Path:
    """Create a virtual environment, install the requirements, and return its Python."""
    venv.create(directory, with_pip=True)
    python = directory / "bin/python"
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements, check=True)
    return python


def run(python: Path, *arguments: str, cwd: Path | None = None, check: bool = False, **environment: str) -> str:
    """Run Python and return what it printed."""
    command = [str(python), *arguments]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON"))}
    done = subprocess.run(  # noqa: S603  # a fixed command
        command,
        cwd=cwd,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    expect(done.returncode == 0 or not check, done.stdout)
    return done.stdout


def expect(condition: bool, printed: str) -> None:
    """Raise an error that shows what was printed, unless the condition holds."""
    if not condition:
        raise UnexpectedResultError(printed)


if __name__ == "__main__":
    main()
