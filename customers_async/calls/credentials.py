"""The token in use: what it says of itself, and when to ask its source for a newer one."""

import asyncio
import base64
import binascii
import logging
import math
import time
from collections.abc import Callable

import attrs
import msgspec

from customers_async.calls.tokens import Bearer, TokenSource, checked
from customers_async.errors import ConfigurationError

__all__ = ["Credential", "TokenKeeper", "expiry", "subject"]

_log = logging.getLogger("customers_async")


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
            token = checked(await self._source.get(rejected=old.token), "the token source")
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
            return self._adopt(checked(await self._source.get(), "the token source"))
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
