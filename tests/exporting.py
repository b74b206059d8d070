"""``python -m tests.exporting URL TOKEN DIRECTORY FORMAT``: an export that is killed many times.

Each run is a fork, because a fork starts at once, and is killed by SIGKILL at a random moment. Prints the moments, each
as a fraction of the time that an undisturbed run takes.
"""

import json
import random
import sys
import time
from pathlib import Path

from customers_async import CustomersClient, export_customers
from customers_async.export.formats import FORMATS, format_of
from tests.killing import run_in_fork

KILLS = 20


def run(url: str, token: str, path: Path, moment: float | None) -> bool:
    """Export in a fork, and kill it after ``moment`` seconds; return whether it completed."""

    async def export() -> None:
        async with CustomersClient(token, base_url=url) as client:
            await export_customers(client, path)

    return run_in_fork(export, moment)


def main(url: str, token: str, directory: str, format_: str) -> None:
    """Write ``undisturbed.FORMAT`` and ``killed.FORMAT``."""
    undisturbed, killed = (Path(directory, f"{name}.{format_}") for name in ("undisturbed", "killed"))
    format_of(undisturbed)  # imports pyarrow if the format needs it
    started = time.monotonic()
    assert run(url, token, undisturbed, None)
    seconds = time.monotonic() - started
    whole = undisturbed.read_bytes()
    moments: list[float] = []
    while len(moments) < KILLS:
        moment = random.uniform(0, seconds)
        if run(url, token, killed, moment):  # it completed first: start again
            assert killed.read_bytes() == whole
            killed.unlink()
        else:
            moments.append(moment / seconds)
        assert not killed.exists() or killed.read_bytes() == whole
    assert run(url, token, killed, None)
    sys.stdout.write(json.dumps(moments))


if __name__ == "__main__":
    assert set(FORMATS) >= set(sys.argv[4:])
    main(*sys.argv[1:])
