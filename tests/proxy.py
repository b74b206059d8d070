"""A small HTTP proxy on a real socket: tunnels (CONNECT) and plain http in absolute form, perhaps with a password."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.wire import Reply, SocketServer, listen

__all__ = ["Proxy", "run_proxy"]


class Proxy(SocketServer):
    """Passes requests on to 127.0.0.1, and records them.

    Args:
        ports: The port that stands for each host name.
        login: The user name and the password to require, as ``user:password``.
        reply: What to send instead of passing a request on.
    """

    def __init__(self, ports: Mapping[str, int], *, login: str | None, reply: Reply | None) -> None:
        super().__init__()
        self.ports = ports
        self._login = login and f"basic {base64.b64encode(login.encode()).decode()}".lower()
        self._reply = reply
        self.requests: list[str] = []

    @property
    def targets(self) -> list[str]:
        """Method and target of each request."""
        return [request.partition(" HTTP/")[0] for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, for one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(head)
        lines = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        method, target, _ = lines[0].split(" ")
        if self._login and headers.get("proxy-authorization", "").lower() != self._login:
            writer.write(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
        elif isinstance(self._reply, bytes):
            writer.write(self._reply)
        elif self._reply is not None:
            await self._reply(reader, writer)
        elif method == "CONNECT":
            async with _connect(self.ports[target.rpartition(":")[0]]) as (incoming, outgoing):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_copy(reader, outgoing), _copy(incoming, writer))
        else:
            url = urlsplit(target)
            path = f"{url.path}?{url.query}" if url.query else url.path
            kept = [line for line in lines[1:] if not line.lower().startswith(("proxy-", "connection"))]
            async with _connect(self.ports[url.hostname or ""]) as (incoming, outgoing):
                outgoing.write("\r\n".join([f"GET {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode())
                await _copy(incoming, writer)
        await writer.drain()


@asynccontextmanager
async def _connect(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@asynccontextmanager
async def run_proxy(
    ports: Mapping[str, int] | None = None,
    *,
    login: str | None = None,
    reply: Reply | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Proxy]:
    """Run a proxy; see `Proxy` for the arguments. With ``tls`` it is an https proxy."""
    async with listen(Proxy(ports or {}, login=login, reply=reply), tls=tls) as proxy:
        yield proxy
