"""The checks of what is needed before a request: the token, the URL, the way to the server. No I/O."""

import math

from customers_async.checks import PRODUCTION_URL, VENDOR_SANDBOX_URL
from customers_async.doctor.facts import DoctorFacts
from customers_async.doctor.finding import (
    DAY,
    RENEW,
    Finding,
    format_duration,
    format_seconds,
    format_time,
    skip,
)
from customers_async.exit_codes import API, CREDENTIALS, USAGE

__all__ = ["LOCAL_CHECKS"]


def _check_token(facts: DoctorFacts) -> Finding:
    token = facts.token
    if token.problem is not None:
        remedy = "put the token into CUSTOMERS_TOKEN, or into a file that --token-file or CUSTOMERS_TOKEN_FILE names"
        return Finding("token", "failed", token.problem, remedy, CREDENTIALS)
    if not token.is_jwt and not facts.accepted:
        message = f"a token from {token.origin}, which is no JWT, as the vendor's tokens are"
        return Finding("token", "warning", message, "check that all of it was copied, and nothing else")
    return Finding("token", "ok", f"{'a JWT' if token.is_jwt else 'a token'} from {token.origin}")


def _check_expiry(facts: DoctorFacts) -> Finding:
    token = facts.token
    if token.problem is not None:
        return skip("expiry", "there is no token")
    if math.isinf(token.expires):
        return Finding("expiry", "ok", "the token does not say when it expires")
    left = token.expires - facts.now - (facts.skew or 0.0)
    when = format_time(token.expires)
    if left <= 0 and facts.accepted:
        return Finding("expiry", "warning", f"the token expired at {when}, and the service still accepts it", RENEW)
    if left <= 0:
        return Finding("expiry", "failed", f"the token expired at {when}", RENEW, CREDENTIALS)
    if left < 7 * DAY:
        return Finding("expiry", "warning", f"the token expires at {when}, in {format_duration(left)}", RENEW)
    return Finding("expiry", "ok", f"the token expires at {when}")


def _check_base_url(facts: DoctorFacts) -> Finding:
    if facts.url_problem is not None:
        remedy = "correct --base-url or CUSTOMERS_BASE_URL" if facts.url_problem.startswith("base_url") else None
        return Finding("base_url", "failed", facts.url_problem, remedy, USAGE)
    known = {PRODUCTION_URL: "production", VENDOR_SANDBOX_URL: "the vendor's sandbox"}
    return Finding("base_url", "ok", f"{facts.url} ({known.get(facts.url, 'another server')})")


def _check_proxy(facts: DoctorFacts) -> Finding:
    if not facts.url:
        return skip("proxy", "there is no valid base URL")
    if facts.proxy:
        return Finding("proxy", "ok", f"requests pass {facts.proxy}")
    if not facts.ignored_proxies:
        return Finding("proxy", "ok", "none: the client connects directly")
    names = " and ".join(facts.ignored_proxies)
    message = f"none: the client connects directly, and does not use the proxy in {names}"
    is_unreachable = any(step is not None and step.problem is not None for step in (facts.dns, facts.tcp))
    return Finding("proxy", "warning" if is_unreachable else "ok", message, "try --proxy" if is_unreachable else None)


def _check_dns(facts: DoctorFacts) -> Finding:
    if facts.dns is None:
        return skip("dns", "there is no valid base URL")
    if facts.dns.problem is not None:
        remedy = "check the base URL; in a container, check that the server is on the same network"
        if facts.proxy:
            remedy = "check --proxy or CUSTOMERS_PROXY"
        name = "the proxy's name" if facts.proxy else "the server's name"
        return Finding("dns", "failed", f"{name} is not known here: {facts.dns.problem}", remedy, API)
    return Finding("dns", "ok", facts.dns.detail)


def _check_tcp(facts: DoctorFacts) -> Finding:
    if facts.tcp is None:
        return skip("tcp", "the server's address is not known")
    if facts.tcp.problem is not None:
        server = "proxy" if facts.proxy else "server"
        remedy = f"check that the {server} runs, and that no firewall is in between"
        return Finding("tcp", "failed", f"no connection to the {server}: {facts.tcp.problem}", remedy, API)
    return Finding("tcp", "ok", f"{facts.tcp.detail} in {format_seconds(facts.tcp.seconds)}")


def _check_tls(facts: DoctorFacts) -> Finding:
    if facts.tls is None and facts.proxy:
        return skip("tls", "a proxy is in between; the response shows whether it works")
    if facts.tls is None:
        is_plain = facts.url.startswith("http://")
        return skip("tls", "the base URL is plain http" if is_plain else "there is no connection")
    if facts.tls.failure is not None:
        if facts.tls.is_local:
            return Finding("tls", "failed", facts.tls.failure, "correct --ca-file or CUSTOMERS_CA_FILE", CREDENTIALS)
        return Finding("tls", "failed", facts.tls.failure, code=API)
    left, when = facts.tls.expires - facts.now, format_time(facts.tls.expires)
    if left < 14 * DAY:
        message = f"{facts.tls.version}; the server's certificate expires at {when}"
        return Finding("tls", "warning", message, "tell the operator of the server")
    return Finding("tls", "ok", f"{facts.tls.version}; the certificate is valid until {when}")


LOCAL_CHECKS = (
    _check_token,
    _check_expiry,
    _check_base_url,
    _check_proxy,
    _check_dns,
    _check_tcp,
    _check_tls,
)
"""In the order in which a request passes them."""
