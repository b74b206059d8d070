"""Writes an export to stdout."""

import codecs
import errno
import io
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from customers_async.errors import stripped
from customers_async.export.formats import Format

__all__ = ["prepare_stdout"]

_SEVERAL_SCRIPTS = "ž日😀"
_PIECE = 2**16
"""Bytes that are written at once."""


def prepare_stdout(format_: Format) -> Callable[[Path], None]:
    """Return a function that moves a file to what is stdout now, which may be a stream of text as in a notebook.

    Raises:
        OSError: Stdout is closed, or cannot be written to.
        ValueError: It takes text only, and the format is not text or the encoding lacks characters.
    """
    stdout: Any = sys.stdout
    if _is_closed(stdout):
        raise OSError(errno.EBADF, "stdout is closed")
    buffer = getattr(stdout, "buffer", None)
    if buffer is None and not format_.is_text:
        raise ValueError(f"stdout takes text only here, which {format_.name} is not")
    if not (_is_text_writer(stdout) if buffer is None else _is_bytes_writer(buffer)):
        raise OSError(errno.EBADF, "stdout cannot be written to")
    if buffer is None and not _is_unicode(stdout):
        raise ValueError("the encoding of stdout lacks characters: use UTF-8")

    def move(path: Path) -> None:
        failure: Exception
        try:
            stdout.flush()
            with path.open("rb") as data:
                if os.name == "posix":
                    path.unlink()  # if the process is killed from here on, no customers are left in the file
                _copy(data, stdout, buffer)
            stdout.flush()
        except UnicodeError:  # quotes a customer
            failure = ValueError("the encoding of stdout lacks characters: use UTF-8")
        except Exception as error:  # whatever stdout raises: the frames of its traceback hold customers
            failure = stripped(error)
        else:
            return
        raise failure

    return move


def _copy(data: io.BufferedReader, stdout: Any, buffer: Any) -> None:
    if buffer is None:
        with io.TextIOWrapper(data, encoding="utf-8", newline="") as text:
            shutil.copyfileobj(text, stdout)
    elif isinstance(buffer, io.RawIOBase):  # of python -u; it may write less than it is given
        while piece := memoryview(data.read(_PIECE)):
            while piece:
                piece = piece[_write_some(buffer, piece) :]
    else:
        shutil.copyfileobj(data, buffer)


def _write_some(buffer: io.RawIOBase, piece: memoryview) -> int:
    written = buffer.write(piece)
    if written is None:
        raise BlockingIOError(errno.EAGAIN, "stdout does not wait for its reader")
    return written


def _is_closed(stdout: Any) -> bool:
    try:
        return stdout is None or bool(getattr(stdout, "closed", False))
    except ValueError:  # its buffer was detached
        return True


def _is_text_writer(stdout: Any) -> bool:
    try:
        stdout.write("")
        return callable(stdout.flush)
    except Exception:  # whatever such an object raises
        return False


def _is_bytes_writer(buffer: Any) -> bool:
    """Whether the buffer can be written to, and its file is open for writing."""
    try:
        buffer.write(b"")
        with suppress(io.UnsupportedOperation):  # in memory
            os.write(buffer.fileno(), b"")
    except Exception:  # whatever such an object raises
        return False
    return True


def _is_unicode(stdout: Any) -> bool:
    """Whether the encoding of a stream of text, if it names one, has the characters of several scripts."""
    encoding = getattr(stdout, "encoding", None)
    try:
        if isinstance(stdout, codecs.StreamWriter):
            stdout.encode(_SEVERAL_SCRIPTS, "strict")
        elif isinstance(encoding, str):
            _SEVERAL_SCRIPTS.encode(encoding)
    except UnicodeError:
        return False
    except LookupError:  # such as "unknown"
        return True
    return True
