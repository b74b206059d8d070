"""The search for leaks: a token and customers that can be recognised anywhere, and a watch over all that gets out."""

import functools
import inspect
import logging
import pickle
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from customers_async import CustomersError
from customers_async.emulator.fake_customers import FakeCustomers
from customers_async.emulator.tokens import Tokens
from tests.wire import TOKEN

__all__ = ["DATA", "EXAMPLE", "NAME", "Canary", "customer", "page", "with_marked_customers"]

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
DATA = "Kan4ri"
"""Stands in every name and address that a fault test serves."""
NAME = f"Eve {DATA}"

_TESTS = str(Path(__file__).parents[1])
_EMULATOR = str(Path(inspect.getfile(FakeCustomers)).parent)
_UUID = re.compile(r"\w{8}-\w{4}-\w{4}-\w{4}-\w{12}")
_PERSONAL = ("name", "registration_address_line", "post_address_line", "post_address_index", "identity_uuid")


def customer(uuid: str = EXAMPLE, name: str = NAME) -> bytes:
    """A customer as JSON."""
    return f'{{"uuid":"{uuid}","name":"{name}","post_address_line":"{DATA} Street 1"}}'.encode()


def page(*customers: bytes) -> bytes:
    """A page of them, or of the one above."""
    return b"[" + b",".join(customers or [customer()]) + b"]"


def with_marked_customers(make: Callable[[FakeCustomers, int], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The emulator's fake_customers, every personal text of which can be recognised."""

    @functools.wraps(make)
    def marked(fake_customers: FakeCustomers, number: int) -> dict[str, Any]:
        record = make(fake_customers, number)
        return record | {field: f"{DATA} {record[field]}" for field in _PERSONAL}

    return marked


class Canary(logging.Handler):
    """Looks at each log record, each output and each exception of the code under test, and notes what leaks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.secrets = [TOKEN, DATA]
        self.leaks: list[str] = []

    def look(self, text: str, where: str) -> None:
        """Note the secrets in a text."""
        for secret in self.secrets:
            if secret in text:
                found = text.index(secret)
                self.leaks.append(f"{where} shows {secret!r}: ...{text[max(0, found - 300) : found + 80]}...")

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a log record, its arguments and its exception; from INFO on not even a uuid may stand in it."""
        where = f"a record of {record.name} at {record.levelname}"
        self.look(self.format(record), where)
        self.look(repr(record.args), where)
        if record.name == "customers_async" and record.levelno >= logging.INFO and _UUID.search(record.getMessage()):
            self.leaks.append(f"{where} shows a uuid: {record.getMessage()}")
        if record.exc_info and record.exc_info[1] is not None:
            self.look_at_error(record.exc_info[1])

    def look_at_error(self, error: BaseException) -> None:
        """Look at an exception and all it hangs together with: message, attributes, locals of each frame, pickle."""
        for link in _chain(error, set()):
            where = f"{type(link).__name__} in the chain of {type(error).__name__}"
            self.look(f"{link!r} {link} {link.args!r} {vars(link)!r} {getattr(link, '__notes__', '')!r}", where)
            self.look(_frames(link), f"a frame under {where}")
            self.look(_pickled(link), f"the pickle of {where}")

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function; what it raises is looked at."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                try:
                    return await function(*args, **kwargs)
                except BaseException as error:
                    self.look_at_error(error)
                    raise

            return awaited

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except BaseException as error:
                self.look_at_error(error)
                raise

        return called

    def noting_tokens(self, issue: Callable[..., str]) -> Callable[..., str]:
        """The emulator's tokens are real-looking JWTs: each one is looked for, too."""

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


def _frames(error: BaseException) -> str:
    """The traceback with all locals, save for frames of the tests and the emulator: these know the secrets."""
    frames = (
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith((_TESTS, _EMULATOR))
    )
    return "".join(traceback.StackSummary.extract(frames, capture_locals=True).format())


def _pickled(error: BaseException) -> str:
    try:
        return pickle.dumps(error).decode("latin-1")
    except (TypeError, AttributeError, pickle.PicklingError):
        assert not isinstance(error, CustomersError), "each error of ours pickles"
        return ""
