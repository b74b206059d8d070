"""Runs a command and turns each failure into one message and an exit code."""

import asyncio
import logging
import math
import os
import re
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, get_args

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from customers_async import CustomersError, ExportError, IncompleteListError
from customers_async.cli.commands import app
from customers_async.cli.connection import UsageError
from customers_async.cli.output import discard_output, print_message
from customers_async.cli.signals import Interruption
from customers_async.errors import ACCESS_ERRORS
from customers_async.exit_codes import API, CREDENTIALS, INCOMPLETE, LOCAL, REVIEW, USAGE
from customers_async.mirror import MassRemovalError

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    if sys.stderr is None:  # closed by the parent process, as stdout may be
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # not closed here: messages are written to it until the process ends
    if sys.stdout is None:
        print_message("stdout is closed")
        return LOCAL
    for name in ("COLUMNS", "LINES"):
        if not re.fullmatch(r"0*[1-9][0-9]{0,4}", os.environ.get(name, "")):
            os.environ.pop(name, None)  # rich would print nothing in 0 columns
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        with _log_as_messages(), Interruption() as interruption:
            code = _run_command(argv, interruption)
            sys.stdout.flush()
    except BrokenPipeError:
        discard_output(sys.stdout)
        return 0
    except OSError as error:
        discard_output(sys.stdout)
        print_message(_describe_os_error(error))
        return LOCAL
    return code


def _run_command(argv: Sequence[str], interruption: Interruption) -> int:
    try:
        return _call_command(argv, interruption) or 0
    except (CycloptsError, UsageError) as error:
        print_message(f"{_describe_usage(error)} (see customers-async --help)")
        return USAGE
    except CustomersError as error:
        print_message(_describe(error))
        return _exit_code(error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return interruption.report()


def _exit_code(error: CustomersError) -> int:
    if isinstance(error, ACCESS_ERRORS):
        return CREDENTIALS
    match error:
        case IncompleteListError():
            return INCOMPLETE
        case MassRemovalError():
            return REVIEW
        case ExportError():
            return LOCAL
    return API


def _call_command(argv: Sequence[str], interruption: Interruption) -> int | None:
    command, arguments, _ = app.parse_args(argv, print_error=False, exit_on_error=False)
    result: int | Coroutine[Any, Any, int | None] | None
    try:
        result = command(*arguments.args, **arguments.kwargs)
    except SystemExit:  # raised by rich if nothing reads the help
        return 0
    return interruption.run(result) if isinstance(result, Coroutine) else result


@contextmanager
def _log_as_messages() -> Iterator[None]:
    logger = logging.getLogger("customers_async")
    handler = _MessageHandler()
    level = logger.level
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _MessageHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print_message(record.getMessage())


def _describe(error: CustomersError) -> str:
    where = "" if error.next_page is None else f"stopped before page {error.next_page}: "
    again = ""
    if error.retryable:
        seconds = math.inf if error.retry_after is None else error.retry_after
        again = f"; run again in {math.ceil(seconds)} s" if math.isfinite(seconds) else "; run again later"
    return f"{where}{error}{again}"


def _describe_usage(error: CycloptsError | UsageError) -> str:
    """Describe a usage error without the arguments themselves: one may be a mistyped secret."""
    hint = re.search(r" Did you mean [\w\"-]+\?", f"{error}")
    suggestion = f".{hint[0]}" if hint else ""  # one of our own names
    match error:
        case UsageError() | RepeatArgumentError():
            return " ".join(f"{error}".split())
        case UnknownCommandError():
            return f"there is no such command{suggestion}"
        case UnknownOptionError():
            return f"there is no such option{suggestion}"
        case UnusedCliTokensError():
            return "too many arguments"
        case MissingArgumentError(argument=argument) if argument is not None:
            return f"{argument.name} requires a value"
        case ValidationError(argument=argument, exception_message=reason) if argument is not None:
            return f"the value of {argument.name} is invalid. {reason}"
        case CoercionError(argument=argument, target_type=kind) if argument is not None:
            choices = ", ".join(get_args(kind))
            return f"the value of {argument.name} is " + (f"none of {choices}" if choices else "invalid")
    return "the arguments are invalid"


def _describe_os_error(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename is not None else reason
