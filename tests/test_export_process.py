"""The export in its own process: killed, interrupted, on a full disk, and run twice at once."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from customers_async.emulator import Emulator
from customers_async.export import verify_export
from customers_async.export.formats import FORMATS
from customers_async.export.journal import journal_path
from tests.test_cli import in_a_thread
from tests.test_cli_process import COMMAND, started

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux signals, limits and process handles"),
]


@pytest.fixture
def service() -> Iterator[Emulator]:
    """A service of 500 customers without a rate limit."""
    with in_a_thread(Emulator(customers=500, limit=10**6, gzip=False)) as emulator:
        yield emulator


def environment(emulator: Emulator) -> dict[str, str]:
    """Environment variables for the service, without Python's development mode, which reports slow callbacks."""
    return {"CUSTOMERS_BASE_URL": emulator.url, "CUSTOMERS_TOKEN": emulator.token, "PYTHONDEVMODE": ""}


def wait_until(process: "subprocess.Popen[str]", condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, while the process is running."""
    while not condition():
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)


@pytest.mark.parametrize("format_", FORMATS)
def test_killed_export_ends_with_the_same_file(service: Emulator, tmp_path: Path, format_: str) -> None:
    """SIGKILL at 20 random moments leaves the file absent or complete, and the last run writes the same bytes."""
    command = (sys.executable, "-m", "tests.exporting", service.url, service.token, f"{tmp_path}", format_)
    done = subprocess.run(  # noqa: S603  # our own command
        command, env={**os.environ, "PYTHONDEVMODE": ""}, capture_output=True, text=True, check=False, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)) == 20
    undisturbed, killed = tmp_path / f"undisturbed.{format_}", tmp_path / f"killed.{format_}"
    assert killed.read_bytes() == undisturbed.read_bytes()
    assert [record["uuid"] for record in FORMATS[format_].read(killed)] == list(service.uuids())
    assert verify_export(killed) == {}
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{format_}{suffix}" for name in ("undisturbed", "killed") for suffix in ("", ".manifest.json")
    }


@pytest.mark.parametrize("kilobytes", [64, 200])
def test_full_disk_exits_1_and_keeps_the_journal(service: Emulator, tmp_path: Path, kilobytes: int) -> None:
    """One message, whether the journal or the file did not fit; the next run resumes and completes the file."""
    path = tmp_path / "customers.jsonl"
    path.write_text("old")
    limited = ("bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "bash", *COMMAND, "export", f"{path}", "--quiet")
    outcome = subprocess.run(  # noqa: S603  # our own command
        limited, env={**os.environ, **environment(service)}, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 1
    assert outcome.stderr.startswith(f"customers-async: {tmp_path}")
    assert outcome.stderr.count("\n") == 1
    assert path.read_text() == "old"
    with started("export", f"{path}", "--json", **environment(service)) as process:
        report = json.loads(process.communicate(timeout=20)[0])
    assert (process.returncode, report["rows"]) == (0, 500)
    assert verify_export(path) == {}


def test_second_export_exits_1(service: Emulator, tmp_path: Path) -> None:
    """The second export of a file prints one message; the first completes."""
    path = tmp_path / "customers.jsonl"
    service.fail_next("stall", page=5)
    with started("export", f"{path}", "--timeout", "2", "--json", **environment(service)) as first:
        wait_until(first, lambda: journal_path(path).exists() and service.stats.requests >= 5)
        with started("export", f"{path}", "--restart", **environment(service)) as second:
            assert second.communicate(timeout=20) == ("", f"customers-async: another export to {path} is running\n")
        assert second.returncode == 1
        report = json.loads(first.communicate(timeout=20)[0])
    assert (first.returncode, report["rows"], report["retries"]) == (0, 500, 1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_an_export_cleanly(service: Emulator, tmp_path: Path, number: int, code: int) -> None:
    """No traceback is printed, a message says how to resume, and only the journal is left."""
    path = tmp_path / "customers.parquet"
    service.fail_next("stall", page=5)
    with started("export", f"{path}", **environment(service)) as process:
        wait_until(process, lambda: service.stats.requests >= 5)
        process.send_signal(number)
        _, messages = process.communicate(timeout=10)
    assert process.returncode == code
    assert "run the same command again to resume" in messages
    assert "Traceback" not in messages
    assert {entry.name for entry in tmp_path.iterdir()} <= {
        "customers.parquet.journal",
        "customers.parquet.journal-wal",
    }
