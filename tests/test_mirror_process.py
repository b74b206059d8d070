"""Syncs of a mirror in their own processes: killed, and at the same time as readers."""

import json
import os
import subprocess
import sys

import pytest

from tests.test_mirror import postgres, target

__all__ = ["postgres", "target"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux signals and process handles"),
]


@pytest.mark.timeout(120)
def test_killed_sync_leaves_the_old_version_or_the_new_one(target: str) -> None:
    """SIGKILL at 20 random moments, each after the list has changed; the last sync brings the mirror in step."""
    command = (sys.executable, "-m", "tests.mirroring", target)
    done = subprocess.run(  # noqa: S603  # our own command
        command, env={**os.environ, "PYTHONDEVMODE": ""}, capture_output=True, text=True, check=False, timeout=110
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)) >= 20
