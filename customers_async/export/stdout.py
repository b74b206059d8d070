"""Writes an export to stdout."""

import errno
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from customers_async.export.formats import Format

__all__ = ["prepare_stdout"]


def prepare_stdout(format_: Format) -> Callable[[Path], None]:
    """Return a function that copies a file to what is stdout now, which may be a stream of text as in a notebook.

    Raises:
        OSError: Stdout is closed.
        ValueError: It takes text only, and the format is not text.
    """
    stdout = sys.stdout
    if stdout is None or getattr(stdout, "closed", False):
        raise OSError(errno.EBADF, "stdout is closed")
    if not callable(getattr(stdout, "write", None)) or not callable(getattr(stdout, "flush", None)):
        raise OSError(errno.EBADF, "stdout cannot be written to")
    is_text = getattr(stdout, "buffer", None) is None
    if is_text and not format_.is_text:
        raise ValueError(f"stdout takes text only here, which {format_.name} is not")

    def copy(path: Path) -> None:
        stdout.flush()
        if is_text:
            with path.open(encoding="utf-8", newline="") as text:
                shutil.copyfileobj(text, stdout)
        else:
            with path.open("rb") as data:
                shutil.copyfileobj(data, stdout.buffer)
        stdout.flush()

    return copy
