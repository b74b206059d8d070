"""Rows 1 to 14: failures of the connection and of HTTP."""

import asyncio
import gzip
import itertools
import random
import socket
import ssl
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from customers_async import (
    APIConnectionError,
    APIResponseError,
    APITimeoutError,
    CustomersClient,
    CustomersError,
    Network,
    RateLimiter,
    RetryPolicy,
)
from customers_async.emulator import Emulator
from tests.faults.canary import NAME, customer, page
from tests.wire import TOKEN, Reply, hang_up, make_response, raw_server, reset, send_then, serve, stall

PAGE = page()
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


async def check_retried(fault: Reply, retry: RetryPolicy) -> None:
    """Check that the fault is retried: once it is survived, and forever it is an error after four attempts."""
    async with serve(fault, make_response(PAGE), retry=retry) as (client, server):
        assert [found.name for found in (await client.get_page(1)).customers] == [NAME]
        assert 2 <= len(server.requests) <= 3
    async with serve(fault, retry=retry) as (client, server):
        with pytest.raises(APIConnectionError) as caught:
            await client.get_page(1)
        assert caught.value.attempts == 4
        assert 4 <= len(server.requests) <= 8
        assert caught.value.__context__ is None


@contextmanager
def bounded_memory(megabytes: float) -> Iterator[None]:
    """Check that the block allocates no more than this much memory."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes * 1e6, f"{peak / 1e6:.0f} MB"


async def test_fault_01_refused_connection_is_an_error(impatient: RetryPolicy) -> None:
    """Without a server there are four attempts, then an error with the system's reason."""
    async with raw_server(make_response()) as server:
        url = server.url
    async with CustomersClient(TOKEN, base_url=url, retry=impatient) as client:
        with pytest.raises(APIConnectionError, match="ClientConnectorError") as caught:
            await client.get_page(1)
        assert caught.value.attempts == 4


async def test_fault_01_refused_connection_is_retried() -> None:
    """A server that starts between two attempts is reached."""
    async with raw_server(make_response()) as server:
        url = server.url
    async with CustomersClient(TOKEN, base_url=url, retry=RetryPolicy(base_delay=20)) as client:
        call = asyncio.create_task(client.get_page(1))
        await asyncio.sleep(0.01)
        assert not call.done()
        async with raw_server(make_response(PAGE), port=int(url.rsplit(":")[-1])) as server:
            assert len((await call).customers) == 1
            assert len(server.requests) == 1


async def test_fault_01_reset_on_accept_is_retried(impatient: RetryPolicy) -> None:
    """A connection that is reset when accepted counts as one attempt."""
    connections = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reset(reader, writer)

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with CustomersClient(TOKEN, base_url=url, retry=impatient) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.get_page(1)
    listener.close()
    await listener.wait_closed()
    assert caught.value.attempts == 4
    assert 4 <= connections <= 8


@pytest.mark.parametrize("fault", [hang_up, reset])
async def test_fault_02_close_before_the_response_is_retried(fault: Reply, impatient: RetryPolicy) -> None:
    """Aiohttp itself sends a GET again, so each attempt is at most two requests at the server."""
    await check_retried(fault, impatient)


async def test_fault_02_close_on_a_kept_connection_is_retried(impatient: RetryPolicy) -> None:
    """The connection served a request before; then four attempts are at most eight requests."""
    async with serve(make_response(PAGE), hang_up, retry=impatient) as (client, server):
        await client.get_page(1)
        with pytest.raises(APIConnectionError) as caught:
            await client.get_page(1)
        assert caught.value.attempts == 4
        assert 4 <= len(server.requests) - 1 <= 8


async def test_fault_03_connections_that_close_at_random_lose_nothing(impatient: RetryPolicy) -> None:
    """1,000 calls each get their own response while connections close before, with or after a response."""
    chance = random.Random(3)

    async def respond_or_close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = server.targets[-1]
        what = chance.random()
        if what > 0.02:
            writer.write(make_response(customer(target.rsplit("/")[-1])))
        if what < 0.3:
            for _ in range(chance.randrange(8)):  # type: ignore[assignment]  # the name is unused twice
                await asyncio.sleep(0)
            writer.close()

    uuids = [f"{number:08d}-0000-0000-0000-000000000000" for number in range(1_000)]
    waiting = iter(uuids)
    found: list[str] = []
    limiter = RateLimiter(10_000)
    async with serve(respond_or_close, retry=impatient, rate_limiter=limiter) as (client, server):

        async def work() -> None:
            for uuid in waiting:
                found.append((await client.get_customer(uuid)).uuid)  # noqa: PERF401  # several workers fill it

        await asyncio.gather(*(work() for _ in range(8)))
        assert server.connections > 100
        assert 1_000 < len(server.requests) < 1_200
    assert sorted(found) == uuids


@pytest.mark.parametrize("end", [hang_up, reset])
@pytest.mark.parametrize("start", [b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 200 OK\r\n"])
async def test_fault_04_cut_headers_are_retried(start: bytes, end: Any, impatient: RetryPolicy) -> None:
    """Headers that break off are a connection failure."""
    await check_retried(send_then(start, end), impatient)


@pytest.mark.parametrize("end", [hang_up, reset])
@pytest.mark.parametrize(
    "start",
    [
        make_response(PAGE[:-5], Content_Length=str(len(PAGE))),
        make_response(PAGE, Content_Length="1000"),
        CHUNKED + b"5\r\n[1",
        CHUNKED + b"2\r\n[]\r\n",
        CHUNKED + b"%x\r\n%s\r\n0\r\n" % (len(PAGE), PAGE),
    ],
)
async def test_fault_05_cut_body_is_never_a_partial_page(start: bytes, end: Any, impatient: RetryPolicy) -> None:
    """A body that is cut, by length or by chunk, is retried, even if the part received is valid JSON."""
    await check_retried(send_then(start, end), impatient)


@pytest.mark.usefixtures("_with_and_without_isal")
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("cut", [1, 4, 9, 30])
async def test_fault_06_truncated_compressed_body_is_retried(cut: int, encoding: str, impatient: RetryPolicy) -> None:
    """Aiohttp accepts a stream without its end; it is retried, even if only the checksum is missing."""
    body = (gzip.compress(PAGE) if encoding == "gzip" else zlib.compress(PAGE))[:-cut]
    await check_retried(make_response(body, Content_Encoding=encoding), impatient)


@pytest.mark.parametrize(
    "fault",
    [
        stall,
        send_then(b"HTTP/1.1 200", stall),
        send_then(make_response(PAGE, Content_Length="1000"), stall),
        send_then(CHUNKED, stall),
    ],
)
async def test_fault_07_stall_ends_with_the_timeout(fault: Any, impatient: RetryPolicy) -> None:
    """A stall before the headers, in them or in the body ends each attempt in time."""
    async with serve(fault, retry=impatient, timeout=5.0) as (client, server):
        started = asyncio.get_running_loop().time()
        with pytest.raises(APITimeoutError, match="within 5 s") as caught:
            await client.get_page(1)
        assert 20 <= asyncio.get_running_loop().time() - started < 22
        assert caught.value.attempts == len(server.requests) == 4


@pytest.mark.parametrize("before", ["headers", "body"])
async def test_fault_07_single_stall_is_retried(before: str, impatient: RetryPolicy) -> None:
    """The second attempt succeeds."""
    fault = stall if before == "headers" else send_then(make_response(PAGE, Content_Length="1000"), stall)
    async with serve(fault, make_response(PAGE), retry=impatient, timeout=5.0) as (client, server):
        assert len((await client.get_page(1)).customers) == 1
        assert len(server.requests) == 2


async def test_fault_08_dripping_body_ends_with_the_timeout(emulator: Emulator, client: CustomersClient) -> None:
    """The timeout counts until the last byte, so one byte a second does not extend it."""
    emulator.fail_next("drip", times=None)
    started = asyncio.get_running_loop().time()
    with pytest.raises(APITimeoutError):
        await client.with_options(timeout=3.0, retry=RetryPolicy(max_attempts=1)).get_page(1)
    assert 3.0 <= asyncio.get_running_loop().time() - started < 3.5


async def test_fault_08_dripping_headers_end_with_the_timeout() -> None:
    """The same for headers that come one byte a second."""

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in make_response(PAGE):
            writer.write(bytes([byte]))
            await asyncio.sleep(1)

    async with serve(drip, timeout=3.0, retry=RetryPolicy(max_attempts=1)) as (client, _):
        started = asyncio.get_running_loop().time()
        with pytest.raises(APITimeoutError):
            await client.get_page(1)
        assert 3.0 <= asyncio.get_running_loop().time() - started < 3.5


async def test_fault_09_waiting_for_a_slot_causes_no_timeout() -> None:
    """200 calls over 4 slots, 300 ms each, all succeed with a timeout of one second."""
    async with (
        Emulator(customers=10, latency=0.3) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url, concurrency=4, timeout=1.0) as client,
    ):
        await asyncio.gather(*(client.whoami() for _ in range(200)))
        assert emulator.stats.peak_in_flight == 4
        assert emulator.stats.statuses == {200: 200}


@pytest.mark.parametrize(
    "fault",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 65_536 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]x",
        b"HTTP/1.1 200 OK\r\nContent-Length: minus one\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
        CHUNKED + b"many\r\n[]\r\n0\r\n\r\n",
    ],
)
async def test_fault_10_invalid_http_is_an_error(fault: bytes, impatient: RetryPolicy) -> None:
    """Garbage, huge headers and contradictory lengths are typed errors, never an empty page."""
    async with serve(send_then(fault, hang_up), retry=impatient) as (client, server):
        with pytest.raises((APIResponseError, APIConnectionError)) as caught:
            await client.get_page(1)
        assert caught.value.__context__ is None
        assert len(server.requests) <= 8


@pytest.mark.usefixtures("_with_and_without_isal")
@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + make_response(PAGE),
        send_then(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + PAGE, hang_up),
        send_then(make_response(PAGE, Connection="close"), hang_up),
        make_response(gzip.compress(PAGE), Content_Encoding="gzip"),
        CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE),
    ],
)
async def test_fault_11_unusual_but_correct_responses_work(reply: Any) -> None:
    """Early hints, HTTP/1.0 without a length, connections that close, gzip and chunks all work."""
    async with serve(reply) as (client, server):
        for _ in range(3):
            assert [found.name for found in (await client.get_page(1)).customers] == [NAME]
        assert len(server.requests) == 3


async def test_fault_12_unknown_host_is_an_error(monkeypatch: pytest.MonkeyPatch, impatient: RetryPolicy) -> None:
    """A host name that does not resolve is a connection error."""

    def fail_to_resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail_to_resolve)
    async with CustomersClient(TOKEN, base_url="https://customers.invalid", retry=impatient) as client:
        with pytest.raises(APIConnectionError, match="Name or service not known"):
            await client.get_page(1)


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        ("unknown authority", r"with Network\(ca_file=...\), --ca-file or SSL_CERT_FILE"),
        ("another name", "for another host name; check the host in base_url"),
        ("expired", "has expired; the server needs a new one, or the clock of this machine is wrong"),
        ("not yet valid", "is not valid yet; check the clock of this machine"),
    ],
)
async def test_fault_12_invalid_certificate_is_not_retried(fault: str, remedy: str, tmp_path: Path) -> None:
    """A TLS failure is permanent: one attempt, nothing is sent, and the message names the remedy."""
    authority, now, day = trustme.CA(), datetime.now(UTC), timedelta(days=1)
    not_before, not_after = {"expired": (now - 9 * day, now - day), "not yet valid": (now + day, now + 9 * day)}.get(
        fault, (now - day, now + day)
    )
    name = "customers.example" if fault == "another name" else "127.0.0.1"
    certificate = authority.issue_cert(name, not_before=not_before, not_after=not_after)
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(server_tls)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    network = None if fault == "unknown authority" else Network(ca_file=tmp_path / "ca.pem")
    async with (
        raw_server(make_response(PAGE), tls=server_tls) as server,
        CustomersClient(TOKEN, base_url=server.url, network=network) as client,
    ):
        with pytest.raises(APIConnectionError, match=f"^TLS failed: the certificate .*{remedy}") as caught:
            await client.get_page(1)
        assert (caught.value.attempts, caught.value.transient, caught.value.sent) == (1, False, False)
        assert server.requests == []


async def test_fault_12_server_without_tls_is_not_retried() -> None:
    """If the server speaks plain HTTP, there is one attempt, and the token is not sent."""

    async def send_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(make_response(PAGE))
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(send_at_once, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with CustomersClient(TOKEN, base_url=url) as client:
        hint = "TLS failed: the server does not speak TLS there; check scheme and port in base_url"
        with pytest.raises(APIConnectionError, match=hint) as caught:
            await client.get_page(1)
        assert (caught.value.attempts, caught.value.transient) == (1, False)
    listener.close()
    await listener.wait_closed()


async def test_fault_12_valid_certificate_works() -> None:
    """The same authority with the right host name works."""
    authority = trustme.CA()
    client_tls, server_tls = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    authority.configure_trust(client_tls)
    async with (
        raw_server(make_response(PAGE), tls=server_tls) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_tls)) as trusting,
        CustomersClient(TOKEN, base_url=server.url, session=trusting) as client,
    ):
        assert len((await client.get_page(1)).customers) == 1


def bomb() -> bytes:
    """Return 1 MB that decompresses to 1 GB: one megabyte of spaces, compressed once and repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = packer.compress(b"[") + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + again * 1024


async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a body without end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
    spaces = b" " * 65_536
    for _ in itertools.repeat(None):  # type: ignore[assignment]  # the name is unused twice
        if writer.is_closing():
            break
        writer.write(spaces)
        await writer.drain()


@pytest.mark.usefixtures("_with_and_without_isal")
async def test_fault_13_decompression_bomb_stops_at_max_body() -> None:
    """1 MB that decompresses to 1 GB is refused within 64 MB of memory, and is not retried."""
    packed = make_response(bomb(), Content_Encoding="gzip")
    assert len(packed) < 1.3e6
    async with serve(packed) as (client, server):
        with bounded_memory(64), pytest.raises(APIResponseError, match=r"larger than max_body \(4194304 bytes\)"):
            await client.get_page(1)
        assert len(server.requests) == 1


async def test_fault_13_endless_body_stops_at_max_body() -> None:
    """``max_body`` bounds what is read, within 64 MB of memory; it is not retried."""
    async with serve(flood) as (client, server):
        with bounded_memory(64), pytest.raises(APIResponseError, match=r"larger than max_body \(4194304 bytes\)"):
            await client.get_page(1)
        assert len(server.requests) == 1


@pytest.mark.usefixtures("_with_and_without_isal")
@pytest.mark.parametrize("reply", [flood, make_response(bomb(), Content_Encoding="gzip")])
async def test_fault_13_lower_max_body_uses_less_memory(reply: Any) -> None:
    """With ``max_body`` of a megabyte a few megabytes are enough."""
    async with serve(reply, max_body=1_000_000) as (client, server):
        with bounded_memory(8), pytest.raises(APIResponseError, match="larger than max_body"):
            await client.get_page(1)
        assert len(server.requests) == 1


@pytest.mark.usefixtures("_with_and_without_isal")
async def test_fault_13_body_of_exactly_max_body_is_read() -> None:
    """A body of exactly ``max_body`` is allowed, compressed or not."""
    whole = page(*[customer()] * 9)
    for reply in (make_response(whole), make_response(gzip.compress(whole), Content_Encoding="gzip")):
        async with serve(reply, max_body=len(whole)) as (client, _):
            assert len((await client.get_page(1)).customers) == 9
            with pytest.raises(APIResponseError, match="larger than max_body"):
                await client.with_options(max_body=len(whole) - 1).get_page(1)


@pytest.mark.usefixtures("_with_and_without_isal")
@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (make_response(PAGE, Content_Encoding="gzip"), "not compressed"),
        (make_response(PAGE, Content_Encoding="deflate"), "not compressed"),
        (make_response(b"\x1f\x8b\x08" + b"\xff" * 60, Content_Encoding="gzip"), "not compressed"),
        (make_response(gzip.compress(PAGE)[:-8] + b"\0" * 8, Content_Encoding="gzip"), "not compressed"),
        (make_response(PAGE, Content_Encoding="br"), "Content-Encoding"),
        (make_response(PAGE, Content_Encoding="zstd"), "Content-Encoding"),
        (make_response(PAGE, Content_Encoding="gzip, gzip"), "Content-Encoding"),
        (make_response(PAGE, Content_Encoding="rot13"), "Content-Encoding"),
    ],
)
async def test_fault_14_wrong_content_encoding_is_an_error(reply: bytes, problem: str) -> None:
    """Invalid gzip, a wrong checksum and encodings that were not requested are errors without a retry."""
    async with serve(reply) as (client, server):
        with pytest.raises(CustomersError, match=problem) as caught:
            await client.get_page(1)
        assert type(caught.value) is APIResponseError
        assert caught.value.status == 200
        assert len(server.requests) == 1


@pytest.mark.usefixtures("_with_and_without_isal")
async def test_fault_14_gzip_of_several_members_is_read() -> None:
    """Several members are one body; other bytes after them are an error."""
    members = gzip.compress(PAGE[:9]) + gzip.compress(b"") + gzip.compress(PAGE[9:])
    async with serve(make_response(members, Content_Encoding="gzip")) as (client, _):
        assert [found.name for found in (await client.get_page(1)).customers] == [NAME]
    async with serve(make_response(gzip.compress(PAGE) + b"garbage", Content_Encoding="gzip")) as (client, _):
        with pytest.raises(APIResponseError, match="not compressed"):
            await client.get_page(1)


@pytest.mark.usefixtures("_with_and_without_isal")
async def test_fault_14_gzip_of_many_members_does_not_block() -> None:
    """50,000 empty members in a megabyte are refused within a second of CPU time."""
    members = gzip.compress(b"") * 50_000
    async with serve(make_response(members, Content_Encoding="gzip")) as (client, _):
        started = time.process_time()
        with pytest.raises(APIResponseError):
            await client.get_page(1)
        assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("alert", "transient"),
    [
        *((alert, True) for alert in (0, 22, 40, 49, 70, 80, 86, 90, 109, 110, 112, 115, 120, 200, None)),
        *((alert, False) for alert in (41, 42, 43, 44, 45, 46, 48, 111, 113, 114, 116)),
    ],
)
async def test_fault_12_alert_is_retried_unless_it_is_about_a_certificate(alert: int | None, transient: bool) -> None:
    """A peer may fail for a moment during the handshake, or hang up; a certificate stays as it is."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if alert is not None:
            writer.write(bytes([21, 3, 3, 0, 2, 2, alert]))
            await writer.drain()
        writer.close()

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with CustomersClient(TOKEN, base_url=url, retry=RetryPolicy(base_delay=0)) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.get_page(1)
    assert (caught.value.attempts, caught.value.transient) == ((4, True) if transient else (1, False))
    listener.close()
    await listener.wait_closed()
