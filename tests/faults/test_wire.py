"""Rows 1 to 14: what the wire may do to one call."""

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
    RateLimiter,
    RetryPolicy,
)
from customers_async.emulator import Emulator
from tests.faults.canary import NAME, customer, page
from tests.wire import TOKEN, Reply, answer, client_of, hang_up, raw_server, reset, stall, then

PAGE = page()
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


async def check_survived_or_told(fault: Reply, retry: RetryPolicy) -> None:
    """Once: nobody notices. For ever: an error after four attempts, each of at most two requests on the wire."""
    async with client_of(fault, answer(PAGE), retry=retry) as (client, server):
        assert [found.name for found in (await client.get_page(1)).customers] == [NAME]
        assert 2 <= len(server.requests) <= 3
    async with client_of(fault, retry=retry) as (client, server):
        with pytest.raises(APIConnectionError) as caught:
            await client.get_page(1)
        assert caught.value.attempts == 4
        assert 4 <= len(server.requests) <= 8
        assert caught.value.__context__ is None


@contextmanager
def bounded_memory(megabytes: float) -> Iterator[None]:
    """The block never holds more than so much memory beyond what was held before."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes * 1e6, f"{peak / 1e6:.0f} MB"


async def test_fault_01_a_refused_connection_is_told(impatient: RetryPolicy) -> None:
    """Nobody listens: four attempts, then an error with the system's reason."""
    async with raw_server(answer()) as server:
        url = server.url
    async with CustomersClient(TOKEN, base_url=url, retry=impatient) as client:
        with pytest.raises(APIConnectionError, match="ClientConnectorError") as caught:
            await client.get_page(1)
        assert caught.value.attempts == 4


async def test_fault_01_a_refused_connection_is_tried_again() -> None:
    """A server that comes up between two attempts is found."""
    async with raw_server(answer()) as server:
        url = server.url
    async with CustomersClient(TOKEN, base_url=url, retry=RetryPolicy(base_delay=20)) as client:
        call = asyncio.create_task(client.get_page(1))
        await asyncio.sleep(0.01)
        assert not call.done()
        async with raw_server(answer(PAGE), port=int(url.rsplit(":")[-1])) as server:
            assert len((await call).customers) == 1
            assert len(server.requests) == 1


async def test_fault_01_a_reset_on_accept_is_tried_four_times(impatient: RetryPolicy) -> None:
    """A connection that is accepted and reset at once counts as one attempt."""
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
async def test_fault_02_a_close_before_the_answer_is_survived(fault: Reply, impatient: RetryPolicy) -> None:
    """Aiohttp sends a GET again by itself: counted at the server, at most two requests for each attempt."""
    await check_survived_or_told(fault, impatient)


async def test_fault_02_a_close_on_a_kept_connection_is_survived(impatient: RetryPolicy) -> None:
    """The connection answered before, then each one is closed on the request: four attempts, eight requests."""
    async with client_of(answer(PAGE), hang_up, retry=impatient) as (client, server):
        await client.get_page(1)
        with pytest.raises(APIConnectionError) as caught:
            await client.get_page(1)
        assert caught.value.attempts == 4
        assert 4 <= len(server.requests) - 1 <= 8


async def test_fault_03_connections_that_close_at_random_are_not_noticed(impatient: RetryPolicy) -> None:
    """1,000 calls while connections close just before an answer, with it or some steps later: each has its own."""
    chance = random.Random(3)

    async def answer_or_close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = server.targets[-1]
        what = chance.random()
        if what > 0.02:
            writer.write(answer(customer(target.rsplit("/")[-1])))
        if what < 0.3:
            for _ in range(chance.randrange(8)):  # type: ignore[assignment]  # an unused name, twice
                await asyncio.sleep(0)
            writer.close()

    uuids = [f"{number:08d}-0000-0000-0000-000000000000" for number in range(1_000)]
    waiting = iter(uuids)
    found: list[str] = []
    limiter = RateLimiter(10_000)
    async with client_of(answer_or_close, retry=impatient, rate_limiter=limiter) as (client, server):

        async def work() -> None:
            for uuid in waiting:
                found.append((await client.get_customer(uuid)).uuid)  # noqa: PERF401  # several workers fill it

        await asyncio.gather(*(work() for _ in range(8)))
        assert server.connections > 100
        assert 1_000 < len(server.requests) < 1_200
    assert sorted(found) == uuids


@pytest.mark.parametrize("end", [hang_up, reset])
@pytest.mark.parametrize("begun", [b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 200 OK\r\n"])
async def test_fault_04_an_end_inside_the_headers_is_survived(begun: bytes, end: Any, impatient: RetryPolicy) -> None:
    """Headers that break off are a failure of the connection: tried again."""
    await check_survived_or_told(then(begun, end), impatient)


@pytest.mark.parametrize("end", [hang_up, reset])
@pytest.mark.parametrize(
    "begun",
    [
        answer(PAGE[:-5], Content_Length=str(len(PAGE))),
        answer(PAGE, Content_Length="1000"),
        CHUNKED + b"5\r\n[1",
        CHUNKED + b"2\r\n[]\r\n",
        CHUNKED + b"%x\r\n%s\r\n0\r\n" % (len(PAGE), PAGE),
    ],
)
async def test_fault_05_a_cut_body_is_never_a_partial_page(begun: bytes, end: Any, impatient: RetryPolicy) -> None:
    """Cut by length or by chunk, even where what came is whole JSON: tried again."""
    await check_survived_or_told(then(begun, end), impatient)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("cut", [1, 4, 9, 30])
async def test_fault_06_a_truncated_compression_is_a_cut(cut: int, encoding: str, impatient: RetryPolicy) -> None:
    """Aiohttp sees nothing wrong; a stream without its end is tried again, even if only the check sum is missing."""
    body = (gzip.compress(PAGE) if encoding == "gzip" else zlib.compress(PAGE))[:-cut]
    await check_survived_or_told(answer(body, Content_Encoding=encoding), impatient)


@pytest.mark.parametrize(
    "fault",
    [stall, then(b"HTTP/1.1 200", stall), then(answer(PAGE, Content_Length="1000"), stall), then(CHUNKED, stall)],
)
async def test_fault_07_a_stall_ends_with_the_attempts_timeout(fault: Any, impatient: RetryPolicy) -> None:
    """Before the headers, in them, or in the body: the attempt ends in time, and so does each retry."""
    async with client_of(fault, retry=impatient, timeout=5.0) as (client, server):
        started = asyncio.get_running_loop().time()
        with pytest.raises(APITimeoutError, match="within 5 s") as caught:
            await client.get_page(1)
        assert 20 <= asyncio.get_running_loop().time() - started < 22
        assert caught.value.attempts == len(server.requests) == 4


@pytest.mark.parametrize("before", ["headers", "body"])
async def test_fault_07_a_stall_that_ends_is_survived(before: str, impatient: RetryPolicy) -> None:
    """A server that hung once answers the second attempt."""
    fault = stall if before == "headers" else then(answer(PAGE, Content_Length="1000"), stall)
    async with client_of(fault, answer(PAGE), retry=impatient, timeout=5.0) as (client, server):
        assert len((await client.get_page(1)).customers) == 1
        assert len(server.requests) == 2


async def test_fault_08_a_dripping_body_ends_with_the_attempts_timeout(
    emulator: Emulator, client: CustomersClient
) -> None:
    """One byte a second never stops: the timeout counts to the last byte."""
    emulator.fail_next("drip", times=None)
    started = asyncio.get_running_loop().time()
    with pytest.raises(APITimeoutError):
        await client.with_options(timeout=3.0, retry=RetryPolicy(max_attempts=1)).get_page(1)
    assert 3.0 <= asyncio.get_running_loop().time() - started < 3.5


async def test_fault_08_dripping_headers_end_with_the_attempts_timeout() -> None:
    """The same for headers that come one byte a second."""

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in answer(PAGE):
            writer.write(bytes([byte]))
            await asyncio.sleep(1)

    async with client_of(drip, timeout=3.0, retry=RetryPolicy(max_attempts=1)) as (client, _):
        started = asyncio.get_running_loop().time()
        with pytest.raises(APITimeoutError):
            await client.get_page(1)
        assert 3.0 <= asyncio.get_running_loop().time() - started < 3.5


async def test_fault_09_waiting_for_a_place_never_times_a_request_out() -> None:
    """200 calls over 4 places, 300 ms each, with a timeout of a second: all answered."""
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
async def test_fault_10_what_is_not_http_is_told(fault: bytes, impatient: RetryPolicy) -> None:
    """Garbage, huge headers, contradictory lengths: a typed error and never an empty page."""
    async with client_of(then(fault, hang_up), retry=impatient) as (client, server):
        with pytest.raises((APIResponseError, APIConnectionError)) as caught:
            await client.get_page(1)
        assert caught.value.__context__ is None
        assert len(server.requests) <= 8


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(PAGE),
        then(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + PAGE, hang_up),
        then(answer(PAGE, Connection="close"), hang_up),
        answer(gzip.compress(PAGE), Content_Encoding="gzip"),
        CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE),
    ],
)
async def test_fault_11_unusual_but_correct_answers_work(reply: Any) -> None:
    """Early hints, HTTP/1.0 without a length, a connection closed after each answer, gzip, chunks."""
    async with client_of(reply) as (client, server):
        for _ in range(3):
            assert [found.name for found in (await client.get_page(1)).customers] == [NAME]
        assert len(server.requests) == 3


async def test_fault_12_a_name_that_does_not_resolve_is_told(
    monkeypatch: pytest.MonkeyPatch, impatient: RetryPolicy
) -> None:
    """No DNS entry: a connection error."""

    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    async with CustomersClient(TOKEN, base_url="https://customers.invalid", retry=impatient) as client:
        with pytest.raises(APIConnectionError, match="Name or service not known"):
            await client.get_page(1)


@pytest.mark.parametrize("fault", ["unknown authority", "another name", "expired", "not yet valid"])
async def test_fault_12_a_certificate_that_is_not_right_is_not_tried_again(fault: str) -> None:
    """TLS is verified, and its failures do not go away by themselves: one attempt, and nothing is sent."""
    authority, now, day = trustme.CA(), datetime.now(UTC), timedelta(days=1)
    begins, ends = {"expired": (now - 9 * day, now - day), "not yet valid": (now + day, now + 9 * day)}.get(
        fault, (now - day, now + day)
    )
    name = "customers.example" if fault == "another name" else "127.0.0.1"
    certificate = authority.issue_cert(name, not_before=begins, not_after=ends)
    ours, theirs = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(theirs)
    if fault != "unknown authority":
        authority.configure_trust(ours)
    async with (
        raw_server(answer(PAGE), tls=theirs) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=ours)) as trusting,
    ):
        session = None if fault == "unknown authority" else trusting
        async with CustomersClient(TOKEN, base_url=server.url, session=session) as client:
            with pytest.raises(APIConnectionError, match="TLS failed") as caught:
                await client.get_page(1)
        assert (caught.value.attempts, caught.value.transient) == (1, False)
        assert server.requests == []


async def test_fault_12_a_server_without_tls_is_not_tried_again() -> None:
    """Plain HTTP where TLS was expected: one attempt, and the token was not sent."""

    async def speak_first(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(PAGE))
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(speak_first, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with CustomersClient(TOKEN, base_url=url) as client:
        with pytest.raises(APIConnectionError, match="TLS failed") as caught:
            await client.get_page(1)
        assert (caught.value.attempts, caught.value.transient) == (1, False)
    listener.close()
    await listener.wait_closed()


async def test_fault_12_a_right_certificate_works() -> None:
    """The control: the same authority, the right name."""
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.configure_trust(ours)
    async with (
        raw_server(answer(PAGE), tls=theirs) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=ours)) as trusting,
        CustomersClient(TOKEN, base_url=server.url, session=trusting) as client,
    ):
        assert len((await client.get_page(1)).customers) == 1


def bomb() -> bytes:
    """1 MB that unpacks to 1 GB: one megabyte of spaces, packed once and repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = packer.compress(b"[") + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + again * 1024


async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A body without end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
    spaces = b" " * 65_536
    for _ in itertools.repeat(None):  # type: ignore[assignment]  # an unused name, twice
        if writer.is_closing():
            break
        writer.write(spaces)
        await writer.drain()


async def test_fault_13_a_bomb_stops_at_the_cap() -> None:
    """1 MB that unpacks to 1 GB is given up within 64 MB of memory, and is not tried again."""
    packed = answer(bomb(), Content_Encoding="gzip")
    assert len(packed) < 1.3e6
    async with client_of(packed) as (client, server):
        with bounded_memory(64), pytest.raises(APIResponseError, match=r"larger than max_body \(4194304 bytes\)"):
            await client.get_page(1)
        assert len(server.requests) == 1


async def test_fault_13_a_body_without_end_stops_at_the_cap() -> None:
    """``max_body`` bounds what is read, within 64 MB of memory; it is not tried again."""
    async with client_of(flood) as (client, server):
        with bounded_memory(64), pytest.raises(APIResponseError, match=r"larger than max_body \(4194304 bytes\)"):
            await client.get_page(1)
        assert len(server.requests) == 1


@pytest.mark.parametrize("reply", [flood, answer(bomb(), Content_Encoding="gzip")])
async def test_fault_13_a_lower_cap_holds_less(reply: Any) -> None:
    """With ``max_body`` of a megabyte a few megabytes are enough."""
    async with client_of(reply, max_body=1_000_000) as (client, server):
        with bounded_memory(8), pytest.raises(APIResponseError, match="larger than max_body"):
            await client.get_page(1)
        assert len(server.requests) == 1


async def test_fault_13_a_body_of_just_the_cap_is_read() -> None:
    """The cap itself is allowed, packed or not."""
    whole = page(*[customer()] * 9)
    for reply in (answer(whole), answer(gzip.compress(whole), Content_Encoding="gzip")):
        async with client_of(reply, max_body=len(whole)) as (client, _):
            assert len((await client.get_page(1)).customers) == 9
            with pytest.raises(APIResponseError, match="larger than max_body"):
                await client.with_options(max_body=len(whole) - 1).get_page(1)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (answer(PAGE, Content_Encoding="gzip"), "not compressed"),
        (answer(PAGE, Content_Encoding="deflate"), "not compressed"),
        (answer(b"\x1f\x8b\x08" + b"\xff" * 60, Content_Encoding="gzip"), "not compressed"),
        (answer(gzip.compress(PAGE)[:-8] + b"\0" * 8, Content_Encoding="gzip"), "not compressed"),
        (answer(PAGE, Content_Encoding="br"), "Content-Encoding"),
        (answer(PAGE, Content_Encoding="zstd"), "Content-Encoding"),
        (answer(PAGE, Content_Encoding="gzip, gzip"), "Content-Encoding"),
        (answer(PAGE, Content_Encoding="rot13"), "Content-Encoding"),
    ],
)
async def test_fault_14_an_encoding_that_is_not_as_declared_is_an_error(reply: bytes, problem: str) -> None:
    """Gzip that is none or whose check sum is wrong, and encodings that nobody asked for: told at once."""
    async with client_of(reply) as (client, server):
        with pytest.raises(CustomersError, match=problem) as caught:
            await client.get_page(1)
        assert type(caught.value) is APIResponseError
        assert caught.value.status == 200
        assert len(server.requests) == 1


async def test_fault_14_a_gzip_of_several_members_is_read_whole() -> None:
    """Members that follow one another are one text; what follows them and is none is an error."""
    members = gzip.compress(PAGE[:9]) + gzip.compress(b"") + gzip.compress(PAGE[9:])
    async with client_of(answer(members, Content_Encoding="gzip")) as (client, _):
        assert [found.name for found in (await client.get_page(1)).customers] == [NAME]
    async with client_of(answer(gzip.compress(PAGE) + b"garbage", Content_Encoding="gzip")) as (client, _):
        with pytest.raises(APIResponseError, match="not compressed"):
            await client.get_page(1)


async def test_fault_14_a_gzip_of_many_members_holds_nobody_up() -> None:
    """50,000 empty members in a megabyte: given up before it costs a second of the event loop."""
    members = gzip.compress(b"") * 50_000
    async with client_of(answer(members, Content_Encoding="gzip")) as (client, _):
        started = time.process_time()
        with pytest.raises(APIResponseError):
            await client.get_page(1)
        assert time.process_time() - started < 1
