"""The transport: sends one request and owns the connection pool. No other module uses aiohttp's client.

The errors of aiohttp are translated to this package's errors here. They are raised after the ``try`` statement: from
inside it, they would keep aiohttp's error as their context, and with it the Authorization header.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

import aiohttp
from aiohttp.connector import Connection
from multidict import CIMultiDict
from yarl import URL

from customers_async._version import __version__
from customers_async.calls.bodies import decode_body, too_large_error
from customers_async.calls.credentials import Credential
from customers_async.calls.endpoints import Request
from customers_async.calls.failures import ProxyRefusedError, SentRequest, translate
from customers_async.calls.loaded_network import LoadedNetwork, Proxy, load_network
from customers_async.calls.network import Network
from customers_async.calls.responses import Response, join_repeated, read_request_id, with_location
from customers_async.calls.timeouts import Timeouts
from customers_async.errors import APITimeoutError

__all__ = ["Transport"]

_MIN_SECRET: Final = 8
"""Characters: a shorter value of a header or a parameter, such as ``eu``, is part of other words."""
_NO_TIMEOUT: Final = aiohttp.ClientTimeout()
_ERROR_BODY_TIMEOUT: Final = 2.0
"""Seconds to wait for the body of an error. Its status is enough, and a 429 must close the limiter soon."""


class _CheckedResponse(aiohttp.ClientResponse):
    """A response that is not read from a connection on which data arrived before the request was sent.

    Such data is a response to no request, and would be taken for the response to this one; each later request on the
    connection would get its predecessor's. aiohttp closes the connection and sends the request on another one.
    """

    def start(self, connection: Connection) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        if (protocol := connection.protocol) is not None and protocol.should_close:
            raise aiohttp.ServerDisconnectedError("unexpected data on an idle connection")
        return super().start(connection)


async def _note_sent(_: aiohttp.ClientSession, context: Any, __: aiohttp.TraceRequestHeadersSentParams) -> None:
    context.trace_request_ctx.sent = True


_NOTE_SENT: Final = aiohttp.TraceConfig()
"""Notes when the headers were sent; used with a proxy only, because it costs an eighth of a request."""
_NOTE_SENT.on_request_headers_sent.append(_note_sent)


class Transport:
    """Sends requests to the service.

    Args:
        base_url: Checked, without a trailing slash.
        http: The caller's aiohttp session, never closed here; None opens one for the first request.
        network: How requests reach the service.

    Attributes:
        base_url: The service's base URL.
        timeouts: The timer of all timeouts; `close` ends it.
        is_prepared: Whether `prepare` has nothing to do.
    """

    def __init__(self, base_url: str, http: aiohttp.ClientSession | None, network: Network) -> None:
        self.base_url = base_url
        self._base = URL(base_url, encoded=True)
        self._http = http
        self._borrowed = http is not None
        self._in_flight: Counter[aiohttp.ClientSession] = Counter()
        self.timeouts: Timeouts = Timeouts()
        self._network = network
        self._preparing = asyncio.Lock()
        self._loading: asyncio.Future[LoadedNetwork] | None = None
        self.is_prepared: bool = not network.needs_io
        self._loaded = load_network(network, base_url) if self.is_prepared else LoadedNetwork()
        user_agent = f"customers-async/{__version__}"
        self._headers = CIMultiDict(
            {
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "Cache-Control": "no-cache",
                "User-Agent": f"{network.app} {user_agent}" if network.app else user_agent,
                **network.headers,
            }
        )

    async def prepare(self, timeout: float) -> None:
        """Read the files and the environment that the network names, before the first request.

        One thread at a time reads them, even after its call has timed out: a disk that hangs must not occupy all
        threads, which also resolve host names.

        Args:
            timeout: Seconds that this may take.

        Raises:
            APITimeoutError: It takes longer.
            ConfigurationError: A file, or the environment's proxy, cannot be used.
        """
        try:
            with self.timeouts.limit(timeout):
                async with self._preparing:
                    await self._load()
        except TimeoutError:
            failure = APITimeoutError(
                f"the files of network were not read within {timeout:g} s", sent=False, attempts=0
            )
        else:
            return
        raise failure

    async def _load(self) -> None:
        if self.is_prepared:
            return
        if self._loading is None or self._loading.done():
            loop = asyncio.get_running_loop()
            self._loading = loop.run_in_executor(None, load_network, self._network, self.base_url)
        self._loaded = await asyncio.shield(self._loading)  # the thread cannot be cancelled
        self.is_prepared = True

    async def send(self, request: Request, credential: Credential, *, timeout: float, max_body: int) -> Response:
        """Send a request and return its response, with the body decoded.

        Args:
            request: The request.
            credential: The token.
            timeout: Seconds from sending to the last byte.
            max_body: The largest body to accept in bytes, decompressed.

        Raises:
            APIConnectionError: No complete response arrived.
            APIResponseError: The response is not HTTP, too large, or not encoded as its headers say.
        """
        head: Response | None = None
        body, http = _Body(), self._open()
        headers = self._headers.copy()  # which costs less than to keep those of every token
        headers["Authorization"] = credential.header
        proxy = self._loaded.proxy
        sent = SentRequest(request.label, self._base.host or "", timeout, proxy)
        self._in_flight[http] += 1
        try:
            with self.timeouts.limit(timeout) as ends_at:
                response = await http.get(
                    self._url_for(request),
                    headers=headers,
                    allow_redirects=False,
                    auto_decompress=False,
                    raise_for_status=False,
                    timeout=_NO_TIMEOUT,
                    **(self._proxy_options(proxy, headers, sent) if proxy is not None else {}),
                )
                try:
                    head = self._make_head(response, request, credential, sent_at=ends_at - timeout)
                    await self._read_body(response, body, max_body)
                finally:
                    response.release()
        except Exception as error:  # a lent session runs the caller's middlewares, which may raise anything
            failure = translate(error, sent)
        else:
            if body.size <= max_body:
                head.body = body.joined()
                return decode_body(head, max_body, is_raw=request.is_raw)
            failure = with_location(too_large_error(max_body), head)
        finally:
            self._in_flight[http] -= 1
            if http is not self._http:
                await self._close_unused()
        if head is not None:
            if head.status >= 400:  # the status is enough, whatever happened to the body
                return head
            failure.request_id = read_request_id(head)
        raise failure

    def _make_head(
        self, response: aiohttp.ClientResponse, request: Request, credential: Credential, *, sent_at: float
    ) -> Response:
        """Return the response of the service, still without its body.

        Raises:
            ProxyRefusedError: It is a proxy's own response to a plain http request.
        """
        if response.status == 407 and self._base.scheme == "http" and self._loaded.proxy is not None:
            raise ProxyRefusedError
        return Response(
            response.status,
            join_repeated(response.headers, response.raw_headers),
            b"",
            sent_at,
            secrets=self._secrets_of(request, credential),
            uuid=request.uuid,
        )

    async def _read_body(self, response: aiohttp.ClientResponse, body: "_Body", max_body: int) -> None:
        """Read the whole body, or until it exceeds ``max_body``; of an error, as much as arrives soon."""
        if response.status < 400:
            await body.read(response.content, max_body)
        else:
            with self.timeouts.limit(_ERROR_BODY_TIMEOUT):
                await body.read(response.content, max_body)

    def drop_connections(self) -> None:
        """Open new connections for later requests, after a response to another request; not in a borrowed session.

        The connection that mixed responses up is in the pool, and would give each later request its predecessor's.
        """
        if not self._borrowed:
            self._http = None

    async def close(self) -> None:
        """Close the connections; the caller's own aiohttp session stays open."""
        self.timeouts.close()
        if not self._borrowed:
            self._in_flight = Counter(dict.fromkeys(self._in_flight, 0))
            with suppress(RuntimeError):  # the event loop has ended, and the connections with it
                await self._close_unused(last=True)

    async def _close_unused(self, *, last: bool = False) -> None:
        """Close the sessions that were dropped and have no request in flight; the present one, too, at the end."""
        unused = [http for http, count in self._in_flight.items() if not count and (last or http is not self._http)]
        for http in unused:
            del self._in_flight[http]
        for http in unused:
            await http.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                # No limit: slots bound the requests in flight, and waiting here would count towards the timeout.
                connector=aiohttp.TCPConnector(limit=0, ssl=self._loaded.tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                response_class=_CheckedResponse,
                trust_env=False,
                trace_configs=[_NOTE_SENT] if self._loaded.proxy is not None else [],
            )
        return self._http

    def _proxy_options(self, proxy: Proxy, headers: CIMultiDict[str], sent: SentRequest) -> dict[str, Any]:
        """The options that send a request through the proxy. Its password goes to the proxy only.

        In a URL, aiohttp would keep the password where a traceback with locals shows it.
        """
        to_proxy = {"User-Agent": headers["User-Agent"]}
        if proxy.login is not None:
            (to_proxy if self._base.scheme == "https" else headers)["Proxy-Authorization"] = proxy.login
        return {"proxy": proxy.url, "proxy_headers": to_proxy, "trace_request_ctx": sent}

    def _secrets_of(self, request: Request, credential: Credential) -> tuple[str, ...]:
        """What the response may repeat, and an error must not."""
        proxy = self._loaded.proxy
        if proxy is None and not request.data and not self._network.headers:
            return (credential.token,)
        values = [*self._network.headers.values(), proxy and proxy.login, proxy and proxy.password, *request.data]
        return (credential.token, *(value for value in values if value and len(value) >= _MIN_SECRET))

    def _url_for(self, request: Request) -> URL:
        base, path = self._base, self._base.raw_path.rstrip("/") + request.path
        return URL.build(
            scheme=base.scheme, authority=base.raw_authority, path=path, query_string=request.query, encoded=True
        )


class _Body:
    """The body while it arrives. It has no telling repr, so that a traceback with locals shows no customer."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    async def read(self, content: aiohttp.StreamReader, max_body: int) -> None:
        """Read the whole body, or until it exceeds ``max_body``."""
        while self.size <= max_body and not content.at_eof():
            self._pieces.append(await content.readany())
            self.size += len(self._pieces[-1])

    def joined(self) -> bytes:
        """All that was read."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
