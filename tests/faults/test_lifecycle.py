"""Row 50: cancellation at every await point, and closing a client."""

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
def _check_nothing_left() -> Iterator[None]:
    """Fail the test if a socket, transport or session was not closed, since it warns when collected."""
    gc.freeze()  # the collection then only covers what the test created, and is 100 times as fast
    yield
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    gc.unfreeze()
    assert [str(warning.message) for warning in caught] == []


async def check_connections_closed(server: RawServer) -> None:
    """Check that no connection to the server is left."""
    for _ in range(20):
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    assert not server._handlers


async def check_works_on(client: CustomersClient) -> None:
    """Check that nothing is held, and that the next calls succeed, at concurrency 1 too."""
    check_nothing_held(client)
    async with asyncio.timeout(100):
        assert (await client.with_options(concurrency=1).get_customer(EXAMPLE)).uuid == EXAMPLE
        assert (await client.get_customer(EXAMPLE)).uuid == EXAMPLE
    check_nothing_held(client)


class ScriptedReplies:
    """Sends the scripted replies in order, then customers."""

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
    "a response": ScriptedReplies(),
    "a body in two parts": ScriptedReplies(),
    "a retry": ScriptedReplies(make_response(b"", "503 Down")),
    "a hang-up": ScriptedReplies(hang_up, hang_up),
    "a 429": ScriptedReplies(make_response(b"", "429 Too Many", Retry_After="3")),
    "a newer token": ScriptedReplies(make_response(b"", "401 No")),
    "a stall": ScriptedReplies(stall),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_fault_50_call_can_be_cancelled_at_every_await(scenario: str) -> None:
    """A cancellation is neither swallowed nor retried, and frees slot, permit and task."""
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
            await check_works_on(clients[-1])
            await clients[-1].close()
        await clients[-1].close()
        for client in clients:
            await client.close()
        await check_connections_closed(server)
    assert cancelled >= 8
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("waits_for", ["a slot", "the rate limit"])
async def test_fault_50_waiting_call_can_be_cancelled_at_every_await(waits_for: str) -> None:
    """The same while another call has the only slot, or while the rate limit is used up."""
    clients: list[CustomersClient] = []
    async with Emulator(customers=10, latency=0.5) as emulator:

        async def wait() -> None:
            emulator.rate_limit(3, 20)
            limiter = RateLimiter(3, 20)
            client = CustomersClient(emulator.token, base_url=emulator.url, concurrency=1, rate_limiter=limiter)
            clients.append(client)
            others = [asyncio.ensure_future(client.whoami()) for _ in range(3)]
            try:
                if waits_for == "the rate limit":
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
            await check_works_on(clients[-1])
        assert cancelled >= 4
        for client in clients:
            await client.close()


@pytest.mark.parametrize("ordered", [True, False])
async def test_fault_50_listing_can_be_cancelled_at_every_await(emulator: Emulator, ordered: bool) -> None:
    """The fetches in flight end; the same pager continues and yields each customer exactly once."""
    all_uuids = sorted(emulator.uuids())
    emulator.rate_limit(100_000)
    async with CustomersClient(
        emulator.token, base_url=emulator.url, concurrency=2, rate_limiter=RateLimiter(100_000)
    ) as client:
        uuids: list[str] = []
        pager = client.list_customers()

        async def read_list() -> None:
            nonlocal pager
            uuids.clear()
            pager = client.list_customers(per_page=25, ordered=ordered)
            async for found in pager:
                uuids.append(found.uuid)  # what came before the end counts

        cancelled = 0
        async for task in interrupt_at_each_await(read_list):
            assert task.cancelled()
            cancelled += 1
            check_nothing_held(client)
            uuids += [found.uuid async for found in pager]
            assert sorted(uuids) == all_uuids
            assert pager.completeness.verdict is Verdict.COMPLETE
        assert cancelled >= 8
        await check_works_on(client)


@pytest.mark.parametrize("strategy", ["lookups", "list"])
async def test_fault_50_batch_can_be_cancelled_at_every_await(emulator: Emulator, strategy: Any) -> None:
    """The requests in flight end; the same batch continues and yields each result exactly once."""
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
        await check_works_on(client)


async def test_fault_50_closing_a_pager_can_be_cancelled_at_every_await(emulator: Emulator) -> None:
    """A pager that is cancelled while it ends its fetches loses no page."""
    all_uuids = list(emulator.uuids())
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
                assert uuids == all_uuids
                assert pager.completeness.verdict is Verdict.COMPLETE
                if not interrupted.fired:
                    break
            assert 0 < at < 49
        check_nothing_held(client)


async def test_fault_50_closing_can_be_cancelled_at_every_await() -> None:
    """A second close completes the first: no call, task or connection is left."""
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


async def test_fault_50_task_group_of_calls_can_be_cancelled(emulator: Emulator, client: CustomersClient) -> None:
    """If one call of a TaskGroup fails, the others are cancelled, and nothing is held."""
    emulator.latency = 1.0
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            for uuid in emulator.uuids(0, 20):
                group.create_task(client.get_customer(uuid))
            group.create_task(client.get_customer("wrong"))
    assert caught.group_contains(ValueError)
    await check_works_on(client)


async def test_fault_50_timeout_of_the_caller_is_a_plain_timeout_error() -> None:
    """``asyncio.timeout`` around a call raises TimeoutError, not APITimeoutError."""
    async with serve(stall) as (client, _):
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(1):
                await client.whoami()
        assert not isinstance(caught.value, APITimeoutError)
        check_nothing_held(client)


@pytest.mark.parametrize("page_number", [1, 2, 3])
async def test_fault_50_timeout_around_a_listing_ends_its_requests(
    emulator: Emulator, client: CustomersClient, page_number: int
) -> None:
    """The requests in flight end, and the pager continues after the last customer."""
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
async def test_fault_50_break_leaves_nothing_behind(emulator: Emulator, client: CustomersClient, by: str) -> None:
    """The requests in flight end with ``async with``, or when the iterator is cancelled."""
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


async def test_fault_50_dropped_pager_leaves_nothing_behind(emulator: Emulator, client: CustomersClient) -> None:
    """After ``break`` without ``async with`` the fetches end as soon as the pager is unreferenced."""
    emulator.latency = lambda: 0.0 if emulator.stats.requests < 2 else 30.0
    async for _ in client.list_customers(per_page=10):
        break
    gc.collect()
    for _ in range(20):
        await asyncio.sleep(0)
    check_nothing_held(client)


@pytest.mark.parametrize(
    "state", ["call", "listing", "wait for the rate limit", "wait for a slot", "pause before a retry"]
)
async def test_fault_50_closing_ends_calls_in_flight(state: str) -> None:
    """Calls and listings in flight raise RuntimeError, as does later use; a second close does nothing."""
    faults: dict[str, Reply] = {
        "wait for the rate limit": make_response(b"", "429 Too Many", Retry_After="60"),
        "pause before a retry": hang_up,
    }
    async with serve(faults.get(state, stall), retry=RetryPolicy(base_delay=20.0), concurrency=1) as (
        client,
        server,
    ):
        others = [asyncio.ensure_future(client.get_page(1))] if state == "wait for a slot" else []
        pages = aiter(client.list_customers().pages())
        call = asyncio.ensure_future(anext(pages) if state == "listing" else client.get_page(1))
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


async def test_fault_50_client_can_be_closed_concurrently() -> None:
    """Three concurrent closes succeed, and the four calls in flight raise."""
    async with serve(stall) as (client, _):
        calls = [asyncio.ensure_future(client.get_page(1)) for _ in range(4)]
        await asyncio.sleep(0.1)
        await asyncio.gather(*(client.close() for _ in range(3)))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {str(outcome) for outcome in outcomes} == {"client is closed"}


def test_fault_50_client_belongs_to_one_loop() -> None:
    """Calls, listings and close in a second event loop raise an error that says so."""
    client = CustomersClient(TOKEN, base_url="http://127.0.0.1:1", retry=RetryPolicy(max_attempts=1))

    async def read_list() -> None:
        [found async for found in client.list_customers()]

    with asyncio.Runner() as first, asyncio.Runner() as second:
        with pytest.raises(APIConnectionError):
            first.run(client.whoami())
        for use in (client.whoami, read_list, client.close):
            with pytest.raises(RuntimeError, match="another event loop"):
                second.run(use())
        first.run(client.close())


def test_fault_50_no_loop_is_needed_until_the_first_call() -> None:
    """Client, view and pager need no loop, and an unused client can be closed in any loop."""
    client = CustomersClient(TOKEN, base_url="http://127.0.0.1:1")
    assert client.with_options(timeout=1).rate_limit.remaining is None
    pager = client.list_customers()
    assert pager.next_page == 1
    with asyncio.Runner() as runner:
        runner.run(client.close())
    with asyncio.Runner() as runner:
        runner.run(client.close())


def test_fault_50_keyboard_interrupt_ends_a_listing() -> None:
    """Ctrl-C while pages are in flight raises KeyboardInterrupt, and nothing is left behind."""

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


def test_fault_50_keyboard_interrupt_in_a_listener_holds_nothing() -> None:
    """A KeyboardInterrupt in ``on_event`` is raised, and the client still works afterwards."""
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
            runner.run(check_works_on(client))
        finally:
            runner.run(client.close())
            runner.run(emulator.close())


async def test_fault_50_cookies_are_never_sent() -> None:
    """Cookies that a server sets are not sent back."""
    async with serve(make_response(page(), Set_Cookie="session=1; Path=/")) as (client, server):
        for _ in range(2):
            await client.get_page(1)
        assert all(b"cookie" not in request.lower() for request in server.requests)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"])
async def test_fault_50_proxies_of_the_environment_are_ignored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment does not decide where the token goes, unless a borrowed session uses it."""
    async with raw_server(make_response(customer())) as proxy:
        monkeypatch.setenv(name, proxy.url)
        async with serve(make_response(customer())) as (client, server):
            await client.get_customer(EXAMPLE)
            assert f"Authorization: Bearer {TOKEN}".encode() in server.requests[0]
            assert proxy.connections == 0
            if name.lower() == "http_proxy":
                async with (
                    aiohttp.ClientSession(trust_env=True) as session,
                    CustomersClient(TOKEN, base_url=server.url, session=session) as proxied,
                ):
                    await proxied.get_customer(EXAMPLE)
                assert len(proxy.requests) == 1


async def test_fault_50_netrc_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A password for the host in the netrc file does not replace the token."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login eve password guess\ndefault login eve password guess\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with serve(make_response(customer())) as (client, server):
        await client.get_customer(EXAMPLE)
        assert server.requests[0].count(b"Authorization") == 1
        assert f"Authorization: Bearer {TOKEN}\r\n".encode() in server.requests[0]
