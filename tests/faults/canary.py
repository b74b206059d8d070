"""The search for leaks: recognisable tokens and customers, and a watch over logs, output and exceptions."""

import functools
import inspect
import logging
import pickle
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.pretty import pretty_repr

from customers_async import CustomersError
from customers_async.emulator.fake_customers import FakeCustomers
from customers_async.emulator.tokens import Tokens
from tests.wire import TOKEN

__all__ = ["DATA", "EXAMPLE", "NAME", "Canary", "customer", "mark_customers", "page"]

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
DATA = "Kan4ri"
"""Part of every name and address that a fault test serves."""
NAME = f"Eve {DATA}"

_TESTS = str(Path(__file__).parents[1])
_EMULATOR = str(Path(inspect.getfile(FakeCustomers)).parent)
_UUID = re.compile(r"\w{8}-\w{4}-\w{4}-\w{4}-\w{12}")
_PERSONAL = ("name", "registration_address_line", "post_address_line", "post_address_index", "identity_uuid")


def customer(uuid: str = EXAMPLE, name: str = NAME) -> bytes:
    """Return a customer as JSON."""
    return f'{{"uuid":"{uuid}","name":"{name}","post_address_line":"{DATA} Street 1"}}'.encode()


def page(*customers: bytes) -> bytes:
    """Return a page of customers as JSON, by default of one."""
    return b"[" + b",".join(customers or [customer()]) + b"]"


def mark_customers(make: Callable[[FakeCustomers, int], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Wrap ``FakeCustomers.customer`` to mark all personal data."""

    @functools.wraps(make)
    def marked(fake_customers: FakeCustomers, number: int) -> dict[str, Any]:
        record = make(fake_customers, number)
        return record | {field: f"{DATA} {record[field]}" for field in _PERSONAL}

    return marked


class Canary(logging.Handler):
    """Scans each log record, output and exception of the code under test, and records leaks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.secrets = [TOKEN[:20], DATA]
        self.leaks: list[str] = []

    def scan(self, text: str, where: str) -> None:
        """Record the secrets found in a text."""
        for secret in self.secrets:
            if secret in text:
                found = text.index(secret)
                self.leaks.append(f"{where} shows {secret!r}: ...{text[max(0, found - 300) : found + 80]}...")

    def emit(self, record: logging.LogRecord) -> None:
        """Scan a log record, its arguments and its exception; from INFO on a uuid is a leak, too."""
        where = f"a record of {record.name} at {record.levelname}"
        self.scan(self.format(record), where)
        self.scan(repr(record.args), where)
        if record.name == "customers_async" and record.levelno >= logging.INFO and _UUID.search(record.getMessage()):
            self.leaks.append(f"{where} shows a uuid: {record.getMessage()}")
        if record.exc_info and record.exc_info[1] is not None:
            self.scan_error(record.exc_info[1])

    def scan_error(self, error: BaseException) -> None:
        """Scan an exception and its chain: messages, attributes, the locals of each frame, pickles."""
        for link in _chain(error, set()):
            where = f"{type(link).__name__} in the chain of {type(error).__name__}"
            self.scan(f"{link!r} {link} {link.args!r} {vars(link)!r} {getattr(link, '__notes__', '')!r}", where)
            self.scan(_format_frames(link), f"a frame under {where}")
            self.scan(_pickle(link), f"the pickle of {where}")

    def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function to scan the exceptions it raises."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                try:
                    return await function(*args, **kwargs)
                except BaseException as error:
                    self.scan_error(error)
                    raise

            return awaited

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except BaseException as error:
                self.scan_error(error)
                raise

        return called

    def record_tokens(self, issue: Callable[..., str]) -> Callable[..., str]:
        """Wrap ``Tokens.issue`` to add each token to the secrets."""

        @functools.wraps(issue)
        def noted(tokens: Tokens, lifetime: float | None = None) -> str:
            token = issue(tokens, lifetime)
            self.secrets.append(token.rsplit(".")[-1])
            return token

        return noted


def _chain(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    linked = [error.__cause__, error.__context__, *getattr(error, "exceptions", ())]
    for link in linked:
        if link is not None:
            yield from _chain(link, seen)


def _format_frames(error: BaseException) -> str:
    """Return the traceback with all locals, without frames of the tests and the emulator, which hold secrets.

    The locals are printed twice: by their repr, and as Rich prints them, which reads attributes and shortens strings.
    """
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith((_TESTS, _EMULATOR))
    ]
    rich_locals = [pretty_repr(frame.f_locals, max_length=10, max_string=80) for frame, _ in frames]
    return "".join([*traceback.StackSummary.extract(iter(frames), capture_locals=True).format(), *rich_locals])


def _pickle(error: BaseException) -> str:
    try:
        return pickle.dumps(error).decode("latin-1")
    except (TypeError, AttributeError, pickle.PicklingError):
        assert not isinstance(error, CustomersError), "every error of the package pickles"
        return ""
