"""Collects facts: reads the token, resolves the name, connects, and sends at most three requests."""

import asyncio
import math
import os
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

from customers_async.calls import endpoints
from customers_async.calls.credentials import Credential
from customers_async.calls.endpoints import Request
from customers_async.calls.failures import describe_certificate, describe_handshake
from customers_async.calls.loaded_network import load_tls
from customers_async.calls.network import Network, check_destination, proxy_address
from customers_async.calls.options import Options
from customers_async.calls.responses import Response, response_error
from customers_async.calls.tokens import FileToken, TokenSource, check_token, token_source
from customers_async.calls.transport import Transport
from customers_async.checks import MAX_PER_PAGE, RESULT_CAP
from customers_async.doctor.facts import Certificate, DoctorFacts, SentRequest, Step, TokenFacts
from customers_async.errors import APIConnectionError, ConfigurationError, CustomersError, stripped

__all__ = ["probe"]

_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


async def probe(token: FileToken | None, base_url: str | None, network: Network, *, timeout: float) -> DoctorFacts:
    """Collect the facts, as far as they can be collected.

    Args:
        token: The file of the token; None means the environment.
        base_url: The base URL; None means the environment, or production.
        network: How requests reach the service.
        timeout: Seconds for each step and each request.
    """
    clock = _start_clock()
    credential, token_facts = await _read_token(token)
    facts = DoctorFacts(now=clock(), token=token_facts)
    facts.ignored_proxies = tuple(name for name in _PROXIES if os.environ.get(name))
    try:
        facts.url = check_destination(base_url, network)
    except ValueError as error:
        facts.url_problem = f"{error}"
        return facts
    facts.proxy = "" if network.proxy is None else proxy_address(network.proxy)
    if await _reach(facts, network, timeout) and credential is not None:
        await _send_requests(facts, network, credential, timeout, clock)
    return facts


def _start_clock() -> Callable[[], float]:
    """Return this machine's time, which advances with the event loop's clock."""
    loop = asyncio.get_running_loop()
    offset = time.time() - loop.time()
    return lambda: offset + loop.time()


async def _read_token(file: FileToken | None) -> tuple[Credential | None, TokenFacts]:
    origin = ""
    try:
        source = token_source(file)
        origin = _describe_source(source)
        credential = Credential.of(check_token(await source.get(), origin), 0)
    except ConfigurationError as error:
        return None, TokenFacts(origin, problem=f"{error}" if origin else "there is no token")
    parts = credential.token.split(".")
    return credential, TokenFacts(origin, is_jwt=len(parts) == 3 and all(parts), expires=credential.expires)


def _describe_source(source: TokenSource) -> str:
    return f"the file {source.path}" if isinstance(source, FileToken) else "$CUSTOMERS_TOKEN"


async def _reach(facts: DoctorFacts, network: Network, timeout: float) -> bool:
    """Resolve the name, connect, load the network's files, check the certificate; return whether all of it succeeded.

    The certificate is not checked with a proxy: the requests show what comes behind it.
    """
    parts = urlsplit(facts.url if network.proxy is None else network.proxy)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    facts.dns = await _resolve(host, port, timeout)
    if facts.dns.problem is not None:
        return False
    facts.tcp = await _connect(host, port, timeout)
    if facts.tcp.problem is not None:
        return False
    try:
        context = await asyncio.to_thread(load_tls, network)
    except ConfigurationError as error:
        facts.tls = Certificate(failure=f"{error}", is_local=True)
        return False
    if facts.proxy or parts.scheme == "http":
        return True
    facts.tls = await _check_certificate(host, port, context, timeout)
    return facts.tls.failure is None


async def _resolve(host: str, port: int, timeout: float) -> Step:
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(timeout):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return Step(_explain(error, timeout))
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
    return Step(detail=f"{addresses[0]}{more}", seconds=loop.time() - started)


async def _connect(host: str, port: int, timeout: float) -> Step:
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Step(_explain(error, timeout))
    seconds = loop.time() - started
    await _close(writer)
    return Step(detail=f"port {port}", seconds=seconds)


async def _check_certificate(host: str, port: int, context: ssl.SSLContext | bool, timeout: float) -> Certificate:
    try:
        if isinstance(context, bool):
            context = ssl.create_default_context()
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLError as error:
        url = "the base URL"
        return Certificate(failure=f"TLS failed: {describe_certificate(error, url) or describe_handshake(error, url)}")
    except OSError as error:
        problem = f"TLS failed: {_explain(error, timeout)}; check that the port of the base URL speaks https"
        return Certificate(failure=problem)
    session: ssl.SSLObject = writer.get_extra_info("ssl_object")
    end = (session.getpeercert() or {}).get("notAfter")
    expires = float(ssl.cert_time_to_seconds(end)) if isinstance(end, str) else math.inf
    certificate = Certificate(session.version() or "", expires)
    await _close(writer)
    return certificate


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()  # an orderly end of TLS may take long
    with suppress(OSError):
        await writer.wait_closed()


def _explain(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError) and not error.args:
        return f"nothing arrived within {timeout:g} s"
    return (getattr(error, "strerror", None) or type(error).__name__).lower()


async def _send_requests(
    facts: DoctorFacts, network: Network, credential: Credential, timeout: float, clock: Callable[[], float]
) -> None:
    """Send the requests, each only if its predecessor does not make it pointless."""
    transport = Transport(facts.url, None, network)

    async def send(request: Request, read: Callable[[Response], object]) -> SentRequest:
        return await _send(transport, request, read, credential, timeout, clock)

    try:
        facts.owner = await send(endpoints.owner_request(), endpoints.read_owner)
        if _makes_others_pointless(facts.owner):
            return
        page = endpoints.page_request(1, MAX_PER_PAGE)
        facts.page = await send(page, lambda response: _read_page(response, 1))
        if facts.page.response is None or facts.page.error is not None or _makes_others_pointless(facts.page):
            return
        total = endpoints.read_total(facts.page.response)
        if total is not None and total > RESULT_CAP:
            number = RESULT_CAP // MAX_PER_PAGE + 1
            page = endpoints.page_request(number, MAX_PER_PAGE)
            facts.beyond = await send(page, lambda response: _read_page(response, number))
    finally:
        await transport.close()


def _read_page(response: Response, number: int) -> None:
    endpoints.read_page(response, number, keep_unknown=False, tolerant=True)


def _makes_others_pointless(request: SentRequest) -> bool:
    """Whether no other request can succeed: the connection broke, or the token, address or rate limit is refused."""
    if request.response is None:
        return isinstance(request.error, APIConnectionError | ConfigurationError)
    return request.response.status in (401, 403, 429)


async def _send(
    transport: Transport,
    request: Request,
    read: Callable[[Response], object],
    credential: Credential,
    timeout: float,
    clock: Callable[[], float],
) -> SentRequest:
    started = clock()
    response: Response | None = None
    error: CustomersError | None = None
    try:
        await transport.prepare(timeout)
        response = await transport.send(request, credential, timeout=timeout, max_body=Options().max_body)
    except CustomersError as failure:
        error = stripped(failure)
    received_at = clock()
    if response is not None and response.status < 400:
        error = response_error(response) or _find_error(read, response)
    return SentRequest(request.path, received_at - started, received_at, response, error)


def _find_error(read: Callable[[Response], object], response: Response) -> CustomersError | None:
    try:
        read(response)
    except CustomersError as error:
        return stripped(error)
    return None
