"""Loads what a `Network` names: certificates from files, the proxy of the environment. Blocks, so runs in a thread."""

import base64
import ssl
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs
from yarl import URL

from customers_async.calls.network import Network, find_proxy_problem, proxy_address
from customers_async.calls.tokens import Secret, hide
from customers_async.checks import is_loopback
from customers_async.errors import ConfigurationError

__all__ = ["LoadedNetwork", "Proxy", "load_network", "load_tls"]


@attrs.frozen(eq=False)
class Proxy:
    """A proxy. Its repr shows no password.

    Attributes:
        url: Its URL, without user name and password.
        address: Its host and port, for messages.
        login: The value of the ``Proxy-Authorization`` header, or None.
        password: The password, to be removed from what a response repeats.
    """

    url: URL
    address: str
    login: Secret | None
    password: Secret | None


@attrs.frozen(eq=False)
class LoadedNetwork:
    """What a `Network` names, loaded.

    Attributes:
        tls: The TLS settings; True stands for those of aiohttp.
        proxy: The proxy, or None.
    """

    tls: ssl.SSLContext | bool = True
    proxy: Proxy | None = None


def load_network(network: Network, base_url: str) -> LoadedNetwork:
    """Read the files and the environment.

    Args:
        network: How requests reach the service.
        base_url: The service's base URL, which decides what proxy of the environment is used.

    Raises:
        ConfigurationError: A file cannot be read or does not hold what it should, or the environment's proxy is not a
            URL. The message names the file, and nothing of its content.
    """
    proxy = network.proxy
    if network.trust_env:
        proxy = _find_environment_proxy(base_url)
        if proxy is not None and (problem := find_proxy_problem(proxy)):
            raise ConfigurationError(f"the proxy in the environment {problem}")
    return LoadedNetwork(load_tls(network), None if proxy is None else _make_proxy(Secret(proxy)))


def load_tls(network: Network) -> ssl.SSLContext | bool:
    """Read the files of certificates; True stands for the TLS settings of aiohttp.

    Raises:
        ConfigurationError: A file cannot be read or does not hold what it should.
    """
    if network.ssl_context is not None:
        return network.ssl_context
    if network.ca_file is None and network.client_cert is None:
        return True
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if network.ca_file is not None:
        _load_authorities(context, Path(network.ca_file))
    if network.client_cert is not None:
        pair = network.client_cert
        _load_certificate(context, *([*map(Path, pair)] if isinstance(pair, tuple) else [Path(pair)]))
    return context


def _find_environment_proxy(base_url: str) -> Secret | None:
    """The URL of the environment's proxy; ``http://`` is added where it has no scheme, as curl does."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host) or proxy_bypass(parts.netloc):
        return None
    url = hide(getproxies().get(parts.scheme) or getproxies().get("all"))
    return Secret(f"http://{url}") if url is not None and "://" not in url else url


def _make_proxy(url: Secret) -> Proxy:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    login = password = None
    if parts.username is not None:
        password = Secret(unquote(parts.password or ""))
        login = Secret(f"Basic {base64.b64encode(f'{unquote(parts.username)}:{password}'.encode()).decode()}")
    return Proxy(URL.build(scheme=parts.scheme, host=host, port=port), proxy_address(url), login, password)


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    _check_readable("ca_file", path)
    if not _has_certificate(context, path):
        raise ConfigurationError(f"ca_file {path} has no certificate in PEM form")


def _load_certificate(context: ssl.SSLContext, path: Path, key_path: Path | None = None) -> None:
    for file in filter(None, (path, key_path)):
        _check_readable("client_cert", file)
    try:
        context.load_cert_chain(path, key_path, password=_refuse_passphrase)
    except _PassphraseError:
        problem = f"the key in {key_path or path} has a passphrase: remove it, or pass ssl_context"
    except OSError as error:  # an SSLError, or the file was removed a moment ago
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            problem = f"the key in {key_path or path} is not that of the certificate in {path}"
        elif not _has_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path):
            problem = f"{path} has no certificate in PEM form"
        else:
            problem = f"{key_path or path} has no private key in PEM form"
    else:
        return
    raise ConfigurationError(f"client_cert: {problem}")


class _PassphraseError(Exception):
    pass


def _refuse_passphrase() -> str:
    """Raise instead of asking for the passphrase on the terminal, as OpenSSL would."""
    raise _PassphraseError


def _has_certificate(context: ssl.SSLContext, path: Path) -> bool:
    """Load the certificates of a file into the context; whether that succeeded."""
    try:
        context.load_verify_locations(cafile=path)
    except OSError:
        return False
    return True


def _check_readable(name: str, path: Path) -> None:
    """Check that a path is a file whose first byte can be read; a pipe or a device may block, or be endless."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            problem: str | None = "it is not a file"
        else:
            with path.open("rb") as file:
                file.read(1)
            return
    except OSError as error:
        problem = error.strerror
    raise ConfigurationError(f"{name} {path} cannot be read: {problem}")
