"""The bearer tokens the emulator accepts: real-looking JWTs that live, expire and are revoked."""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from itertools import count
from typing import Any

import msgspec

__all__ = ["Tokens"]

_BEARER = re.compile(r"Bearer +([\w-]+\.[\w-]+\.[\w-]+) *", re.ASCII | re.IGNORECASE)


def _encoded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


class Tokens:
    """Issues tokens and remembers which of them are good.

    A token carries ``exp`` only if it was given a lifetime: nothing promises that claim, so a client has to cope
    with its absence.

    Args:
        secret: Key of the HS256 signatures.
        lifetime: Seconds that `current` tokens live; None for ever.
        clock: Tells the time in Unix seconds.
        owner: The ``sub`` claim.
    """

    def __init__(self, secret: bytes, lifetime: float | None, clock: Callable[[], float], owner: str) -> None:
        self._secret = secret
        self._lifetime = lifetime
        self._clock = clock
        self._owner = owner
        self._serials = count(1)
        self._expiries: dict[str, float | None] = {}
        self._current = ""
        self._doomed: set[str] = set()
        self._uses_left: int | None = None

    @property
    def current(self) -> str:
        """A token that is valid now; a new one when the last has expired or was revoked."""
        if not self._is_valid(self._current):
            self._current = self.issue(self._lifetime)
        return self._current

    def issue(self, lifetime: float | None = None) -> str:
        """Make one more valid token, which expires ``lifetime`` seconds from now, or never."""
        now = self._clock()
        claims: dict[str, Any] = {"sub": self._owner, "iat": int(now), "jti": str(next(self._serials))}
        if lifetime is not None:
            claims["exp"] = int(now + lifetime)
        token = self._signed(claims)
        self._expiries[token] = None if lifetime is None else now + lifetime
        return token

    def revoke(self, token: str) -> None:
        """Stop accepting ``token``; unknown tokens are ignored."""
        self._expiries.pop(token, None)

    def expire(self, after: int) -> None:
        """Stop accepting the tokens valid now, once ``after`` more requests were checked."""
        self._doomed = {token for token in self._expiries if self._is_valid(token)}
        self._uses_left = after
        self._expire_when_due()

    @property
    def uses_left(self) -> int | None:
        """How many more requests until the tokens expire that are to; None when none are."""
        return self._uses_left

    def accept(self, authorization: str | None) -> bool:
        """Check a request's ``Authorization`` header."""
        match = _BEARER.fullmatch(authorization or "")
        accepted = match is not None and self._is_valid(match[1])
        if self._uses_left is not None:
            self._uses_left -= 1
            self._expire_when_due()
        return accepted

    def _expire_when_due(self) -> None:
        if self._uses_left == 0:
            self._uses_left = None
            for token in self._doomed:
                self.revoke(token)

    def _is_valid(self, token: str) -> bool:
        expiry = self._expiries.get(token, 0.0)
        return expiry is None or self._clock() < expiry

    def _signed(self, claims: dict[str, Any]) -> str:
        header = {"alg": "HS256", "typ": "JWT"}
        signed = b".".join(_encoded(msgspec.json.encode(part)) for part in (header, claims))
        signature = hmac.new(self._secret, signed, sha256).digest()
        return (signed + b"." + _encoded(signature)).decode()
