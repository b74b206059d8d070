"""How each command ends before its end: interrupted, or with nothing that reads its output. One clean sentence each."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from customers_async.emulator import Emulator
from tests.test_cli import Command, command, in_a_thread, service, signalling
from tests.test_cli_process import started

__all__ = ["command", "service"]  # fixtures

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and pipes")

DOCUMENTED = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"


# Interrupted


@pytest.mark.parametrize(("number", "code", "word"), [(2, 130, "interrupted"), (15, 143, "terminated")])
@pytest.mark.parametrize(
    "arguments",
    [
        f"get {DOCUMENTED}",
        f"get {DOCUMENTED} --json",
        "list",
        "list --json",
        "count",
        "whoami",
        "doctor",
        "export {}.jsonl",
        "export {}.parquet --quiet",
        "export -",
        "sync {}.db",
        "watch {}.db",
    ],
)
def test_interrupted_request_ends_the_command(
    command: Command, service: Emulator, tmp_path: Path, arguments: str, number: int, code: int, word: str
) -> None:
    """One sentence on stderr, the signal's exit code, and no output."""
    service.fail_next(signalling(number), times=None)
    outcome = command(*(argument.format(tmp_path / "customers") for argument in arguments.split()))
    assert (outcome.code, outcome.out, outcome.err) == (code, "", f"customers-async: {word}\n")


@pytest.mark.parametrize("arguments", ["export {}.jsonl", "sync {}.db"])
def test_interrupted_command_that_resumes_says_so(
    command: Command, service: Emulator, tmp_path: Path, arguments: str
) -> None:
    """If it has fetched pages already."""
    service.fail_next(signalling(signal.SIGINT), page=3)
    outcome = command(*(argument.format(tmp_path / "customers") for argument in arguments.split()))
    *hint, last = outcome.err.splitlines()
    assert (outcome.code, last) == (130, "customers-async: interrupted")
    assert len(hint) == (arguments.startswith("export"))


# Nothing reads the output


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with an export, a newer one and a mirror, and the environment of a service of 3,000 customers."""
    folder = tmp_path_factory.mktemp("files")
    with in_a_thread(Emulator(customers=3000, limit=10**6)) as emulator:
        environment = {"CUSTOMERS_BASE_URL": emulator.url, "CUSTOMERS_TOKEN": emulator.token}
        for number, arguments in enumerate(("export old.jsonl", "export new.jsonl", "sync mirror.db")):
            emulator.delete(number, at=5)
            with started(*in_folder(folder, arguments), **environment) as process:
                assert process.wait(timeout=20) in (0, 5)
        yield folder, environment


def in_folder(folder: Path, arguments: str) -> list[str]:
    """Return the arguments, with the names of files as paths in the folder."""
    return [f"{folder / word}" if "." in word else word for word in arguments.split()]


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "list --help",
        "--version",
        "list",
        "list --json",
        f"get {DOCUMENTED}",
        "count",
        "whoami",
        "doctor",
        "doctor --json",
        "export - --quiet",
        "export x.csv",
        "verify old.jsonl",
        "diff old.jsonl new.jsonl",
        "diff old.jsonl new.jsonl --json",
        "sync mirror.db",
        "changes mirror.db",
        "changes mirror.db --json",
        "find mirror.db a --limit 3000",
        "emulator",
    ],
)
def test_output_that_nothing_reads_is_no_failure(
    files: tuple[Path, dict[str, str]], arguments: str, unbuffered: str
) -> None:
    """As before ``| head``: exit code 0, and no traceback, also with PYTHONUNBUFFERED, which containers set."""
    folder, environment = files
    with started(*in_folder(folder, arguments), **environment, PYTHONUNBUFFERED=unbuffered) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(timeout=20) == 0
        errors = process.stderr.read()
    assert "Traceback" not in errors
    assert all(line.startswith("customers-async: ") for line in errors.splitlines())


# An unfinished export


def test_verify_of_an_unfinished_export_says_so(command: Command, service: Emulator, tmp_path: Path) -> None:
    """Exit code 1, and what to do."""
    path = tmp_path / "customers.jsonl"
    service.fail_next(501, page=3)
    assert command("export", f"{path}").code == 4
    sentence = f"customers-async: the export {path} is unfinished: run it again to resume\n"
    outcome = command("verify", f"{path}")
    assert (outcome.code, outcome.out, outcome.err) == (1, "", sentence)
    assert command("export", f"{path}").code == 0
    assert command("verify", f"{path}").code == 0


# A reserve


@pytest.mark.parametrize("arguments", ["export {}.jsonl", "sync {}.db"])
def test_reserve_leaves_requests_to_other_processes(
    command: Command, service: Emulator, tmp_path: Path, arguments: str
) -> None:
    """It would have to wait for the next window with as many requests left."""
    service.rate_limit(5)
    words = [word.format(tmp_path / "customers") for word in arguments.split()]
    outcome = command(*words, "--reserve", "3", "--max-wait", "1")
    assert (outcome.code, service.stats.requests) == (4, 2)
    assert "the rate limit is used up" in outcome.err


@pytest.mark.parametrize("arguments", ["export {}.jsonl", "sync {}.db", "watch {}.db"])
@pytest.mark.parametrize("reserve", ["-1", "500", "x"])
def test_impossible_reserve_is_wrong_usage(
    command: Command, service: Emulator, tmp_path: Path, arguments: str, reserve: str
) -> None:
    """It must be below the limit; nothing is sent."""
    words = [word.format(tmp_path / "customers") for word in arguments.split()]
    outcome = command(*words, "--reserve", reserve)
    assert (outcome.code, outcome.out, service.stats.requests) == (2, "", 0)
    assert not any(tmp_path.iterdir())
