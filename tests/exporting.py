"""``python -m tests.exporting URL TOKEN DIRECTORY FORMAT``: an export that is killed many times.

Each run is a fork, because a fork starts at once, and is killed by SIGKILL at a random moment. Prints the moments, each
as a fraction of the time that an undisturbed run takes.
"""

import asyncio
import json
import os
import random
import select
import signal
import sys
import time
import warnings
from pathlib import Path

from customers_async import CustomersClient, export_customers
from customers_async.export.formats import FORMATS, format_of

KILLS = 20


def export(url: str, token: str, path: Path) -> None:
    """Export, then exit the process."""

    async def main() -> None:
        async with CustomersClient(token, base_url=url) as client:
            await export_customers(client, path)

    code = 1
    try:
        asyncio.run(main())
        code = 0
    finally:
        os._exit(code)


def run(url: str, token: str, path: Path, moment: float | None) -> bool:
    """Export in a fork, and kill it after ``moment`` seconds; return whether it completed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pyarrow's threads are idle, and restarted in a fork
        process = os.fork()
    if process == 0:
        export(url, token, path)
    handle = os.pidfd_open(process)
    if not select.select([handle], [], [], moment)[0]:
        os.kill(process, signal.SIGKILL)
    os.close(handle)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


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
