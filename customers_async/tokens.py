"""Where the bearer token comes from, and when to ask for a newer one.

The vendor has no refresh endpoint: tokens are made by hand in a dashboard, and rotation means that a variable,
a file or a secret store gets another string.
"""

import asyncio
import base64
import binascii
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import attrs
import msgspec

from customers_async.errors import ConfigurationError

__all__ = ["CallableToken", "EnvToken", "FileToken", "StaticToken", "TokenSource"]

_log = logging.getLogger("customers_async")


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
        return _checked(os.environ.get(self.name), f"the environment variable {self.name}")


class FileToken:
    """The token in a file, read again when the file changes; white space around it is dropped.

    Args:
        path: The file, such as a mounted secret.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
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
        return _checked(self.path.read_text(encoding="utf-8").strip(), f"the token file {self.path}")


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
                self._token = _checked(await self._function(), "the token function")
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


def _checked(token: str | None, origin: str) -> str:
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


@attrs.frozen
class Credential:
    """A token in use. Its repr, and that of its fields, shows no secret, and it does not pickle."""

    token: str
    header: str
    expires: float
    question: int

    def __reduce__(self) -> str:
        raise TypeError("a Credential holds a secret and does not pickle")

    @classmethod
    def of(cls, token: str, question: int) -> "Credential":
        """Wrap a token; ``question`` counts how often the source had been asked for a newer one."""
        return cls(Bearer(token), Bearer(f"Bearer {token}"), expiry(token), question)


class TokenKeeper:
    """Holds the token in use; asks the source for a newer one, once for all that wait.

    Args:
        source: Where tokens come from.
        on_reload: Called when another token takes the place of the present one.
        clock: Unix seconds.
    """

    LEEWAY = 60.0
    """Seconds before a token's expiry at which a newer one is asked for, and between such questions."""

    def __init__(
        self, source: TokenSource, *, on_reload: Callable[[], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._source = source
        self._on_reload = on_reload
        self._clock = clock
        self._lock = asyncio.Lock()
        self._current: Credential | None = None
        self._questions = 0
        self._ask_at = math.inf
        self._warned = self._failing = False

    def __repr__(self) -> str:
        return f"TokenKeeper({self._source!r})"

    async def current(self) -> Credential:
        """The token to send, reloaded ahead of its expiry where it names one.

        Raises:
            ConfigurationError: The source has no token.
        """
        current = await self._get()
        if self._clock() < self._ask_at:
            return current
        async with self._lock:
            return await self._renew(current) if self._clock() >= self._ask_at else self._current or current

    async def replacement(self, rejected: Credential) -> Credential | None:
        """A token other than the one that the service refused, or None.

        Whoever was refused with the same token before the source was last asked shares that answer.
        """
        async with self._lock:
            current = self._current or rejected
            if current.token == rejected.token and self._questions == rejected.question:
                current = await self._ask(rejected)
        return None if current.token == rejected.token else current

    def is_expired(self, credential: Credential) -> bool:
        """Whether the token names a time of expiry, and that has passed."""
        return self._clock() >= credential.expires

    async def _renew(self, expiring: Credential) -> Credential:
        current = await self._ask(expiring)
        if self._clock() >= current.expires - self.LEEWAY:
            self._ask_at = self._clock() + self.LEEWAY
            if not self._warned:
                self._warned = True
                _log.warning("The token is about to expire or has expired, and its source has no newer one.")
        return current

    async def _ask(self, old: Credential) -> Credential:
        """The credential that the source gives in place of the old one, or the old one."""
        try:
            token = _checked(await self._source.get(rejected=old.token), "the token source")
        except Exception as error:  # the source is not ours; the old token may still be good
            self._warn_of(error)
            token = old.token
        self._questions += 1
        if token != old.token:
            return self._adopt(token)
        self._current = attrs.evolve(old, question=self._questions)
        return self._current

    async def _get(self) -> Credential:
        """The credential that the source gives; when it fails, the one in use, if there is one."""
        try:
            return self._adopt(_checked(await self._source.get(), "the token source"))
        except ConfigurationError as error:
            failure = error
        except Exception as error:  # the source is not ours: whatever it raises
            failure = ConfigurationError(f"the token source failed with {type(error).__name__}")
        if self._current is None:
            raise failure
        self._warn_of(failure)
        return self._current

    def _warn_of(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            _log.warning("The token source failed with %s; the token in use stays.", type(error).__name__)

    def _adopt(self, token: str) -> Credential:
        """The credential of a token; the present one as long as the token stays the same."""
        self._failing = False
        if self._current is not None and token == self._current.token:
            return self._current
        if self._current is not None:
            _log.info("Another token has taken the place of the one in use.")
            self._on_reload()
        self._current = Credential.of(token, self._questions)
        self._ask_at = self._current.expires - self.LEEWAY
        self._warned = False
        return self._current


def expiry(token: str) -> float:
    """The ``exp`` of a JWT in Unix seconds, read and never verified; infinity where there is none.

    The vendor documents JWTs but not their claims: ``exp`` is a hint, never required.
    """
    exp = _claim(token, "exp")
    if isinstance(exp, bool) or not isinstance(exp, int | float) or exp > 1e15:
        return math.inf
    return float(exp)


def subject(token: str) -> str:
    """The ``sub`` of a JWT, whose token it is; empty where there is none. A hint, as ``exp`` is."""
    sub = _claim(token, "sub")
    return str(sub) if isinstance(sub, str | int) else ""


def _claim(token: str, name: str) -> object:
    try:
        claims = token.split(".")[1]
        return msgspec.json.decode(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))[name]
    except (IndexError, KeyError, TypeError, ValueError, RecursionError, binascii.Error):
        return None
