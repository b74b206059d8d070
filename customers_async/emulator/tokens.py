"""The bearer tokens that the emulator accepts: JWTs that expire and can be revoked."""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from hashlib import sha256
from itertools import count
from typing import Any

import msgspec

__all__ = ["Tokens"]

_BEARER = re.compile(r"Bearer +([!-~]+) *", re.IGNORECASE)


def _encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


class Tokens:
    """Issues tokens and checks them. Each token belongs to an account, which is a number from 0.

    Only an issued token with a lifetime has an ``exp`` claim: the API does not promise that claim.

    Args:
        secret: Key of the HS256 signatures.
        lifetime: Seconds for which `current` tokens are valid; None means forever.
        clock: Returns the current Unix time in seconds.
        owner: The ``sub`` claim: the owner of account 0, to which issued tokens belong.
        given: Tokens that are valid from the start, one for each account.
    """

    def __init__(
        self,
        secret: bytes,
        lifetime: float | None,
        clock: Callable[[], float],
        owner: str,
        given: Iterable[str] = (),
    ) -> None:
        self._secret = secret
        self._lifetime = lifetime
        self._clock = clock
        self._owner = owner
        self._serials = count(1)
        self._accounts = {token: number for number, token in enumerate(given)}
        self._expiries: dict[str, float | None] = dict.fromkeys(self._accounts)
        self._current = next(iter(self._accounts), "")
        self._revoked: set[str] = set()
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
        self._accounts[token] = 0
        return token

    def revoke(self, token: str) -> None:
        """Stop accepting ``token``; unknown tokens are ignored."""
        self._revoked.add(token)

    def reset(self) -> None:
        """Accept the tokens again that were revoked."""
        self._revoked.clear()
        self._expiring.clear()
        self._requests_left = None

    @property
    def valid(self) -> int:
        """The number of tokens that are accepted now."""
        return sum(map(self._is_valid, self._expiries))

    def account_of(self, token: str) -> int | None:
        """Return the account of a token, valid or not; None if it is unknown."""
        return self._accounts.get(token)

    def expire(self, after: int) -> None:
        """Revoke all currently valid tokens after ``after`` more requests."""
        self._expiring = {token for token in self._expiries if self._is_valid(token)}
        self._requests_left = after
        self._revoke_if_due()

    @property
    def requests_left(self) -> int | None:
        """Requests left until `expire` takes effect; None if no expiry is pending."""
        return self._requests_left

    def accept(self, authorization: str | None) -> int | None:
        """Return the account of the valid token in a request's ``Authorization`` header; None if there is none."""
        match = _BEARER.fullmatch(authorization or "")
        account = self._accounts[match[1]] if match is not None and self._is_valid(match[1]) else None
        if self._requests_left is not None:
            self._requests_left -= 1
            self._revoke_if_due()
        return account

    def _revoke_if_due(self) -> None:
        if self._requests_left == 0:
            self._requests_left = None
            for token in self._expiring:
                self.revoke(token)

    def _is_valid(self, token: str) -> bool:
        expiry = self._expiries.get(token, 0.0)
        return (expiry is None or self._clock() < expiry) and token not in self._revoked

    def _sign(self, claims: dict[str, Any]) -> str:
        header = {"alg": "HS256", "typ": "JWT"}
        signed = b".".join(_encode(msgspec.json.encode(part)) for part in (header, claims))
        signature = hmac.new(self._secret, signed, sha256).digest()
        return (signed + b"." + _encode(signature)).decode()
