"""Argument checks, which run before anything is sent, and the constants of the API.

The facts come from the vendor's API reference and its "API concepts" pages.
"""

import re
import sys
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from ipaddress import ip_address
from typing import Any, TypeGuard, get_args
from urllib.parse import SplitResult, urlsplit

import attrs

__all__ = [
    "MAX_PER_PAGE",
    "PRODUCTION_URL",
    "RESULT_CAP",
    "UUID_PATTERN",
    "VENDOR_SANDBOX_URL",
    "check_base_url",
    "check_choice",
    "check_count",
    "check_flag",
    "check_int",
    "check_limit",
    "check_not_negative",
    "check_page",
    "check_seconds",
    "check_uuid",
    "check_uuids",
    "is_host",
    "is_loopback",
    "is_plain_function",
    "is_uuid",
    "split_url",
]

PRODUCTION_URL = "https://public-api.gurupay.eu"
"""The production service. It accepts requests from whitelisted IP addresses only."""
VENDOR_SANDBOX_URL = "https://public-api-dev.gurupay.eu"
"""The vendor's own test environment."""
MAX_PER_PAGE = 100
"""The largest page size that the service accepts."""
RESULT_CAP = 10_000
"""One edition of the vendor's documentation limits paginated results to this many records."""

UUID_PATTERN = "[a-zA-Z0-9]{8}(-[a-zA-Z0-9]{4}){3}-[a-zA-Z0-9]{12}"
"""The service's uuid form: letters and digits, not hex only."""
is_uuid: Callable[[str], re.Match[str] | None] = re.compile(UUID_PATTERN).fullmatch
"""Whether a string has the service's uuid form: letters and digits, not hex only."""


_MAX_HOST = 254
"""Characters of the longest host name, with a dot at its end."""
_is_host_name = re.compile(r"[a-z0-9_][a-z0-9_-]{0,62}(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?").fullmatch
_has_host = re.compile(r"([^@]*@)*([^][]*|\[[^][]*\](:[0-9]*)?)").fullmatch
"""Whether the brackets of an IPv6 address, if there are any, enclose the whole host."""


def check_base_url(url: str, http_hosts: Container[str] = ()) -> str:
    """Return the base URL without trailing slashes.

    Args:
        url: The URL.
        http_hosts: The hosts, in lower case, for which plain http is allowed besides loopback addresses.

    Raises:
        TypeError: It is not a string.
        ValueError: It is not http or https, uses plain http for another host, has no host, or has user info, a query
            or a fragment.
    """
    if not isinstance(url, str):
        raise TypeError(f"base_url must be a str, not {type(url).__name__}")
    if problem := _find_url_problem(url, http_hosts):
        raise ValueError(f"base_url {problem}")
    return url.rstrip("/")


def _find_url_problem(url: str, http_hosts: Container[str]) -> str | None:
    """What is wrong with a base URL, without the URL itself; None if nothing is."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return "must be printable ASCII without spaces"
    try:
        parts = split_url(url)
    except ValueError:
        return "is not a URL"
    host = parts.hostname
    if parts.scheme not in ("http", "https"):
        return "must begin with https://"
    if not host:
        return "has no host"
    if "@" in parts.netloc:
        return "must not contain user info"
    if "?" in url or "#" in url:
        return "must not have a query or a fragment"
    if parts.scheme == "http" and not is_loopback(host) and host not in http_hosts:
        return (
            "must be https: plain http is for loopback addresses, and for hosts that Network(allow_http=...), "
            "--allow-http or CUSTOMERS_ALLOW_HTTP names"
        )
    return None


def split_url(url: str) -> SplitResult:
    """Split a URL whose host, if it has one, is a name or an IP address.

    Raises:
        ValueError: It is not such a URL.
    """
    parts = urlsplit(url)
    host, _ = parts.hostname, parts.port
    if host and not (_has_host(parts.netloc) and is_host(host)):
        raise ValueError("the URL has an impossible host")
    return parts


def is_host(text: str) -> bool:
    """Whether this is a host name in lower case or an IP address; neither brackets nor a port belong to it."""
    if len(text) <= _MAX_HOST and _is_host_name(text):
        return True
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host name or an IP address is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_page(number: int, per_page: int) -> None:
    """Check a page number and a page size.

    Raises:
        TypeError: One of them is not an int (a bool is not one here).
        ValueError: ``number`` is below 1, or ``per_page`` is not from 1 to 100.
    """
    for name, value in (("page", number), ("per_page", per_page)):
        check_int(name, value)
    if number < 1:
        raise ValueError(f"page must be 1 or more, not {number}")
    if not 1 <= per_page <= MAX_PER_PAGE:
        raise ValueError(f"per_page must be from 1 to {MAX_PER_PAGE}, not {per_page}")


def check_int(name: str, value: object) -> None:
    """Check that an argument is an int.

    Raises:
        TypeError: It is not, or is a bool.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")


def check_limit(limit: int) -> None:
    """Check the largest number of customers that a listing yields.

    Raises:
        TypeError: It is not an int.
        ValueError: It is below 1.
    """
    check_int("limit", limit)
    if limit < 1:
        raise ValueError(f"limit must be 1 or more, not {limit}")


def check_not_negative(name: str, value: int) -> None:
    """Check that an argument is an int of 0 or more that a database holds.

    Raises:
        TypeError: It is no int, or is a bool.
        ValueError: It is negative, or too large.
    """
    check_int(name, value)
    if not 0 <= value <= sys.maxsize:
        raise ValueError(f"{name} must be 0 or more, and at most {sys.maxsize}")


def check_choice(name: str, value: object, literal: object) -> None:
    """Check that an argument is one of a ``Literal``'s values.

    Raises:
        ValueError: It is not.
    """
    choices = get_args(literal)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}")


def check_flag(name: str, value: object) -> None:
    """Check that an argument is True or False.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")


def check_uuid(uuid: str) -> None:
    """Check a customer's uuid.

    Raises:
        TypeError: It is not a string.
        ValueError: It is not 8-4-4-4-12 ASCII letters and digits.
    """
    if not isinstance(uuid, str):
        raise TypeError(f"uuid must be a str, not {type(uuid).__name__}")
    if not is_uuid(uuid):
        raise ValueError("uuid must be 8-4-4-4-12 ASCII letters and digits")


def check_uuids(uuids: Iterable[str]) -> tuple[str, ...]:
    """Check all uuids before anything is sent, and return them.

    Raises:
        TypeError: They are not iterable, or are a single string, or one of them is not a string.
        ValueError: One of them does not have the service's form. The message names its position.
    """
    if isinstance(uuids, str | bytes):
        raise TypeError("uuids must be an iterable of strings, not a single string")
    checked = tuple(uuids)
    for position, uuid in enumerate(checked):
        try:
            check_uuid(uuid)
        except (TypeError, ValueError) as error:
            raise type(error)(f"uuids[{position}]: {error}") from None
    return checked


def check_seconds(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    """Check a duration, as an attrs validator: a number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be a number of seconds, not {type(value).__name__}")
    if not value >= 0:
        raise ValueError(f"{attribute.name} must be 0 or more, not {value}")


def check_count(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    """Check a count, as an attrs validator: an int of 1 or more."""
    check_int(attribute.name, value)
    if value < 1:
        raise ValueError(f"{attribute.name} must be 1 or more, not {value}")


def is_plain_function(value: object, arguments: int) -> TypeGuard[Callable[..., Any]]:
    """Whether the value can be called with this number of arguments, and then runs at once."""
    if not callable(value):
        return False
    function: Any = value
    while isinstance(function, partial):
        function = function.func
    kinds = iscoroutinefunction, isasyncgenfunction, isgeneratorfunction
    if any(is_kind(code) for is_kind in kinds for code in (function, type(function).__call__)):
        return False
    with suppress(ValueError):  # some built-in functions have no signature
        try:
            signature(value, follow_wrapped=False).bind(*[None] * arguments)
        except TypeError:
            return False
    return True
