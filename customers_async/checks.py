"""What is asked of the service: where, which paths, and what is refused before anything is sent.

The facts come from the vendor's API reference.
"""

from ipaddress import ip_address
from typing import get_args
from urllib.parse import urlsplit

import attrs

from customers_async.converter import check_uuid

__all__ = [
    "MAX_PER_PAGE",
    "PRODUCTION_URL",
    "VENDOR_SANDBOX_URL",
    "Request",
    "check_base_url",
    "check_choice",
    "check_flag",
    "check_page",
    "customer_request",
    "owner_request",
    "page_request",
]

PRODUCTION_URL = "https://public-api.gurupay.eu"
"""The service. Accepts whitelisted IP addresses only."""
VENDOR_SANDBOX_URL = "https://public-api-dev.gurupay.eu"
"""The vendor's own test environment."""
MAX_PER_PAGE = 100
"""The most customers that the service puts on a page."""

_LIST_PATH = "/api/v1/customers"


@attrs.define
class Request:
    """A GET: the path, with the query as sent, and the route that names its kind in events."""

    path: str
    route: str
    query: str = ""

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def masked_target(self) -> str:
        """Route and query: `target` without a uuid."""
        return f"{self.route}?{self.query}" if self.query else self.route


def check_base_url(url: str) -> str:
    """The base URL without trailing slashes.

    Raises:
        TypeError: It is not a string.
        ValueError: It is not http or https, plain http to a host that is not loopback, or has no host, or has
            user info, a query or a fragment.
    """
    if not isinstance(url, str):
        raise TypeError(f"base_url must be a str, not {type(url).__name__}")
    problem = _url_problem(url)
    if problem:
        del url  # it may hold a password
        raise ValueError(f"base_url {problem}")
    return url.rstrip("/")


def _url_problem(url: str) -> str | None:
    if not url.isascii() or not url.isprintable() or " " in url:
        return "must be printable ASCII without spaces"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")  # refuses empty and overlong labels, as the resolver would
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https"):
        return "must begin with https://"
    if not host:
        return "has no host"
    if "@" in parts.netloc:
        return "must not contain user info"
    if "?" in url or "#" in url:
        return "must not have a query or a fragment"
    if parts.scheme == "http" and not _is_loopback(host):
        return "must be https: plain http is for loopback addresses"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def customer_request(uuid: str) -> Request:
    """Ask for one customer.

    Raises:
        TypeError: ``uuid`` is not a string.
        ValueError: ``uuid`` is not of the service's form.
    """
    check_uuid(uuid)
    return Request(f"{_LIST_PATH}/{uuid}", f"{_LIST_PATH}/{{uuid}}")


def check_page(number: int, per_page: int) -> None:
    """Refuse what the service would refuse, before anything is sent.

    Raises:
        TypeError: One of them is not an int (a bool is not one here).
        ValueError: ``number`` is below 1, or ``per_page`` is not from 1 to 100.
    """
    for name, value in (("page", number), ("per_page", per_page)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if number < 1:
        raise ValueError(f"page must be 1 or more, not {number}")
    if not 1 <= per_page <= MAX_PER_PAGE:
        raise ValueError(f"per_page must be from 1 to {MAX_PER_PAGE}, not {per_page}")


def check_choice(name: str, value: object, literal: object) -> None:
    """Refuse an argument that is none of a ``Literal``'s values.

    Raises:
        ValueError: It is none of them.
    """
    choices = get_args(literal)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}")


def check_flag(name: str, value: object) -> None:
    """Refuse an argument that is neither True nor False.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")


def page_request(number: int, per_page: int) -> Request:
    """Ask for one page of the list; see `check_page` for what is accepted."""
    return Request(_LIST_PATH, _LIST_PATH, f"per_page={per_page}&page={number}")


def owner_request() -> Request:
    """Ask whom the token belongs to."""
    return Request("/api/v1/auth", "/api/v1/auth")
