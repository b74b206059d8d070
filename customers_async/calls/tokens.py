"""Token sources, and the checks of a token.

The vendor has no refresh endpoint. Tokens are created by hand in a dashboard, and rotating one means that a variable, a
file or a secret store gets another string.
"""

import asyncio
import errno
import os
import select
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, SupportsIndex, TypeGuard, runtime_checkable

from customers_async.errors import ConfigurationError

__all__ = [
    "CallableToken",
    "EnvToken",
    "FileToken",
    "Secret",
    "StaticToken",
    "TokenSource",
    "check_token",
    "hide",
    "token_source",
]


_MAX_FILE = 2**16
"""Bytes: a larger file is not a token."""
_PIPE_TIMEOUT = 10.0
"""Seconds to wait for a pipe to be written to and closed."""
_PIPE_CHECK = 0.1
"""Seconds between two checks whether the call that waits for a pipe was cancelled."""


@runtime_checkable
class TokenSource(Protocol):
    """Anything that returns a token. Write your own for a secret store.

    Example:
        >>> class VaultToken:
        ...     async def get(self, *, rejected: str | None = None) -> str:
        ...         return await vault.read("customers/token")
    """

    async def get(self, *, rejected: str | None = None) -> str:
        """Return the current token.

        Args:
            rejected: A token that the service refused or that is about to expire: look for a newer one. Returning
                the same token again is allowed and means that there is no newer one.

        Raises:
            ConfigurationError: There is no token.
        """
        ...


class StaticToken:
    """A token that never changes.

    Raises:
        TypeError: It is not a string.
        ValueError: It is empty, or has anything but visible ASCII characters.
    """

    def __init__(self, token: str) -> None:
        token = hide(token)
        if problem := _find_problem(token):
            raise (ValueError if isinstance(token, str) else TypeError)(f"token {problem}")
        self._token = token

    def __repr__(self) -> str:
        return "StaticToken([token])"

    def __reduce__(self) -> str:
        raise TypeError("a StaticToken holds a secret and does not pickle")

    async def get(self, *, rejected: str | None = None) -> str:
        """Return the token."""
        return self._token


class EnvToken:
    """The token in an environment variable, read for every call.

    Args:
        name: The variable's name.

    Raises:
        TypeError: It is not a string.
    """

    def __init__(self, name: str = "CUSTOMERS_TOKEN") -> None:
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        self.name = name

    def __repr__(self) -> str:
        return f"EnvToken({self.name!r})"

    async def get(self, *, rejected: str | None = None) -> str:
        """Return the variable's value.

        Raises:
            ConfigurationError: The variable is not set, or holds no valid token.
        """
        return check_token(os.environ.get(self.name), f"the environment variable {self.name}")


class FileToken:
    """The token in a file, read again when the file changes. Surrounding white space is ignored.

    Args:
        path: The file, such as a mounted secret; may be a pipe, such as a shell's ``<(command)``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path)
        self._token: str | None = None
        self._version: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"FileToken({str(self.path)!r})"

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_token": None, "_version": ()}

    async def get(self, *, rejected: str | None = None) -> str:
        """Return the file's content.

        Raises:
            ConfigurationError: The file cannot be read, or holds no valid token.
        """
        try:
            status = self.path.stat()  # about 1 µs; in a thread it would take 50
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
            if self._token is None or version != self._version or rejected is not None:
                cancelled = threading.Event()
                try:
                    self._token = await asyncio.to_thread(self._read, cancelled)
                finally:
                    cancelled.set()
                self._version = version
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
        else:
            return self._token
        raise ConfigurationError(f"the token file {self.path} cannot be read: {reason}")

    def _read(self, cancelled: threading.Event) -> str:
        return check_token(_read_text(self.path, cancelled).strip(), f"the token file {self.path}")


def _read_text(path: Path, cancelled: threading.Event) -> str:
    """Read a small file. If it is a pipe, end in time: a program waits for this thread before it exits.

    Raises:
        OSError: It cannot be read, the pipe is not written and closed in time, or it is too large.
        UnicodeError: It is not text.
    """
    ends_at = time.monotonic() + _PIPE_TIMEOUT
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        is_pipe, data = stat.S_ISFIFO(os.fstat(descriptor).st_mode), b""
        while len(data) <= _MAX_FILE:
            if is_pipe:
                _wait_for_data(descriptor, ends_at, cancelled)
            piece = file.read(4096)
            if not piece:
                return data.decode()
            data += piece
    raise OSError(errno.EFBIG, "it is too large for a token")


def _wait_for_data(pipe: int, ends_at: float, cancelled: threading.Event) -> None:
    """Wait until a pipe has data or is closed.

    Raises:
        TimeoutError: It is not, until ``ends_at`` on the monotonic clock, or the call that needs it was cancelled.
    """
    while time.monotonic() < ends_at and not cancelled.is_set():
        if select.select([pipe], [], [], _PIPE_CHECK)[0]:
            return
    problem = f"nothing was written to the pipe, or it was not closed, within {_PIPE_TIMEOUT:g} s"
    raise TimeoutError(errno.ETIMEDOUT, problem)


class CallableToken:
    """The token that an async function returns; called once, and again when a newer token is needed.

    Args:
        function: Takes no argument, returns the token.
    """

    def __init__(self, function: Callable[[], Awaitable[str]]) -> None:
        if not callable(function):
            raise TypeError("CallableToken takes an async function")
        self._function = function
        self._token: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock: asyncio.Lock

    def __repr__(self) -> str:
        return f"CallableToken({getattr(self._function, '__qualname__', '...')})"

    def __reduce__(self) -> str:
        raise TypeError("a CallableToken may hold a secret and does not pickle")

    async def get(self, *, rejected: str | None = None) -> str:
        """Return the function's last result, or call it.

        Raises:
            ConfigurationError: It returned no valid token.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # a lock of a loop that has ended may never be released
            self._loop, self._lock = loop, asyncio.Lock()
        async with self._lock:
            if self._token is None or self._token == rejected:
                self._token = check_token(await self._function(), "the token function")
            return self._token


def token_source(token: object) -> TokenSource:
    """Return the source that a client's ``token`` argument stands for: itself, a string, or the environment.

    Raises:
        ConfigurationError: There is no token anywhere.
        TypeError: It is neither a string nor a source.
        ValueError: It is a string that cannot be a token.
    """
    if _is_source(token):
        return token
    if isinstance(token, str):
        return StaticToken(token)
    if token is not None:
        raise TypeError(f"token {_find_problem(token)}")
    if os.environ.get("CUSTOMERS_TOKEN"):
        return EnvToken("CUSTOMERS_TOKEN")
    if os.environ.get("CUSTOMERS_TOKEN_FILE"):
        return FileToken(os.environ["CUSTOMERS_TOKEN_FILE"])
    raise ConfigurationError("no token: pass token=, or set CUSTOMERS_TOKEN or CUSTOMERS_TOKEN_FILE")


def _is_source(token: object) -> TypeGuard[TokenSource]:
    return isinstance(token, TokenSource) and not isinstance(token, Mapping | type)  # a dict has a ``get``, too


class Secret(str):
    """A string with a repr that hides it: tracebacks and debuggers print the repr of locals and headers.

    Some shorten or wrap long strings first, so its parts hide themselves, too.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[hidden]'"

    def __getitem__(self, key: SupportsIndex | slice) -> "Secret":
        return Secret(super().__getitem__(key))

    def splitlines(self, keepends: bool = False) -> list[str]:
        """The lines, hidden."""
        return [Secret(line) for line in super().splitlines(keepends)]


def hide(secret: Any) -> Any:
    """Wrap a secret argument before it is checked, so that no traceback with locals can show it.

    A string becomes a `Secret`. None and token sources are returned unchanged. Anything else becomes an empty object
    of a class with the same name, which is all that error messages need. The caller checks the result: `check_token`
    takes a `Secret` for a checked token.
    """
    if isinstance(secret, str):
        return Secret(secret)
    if secret is None or _is_source(secret):
        return secret
    return type(type(secret).__name__, (), {})()


def check_token(token: str | None, origin: str) -> Secret:
    """Return the token as a `Secret`.

    Raises:
        ConfigurationError: It is missing, or cannot be a token. The message names ``origin``, never the token.
    """
    if isinstance(token, Secret):  # a source of this module wrapped and checked it
        return token
    if token is None:
        raise ConfigurationError(f"{origin} is not set")
    secret: Secret
    token = secret = hide(token)
    if problem := _find_problem(secret):
        raise ConfigurationError(f"{origin}: the token {problem}")
    return secret


def _find_problem(token: object) -> str | None:
    """What is wrong with a token, without the token itself."""
    if not isinstance(token, str):
        return f"must be a str, not {type(token).__name__}"
    if not token:
        return "is empty"
    if not (token.isascii() and token.isprintable()) or " " in token:
        return "must be visible ASCII characters only, without spaces or line ends"
    return None
