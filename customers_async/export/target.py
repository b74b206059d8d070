"""The path of an export, checked before anything is sent."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["check_file", "find_target", "follow_link", "manifest_path", "partial_path", "rejected_path"]


def find_target(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of the file to write: what the path points to if it is a symbolic link.

    Raises:
        OSError: There is something else than a file, or a name that the export needs is too long.
        TypeError: The path is of the wrong type.
        ValueError: The path is not valid UTF-8, or holds a null character.
    """
    named = Path(path)
    try:
        f"{named}".encode()
    except UnicodeEncodeError:
        raise ValueError("the path is not valid UTF-8, so a manifest cannot hold it") from None
    try:
        target = follow_link(named).absolute()
        target.parent.stat()
        _check_file_or_missing(named)
        for beside in (manifest_path(target), rejected_path(target)):
            _check_file_or_missing(beside)
            _check_no_link(beside)
        for part in ("data", "rejected", "manifest"):  # which have the longest names
            _check_replaceable(partial_path(target, part))
    except FileExistsError:
        raise
    except OSError as error:
        error.filename = f"{named}"
        raise
    return target


def check_file(path: Path) -> None:
    """Check a file that is to be read: a pipe or a device may have no end.

    Raises:
        OSError: There is no file, or something else.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), f"{path}")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", f"{path}")


def follow_link(path: Path) -> Path:
    """Return the path, or that of the file it points to if it is a symbolic link."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def manifest_path(target: Path) -> Path:
    """Return the path of an export's manifest."""
    return target.with_name(f"{target.name}.manifest.json")


def rejected_path(target: Path) -> Path:
    """Return the path of the records that an export rejected."""
    return target.with_name(f"{target.name}.rejected.jsonl")


def partial_path(target: Path, part: str) -> Path:
    """Return the path of a part that is not in place yet: data, rejected or manifest."""
    return target.with_name(f".{target.name}.{part}.partial")


def _check_file_or_missing(path: Path) -> None:
    if not _is_file_or_missing(path):
        raise FileExistsError(errno.EEXIST, "exists and is not a file", f"{path}")


def _check_no_link(path: Path) -> None:
    if path.is_symlink():  # only the target's link is followed, and this one would be replaced
        raise FileExistsError(errno.EEXIST, "exists and is a symbolic link", f"{path}")


def _check_replaceable(path: Path) -> None:
    """Check a temporary name: a file or a link that an earlier export left is removed, a directory is not."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "exists and is not a file", f"{path}")


def _is_file_or_missing(path: Path) -> bool:
    """Whether the path is that of a file or of nothing. A link in /dev or /proc stands for an open file, not a path."""
    folder = os.path.realpath(path.parent)
    if path.is_symlink() and (folder == "/dev" or folder.startswith("/proc/")):
        return False
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True
