"""The bearer tokens that the emulator accepts: JWTs that expire and can be revoked."""

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


def _encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


class Tokens:
    """Issues tokens and checks them.

    Only a token with a lifetime has an ``exp`` claim: the API does not promise that claim.

    Args:
        secret: Key of the HS256 signatures.
        lifetime: Seconds for which `current` tokens are valid; None means forever.
        clock: Returns the current Unix time in seconds.
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
        self._expiring: set[str] = set()
        self._requests_left: int | None = None

    @property
    def current(self) -> str:
        """A valid token; a new one if the last has expired or was revoked."""
        if not self._is_valid(self._current):
            self._current = self.issue(self._lifetime)
        return self._current

    def issue(self, lifetime: float | None = None) -> str:
        """Return a new valid token, which expires after ``lifetime`` seconds, or never."""
        now = self._clock()
        claims: dict[str, Any] = {"sub": self._owner, "iat": int(now), "jti": str(next(self._serials))}
        if lifetime is not None:
            claims["exp"] = int(now + lifetime)
        token = self._sign(claims)
        self._expiries[token] = None if lifetime is None else now + lifetime
        return token

    def revoke(self, token: str) -> None:
        """Stop accepting ``token``; unknown tokens are ignored."""
        self._expiries.pop(token, None)

    def expire(self, after: int) -> None:
        """Revoke all currently valid tokens after ``after`` more requests."""
        self._expiring = {token for token in self._expiries if self._is_valid(token)}
        self._requests_left = after
        self._revoke_if_due()

    @property
    def requests_left(self) -> int | None:
        """Requests left until `expire` takes effect; None if no expiry is pending."""
        return self._requests_left

    def accept(self, authorization: str | None) -> bool:
        """Return whether a request's ``Authorization`` header holds a valid token."""
        match = _BEARER.fullmatch(authorization or "")
        accepted = match is not None and self._is_valid(match[1])
        if self._requests_left is not None:
            self._requests_left -= 1
            self._revoke_if_due()
        return accepted

    def _revoke_if_due(self) -> None:
        if self._requests_left == 0:
            self._requests_left = None
            for token in self._expiring:
                self.revoke(token)

    def _is_valid(self, token: str) -> bool:
        expiry = self._expiries.get(token, 0.0)
        return expiry is None or self._clock() < expiry

    def _sign(self, claims: dict[str, Any]) -> str:
        header = {"alg": "HS256", "typ": "JWT"}
        signed = b".".join(_encode(msgspec.json.encode(part)) for part in (header, claims))
        signature = hmac.new(self._secret, signed, sha256).digest()
        return (signed + b"." + _encode(signature)).decode()
