"""Where the bearer token comes from, and what a token must be.

The vendor has no refresh endpoint: tokens are made by hand in a dashboard, and rotation means that a variable,
a file or a secret store gets another string.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from customers_async.errors import ConfigurationError

__all__ = [
    *("Bearer", "CallableToken", "EnvToken", "FileToken", "StaticToken", "TokenSource"),
    *("checked", "token_source"),
]


@runtime_checkable
class TokenSource(Protocol):
    """Anything that hands out a token; write your own for a secret store.

    Example:
        >>> class VaultToken:
        ...     async def get(self, *, rejected: str | None = None) -> str:
        ...         return await vault.read("customers/token")
    """

    async def get(self, *, rejected: str | None = None) -> str:
        """The present token.

        Args:
            rejected: The token that the service refused or that is about to expire: look for a newer one. To
                return the same again is allowed and means that there is none.

        Raises:
            ConfigurationError: There is no token.
        """
        ...


class StaticToken:
    """A token that never changes.

    Raises:
        TypeError: It is not a string.
        ValueError: It is empty or holds anything but visible ASCII characters.
    """

    def __init__(self, token: str) -> None:
        problem = token_problem(token)
        if problem:
            kind = ValueError if isinstance(token, str) else TypeError
            del token
            raise kind(f"token {problem}")
        self._token = Bearer(token)

    def __repr__(self) -> str:
        return "StaticToken([token])"

    def __reduce__(self) -> str:
        raise TypeError("a StaticToken holds a secret and does not pickle")

    async def get(self, *, rejected: str | None = None) -> str:
        """The token."""
        return self._token


class EnvToken:
    """The token in an environment variable, read anew at each call.

    Args:
        name: The variable's name.
    """

    def __init__(self, name: str = "CUSTOMERS_TOKEN") -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"EnvToken({self.name!r})"

    async def get(self, *, rejected: str | None = None) -> str:
        """The variable's value.

        Raises:
            ConfigurationError: It is not set, or holds no token.
        """
        return checked(os.environ.get(self.name), f"the environment variable {self.name}")


class FileToken:
    """The token in a file, read again when the file changes; white space around it is dropped.

    Args:
        path: The file, such as a mounted secret.
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
        """The file's content.

        Raises:
            ConfigurationError: The file cannot be read, or holds no token.
        """
        try:
            stat = self.path.stat()  # about a microsecond; a thread would cost fifty
            version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if self._token is None or version != self._version or rejected is not None:
                self._token = await asyncio.to_thread(self._read)
                self._version = version
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
        else:
            return self._token
        raise ConfigurationError(f"the token file {self.path} cannot be read: {reason}")

    def _read(self) -> str:
        return checked(self.path.read_text(encoding="utf-8").strip(), f"the token file {self.path}")


class CallableToken:
    """The token that an async function returns; called once, and again when a newer token is wanted.

    Args:
        function: Takes nothing, returns the token.
    """

    def __init__(self, function: Callable[[], Awaitable[str]]) -> None:
        if not callable(function):
            raise TypeError("CallableToken takes an async function")
        self._function = function
        self._token: str | None = None

        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"CallableToken({getattr(self._function, '__qualname__', '...')})"

    def __reduce__(self) -> str:
        raise TypeError("a CallableToken may hold a secret and does not pickle")

    async def get(self, *, rejected: str | None = None) -> str:
        """What the function returned last, or returns now.

        Raises:
            ConfigurationError: It returned something that is no token.
        """
        async with self._lock:
            if self._token is None or self._token == rejected:
                self._token = checked(await self._function(), "the token function")
            return self._token


def token_source(token: object) -> TokenSource:
    """What a client's ``token`` means: a source as it is, a string, or what the environment names.

    Raises:
        ConfigurationError: There is no token anywhere.
        TypeError: It is neither a string nor a source.
        ValueError: It is a string that cannot be a token.
    """
    if isinstance(token, TokenSource) and not isinstance(token, Mapping | type):
        return token
    if token is not None:
        return StaticToken(token)  # type: ignore[arg-type]  # it checks the type itself
    if os.environ.get("CUSTOMERS_TOKEN"):
        return EnvToken("CUSTOMERS_TOKEN")
    if os.environ.get("CUSTOMERS_TOKEN_FILE"):
        return FileToken(os.environ["CUSTOMERS_TOKEN_FILE"])
    raise ConfigurationError("no token: pass token=, or set CUSTOMERS_TOKEN or CUSTOMERS_TOKEN_FILE")


def token_problem(token: object) -> str | None:
    """What is wrong with a token, without the token itself."""
    if not isinstance(token, str):
        return f"must be a str, not {type(token).__name__}"
    if not token:
        return "is empty"
    if not (token.isascii() and token.isprintable()) or " " in token:
        return "must be visible ASCII characters only, without spaces or line ends"
    return None


def checked(token: str | None, origin: str) -> str:
    """The token, as a string whose repr hides it; the caller's frame never holds another."""
    if isinstance(token, Bearer):  # made here, so checked already
        return token
    if token is None:
        raise ConfigurationError(f"{origin} is not set")
    problem = token_problem(token)
    if problem:
        del token
        raise ConfigurationError(f"{origin}: the token {problem}")
    return Bearer(token)


class Bearer(str):
    """A string whose repr hides it: tracebacks and debuggers print the repr of locals and of headers."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[token]'"
