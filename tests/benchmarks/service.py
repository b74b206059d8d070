"""The service that the benchmarks read: a process of its own that sends prepared bytes.

Its responses have the headers and bodies of the real service, and cost a fraction of the time that any client needs to
read them. Its rate limit is never reached. Each customer of the list has a uuid of its own.
"""

import argparse
import asyncio
import gzip
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from functools import cache

import attrs
import msgspec

from customers_async.emulator.fake_customers import FakeCustomers

__all__ = ["GZIP_PREFIX", "LIMIT", "PER_PAGE", "TOKEN", "Responses", "Service", "measure_capacity", "run_service"]

PER_PAGE = 100
LIMIT = 10**9
TOKEN = "a-token-of-no-account"
GZIP_PREFIX = "/gzip"
"""Below this path bodies are compressed."""
_PLACEHOLDER = b"@@@@@@@@"
"""A placeholder for the page number, in the first eight characters of each uuid, or for the requested uuid."""


@attrs.frozen
class Service:
    """A running service."""

    url: str


@contextmanager
def run_service(*, pages: int, latency: float = 0.0) -> Iterator[Service]:
    """Run the service with that many pages, each response ``latency`` seconds late."""
    command = [sys.executable, "-m", "tests.benchmarks.service", str(pages), str(latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # a fixed command
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield Service(f"http://127.0.0.1:{port}")
        finally:
            process.stdin.close()


def measure_capacity(url: str, pages: int = 2_000) -> float:
    """Return the pages a second for a client that repeatedly requests one page and only reads its socket."""
    request = b"GET /api/v1/customers?per_page=100&page=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    started = time.perf_counter()
    with (
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection,
        connection.makefile("rb") as stream,
    ):
        for _ in range(pages):
            connection.sendall(request)
            size = 0
            while (line := stream.readline()) != b"\r\n":
                if line.startswith(b"Content-Length: "):
                    size = int(line[16:])
            stream.read(size)
    return pages / (time.perf_counter() - started)


class Responses:
    """The service's responses, prepared as far as possible."""

    _page_of = re.compile(rb"[?&]page=([0-9]+)").search

    def __init__(self, pages: int) -> None:
        self._pages = pages
        fake_customers = FakeCustomers(PER_PAGE, seed=1)
        records = [fake_customers.customer(number) for number in range(PER_PAGE)]
        for record in records:
            record["uuid"] = f"{_PLACEHOLDER.decode()}{record['uuid'][8:]}"
        self._page = msgspec.json.encode(records)
        self._customer = msgspec.json.encode(records[1] | {"uuid": _PLACEHOLDER.decode()})
        self._date = formatdate(usegmt=True)
        self._sent = 0
        self._make_gzip = cache(lambda number: gzip.compress(self.make_body(number)))

    def respond(self, target: bytes) -> bytes:
        """Return the whole response to a GET."""
        self._sent += 1
        found = self._page_of(target)
        if found is None:
            return self._add_head(self._customer.replace(_PLACEHOLDER, target.rpartition(b"/")[2]))
        number, is_zipped = int(found[1]), target.startswith(GZIP_PREFIX.encode())
        encoding = "Content-Encoding: gzip\r\n" if is_zipped else ""
        return self._add_head(
            self._make_gzip(number) if is_zipped else self.make_body(number),
            f"{encoding}X-Api-Total: {self._pages * PER_PAGE}\r\nX-Api-Per-Page: {PER_PAGE}\r\n"
            f"X-Api-Current-Page: {number}\r\n"
            f"X-Api-Has-More-Pages: {'true' if number < self._pages else 'false'}\r\n",
        )

    def make_body(self, number: int) -> bytes:
        """Return the body of a page."""
        return self._page.replace(_PLACEHOLDER, b"%08d" % number) if number <= self._pages else b"[]"

    def _add_head(self, body: bytes, more: str = "") -> bytes:
        head = (
            "HTTP/1.1 200 OK\r\nServer: prepared\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: keep-alive\r\nCache-Control: no-cache, private\r\n"
            f"Date: {self._date}\r\n{more}"
            f"X-RateLimit-Limit: {LIMIT}\r\nX-RateLimit-Remaining: {LIMIT - self._sent}\r\n\r\n"
        )
        return head.encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, responses: Responses, latency: float) -> None:
        self._responses = responses
        self._latency = latency
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"\r\n\r\n"):  # clients send one request and wait
            return
        response = self._responses.respond(self._received.split(b" ", 2)[1])
        self._received = b""
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._transport.write, response)
        else:
            self._transport.write(response)


async def _serve(pages: int, latency: float) -> None:
    responses = Responses(pages)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(responses, latency), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # the parent process closes it to stop the service
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("pages", type=int)
    parser.add_argument("latency", type=float)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.pages, arguments.latency))
