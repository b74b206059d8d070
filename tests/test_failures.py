"""aiohttp's exceptions become errors of the package; those that real servers cause are in tests/faults."""

import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from customers_async import APIConnectionError
from customers_async.calls.failures import SentRequest, translate

KEY = ConnectionKey("customers.example", 443, True, True, None, None, None)


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] {reason.lower().replace('_', ' ')} (_ssl.c:1006)")
    error.reason = reason
    return error


def certificate_error(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, f"certificate verify failed: {message}")
    error.reason, error.verify_code, error.verify_message = "CERTIFICATE_VERIFY_FAILED", code, message
    return error


def fail(error: Exception) -> APIConnectionError:
    failure = translate(error, SentRequest("/x", "customers.example", 30.0))
    assert isinstance(failure, APIConnectionError)
    return failure


@pytest.mark.parametrize(
    ("code", "message", "problem"),
    [
        *((code, "x", "is from an authority that is not trusted here; ") for code in (2, 18, 19, 20, 21, 27)),
        *((code, "x", "is for another host name; check the host in base_url") for code in (62, 64)),
        (9, "certificate is not yet valid", "is not valid yet; check the clock"),
        (10, "certificate has expired", "has expired; the server needs a new one"),
        (85, "Missing {Authority} Key Identifier", "is not accepted (Missing {Authority} Key Identifier)"),
    ],
)
def test_certificates_have_each_their_hint(code: int, message: str, problem: str) -> None:
    """OpenSSL's code decides what the message advises; it is never retried, as nothing was sent."""
    failure = fail(aiohttp.ClientConnectorCertificateError(KEY, certificate_error(code, message)))
    assert str(failure).startswith(f"TLS failed: the certificate {problem}")
    assert (failure.transient, failure.sent) == (False, False)


@pytest.mark.parametrize(
    ("reason", "problem", "transient"),
    [
        *(
            (reason, "the server does not speak TLS there; check scheme and port in base_url", False)
            for reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
        ),
        *(
            (reason, f"the server wants another client certificate ({reason}); name its file with Network(", False)
            for reason in ("SSLV3_ALERT_BAD_CERTIFICATE", "TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_UNKNOWN_CA")
        ),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "the server refuses (SSLV3_ALERT_HANDSHAKE_FAILURE); it may want", True),
        ("TLSV1_ALERT_INTERNAL_ERROR", "TLSV1_ALERT_INTERNAL_ERROR", True),
        ("UNSUPPORTED_PROTOCOL", "UNSUPPORTED_PROTOCOL", False),
    ],
)
def test_handshakes_have_each_their_hint(reason: str, problem: str, transient: bool) -> None:
    """OpenSSL's reason decides what the message advises, and whether it may pass."""
    failure = fail(aiohttp.ClientConnectorSSLError(KEY, tls_error(reason)))
    assert str(failure).startswith(f"TLS failed: {problem}")
    assert (failure.transient, failure.sent) == (transient, False)


@pytest.mark.parametrize(
    ("reason", "message", "transient"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLS failed: the server wants another client certificate", False),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "no usable response for /x: ClientOSError", True),
        ("APPLICATION_DATA_AFTER_CLOSE_NOTIFY", "no usable response for /x: ClientOSError", True),
    ],
)
def test_connection_that_breaks_after_the_handshake_is_retried(reason: str, message: str, transient: bool) -> None:
    """Only an alert about the client's certificate will not pass: with TLS 1.3 it comes after the handshake."""
    error = aiohttp.ClientOSError(1, reason)
    error.__cause__ = tls_error(reason)
    failure = fail(error)
    assert str(failure).startswith(message)
    assert (failure.transient, failure.sent) == (transient, True)
