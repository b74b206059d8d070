"""How the emulator behaves, checked when it is made and whenever it is changed."""

from collections.abc import Callable, MutableMapping
from typing import Any

import attrs

from customers_async.emulator.checks import check_seconds, check_whole_number
from customers_async.emulator.pagination import Edition

__all__ = ["Settings", "at_least"]

HeaderOverride = str | None | Callable[[str], str]
Latency = float | Callable[[], float]


Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def at_least(minimum: int) -> Validator:
    """A validator of whole numbers from ``minimum`` on."""
    return lambda _, attribute, value: check_whole_number(attribute.name, value, minimum)


def _seconds(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    check_seconds(attribute.name, value)


def _latency(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not callable(value):
        check_seconds(attribute.name, value, positive=False)


_FLAG = attrs.validators.instance_of(bool)
_TEXT = attrs.validators.instance_of(str)
_optional = attrs.validators.optional
_FIXED = attrs.setters.frozen


@attrs.define(kw_only=True, slots=False, eq=False)
class Settings:
    """Everything about the emulator's behaviour that can be set; the second half also while it runs.

    Attributes:
        seed: Chooses the customers, the disorder of `unstable_order` and the faults by chance.
        limit: Requests in a window of the quota at first.
        window: Length of a window at first, in seconds.
        token_lifetime: Seconds that the emulator's own token lives. None: for ever, and without an ``exp`` claim.
        host: Address to listen on.
        port: Port to listen on; 0 lets the system choose.
        edition: Which edition of the ``X-Api-*`` headers is sent, "a" or "b".
        capped: Whether only the first `cap` customers are served. The total and the has-more header go on
            telling of all of them.
        cap: How many customers are served when `capped`.
        cap_refuses: Whether pages beyond the cap are refused with a 422 rather than empty.
        latency: Seconds that an answer takes, or a callable that returns them.
        gzip: Whether answers are compressed for clients that accept it.
        retry_after: Whether a 429 carries ``Retry-After`` and ``X-RateLimit-Reset``.
        unstable_order: Whether customers of equal ``created_at`` change places from request to request.
        whitelisted: Whether the client's address is allowed; if not, 403.
        trust_forwarded_for: Whether ``X-Forwarded-For`` tells the client's address.
        login_redirect: Whether a 401 becomes a redirect to a login page unless the request accepts JSON.
        ignore_per_page: A page size to apply whatever is asked for.
        ignore_page: Whether to serve page 1 whatever is asked for.
        headers: Headers to replace in answers that carry them: by a text, by a function of the true value,
            or by nothing (None).
    """

    seed: int = attrs.field(default=1, validator=attrs.validators.instance_of(int), on_setattr=_FIXED)
    limit: int = attrs.field(default=500, validator=at_least(1), on_setattr=_FIXED)
    window: float = attrs.field(default=60.0, validator=_seconds, on_setattr=_FIXED)
    token_lifetime: float | None = attrs.field(default=None, validator=_optional(_seconds), on_setattr=_FIXED)
    host: str = attrs.field(default="127.0.0.1", validator=_TEXT, on_setattr=_FIXED)
    port: int = attrs.field(default=0, validator=at_least(0), on_setattr=_FIXED)

    edition: Edition = attrs.field(default="a", validator=attrs.validators.in_(("a", "b")))
    capped: bool = attrs.field(default=False, validator=_FLAG)
    cap: int = attrs.field(default=10_000, validator=at_least(0))
    cap_refuses: bool = attrs.field(default=False, validator=_FLAG)
    latency: Latency = attrs.field(default=0.0, validator=_latency)
    gzip: bool = attrs.field(default=True, validator=_FLAG)
    retry_after: bool = attrs.field(default=True, validator=_FLAG)
    unstable_order: bool = attrs.field(default=False, validator=_FLAG)
    whitelisted: bool = attrs.field(default=True, validator=_FLAG)
    trust_forwarded_for: bool = attrs.field(default=False, validator=_FLAG)
    login_redirect: bool = attrs.field(default=False, validator=_FLAG)
    ignore_per_page: int | None = attrs.field(default=None, validator=_optional(at_least(1)))
    ignore_page: bool = attrs.field(default=False, validator=_FLAG)
    headers: MutableMapping[str, HeaderOverride] = attrs.field(factory=dict)
