"""Runs work in a fork, because a fork starts at once, and kills it."""

import asyncio
import os
import select
import signal
import traceback
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["run_in_fork"]


def run_in_fork(work: Callable[[], Coroutine[Any, Any, object]], moment: float | None) -> bool:
    """Run the work, and kill it by SIGKILL after ``moment`` seconds; return whether it completed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the threads of this process do not matter to the work
        process = os.fork()
    if process == 0:
        _run_and_exit(work)
    handle = os.pidfd_open(process)
    if not select.select([handle], [], [], moment)[0]:
        os.kill(process, signal.SIGKILL)
    os.close(handle)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


def _run_and_exit(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    code = 1
    try:
        asyncio.run(work())
        code = 0
    except BaseException:
        traceback.print_exc()  # os._exit would lose it
    finally:
        os._exit(code)
