"""The export as a process of its own: killed, interrupted, out of room, and at work twice."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from customers_async.emulator import Emulator
from customers_async.export import verify_export
from customers_async.export.reading import read_records
from customers_async.export.sinks import FORMATS
from tests.test_cli import in_a_thread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals, limits and process handles are Linux's")


@pytest.fixture
def service() -> Iterator[Emulator]:
    """A service of 800 customers, as fast as it can be."""
    with in_a_thread(Emulator(customers=800, limit=10**6, gzip=False)) as emulator:
        yield emulator


def environment(emulator: Emulator) -> dict[str, str]:
    """What leads a command to the service."""
    return {"CUSTOMERS_BASE_URL": emulator.url, "CUSTOMERS_TOKEN": emulator.token}


@pytest.mark.parametrize("format_", FORMATS)
def test_killed_at_20_random_moments_it_ends_as_if_undisturbed(service: Emulator, tmp_path: Path, format_: str) -> None:
    """After SIGKILL at any moment the file is absent or whole, and the last run makes the same of it."""
    command = (sys.executable, "-m", "tests.exporting", service.url, service.token, f"{tmp_path}", format_)
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONDEVMODE"}  # which takes twice as long
    done = subprocess.run(  # noqa: S603  # ours
        command, env=plain, capture_output=True, text=True, check=False, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)) == 20
    undisturbed, killed = tmp_path / f"undisturbed.{format_}", tmp_path / f"killed.{format_}"
    assert killed.read_bytes() == undisturbed.read_bytes()
    assert [record["uuid"] for record in read_records(killed, format_)] == list(service.uuids())
    assert verify_export(killed) == {}
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{format_}{suffix}" for name in ("undisturbed", "killed") for suffix in ("", ".manifest.json")
    }
