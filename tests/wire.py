"""Responses that a well-behaved server library cannot send: a raw server on a real socket, and aioresponses."""

import asyncio
import inspect
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar
from unittest.mock import Mock, patch

import aiohttp
from aioresponses import aioresponses

from customers_async import CustomersClient

TOKEN = "s3cr3t" * 34
"""The token of clients of a raw server; as long as a JWT, because some printers shorten long strings."""

Server = TypeVar("Server", bound="SocketServer")
Reply = bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class SocketServer:
    """Serves connections, and counts them.

    Attributes:
        connections: The connections made.
        url: The base URL.
    """

    def __init__(self) -> None:
        self._handlers: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which is closed afterwards."""
        raise NotImplementedError

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                await self.serve(reader, writer)
        finally:
            self._handlers.discard(task)
            writer.close()

    async def stop(self) -> None:
        for handler in list(self._handlers):
            handler.cancel()
        while self._handlers:  # noqa: ASYNC110  # each ends after a step or two
            await asyncio.sleep(0)


@asynccontextmanager
async def listen(server: Server, *, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Server]:
    """Run a server on a port of this machine."""
    listener = await asyncio.start_server(server.handle, "127.0.0.1", port, ssl=tls)
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        for _ in range(5):  # a connection that was just made has a handler then
            await asyncio.sleep(0)
        listener.close()
        await server.stop()
        await listener.wait_closed()


class RawServer(SocketServer):
    """Sends one reply to each request, the last one repeatedly, and records the requests."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__()
        self._replies = list(replies)
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            reply = self._replies[min(len(self.requests), len(self._replies)) - 1]
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(reader, writer)

    @property
    def targets(self) -> list[str]:
        return [request.split(b" ")[1].decode() for request in self.requests]


@asynccontextmanager
async def raw_server(*replies: Reply, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[RawServer]:
    async with listen(RawServer(*replies), tls=tls, port=port) as server:
        yield server


@asynccontextmanager
async def serve(*replies: Reply, **options: Any) -> AsyncIterator[tuple[CustomersClient, RawServer]]:
    """Run a raw server with these replies; yield a client of it, and the server."""
    async with raw_server(*replies) as server, CustomersClient(TOKEN, base_url=server.url, **options) as client:
        yield client, server


def make_response(body: bytes = b"[]", status: str = "200 OK", **headers: str) -> bytes:
    """Return a well-formed HTTP response."""
    fields = {"Content_Type": "application/json", "Content_Length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # With a linger time of 0 the kernel sends a reset instead of an orderly end.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def stall(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def send_then(data: bytes, rest: Reply) -> Reply:
    """Return a reply that sends some bytes first."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        assert not isinstance(rest, bytes)
        await rest(reader, writer)

    return reply


def wait_then(seconds: float, data: bytes) -> Reply:
    """Return a reply that is sent after some seconds."""

    async def reply(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(data)
        await writer.drain()

    return reply


@contextmanager
def mock_responses() -> Iterator[aioresponses]:
    """Run aioresponses, with a fix for aiohttp 3.14 and later, which need a ``stream_writer``.

    It replaces ``ClientSession._request`` completely, so no timeout, connector limit or trace runs under it. Use it
    only for unusual responses.
    """
    needed = "stream_writer" in inspect.signature(aiohttp.ClientResponse).parameters
    passed = "stream_writer" in inspect.getsource(inspect.getmodule(aioresponses))  # type: ignore[arg-type]  # a module

    class WithWriter(aiohttp.ClientResponse):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{"stream_writer": Mock(output_size=0), **kwargs})

    response_class = WithWriter if needed and not passed else aiohttp.ClientResponse
    with patch("aioresponses.core.ClientResponse", response_class), aioresponses() as mocked:
        yield mocked
