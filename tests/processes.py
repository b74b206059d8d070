"""Web services in processes of their own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def run_uvicorn(app: str, *, workers: int, folder: Path) -> Iterator[str]:
    """Run a service in several processes of uvicorn; yield its URL."""
    command = [sys.executable, "-m", "uvicorn", app, "--workers", str(workers), "--port", "0", "--no-access-log"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as uvicorn:  # noqa: S603  # ours
        assert uvicorn.stderr is not None
        try:
            url, ready = "", 0
            while ready < workers:
                line = uvicorn.stderr.readline()
                assert line, "uvicorn ended"
                ready += "Application startup complete" in line
                if running := re.search(r"running on (http://[\d.:]+)", line):
                    url = running[1]
            yield url
        finally:
            uvicorn.terminate()
            uvicorn.communicate(timeout=20)
