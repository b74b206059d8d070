"""The result of a check, and how figures are written in it."""

from datetime import UTC, datetime
from typing import Literal

import attrs

__all__ = ["DAY", "RENEW", "Finding", "Status", "format_duration", "format_seconds", "format_time", "skip"]

Status = Literal["ok", "warning", "failed", "not checked"]

DAY = 86_400.0
"""Seconds."""
RENEW = "make a new token in the vendor's dashboard, and store it where this one comes from"


@attrs.frozen
class Finding:
    """The result of one check.

    Attributes:
        check: The name of the check.
        status: Its result.
        message: What was found.
        remedy: What to do about it; None if that is nothing, not known, or part of the message.
        code: The exit code of the command line that it causes; 0 unless it failed.
    """

    check: str
    status: Status
    message: str
    remedy: str | None = None
    code: int = 0


def skip(check: str, reason: str) -> Finding:
    """Return the finding of a check that could not run."""
    return Finding(check, "not checked", reason)


def format_time(seconds: float) -> str:
    """Write a time in Unix seconds."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return "a time beyond all calendars"


def format_duration(seconds: float) -> str:
    """Write a duration in its largest unit."""
    for name, length in (("day", DAY), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= length:
            number = round(seconds / length)
            return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"
    return f"{seconds:.0f} s"


def format_seconds(seconds: float) -> str:
    """Write a short duration."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
