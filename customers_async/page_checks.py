"""Checks of a whole page at once, for what msgspec accepted: uuids and times.

They cost a few microseconds of the 150 that a page takes; checking each value would cost four times as much.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

__all__ = ["EPOCH", "are_recent", "are_times", "are_uuids"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The earliest time that is accepted."""
_MILLENNIUM: Final = datetime(2000, 1, 1, tzinfo=UTC)
_SHAPES = bytes(ord("x") if chr(c).isalnum() and c < 128 else c if chr(c) in "-\n" else ord("?") for c in range(256))
_UUID_SHAPE = b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx\n"

_encode_json = msgspec.json.Encoder().encode
_find_null_string = re.compile(rb'"([nN]|\\u00[46][eE])([uU]|\\u00[57]5)([lL]|\\u00[46][cC]){2}"').search


def are_uuids(uuids: list[str]) -> bool:
    """Check the uuids of a whole page as `is_uuid` does, in 4 µs instead of 24, of the 150 µs that a page takes.

    Each letter and digit is replaced by the same letter, so that one comparison checks the page.
    """
    return "\n".join([*uuids, ""]).encode().translate(_SHAPES) == _UUID_SHAPE * len(uuids)


def are_recent(times: list[Any]) -> bool:
    """Whether all times are UTC and between 2000 and 2999, which most pages are: 6 µs instead of 16 for a page.

    All times are encoded as one JSON array. Where two of them meet, one must end in Z (UTC) and the next begin with a
    2 (the year); a time is added at both ends so that the first and the last have a neighbour. Only the decoder's own
    UTC and fixed offsets can occur.
    """
    return _encode_json([_MILLENNIUM, *times, _MILLENNIUM]).count(b'Z","2') == len(times) + 1


def are_times(times: list[Any], body: bytes) -> bool:
    """Whether all times are UTC from 1970 on, or None and not the string "null", which lax msgspec reads as None."""
    known = [time for time in times if time is not None]
    if not all(time.tzinfo is UTC and time >= EPOCH for time in known):
        return False
    return len(known) == len(times) or not _find_null_string(body)
