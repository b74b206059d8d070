"""Row 50: cancellation at every await point, and the life of a client."""

import asyncio
import gc
import signal
import warnings
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from customers_async import (
    APIConnectionError,
    APITimeoutError,
    CallableToken,
    CustomersClient,
    RateLimiter,
    RequestSent,
    RetryPolicy,
    Verdict,
)
from customers_async.emulator import Emulator
from customers_async.testing import VirtualTimeLoop
from tests.faults.canary import EXAMPLE, customer, page
from tests.faults.interruption import Interrupted, check_nothing_held, find_client_tasks, interrupt_at_each_await
from tests.wire import TOKEN, RawServer, Reply, hang_up, make_response, raw_server, serve, stall


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """An unclosed socket, transport or session warns when it is collected, and the warning fails the test."""
    gc.freeze()  # to collect what the test made takes a moment, all else a hundred
    yield
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    gc.unfreeze()
    assert [str(warning.message) for warning in caught] == []


async def check_connections_closed(server: RawServer) -> None:
    """Every connection to the server is gone."""
    for _ in range(20):
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    assert not server._handlers


async def check_goes_on(client: CustomersClient) -> None:
    """The client is as good as new: nothing is held, and the next call works at concurrency 1."""
    check_nothing_held(client)
    async with asyncio.timeout(100):
        assert (await client.with_options(concurrency=1).get_customer(EXAMPLE)).uuid == EXAMPLE
        assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE
    check_nothing_held(client)


class Scripted:
    """Answers a look-up in the way that a scenario wants, from its beginning for each new call."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = replies
        self.left = list(replies)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reply = self.left.pop(0) if self.left else make_response(customer())
        if isinstance(reply, bytes):
            writer.write(reply)
            await writer.drain()
        else:
            await reply(reader, writer)


SCENARIOS = {
    "an answer": Scripted(),
    "a body in two parts": Scripted(),
    "a retry": Scripted(make_response(b"", "503 Down")),
    "a hang-up": Scripted(hang_up, hang_up),
    "a 429": Scripted(make_response(b"", "429 Too Many", Retry_After="3")),
    "a newer token": Scripted(make_response(b"", "401 No")),
    "a stall": Scripted(stall),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_fault_50_a_call_can_be_cancelled_at_every_await(scenario: str) -> None:
    """Neither swallowed nor tried again, wherever it strikes, early or late; place, permit and task come back."""
    serial = 0

    async def mint() -> str:
        nonlocal serial
        await asyncio.sleep(0.01)
        serial += 1
        return f"{TOKEN}-{serial}"

    script = SCENARIOS[scenario]

    async def two_parts(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole = make_response(customer())
        writer.write(whole[:-9])
        await asyncio.sleep(0.01)
        writer.write(whole[-9:])

    cancelled = 0
    async with raw_server(two_parts if scenario == "a body in two parts" else script) as server:

        async def look_up() -> None:
            script.left = list(script.replies)
            clients.append(
                CustomersClient(
                    CallableToken(mint),
                    base_url=server.url,
                    concurrency=1,
                    timeout=5.0,
                    retry=RetryPolicy(base_delay=1),
                )
            )
            await clients[-1].get_customer(EXAMPLE)

        clients: list[CustomersClient] = []
        async for task in interrupt_at_each_await(look_up):
            assert task.cancelled()
            cancelled += 1
            requests = len(server.requests)
            await asyncio.sleep(2)
            assert len(server.requests) == requests
            script.left = []
            await check_goes_on(clients[-1])
            await clients[-1].close()
        await clients[-1].close()
        for client in clients:
            await client.close()
        await check_connections_closed(server)
    assert cancelled >= 8
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("waits_for", ["a place", "the quota"])
async def test_fault_50_a_waiting_call_can_be_cancelled_at_every_await(waits_for: str) -> None:
    """The same while another call has the only place, or while nobody may send."""
    clients: list[CustomersClient] = []
    async with Emulator(customers=10, latency=0.5) as emulator:

        async def wait() -> None:
            emulator.rate_limit(3, 20)
            limiter = RateLimiter(3, 20)
            client = CustomersClient(emulator.token, base_url=emulator.url, concurrency=1, rate_limiter=limiter)
            clients.append(client)
            others = [asyncio.ensure_future(client.whoami()) for _ in range(3)]
            try:
                if waits_for == "the quota":
                    await asyncio.wait(others)
                await client.get_customer(EXAMPLE)
            finally:
                for other in others:
                    other.cancel()

        cancelled = 0
        async for task in interrupt_at_each_await(wait):
            assert task.cancelled()
            cancelled += 1
            await asyncio.sleep(0.1)
            await check_goes_on(clients[-1])
        assert cancelled >= 4
        for client in clients:
            await client.close()


@pytest.mark.parametrize("ordered", [True, False])
async def test_fault_50_a_walk_can_be_cancelled_at_every_await(emulator: Emulator, ordered: bool) -> None:
    """The fetches in flight end with it; the same pager goes on, and yields each customer exactly once."""
    everybody = sorted(emulator.uuids())
    emulator.rate_limit(100_000)
    async with CustomersClient(
        emulator.token, base_url=emulator.url, concurrency=2, rate_limiter=RateLimiter(100_000)
    ) as client:
        uuids: list[str] = []
        pager = client.list_customers()

        async def walk() -> None:
            nonlocal pager
            uuids.clear()
            pager = client.list_customers(per_page=25, ordered=ordered)
            async for found in pager:
                uuids.append(found.uuid)  # what came before the end counts

        cancelled = 0
        async for task in interrupt_at_each_await(walk):
            assert task.cancelled()
            cancelled += 1
            check_nothing_held(client)
            uuids += [found.uuid async for found in pager]
            assert sorted(uuids) == everybody
            assert pager.completeness.verdict is Verdict.COMPLETE
        assert cancelled >= 8
        await check_goes_on(client)


@pytest.mark.parametrize("strategy", ["lookups", "list"])
async def test_fault_50_a_batch_can_be_cancelled_at_every_await(emulator: Emulator, strategy: Any) -> None:
    """The requests in flight end with it; the same batch goes on, and yields each result exactly once."""
    wanted = list(emulator.uuids(0, 12 if strategy == "lookups" else 250))
    emulator.rate_limit(100_000)
    async with CustomersClient(
        emulator.token, base_url=emulator.url, concurrency=2, rate_limiter=RateLimiter(100_000)
    ) as client:
        uuids: list[str] = []
        batch = client.get_customers([])

        async def fetch() -> None:
            nonlocal batch
            uuids.clear()
            batch = client.get_customers(wanted, strategy=strategy)
            async for result in batch:
                uuids.append(result.uuid)  # what came before the end counts

        cancelled = 0
        async for task in interrupt_at_each_await(fetch):
            assert task.cancelled()
            cancelled += 1
            check_nothing_held(client)
            uuids += [result.uuid async for result in batch]
            assert uuids == wanted
        assert cancelled >= 4
        await check_goes_on(client)


async def test_fault_50_leaving_a_walk_can_be_cancelled_at_every_await(emulator: Emulator) -> None:
    """Cancelled while it ends its fetches, a pager has lost no page."""
    everybody = list(emulator.uuids())
    emulator.latency = 0.05
    async with CustomersClient(emulator.token, base_url=emulator.url, rate_limiter=RateLimiter(100_000)) as client:
        for late in (False, True):
            for at in range(50):
                pager = client.list_customers(per_page=25)
                uuids = [(await anext(aiter(pager))).uuid]
                interrupted = Interrupted(pager.aclose(), at, late=late)
                task = asyncio.ensure_future(interrupted.run())
                await asyncio.wait([task])
                emulator.rate_limit(500)
                uuids += [found.uuid async for found in pager]
                assert uuids == everybody
                assert pager.completeness.verdict is Verdict.COMPLETE
                if not interrupted.fired:
                    break
            assert 0 < at < 49
        check_nothing_held(client)


async def test_fault_50_closing_can_be_cancelled_at_every_await() -> None:
    """A second close finishes the work of the first: no call, task or connection is left."""
    for late in (False, True):
        for at in range(50):
            async with raw_server(make_response(page()), stall) as server:
                client = CustomersClient(TOKEN, base_url=server.url, concurrency=3)
                await client.get_page(1)
                calls = [asyncio.ensure_future(client.get_page(1)) for _ in range(4)]
                await asyncio.sleep(0.01)
                interrupted = Interrupted(client.close(), at, late=late)
                task = asyncio.ensure_future(interrupted.run())
                await asyncio.wait([task])
                await client.close()
                outcomes = await asyncio.gather(*calls, return_exceptions=True)
                assert {str(outcome) for outcome in outcomes} == {"client is closed"}
                check_nothing_held(client)
                await check_connections_closed(server)
            if not interrupted.fired:
                break
        assert 0 < at < 49


async def test_fault_50_a_group_of_calls_can_be_cancelled(emulator: Emulator, client: CustomersClient) -> None:
    """One call of a TaskGroup fails, the others are cancelled with it, and nothing is held."""
    emulator.latency = 1.0
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            for uuid in emulator.uuids(0, 20):
                group.create_task(client.get_customer(uuid))
            group.create_task(client.get_customer("wrong"))
    assert caught.group_contains(ValueError)
    await check_goes_on(client)


async def test_fault_50_a_callers_timeout_is_the_callers() -> None:
    """``asyncio.timeout`` around a call raises a plain TimeoutError, not ours."""
    async with serve(stall) as (client, _):
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(1):
                await client.whoami()
        assert not isinstance(caught.value, APITimeoutError)
        check_nothing_held(client)


@pytest.mark.parametrize("page_number", [1, 2, 3])
async def test_fault_50_a_timeout_around_a_walk_ends_it(
    emulator: Emulator, client: CustomersClient, page_number: int
) -> None:
    """The walk's requests end with it, and the pager goes on after the last customer."""
    emulator.fail_next("stall", page=page_number)
    pager = client.list_customers()
    uuids: list[str] = []
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(10):
            async for found in pager:
                uuids.append(found.uuid)  # noqa: PERF401  # what came before the timeout counts
    assert not isinstance(caught.value, APITimeoutError)
    check_nothing_held(client)
    uuids += [found.uuid async for found in pager]
    assert uuids == list(emulator.uuids())


@pytest.mark.parametrize("by", ["customers", "pages"])
async def test_fault_50_a_break_leaves_nothing_behind(emulator: Emulator, client: CustomersClient, by: str) -> None:
    """At the end of ``async with`` the requests in flight are gone; without it, when the pager is dropped."""
    emulator.latency = lambda: 0.0 if emulator.stats.requests < 2 else 30.0
    async with client.list_customers(per_page=10) as pager:
        async for _ in pager if by == "customers" else pager.pages():
            break
        assert find_client_tasks()
    check_nothing_held(client)
    pager = client.list_customers(per_page=10, first_page=2)
    stream = aiter(pager if by == "customers" else pager.pages())
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    check_nothing_held(client)


async def test_fault_50_a_dropped_pager_leaves_nothing_behind(emulator: Emulator, client: CustomersClient) -> None:
    """A ``break`` without ``async with``: the fetches in flight end as soon as nobody has the pager."""
    emulator.latency = lambda: 0.0 if emulator.stats.requests < 2 else 30.0
    async for _ in client.list_customers(per_page=10):
        break
    gc.collect()
    for _ in range(20):
        await asyncio.sleep(0)
    check_nothing_held(client)


@pytest.mark.parametrize("lane", ["call", "walk", "wait for the quota", "wait for a place", "pause before a retry"])
async def test_fault_50_closing_ends_what_is_in_flight(lane: str) -> None:
    """Calls and walks in flight end with a clear RuntimeError; closing twice is fine; use afterwards is not."""
    faults: dict[str, Reply] = {
        "wait for the quota": make_response(b"", "429 Too Many", Retry_After="60"),
        "pause before a retry": hang_up,
    }
    async with serve(faults.get(lane, stall), retry=RetryPolicy(base_delay=20.0), concurrency=1) as (
        client,
        server,
    ):
        others = [asyncio.ensure_future(client.get_page(1))] if lane == "wait for a place" else []
        pages = aiter(client.list_customers().pages())
        call = asyncio.ensure_future(anext(pages) if lane == "walk" else client.get_page(1))
        await asyncio.sleep(0.1)
        assert not call.done()
        await client.close()
        for ended in [call, *others]:
            with pytest.raises(RuntimeError, match="client is closed"):
                await ended
        check_nothing_held(client)
        await client.close()
        requests = len(server.requests)
        view = client.with_options(timeout=1)
        uses: list[Coroutine[Any, Any, Any]] = [
            client.whoami(),
            view.whoami(),
            client.get_customer(EXAMPLE),
            client.get_page(1),
            client.count_customers(),
        ]
        for use in uses:
            with pytest.raises(RuntimeError, match="client is closed"):
                await use
        with pytest.raises(RuntimeError, match="client is closed"):
            [found async for found in client.list_customers()]
        with pytest.raises(RuntimeError, match="client is closed"):
            [found async for found in client.get_customers([EXAMPLE])]
        assert len(server.requests) == requests
        await check_connections_closed(server)


async def test_fault_50_many_may_close_at_once() -> None:
    """Two closers and four calls: all end, the calls with an error, the closers without."""
    async with serve(stall) as (client, _):
        calls = [asyncio.ensure_future(client.get_page(1)) for _ in range(4)]
        await asyncio.sleep(0.1)
        await asyncio.gather(*(client.close() for _ in range(3)))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {str(outcome) for outcome in outcomes} == {"client is closed"}


def test_fault_50_a_client_belongs_to_one_loop() -> None:
    """Made without a loop; used in a second one, it says so, for calls, walks and closing."""
    client = CustomersClient(TOKEN, base_url="http://127.0.0.1:1", retry=RetryPolicy(max_attempts=1))

    async def walk() -> None:
        [found async for found in client.list_customers()]

    with asyncio.Runner() as first, asyncio.Runner() as second:
        with pytest.raises(APIConnectionError):
            first.run(client.whoami())
        for use in (client.whoami, walk, client.close):
            with pytest.raises(RuntimeError, match="another event loop"):
                second.run(use())
        first.run(client.close())


def test_fault_50_no_loop_is_needed_until_the_first_call() -> None:
    """Client, view, pager and ``rate_limit`` are made without a loop; a client that was never used closes anywhere."""
    client = CustomersClient(TOKEN, base_url="http://127.0.0.1:1")
    assert client.with_options(timeout=1).rate_limit.remaining is None
    pager = client.list_customers()
    assert pager.next_page == 1
    with asyncio.Runner() as runner:
        runner.run(client.close())
    with asyncio.Runner() as runner:
        runner.run(client.close())


def test_fault_50_a_keyboard_interrupt_ends_a_walk_cleanly() -> None:
    """Ctrl-C while pages are in flight: KeyboardInterrupt, and nothing is left behind."""

    async def main() -> None:
        async with (
            Emulator(customers=500, latency=5.0) as emulator,
            CustomersClient(emulator.token, base_url=emulator.url) as client,
        ):
            asyncio.get_running_loop().call_later(12.0, signal.raise_signal, signal.SIGINT)
            try:
                [found async for found in client.list_customers(per_page=10)]
            finally:
                check_nothing_held(client)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())
        assert asyncio.all_tasks(runner.get_loop()) == set()


def test_fault_50_a_keyboard_interrupt_in_a_listener_holds_nothing() -> None:
    """It may strike while ``on_event`` runs: it gets out, and the client works on when the loop does."""
    interruptions_left = 1

    def interrupt(event: object) -> None:
        nonlocal interruptions_left
        if isinstance(event, RequestSent) and interruptions_left:
            interruptions_left -= 1
            raise KeyboardInterrupt

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        emulator = Emulator(customers=10)
        runner.run(emulator.start())
        client = CustomersClient(emulator.token, base_url=emulator.url, concurrency=1, on_event=interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                runner.run(client.get_customer(EXAMPLE))
            runner.run(check_goes_on(client))
        finally:
            runner.run(client.close())
            runner.run(emulator.close())


async def test_fault_50_cookies_are_never_replayed() -> None:
    """What a server sets, it does not get back."""
    async with serve(make_response(page(), Set_Cookie="session=1; Path=/")) as (client, server):
        for _ in range(2):
            await client.get_page(1)
        assert all(b"cookie" not in request.lower() for request in server.requests)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"])
async def test_fault_50_proxies_of_the_environment_are_ignored_unless_asked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing outside the arguments decides where the token goes; a borrowed session may say otherwise."""
    async with raw_server(make_response(customer())) as proxy:
        monkeypatch.setenv(name, proxy.url)
        async with serve(make_response(customer())) as (client, server):
            await client.get_customer(EXAMPLE)
            assert f"Authorization: Bearer {TOKEN}".encode() in server.requests[0]
            assert proxy.connections == 0
            if name.lower() == "http_proxy":
                async with (
                    aiohttp.ClientSession(trust_env=True) as session,
                    CustomersClient(TOKEN, base_url=server.url, session=session) as asked,
                ):
                    await asked.get_customer(EXAMPLE)
                assert len(proxy.requests) == 1


async def test_fault_50_netrc_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A password for the host, lying about in the home directory, does not replace the token."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login eve password guess\ndefault login eve password guess\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with serve(make_response(customer())) as (client, server):
        await client.get_customer(EXAMPLE)
        assert server.requests[0].count(b"Authorization") == 1
        assert f"Authorization: Bearer {TOKEN}\r\n".encode() in server.requests[0]
