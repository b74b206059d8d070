"""The emulator's settings, validated when they are set."""

import sys
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from secrets import token_urlsafe
from typing import Any, Literal

import attrs

from customers_async.emulator.checks import check_duration, check_secret, check_whole_number
from customers_async.emulator.pagination import Edition

__all__ = ["Part", "Settings", "at_least"]

HeaderOverride = str | None | Callable[[str], str]
Latency = float | Callable[[], float]
Part = Literal["list", "faults", "tokens", "rate_limit", "stats"]
"""What ``Emulator.reset`` can reset."""

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _validate_port(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    check_whole_number(attribute.name, value, 0, 65_535)


def _validate_host(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} must be a str, not {type(value).__name__}")
    with suppress(UnicodeError):
        if b"\0" not in value.encode("idna"):  # as the socket module does
            return
    raise ValueError(f"{attribute.name} is no host name or address")


def _make_secret(secret: str | None) -> str:
    return token_urlsafe() if secret is None else secret


def _validate_secret(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    check_secret(attribute.name, value)


def at_least(minimum: int, maximum: int = sys.maxsize) -> Validator:
    """Return a validator of whole numbers from ``minimum`` to ``maximum``."""
    return lambda _, attribute, value: check_whole_number(attribute.name, value, minimum, maximum)


def _validate_duration(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    check_duration(attribute.name, value)


def _validate_latency(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not callable(value):
        check_duration(attribute.name, value, positive=False)


_FLAG = attrs.validators.instance_of(bool)
_optional = attrs.validators.optional
_FIXED = attrs.setters.frozen


@attrs.define(kw_only=True, slots=False, eq=False)
class Settings:
    """The emulator's settings. Those from `edition` on can also be assigned while it runs.

    Attributes:
        seed: Selects the customers, the order under `unstable_order`, and the random faults.
        limit: Requests in a rate-limit window; see ``Emulator.rate_limit`` to change it.
        window: Length of a rate-limit window in seconds.
        token_lifetime: Seconds for which ``Emulator.token`` is valid. None means forever, without an ``exp`` claim.
        host: Address to listen on.
        port: Port to listen on, up to 65535; 0 lets the system choose.
        control: Whether to serve the control page and its JSON API at ``/_emulator``, for programs in any language.
        control_token: What the control requires unless `host` is a loopback address. None makes a random one.
        edition: Which edition of the ``X-Api-*`` headers to send, "a" or "b".
        capped: Whether to serve only the first `cap` customers. The total and the has-more header still count all.
        cap: How many customers are served if `capped`.
        cap_refuses: Whether a page beyond the cap gets a 422 instead of an empty page.
        latency: Seconds until a response is sent, or a callable that returns them.
        gzip: Whether to compress responses for clients that accept it.
        retry_after: Whether a 429 has the headers ``Retry-After`` and ``X-RateLimit-Reset``.
        unstable_order: Whether the order of customers with equal ``created_at`` changes with every request.
        whitelisted: Whether the client's address is allowed; if not, every request gets a 403.
        trust_forwarded_for: Whether to take the client's address from ``X-Forwarded-For``.
        shared_address: Whether all clients count as one address, as behind a NAT; containers have one each.
        login_redirect: Whether a 401 becomes a redirect to a login page unless the request accepts JSON.
        ignore_per_page: A page size to apply whatever page size is requested.
        ignore_page: Whether to serve page 1 whatever page is requested.
        headers: Headers to replace in the responses that have them. The value is a text, a function of the true
            value, or None to remove the header.
    """

    seed: int = attrs.field(default=1, validator=attrs.validators.instance_of(int), on_setattr=_FIXED)
    limit: int = attrs.field(default=500, validator=at_least(1), on_setattr=_FIXED)
    window: float = attrs.field(default=60.0, validator=_validate_duration, on_setattr=_FIXED)
    token_lifetime: float | None = attrs.field(default=None, validator=_optional(_validate_duration), on_setattr=_FIXED)
    host: str = attrs.field(default="127.0.0.1", validator=_validate_host, on_setattr=_FIXED)
    port: int = attrs.field(default=0, validator=_validate_port, on_setattr=_FIXED)
    control: bool = attrs.field(default=False, validator=_FLAG, on_setattr=_FIXED)
    control_token: str = attrs.field(
        default=None,
        converter=_make_secret,
        validator=_validate_secret,
        on_setattr=_FIXED,
        repr=False,
    )

    edition: Edition = attrs.field(default="a", validator=attrs.validators.in_(("a", "b")))
    capped: bool = attrs.field(default=False, validator=_FLAG)
    cap: int = attrs.field(default=10_000, validator=at_least(0))
    cap_refuses: bool = attrs.field(default=False, validator=_FLAG)
    latency: Latency = attrs.field(default=0.0, validator=_validate_latency)
    gzip: bool = attrs.field(default=True, validator=_FLAG)
    retry_after: bool = attrs.field(default=True, validator=_FLAG)
    unstable_order: bool = attrs.field(default=False, validator=_FLAG)
    whitelisted: bool = attrs.field(default=True, validator=_FLAG)
    trust_forwarded_for: bool = attrs.field(default=False, validator=_FLAG)
    shared_address: bool = attrs.field(default=False, validator=_FLAG)
    login_redirect: bool = attrs.field(default=False, validator=_FLAG)
    ignore_per_page: int | None = attrs.field(default=None, validator=_optional(at_least(1)))
    ignore_page: bool = attrs.field(default=False, validator=_FLAG)
    headers: MutableMapping[str, HeaderOverride] = attrs.field(factory=dict)
