"""The command in its own process: signals, pipes, a missing extra."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from customers_async.emulator import Emulator
from tests.test_cli import in_a_thread

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and pipes")

COMMAND = (sys.executable, "-m", "customers_async.cli")


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command with pipes for its streams; kill it at the end."""
    with subprocess.Popen(  # noqa: S603  # our own command
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603  # our own code


@pytest.fixture
def environment() -> Iterator[Mapping[str, str]]:
    """Environment variables for a service of 250 customers."""
    with in_a_thread(Emulator(customers=250)) as emulator:
        yield {"CUSTOMERS_BASE_URL": emulator.url, "CUSTOMERS_TOKEN": emulator.token}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_emulator_ends_on_a_signal(number: int, code: int) -> None:
    """The line that it printed is usable before, and no traceback is printed."""
    with started("emulator", "--customers", "12") as emulator:
        assert emulator.stdout is not None
        variables = dict(word.split("=", 1) for word in shlex.split(emulator.stdout.readline())[1:])
        with started("count", **variables) as count:
            assert count.communicate(timeout=10) == ("12\n", "")
        emulator.send_signal(number)
        _, messages = emulator.communicate(timeout=10)
    assert emulator.returncode == code
    assert "Traceback" not in messages


def test_reader_of_one_line_is_not_an_error(environment: Mapping[str, str]) -> None:
    """``list --json | head -n 1`` prints nothing on stderr and exits 0."""
    with started("list", "--json", **environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.wait(timeout=10) == 0
        assert process.stderr.read() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk_exits_1_with_one_message(environment: Mapping[str, str]) -> None:
    """One message, and no further one from the interpreter as it exits."""
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(  # noqa: S603  # our own command
            [*COMMAND, "count"], stdout=full, stderr=subprocess.PIPE, env={**os.environ, **environment}, check=False
        )
    assert (process.returncode, process.stderr) == (1, b"customers-async: No space left on device\n")


def test_closed_stderr_is_ignored() -> None:
    """A message that cannot be printed does not change the exit code."""
    closing = ["sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND, "count"]
    assert subprocess.run(closing, check=False).returncode == 3  # noqa: S603  # our own command


def test_stdout_is_utf_8(environment: Mapping[str, str]) -> None:
    """Names are printed whatever the locale's encoding is."""
    with started("list", PYTHONIOENCODING="ascii", **environment) as process:
        out, messages = process.communicate(timeout=10)
    assert (process.returncode, messages) == (0, "")
    assert "Šimkutė" in out


def test_demo_end_to_end(tmp_path: Path) -> None:
    """It exits 0 with 10,000 lines in the file."""
    output = tmp_path / "customers.jsonl"
    with started("demo", "--output", f"{output}") as process:
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "COMPLETE" in out
    assert output.read_bytes().count(b"\n") == 10_000


@pytest.mark.parametrize("name", ["cyclopts", "rich"])
def test_missing_extra_exits_1(name: str) -> None:
    """One message names the extra to install."""
    process = python(
        f"import sys; sys.modules[{name!r}] = None; from customers_async.cli import main; main(['--help'])"
    )
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr == "customers-async needs its command-line extra: pip install 'customers-async[cli]'\n"


def test_package_does_not_import_the_command_line() -> None:
    """Importing customers_async loads neither the command line nor its dependencies."""
    process = python(
        "import sys, customers_async; print({'customers_async.cli', 'cyclopts', 'rich'} & set(sys.modules))"
    )
    assert process.stdout == "set()\n"
