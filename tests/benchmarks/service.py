"""The service that benchmarks read from: a process of its own that answers with prepared bytes.

It says what the real service says, headers and all, at a fraction of what any client spends to read it. The quota that
its headers tell of is never spent. The list has as many pages as asked for, each customer a uuid of its own.
"""

import argparse
import asyncio
import http.client
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate

import attrs
import msgspec

from customers_async.emulator.fake_customers import FakeCustomers

__all__ = ["LIMIT", "PER_PAGE", "TOKEN", "Service", "pages_a_second", "serving"]

PER_PAGE = 100
LIMIT = 10**9
TOKEN = "a-token-of-no-account"
_USAGE = b"/usage"
_STAMP = b"@@@@@@@@"
"""Stands where a page's number goes, as the first eight characters of each uuid, or the uuid that is asked for."""


@attrs.frozen
class Service:
    """A running service, as its users see it."""

    url: str
    port: int

    def usage(self) -> tuple[float, int]:
        """The seconds of CPU that the service's process has spent so far, and the answers that it gave."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", _USAGE.decode())
        seconds, answers = connection.getresponse().read().split()
        connection.close()
        return float(seconds), int(answers)


@contextmanager
def serving(*, pages: int, latency: float = 0.0) -> Iterator[Service]:
    """Start the service with so many pages, each answer ``latency`` seconds away; stop it at the end."""
    command = [sys.executable, "-m", "tests.benchmarks.service", str(pages), str(latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # ours
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield Service(f"http://127.0.0.1:{port}", port)
        finally:
            process.stdin.close()


def pages_a_second(service: Service, pages: int = 2_000) -> float:
    """The most that the service gives: to a client that asks for one page again and again and only reads its socket."""
    request = b"GET /api/v1/customers?per_page=100&page=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", service.port)) as connection, connection.makefile("rb") as answers:
        for _ in range(pages):
            connection.sendall(request)
            size = 0
            while (line := answers.readline()) != b"\r\n":
                if line.startswith(b"Content-Length: "):
                    size = int(line[16:])
            answers.read(size)
    return pages / (time.perf_counter() - started)


class Answers:
    """What the service says: heads and bodies prepared as far as they can be."""

    _page_of = re.compile(rb"[?&]page=([0-9]+)").search

    def __init__(self, pages: int) -> None:
        self._pages = pages
        fake_customers = FakeCustomers(PER_PAGE, seed=1)
        records = [fake_customers.customer(number) for number in range(PER_PAGE)]
        for record in records:
            record["uuid"] = f"{_STAMP.decode()}{record['uuid'][8:]}"
        self._page = msgspec.json.encode(records)
        self._customer = msgspec.json.encode(records[1] | {"uuid": _STAMP.decode()})
        self._date = formatdate(usegmt=True)
        self._given = 0

    def answer(self, target: bytes) -> bytes:
        """The whole answer to a GET."""
        self._given += 1
        if target == _USAGE:
            return self._with_head(f"{time.process_time()} {self._given}".encode())
        found = self._page_of(target)
        if found is None:
            return self._with_head(self._customer.replace(_STAMP, target.rpartition(b"/")[2]))
        number = int(found[1])
        body = self._page.replace(_STAMP, b"%08d" % number) if number <= self._pages else b"[]"
        return self._with_head(
            body,
            f"X-Api-Total: {self._pages * PER_PAGE}\r\nX-Api-Per-Page: {PER_PAGE}\r\nX-Api-Current-Page: {number}\r\n"
            f"X-Api-Has-More-Pages: {'true' if number < self._pages else 'false'}\r\n",
        )

    def _with_head(self, body: bytes, more: str = "") -> bytes:
        head = (
            "HTTP/1.1 200 OK\r\nServer: prepared\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: keep-alive\r\nCache-Control: no-cache, private\r\n"
            f"Date: {self._date}\r\n{more}"
            f"X-RateLimit-Limit: {LIMIT}\r\nX-RateLimit-Remaining: {LIMIT - self._given}\r\n\r\n"
        )
        return head.encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, answers: Answers, latency: float) -> None:
        self._answers = answers
        self._latency = latency
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"\r\n\r\n"):  # clients send one request and wait
            return
        answer = self._answers.answer(self._received.split(b" ", 2)[1])
        self._received = b""
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def _serve(pages: int, latency: float) -> None:
    answers = Answers(pages)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(answers, latency), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # whoever started this process closes it to end it
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("pages", type=int)
    parser.add_argument("latency", type=float)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.pages, arguments.latency))
