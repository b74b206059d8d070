"""How requests reach the service: proxy, certificates, additional headers. Checks the values; does no I/O."""

import os
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import attrs

from customers_async.calls.tokens import Secret, hide
from customers_async.checks import PRODUCTION_URL, check_base_url, check_flag, is_host, is_loopback, split_url

__all__ = ["Network", "StrPath", "check_destination", "find_proxy_problem", "proxy_address"]

StrPath: TypeAlias = str | os.PathLike[str]

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
"""What RFC 9110 calls a token: a header's name, a product's name, or its version."""
_APP = re.compile(rf"{_WORD}(/{_WORD})?( {_WORD}(/{_WORD})?)*")
_OWN = {
    "accept": "the client sets it",
    "accept-encoding": "the client sets it",
    "authorization": "the token goes there",
    "cache-control": "the client sets it",
    "host": "it is the host of base_url",
    "user-agent": "use app=",
}
"""Headers that the client sets itself, and why they cannot be given."""
_CONNECTION = {
    *("connection", "content-encoding", "content-length", "content-type", "expect", "http2-settings", "keep-alive"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
}
"""Headers about one connection or a body, which only the transport can set."""
_CONDITIONS = {"if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"}
"""Headers that ask for a part of the response, or for none."""


def _check_proxy(_: object, __: object, proxy: Any) -> None:
    if proxy is None:
        return
    if not isinstance(proxy, str):
        raise TypeError(f"proxy must be a str, not {type(proxy).__name__}")
    if problem := find_proxy_problem(proxy):
        raise ValueError(f"proxy {problem}")


def _check_flag(_: object, attribute: "attrs.Attribute[bool]", value: object) -> None:
    check_flag(attribute.name, value)


def _check_context(_: object, __: object, context: Any) -> None:
    if context is None:
        return
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"ssl_context must be an ssl.SSLContext, not {type(context).__name__}")
    if context.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise ValueError("ssl_context must be one for clients, such as ssl.create_default_context() returns")


def _check_path(_: object, attribute: "attrs.Attribute[Any]", path: object) -> None:
    if path is None:
        return
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise TypeError(f"{attribute.name} must be a path, not {type(path).__name__}")
    try:
        is_path = bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        is_path = False
    if not is_path:
        raise ValueError(f"{attribute.name} must not be empty, and have only characters that a file name can have")


def _check_client_cert(network: object, attribute: "attrs.Attribute[Any]", paths: object) -> None:
    if isinstance(paths, tuple) and len(paths) != 2:
        raise ValueError("client_cert must be a path, or the paths of certificate and key")
    for path in paths if isinstance(paths, tuple) else [paths]:
        if path is None and isinstance(paths, tuple):
            raise TypeError("client_cert must be paths, not None")
        _check_path(network, attribute, path)


def _check_headers(_: object, __: object, headers: object) -> None:
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of names to values, not {type(headers).__name__}")
    seen: set[str] = set()
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("headers must have strings as names and as values")
        if not _is_header_name(name):
            raise ValueError(f"the name of header {len(seen) + 1} has a character that no name has")
        if name.lower() in seen:
            raise ValueError(f"headers has {name!r} twice")
        seen.add(name.lower())
        if problem := _find_header_problem(name.lower(), value):
            raise ValueError(f"headers must not have {name!r}: {problem}")


def _find_header_problem(name: str, value: str) -> str | None:
    """What is wrong with a header, without its value; None if nothing is."""
    if name in _OWN:
        return _OWN[name]
    if name in _CONNECTION or name.startswith("proxy-"):
        return "it is about the connection, not the request"
    if name in _CONDITIONS:
        return "the client needs the whole response"
    if not value:
        return "its value is empty"
    if not value.isascii() or not value.isprintable() or value != value.strip():
        return "its value must be printable ASCII characters, without blanks at either end"
    return None


def _check_app(_: object, __: object, app: Any) -> None:
    if app is None:
        return
    if not isinstance(app, str):
        raise TypeError(f"app must be a str, not {type(app).__name__}")
    if not _APP.fullmatch(app):
        raise ValueError("app must be a name, or a name and a version, such as 'billing/2.1'")


def _to_lower_case(names: Any) -> Any:
    """Return the names as a tuple in lower case, and anything else as it is, for `_check_hosts` to refuse."""
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        return names
    return tuple(name.lower() if isinstance(name, str) else name for name in names)


def _check_hosts(_: object, __: object, names: Any) -> None:
    if not isinstance(names, tuple):
        raise TypeError(f"allow_http must be a tuple of host names, such as ('emulator',), not {type(names).__name__}")
    if not all(isinstance(name, str) for name in names):
        raise TypeError("allow_http must be host names, each a str")
    if not all(is_host(name) for name in names):
        raise ValueError("allow_http must be exact host names, such as 'emulator': no URL, no port, no wildcard")


def _show_proxy(proxy: str | None) -> str:
    if proxy is None:
        return "None"
    if not isinstance(proxy, str) or find_proxy_problem(proxy):  # refused, and shown by a traceback
        return "..."
    return f"'{urlsplit(proxy).scheme}://{proxy_address(proxy)}'"


@attrs.frozen(init=False, eq=False)
class Network:
    """How requests reach the service. The repr shows no password and no value of a header.

    Certificate files and the environment's proxies are read at the first request, in a thread. What cannot be used is
    a `ConfigurationError` then, which names the file.

    Attributes:
        proxy: The URL of a proxy, ``http://`` or ``https://``, perhaps with user name and password. Requests to an
            https URL pass it in a tunnel, so it sees only the host.
        trust_env: Use the proxies of the environment (``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, except for the
            hosts in ``NO_PROXY``); its netrc file is never read. Loopback addresses are connected to directly.
        ssl_context: Your own TLS settings, instead of the next two.
        ca_file: A file of certificates (PEM) of authorities to trust besides those of the system.
        client_cert: The client's certificate (PEM): a file with certificate and key, or the two files. The key must
            have no passphrase.
        headers: Sent with each request to the service, such as those of an access gateway. Headers that the client
            sets, that are about the connection, or that ask for a part of the response are refused.
        app: Your program's name, or name and version, such as ``"billing/2.1"``, for the ``User-Agent``.
        allow_http: Host names to which plain http is allowed besides loopback: exact names, in either case. Those in
            ``$CUSTOMERS_ALLOW_HTTP``, separated by commas, are added. The token is then sent unencrypted.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A value does not have its form, or excludes another one. The message shows no secret.

    Example:
        >>> headers = {"X-Gateway-Key": "gateway-key-of-billing"}
        >>> Network(proxy="http://billing:pr0xy-s3cret@proxy.example:3128", headers=headers)
        Network(proxy='http://proxy.example:3128', ..., headers=['X-Gateway-Key'], app=None, allow_http=())
    """

    proxy: str | None = attrs.field(validator=_check_proxy, repr=_show_proxy)
    trust_env: bool = attrs.field(validator=_check_flag)
    ssl_context: ssl.SSLContext | None = attrs.field(validator=_check_context)
    ca_file: StrPath | None = attrs.field(validator=_check_path)
    client_cert: StrPath | tuple[StrPath, StrPath] | None = attrs.field(validator=_check_client_cert)
    headers: Mapping[str, str] = attrs.field(validator=_check_headers, repr=lambda headers: f"{[*headers]}")
    app: str | None = attrs.field(validator=_check_app)
    allow_http: tuple[str, ...] = attrs.field(converter=_to_lower_case, validator=_check_hosts)

    def __init__(
        self,
        *,
        proxy: str | None = None,
        trust_env: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        ca_file: StrPath | None = None,
        client_cert: StrPath | tuple[StrPath, StrPath] | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        app: str | None = None,
        allow_http: Iterable[str] = (),
    ) -> None:
        proxy, headers = hide(proxy), _hide_headers(headers)  # before any check, whose traceback would show them
        initialize: Callable[..., None] = self.__attrs_init__
        initialize(proxy, trust_env, ssl_context, ca_file, client_cert, headers, app, allow_http)
        if proxy is not None and trust_env:
            raise ValueError("proxy and trust_env exclude each other: choose one")
        if ssl_context is not None and (ca_file is not None or client_cert is not None):
            raise ValueError("ssl_context excludes ca_file and client_cert: load them into the context")

    def __reduce__(self) -> str:
        raise TypeError("a Network may hold secrets and does not pickle")

    @property
    def needs_io(self) -> bool:
        """Whether files or the environment must be read before the first request."""
        return self.trust_env or self.ca_file is not None or self.client_cert is not None


def _hide_headers(headers: Any) -> Any:
    """Return a read-only copy with hidden values; a name that cannot be one may be a misplaced value."""
    if not isinstance(headers, Mapping):
        return hide(headers)
    return MappingProxyType({n if _is_header_name(n) else hide(n): hide(value) for n, value in headers.items()})


def _is_header_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(_WORD, name) is not None


def check_destination(base_url: str | None, network: Network) -> str:
    """Return the base URL without trailing slashes, if the token may be sent there by this network.

    Args:
        base_url: The URL; None: ``$CUSTOMERS_BASE_URL``, else ``PRODUCTION_URL``.
        network: How requests reach it.

    Raises:
        TypeError: It is not a string.
        ValueError: See `checks.check_base_url`; or a name in ``$CUSTOMERS_ALLOW_HTTP`` is no host name; or plain http
            to a loopback address would pass a proxy on another machine.
    """
    if base_url is None:
        base_url = hide(os.environ.get("CUSTOMERS_BASE_URL")) or PRODUCTION_URL
    try:
        hosts = {
            *network.allow_http,
            *Network(allow_http=_split(os.environ.get("CUSTOMERS_ALLOW_HTTP", ""))).allow_http,
        }
    except ValueError as error:
        problem = f"{error}".replace("allow_http", "CUSTOMERS_ALLOW_HTTP")
    else:
        url = check_base_url(base_url, hosts)
        is_plain = url.startswith("http:") and urlsplit(url).hostname not in hosts
        if not is_plain or network.proxy is None or is_loopback(urlsplit(network.proxy).hostname or ""):
            return url
        problem = "base_url must be https: plain http would pass a proxy on another machine"
    raise ValueError(problem)


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def find_proxy_problem(url: str) -> str | None:
    """What is wrong with the URL of a proxy, without the URL itself; None if nothing is."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return "must be printable ASCII without spaces"
    try:
        parts = split_url(url)
    except ValueError:
        return "is not a URL; in user name and password, percent-encode special characters"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if not parts.hostname or parts.port == 0:
        return "has an impossible port" if parts.hostname else "has no host"
    if parts.path not in ("", "/") or "?" in url or "#" in url:
        return "must have nothing after host and port"
    login = unquote(f"{parts.username or ''}{parts.password or ''}")
    if ":" in unquote(parts.username or "") or not login.isprintable():
        return "must have a user name without colons, and no control characters in it or the password"
    return None


def proxy_address(url: str) -> str:
    """Host and port of a proxy, without user name and password, for messages."""
    return Secret(url).rpartition("@")[2].rpartition("//")[2].rstrip("/")
