"""``$CUSTOMERS_LOG``: shows the log of the package without a line of code."""

import logging
import os
import sys
from contextlib import suppress
from functools import cache
from typing import Final

__all__ = ["show_log"]

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO}

_log = logging.getLogger("customers_async")


class _LastHandler(logging.Handler):
    """Prints on stderr what no other handler receives, so that no message appears twice."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None or _log.handlers != [self] or logging.getLogger().handlers:
            return
        with suppress(OSError, ValueError):  # it is closed, and there is nowhere else to write to
            sys.stderr.write(f"{self.format(record)}\n")


_handler = _LastHandler()
_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))


@cache
def show_log() -> None:
    """Log from the level that ``$CUSTOMERS_LOG`` names, once for each process.

    A lower level that the program has set stays. A value that is not a level is logged, and otherwise ignored: a
    variable of the environment must not stop a program.
    """
    value = os.environ.get("CUSTOMERS_LOG", "").strip().lower()
    if not value:
        return
    if value not in _LEVELS:
        _log.warning("CUSTOMERS_LOG is ignored: it must be debug or info.")
        return
    if _log.level == logging.NOTSET or _log.level > _LEVELS[value]:
        _log.setLevel(_LEVELS[value])
    _log.addHandler(_handler)  # one object, which is added once, even if two threads make their first client together
