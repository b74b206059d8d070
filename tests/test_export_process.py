"""The export as a process of its own: killed, interrupted, out of room, and at work twice."""

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

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals, limits and process handles are Linux's")


@pytest.fixture
def service() -> Iterator[Emulator]:
    """A service of 500 customers, as fast as it can be."""
    with in_a_thread(Emulator(customers=500, limit=10**6, gzip=False)) as emulator:
        yield emulator


def environment(emulator: Emulator) -> dict[str, str]:
    """What leads a command to the service; without Python's development mode, which would tell of slow steps."""
    return {"CUSTOMERS_BASE_URL": emulator.url, "CUSTOMERS_TOKEN": emulator.token, "PYTHONDEVMODE": ""}


def at_work_until(process: "subprocess.Popen[str]", condition: Callable[[], bool]) -> None:
    """Let the process work until something has come about."""
    while not condition():
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)


@pytest.mark.parametrize("format_", FORMATS)
def test_killed_at_20_random_moments_it_ends_as_if_undisturbed(service: Emulator, tmp_path: Path, format_: str) -> None:
    """After SIGKILL at any moment the file is absent or whole, and the last run makes the same of it."""
    command = (sys.executable, "-m", "tests.exporting", service.url, service.token, f"{tmp_path}", format_)
    done = subprocess.run(  # noqa: S603  # ours
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
def test_without_room_it_exits_1_and_loses_nothing(service: Emulator, tmp_path: Path, kilobytes: int) -> None:
    """One sentence, whether the journal or the file found none; with room again it goes on, and all is there."""
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


def test_two_exports_at_once(service: Emulator, tmp_path: Path) -> None:
    """The second is told so and exits 1; the first comes to its end."""
    path = tmp_path / "customers.jsonl"
    service.fail_next("stall", page=5)
    with started("export", f"{path}", "--timeout", "2", "--json", **environment(service)) as first:
        at_work_until(first, lambda: journal_path(path).exists() and service.stats.requests >= 5)
        with started("export", f"{path}", "--restart", **environment(service)) as second:
            assert second.communicate(timeout=20) == ("", f"customers-async: another export to {path} is running\n")
        assert second.returncode == 1
        report = json.loads(first.communicate(timeout=20)[0])
    assert (first.returncode, report["rows"], report["retries"]) == (0, 500, 1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_cleanly(service: Emulator, tmp_path: Path, number: int, code: int) -> None:
    """No traceback, the way to go on, and nothing but the journal is left."""
    path = tmp_path / "customers.parquet"
    service.fail_next("stall", page=5)
    with started("export", f"{path}", **environment(service)) as process:
        at_work_until(process, lambda: service.stats.requests >= 5)
        process.send_signal(number)
        _, messages = process.communicate(timeout=10)
    assert process.returncode == code
    assert "run the same command again to resume" in messages
    assert "Traceback" not in messages
    assert {entry.name for entry in tmp_path.iterdir()} <= {
        "customers.parquet.journal",
        "customers.parquet.journal-wal",
    }
