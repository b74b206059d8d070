"""Turns aiohttp's exceptions into this package's errors, with the remedy where it is known. No I/O.

The texts of aiohttp are not used: they may quote headers.
"""

import ssl
from typing import Final

import aiohttp
import attrs
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from customers_async.calls.loaded_network import Proxy
from customers_async.errors import APIConnectionError, APIResponseError, APITimeoutError, CustomersError, may_pass

__all__ = ["ProxyRefusedError", "SentRequest", "describe_certificate", "describe_handshake", "translate"]

_ALERTS: Final = ("ALERT", "EOF", "TLSV1_", "UNKNOWN_ERROR")
"""Parts of OpenSSL's texts for alerts. It has no names for some, such as an early ``close_notify``."""
_WRONG_PROTOCOL: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
_CERTIFICATE_WANTED: Final = ("ALERT_BAD_CERTIFICATE", "CERTIFICATE_REQUIRED", "CERTIFICATE_UNKNOWN", "UNKNOWN_CA")
_UNKNOWN_AUTHORITY: Final = (
    "the certificate is from an authority that is not trusted here; if it is your company's, name its file with "
    "Network(ca_file=...), --ca-file or SSL_CERT_FILE"
)
_OTHER_NAME: Final = "the certificate is for another host name; check the host in {url}"
_CERTIFICATE_PROBLEMS: Final = {
    **dict.fromkeys((2, 18, 19, 20, 21, 27), _UNKNOWN_AUTHORITY),
    **dict.fromkeys((62, 64), _OTHER_NAME),
    9: "the certificate is not valid yet; check the clock of this machine",
    10: "the certificate has expired; the server needs a new one, or the clock of this machine is wrong",
}
"""By OpenSSL's code of the verification error."""


class ProxyRefusedError(Exception):
    """A proxy responded 407 to a plain http request, instead of passing it on."""


@attrs.define
class SentRequest:
    """What is known of a request, in case it fails.

    Attributes:
        path: Its path, for messages.
        host: The service's host.
        timeout: The seconds it was allowed to take.
        proxy: The proxy it was sent through, or None.
        sent: Whether its headers were sent; kept up to date with a proxy only.
    """

    path: str
    host: str
    timeout: float
    proxy: Proxy | None = None
    sent: bool = False

    @property
    def through(self) -> str:
        """The proxy, for messages."""
        return f" through the proxy {self.proxy.address}" if self.proxy else ""

    def was_sent(self, error: Exception) -> bool:
        """Whether the request was sent before this error."""
        return self.sent if self.proxy else not isinstance(error, aiohttp.ClientConnectorError)


def translate(error: Exception, request: SentRequest) -> CustomersError:
    """This package's error for one of aiohttp's."""
    failure = _timeout_error(request) if isinstance(error, TimeoutError) else _tls_error(error, request)
    if failure is None and request.proxy is not None:
        failure = _proxy_error(error, request, request.proxy)
    if failure is not None:
        return failure
    match error:
        case aiohttp.ClientResponseError(__cause__=HttpProcessingError(__cause__=LineTooLong())):
            return APIResponseError(f"the response for {request.path} has a header that is too long (over 8,190 bytes)")
        case aiohttp.ClientResponseError():
            return APIResponseError(f"the response for {request.path} is not well-formed HTTP")
        case aiohttp.ServerFingerprintMismatch():
            return APIConnectionError("TLS failed: the certificate has another fingerprint", transient=False)
        case aiohttp.ClientError() | OSError():
            problem = f"no usable response for {request.path}{request.through}: {_describe(error)}"
            return APIConnectionError(problem, sent=request.was_sent(error))
    return APIConnectionError(f"the aiohttp session failed for {request.path}: {_describe(error)}", transient=False)


def _timeout_error(request: SentRequest) -> APITimeoutError:
    within = f"within {request.timeout:g} s"
    if request.proxy is not None and not request.sent:
        return APITimeoutError(f"no connection{request.through} {within}", sent=False)
    return APITimeoutError(f"no complete response {within} for {request.path}{request.through}")


def _proxy_error(error: Exception, request: SentRequest, proxy: Proxy) -> APIConnectionError | None:
    """The error if the proxy, or the connection through it, failed before the request was sent; else None."""
    match error:
        case aiohttp.ClientHttpProxyError(status=status):
            return _refusal_error(status, request.host, proxy)
        case ProxyRefusedError():
            return _refusal_error(407, request.host, proxy)
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientConnectorDNSError():
            problem = f"the proxy {proxy.address} cannot be reached: {_describe(error)}"
        case aiohttp.ClientError() | OSError() if not request.sent:
            problem = f"no connection{request.through}: {_describe(error)}"
        case _:
            return None
    return APIConnectionError(problem, sent=False)


def _describe(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    return f"{type(error).__name__} ({strerror})" if isinstance(strerror, str) else type(error).__name__


def _refusal_error(status: int, host: str, proxy: Proxy) -> APIConnectionError:
    """The error for a proxy that refuses to connect; it may pass if it is about the proxy's own state."""
    transient = status == 429 or may_pass(status)
    if status == 407 and proxy.login is None:
        problem = "requires a user name and a password: put them into its URL (status 407)"
    elif status == 407:
        problem = "refuses the user name or the password in its URL (status 407)"
    elif transient:
        problem = f"has no connection to {host} (status {status})"
    else:
        problem = f"refuses to connect to {host} (status {status}): does it allow this host?"
    return APIConnectionError(f"the proxy {proxy.address} {problem}", transient=transient, sent=False)


def _find_tls_error(error: Exception) -> ssl.SSLError | None:
    """OpenSSL's error that aiohttp wraps, or None.

    After the handshake, which ends before a server with TLS 1.3 has seen the client's certificate, only an alert about
    that is a TLS failure. Anything else is a connection that broke.
    """
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error if isinstance(error.os_error, ssl.SSLError) else None
    if isinstance(error, ssl.SSLError):
        return error
    cause = error.__cause__
    return cause if isinstance(cause, ssl.SSLError) and _wants_certificate(cause) else None


def _tls_error(error: Exception, request: SentRequest) -> APIConnectionError | None:
    """The error if TLS failed, with the service or with the proxy; else None."""
    cause = _find_tls_error(error)
    if cause is None:
        return None
    proxy, where, url = request.proxy, request.through, "base_url"
    peer = (error.host, error.port) if isinstance(error, aiohttp.ClientConnectorError) else None
    if proxy is not None and peer == (proxy.url.host, proxy.url.port):
        where, url = f" with the proxy {proxy.address}", "the proxy's URL"
    problem = describe_certificate(cause, url) or describe_handshake(cause, url)
    transient = _is_passing_alert(cause)
    return APIConnectionError(f"TLS failed{where}: {problem}", transient=transient, sent=request.was_sent(error))


def describe_certificate(error: ssl.SSLError, url: str) -> str | None:
    """Why the server's certificate is not accepted, and what to do; None if it is not about that."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return None
    problem = _CERTIFICATE_PROBLEMS.get(error.verify_code)
    return problem.format(url=url) if problem else f"the certificate is not accepted ({error.verify_message})"


def describe_handshake(error: ssl.SSLError, url: str) -> str:
    """Why there was no TLS connection, and what to do where that is known."""
    reason = error.reason or "no reason given"
    if reason in _WRONG_PROTOCOL:
        return f"the server does not speak TLS there; check scheme and port in {url}"
    if _wants_certificate(error):
        return f"the server wants another client certificate ({reason}); name its file with Network(client_cert=...)"
    if "HANDSHAKE_FAILURE" in reason:
        return f"the server refuses ({reason}); it may want a client certificate: Network(client_cert=...)"
    return reason


def _wants_certificate(error: ssl.SSLError) -> bool:
    return any(word in (error.reason or "") for word in _CERTIFICATE_WANTED)


def _is_passing_alert(error: ssl.SSLError) -> bool:
    """Whether a TLS failure may pass: the peer sent an alert or hung up, and not because of a certificate."""
    text = f"{error.reason} {error.strerror}".upper().replace(" ", "_")
    is_alert = any(word in text for word in _ALERTS)
    return is_alert and not any(word in text for word in ("CERTIFICATE", "UNKNOWN_CA"))
