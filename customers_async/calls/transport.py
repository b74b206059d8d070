"""The only room that talks to aiohttp: one exchange, and the life of the connection.

What aiohttp raises is translated here, at one door.
"""

from typing import Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from customers_async._version import __version__
from customers_async.calls import responses
from customers_async.calls.credentials import Credential
from customers_async.calls.endpoints import Request
from customers_async.calls.responses import Response
from customers_async.calls.timeouts import Timeouts
from customers_async.errors import APIConnectionError, APIResponseError, APITimeoutError, CustomersError

__all__ = ["Transport"]

_USER_AGENT: Final = f"customers-async/{__version__}"
_NO_TIMEOUT: Final = aiohttp.ClientTimeout()
_ERROR_BODY_PATIENCE: Final = 2.0
"""Seconds to wait for the body of an error: its status says enough, and a 429 must shut the limiter soon."""


class Transport:
    """The connection to the service.

    Args:
        base_url: Checked, without a trailing slash.
        http: A borrowed aiohttp session, never closed here; None to open one at the first exchange.
    """

    def __init__(self, base_url: str, http: aiohttp.ClientSession | None) -> None:
        self.base_url = base_url
        self._base = URL(base_url, encoded=True)
        self._http = http
        self._borrowed = http is not None
        self._deadlines = Timeouts()
        self._carried: tuple[Credential, CIMultiDict[str]] | None = None

    async def exchange(
        self, request: Request, credential: Credential, *, timeout: float, max_body: int
    ) -> Response | CustomersError:
        """Send a request; returns what came, or the error in our own terms.

        Raised from here, an error would keep aiohttp's as its context, and with that the Authorization header.

        Args:
            request: What is asked.
            credential: The token.
            timeout: Seconds from sending to the last byte.
            max_body: The largest answer in bytes, decompressed.
        """
        head: Response | None = None
        body = _Body()
        try:
            with self._deadlines.within(timeout):
                response = await self._open().get(
                    self._url(request),
                    headers=self._headers(credential),
                    allow_redirects=False,
                    auto_decompress=False,
                    raise_for_status=False,
                    timeout=_NO_TIMEOUT,
                )
                try:
                    head = Response(response.status, response.headers, b"")
                    if head.status < 400:
                        await body.read(response.content, max_body)
                    else:
                        with self._deadlines.within(_ERROR_BODY_PATIENCE):
                            await body.read(response.content, max_body)
                finally:
                    response.release()
        except TimeoutError:
            failure: CustomersError = APITimeoutError(f"no whole answer within {timeout:g} s for {request.path}")
        except aiohttp.ClientSSLError as error:
            failure = APIConnectionError(f"TLS failed: {_reason(error)}", transient=False)
        except aiohttp.ClientResponseError:
            failure = APIResponseError(f"the answer for {request.path} is not well-formed HTTP")
        except (aiohttp.ClientError, OSError) as error:
            failure = APIConnectionError(f"no usable answer for {request.path}: {_reason(error)}")
        else:
            if body.size <= max_body:
                return responses.decode_body(Response(head.status, head.headers, body.whole()), max_body)
            failure = responses.with_location(responses.too_large_error(max_body), head)
        # From 400 on the status says enough, whatever became of the body.
        return head if head is not None and head.status >= 400 else failure

    async def close(self) -> None:
        """End the connection; a borrowed aiohttp session stays open."""
        self._deadlines.close()
        if self._http is not None and not self._borrowed:
            await self._http.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # slots are the limit; a pool's would count against timeouts
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._http

    def _url(self, request: Request) -> URL:
        base, path = self._base, self._base.raw_path.rstrip("/") + request.path
        return URL.build(
            scheme=base.scheme, authority=base.raw_authority, path=path, query_string=request.query, encoded=True
        )

    def _headers(self, credential: Credential) -> CIMultiDict[str]:
        """What each request carries; made once for each credential."""
        if self._carried is None or self._carried[0] is not credential:
            headers = {
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "Authorization": credential.header,
                "User-Agent": _USER_AGENT,
            }
            self._carried = credential, CIMultiDict(headers)
        return self._carried[1]


class _Body:
    """A body as it arrives. Nobody's repr shows it: a traceback that prints locals must not show customers."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    async def read(self, content: aiohttp.StreamReader, max_body: int) -> None:
        """Read what comes over the wire, whole or until it is over ``max_body``, which is enough to refuse it."""
        while self.size <= max_body and not content.at_eof():
            self._pieces.append(await content.readany())
            self.size += len(self._pieces[-1])

    def whole(self) -> bytes:
        """All that was read."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


def _reason(error: Exception) -> str:
    """What went wrong, without the error's own text: that may quote headers."""
    strerror = getattr(error, "strerror", None)
    return f"{type(error).__name__} ({strerror})" if isinstance(strerror, str) else type(error).__name__
