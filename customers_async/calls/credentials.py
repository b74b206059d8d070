"""The token in use: when it expires, and when to request a newer one from its source."""

import asyncio
import base64
import binascii
import logging
import math
import time
from collections.abc import Callable

import attrs
import msgspec

from customers_async.calls.timeouts import Timeouts
from customers_async.calls.tokens import Secret, StaticToken, TokenSource, check_token
from customers_async.errors import ConfigurationError

__all__ = ["Credential", "TokenKeeper", "expiry", "subject"]

_log = logging.getLogger("customers_async")


_FAR = 10**15
"""Unix seconds in the far future; a later ``exp`` means none."""


@attrs.frozen
class Credential:
    """A token in use. Its repr and that of its fields show no secret, and it does not pickle.

    Attributes:
        token: The token.
        header: The value of the Authorization header.
        expires: The token's ``exp`` in Unix seconds; infinity if it has none.
        renewal: The number of renewals requested before this token was returned; see `TokenKeeper.replacement`.
    """

    token: Secret
    header: Secret
    expires: float
    renewal: int

    def __reduce__(self) -> str:
        raise TypeError("a Credential holds a secret and does not pickle")

    @classmethod
    def of(cls, token: Secret, renewal: int) -> "Credential":
        """Make the credential of a token."""
        return cls(token, Secret(f"Bearer {token}"), expiry(token), renewal)


class TokenKeeper:
    """Keeps the token in use, and requests a newer one from its source, once for all waiting calls.

    Args:
        source: Where tokens come from.
        timeouts: Limits how long the source may take.
        on_reload: Called when a token replaces the one in use.
        clock: Returns Unix seconds.
    """

    MAX_LEEWAY = 60.0
    """Seconds. A newer token is requested this long before the expiry of the one in use, and again after as long if
    there is none. For a token that lives for less than four minutes it is a quarter of its lifetime."""

    def __init__(
        self,
        source: TokenSource,
        timeouts: Timeouts,
        *,
        on_reload: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._timeouts = timeouts
        self._on_reload = on_reload
        self._clock = clock
        self._lock = asyncio.Lock()
        self._current: Credential | None = None
        self._renewals = 0
        self._renew_at = math.inf
        self._leeway = self.MAX_LEEWAY
        self._warned_of_expiry = self._failing = False

    def __repr__(self) -> str:
        return f"TokenKeeper({self._source!r})"

    async def current(self, timeout: float) -> Credential:
        """Return the token to send; shortly before its expiry, request a newer one first.

        Args:
            timeout: Seconds that the source may take.

        Raises:
            ConfigurationError: The source has no token, or took too long and no token is in use.
        """
        current = self._current
        if current is None or type(self._source) is not StaticToken:  # which never changes: 1 % of a look-up
            current = await self._get(timeout)
        if self._clock() < self._renew_at:
            return current
        async with self._lock:
            if self._clock() < self._renew_at:
                return self._current or current
            return await self._renew_expiring(current, timeout)

    async def replacement(self, rejected: Credential, timeout: float) -> Credential | None:
        """Return another token than the one that the service refused, or None.

        Calls that were refused with the same token share one renewal.
        """
        async with self._lock:
            current = self._current or rejected
            if current.token == rejected.token and self._renewals == rejected.renewal:
                current = await self._renew(rejected, timeout)
        return None if current.token == rejected.token else current

    def is_expiring(self, credential: Credential) -> bool:
        """Whether the token has expired, or is about to."""
        return self._clock() >= credential.expires - self._leeway

    def is_expired(self, credential: Credential) -> bool:
        """Whether the token's own time of expiry has passed."""
        return self._clock() >= credential.expires

    async def _renew_expiring(self, expiring: Credential, timeout: float) -> Credential:
        current = await self._renew(expiring, timeout)
        if self._clock() >= self._renew_at:
            self._renew_at = self._clock() + self._leeway
            if not self._warned_of_expiry:
                self._warned_of_expiry = True
                _log.warning("The token is about to expire or has expired, and its source has no newer one.")
        return current

    async def _renew(self, old: Credential, timeout: float) -> Credential:
        """Request a newer token from the source; return its credential, or the old one."""
        failure = ""
        try:
            with self._timeouts.limit(timeout):
                token = check_token(await self._source.get(rejected=old.token), "the token source")
        except Exception as error:  # foreign code may raise anything; without a newer token, the old one stays in use
            failure, token = type(error).__name__, old.token
        self._renewals += 1
        if token != old.token:
            return self._adopt(token)
        self._current = attrs.evolve(old, renewal=self._renewals)
        if failure:
            self._warn_of_failure(failure)
        return self._current

    async def _get(self, timeout: float) -> Credential:
        """Return the credential of the source's token; if the source fails, the one in use."""
        try:
            with self._timeouts.limit(timeout):
                token = check_token(await self._source.get(), "the token source")
        except ConfigurationError as error:
            failure = error
        except Exception as error:  # foreign code may raise anything, and its text may quote the token
            failure = ConfigurationError(f"the token source failed with {type(error).__name__}")
        else:
            return self._adopt(token)
        if self._current is None:
            raise failure
        self._warn_of_failure(type(failure).__name__)
        return self._current

    def _warn_of_failure(self, failure: str) -> None:
        if not self._failing:
            self._failing = True
            _log.warning("The token source failed with %s; the token in use stays.", failure)

    def _adopt(self, token: Secret) -> Credential:
        """Return the credential of a token, which is the one in use unless the token is new."""
        self._failing = False
        old = self._current
        if old is not None and token == old.token:
            return old
        self._current = Credential.of(token, self._renewals)
        lifetime = self._current.expires - self._clock()
        self._leeway = min(self.MAX_LEEWAY, lifetime / 4) if lifetime > 0 else self.MAX_LEEWAY
        self._renew_at = self._current.expires - self._leeway
        self._warned_of_expiry = False
        if old is not None:  # at last: a logging filter may raise
            _log.info("Another token has replaced the one in use.")
            self._on_reload()
        return self._current


def expiry(token: str) -> float:
    """Read the ``exp`` of a JWT in Unix seconds, without verifying it; infinity if there is none.

    The vendor documents JWTs but not their claims, so ``exp`` is a hint and never required.
    """
    exp = _read_claim(token, "exp")
    if isinstance(exp, bool) or not isinstance(exp, int | float) or exp > _FAR:
        return math.inf
    return float(max(exp, -_FAR))


def subject(token: str) -> str:
    """Read the ``sub`` of a JWT, the account it belongs to, without verifying it; an empty string if there is none."""
    sub = _read_claim(token, "sub")
    return str(sub) if isinstance(sub, str | int) else ""


def _read_claim(token: str, name: str) -> object:
    try:
        claims = token.split(".")[1]
        return msgspec.json.decode(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))[name]
    except (IndexError, KeyError, TypeError, ValueError, RecursionError, binascii.Error):
        return None
