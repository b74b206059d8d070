"""Row 49: no token and no customer data leaks. The scan in `conftest` covers these tests and all other fault tests."""

import asyncio
import contextlib
import copy
import json
import logging
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from customers_async import (
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    CallableToken,
    ConfigurationError,
    CustomersClient,
    CustomersError,
    EnvToken,
    Event,
    FileToken,
    NotFoundError,
    RetryPolicy,
    StaticToken,
)
from customers_async.calls.credentials import TokenKeeper
from customers_async.calls.session import Session
from customers_async.calls.timeouts import Timeouts
from customers_async.emulator import Emulator
from tests.faults.canary import DATA, EXAMPLE, Canary, customer, page
from tests.wire import TOKEN, hang_up, make_response, send_then, serve, stall


class CustomSource:
    """A token source that is not from the package."""

    async def get(self, *, rejected: str | None = None) -> str:
        await asyncio.sleep(0)
        return TOKEN


async def test_fault_49_scan_finds_planted_leaks(
    canary: Canary, monkeypatch: pytest.MonkeyPatch, client: CustomersClient, capfd: pytest.CaptureFixture[str]
) -> None:
    """The scan finds a leak in a log, a message, an attribute, a local, a context, a note or a group."""
    planted = {
        "a log record": "log.debug('sent %s', secret)",
        "its argument": "log.debug('sent %.1s', secret)",
        "another logger": "logging.getLogger('aiohttp.client').debug(secret)",
        "a logged exception": "try:\n    raise ValueError(secret)\n  except ValueError:\n    log.exception('oh')",
        "the message": "raise APIConnectionError(secret)",
        "an attribute": "error = APIConnectionError('no'); error.header = secret; raise error",
        "a local": "raise APIConnectionError('no')",
        "the context": "try:\n    raise ValueError(secret)\n  except ValueError:\n    raise LookupError from None",
        "a group": "raise ExceptionGroup('many', [ValueError(secret)])",
        "a note": "error = APIConnectionError('no'); error.add_note(secret); raise error",
        "a cancellation": "raise asyncio.CancelledError(secret)",
    }
    for where, code in planted.items():
        for secret in (TOKEN[:20], DATA):
            names: dict[str, Any] = {}
            lines = "import asyncio, logging\nfrom customers_async import APIConnectionError\n"
            body = f"  log = logging.getLogger('customers_async')\n  secret = {secret!r}\n  {code}\n"
            source = f"{lines}async def leak(*_, **__):\n{body}"
            exec(compile(source, "planted.py", "exec"), names)  # noqa: S102  # code outside the tests
            monkeypatch.setattr(Session, "call", names["leak"])
            with pytest.raises(BaseException):  # noqa: B017, PT011  # any planted error
                await client.whoami()
            assert canary.leaks, where
            assert all(repr(secret) in leak for leak in canary.leaks)
            canary.leaks.clear()
    canary.scan("".join(capfd.readouterr()), "the output")
    canary.leaks.clear()  # pytest shows what was logged on purpose


@pytest.mark.parametrize("strategy", ["lookups", "list"])
async def test_fault_49_batch_leaks_nothing(
    emulator: Emulator, client: CustomersClient, canary: Canary, strategy: Any
) -> None:
    """Results and errors of a batch leak nothing, with bad records, missing customers and a revoked token."""
    uuids = [*emulator.uuids(0, 20), "00000000-0000-0000-0000-00000000000z"]
    emulator.touch(3, post_address_index=5)
    emulator.fail_next("echo", path=f"/api/v1/customers/{uuids[4]}")
    batch = client.get_customers(uuids, strategy=strategy, on_missing="raise")
    with pytest.raises(NotFoundError):
        async for result in batch:
            canary.scan(repr(result), "the repr of a result")
            if result.error is not None:
                canary.scan_error(result.error)
    emulator.revoke(emulator.token)
    with pytest.raises(AuthenticationError):
        await anext(client.get_customers(uuids, strategy=strategy))
    canary.scan(repr(batch), "the repr of a batch")


async def test_fault_49_scan_finds_printed_leaks(canary: Canary, capfd: pytest.CaptureFixture[str]) -> None:
    """A leak on stdout or stderr is found at the end."""
    for stream in (sys.stdout, sys.stderr):
        stream.write(f"Bearer {TOKEN}\n")
        canary.scan("".join(capfd.readouterr()), "the output")
        assert canary.leaks
        canary.leaks.clear()


async def test_fault_49_sources_and_clients_show_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repr and vars of sources, credentials and clients hold no token; objects with a secret do not pickle."""
    monkeypatch.setenv("SOME_TOKEN", TOKEN)
    (tmp_path / "token").write_text(TOKEN)
    static, called = StaticToken(TOKEN), CallableToken(CustomSource().get)
    for source in (static, called, EnvToken("SOME_TOKEN"), FileToken(tmp_path / "token"), CustomSource()):
        async with serve(make_response(page())) as (_, server):
            client = CustomersClient(source, base_url=server.url)
            await client.get_page(1)
            await client.close()
        keeper = TokenKeeper(source, Timeouts(), on_reload=lambda: None)
        credential = await keeper.current(30.0)
        assert credential.header == f"Bearer {TOKEN}"
        for thing in (source, client, client.with_options(timeout=1), keeper, credential):
            shown = _show(thing, set())
            assert TOKEN not in shown
            assert DATA not in shown
            try:
                pickled = pickle.dumps(thing)
            except (TypeError, AttributeError, pickle.PicklingError):
                continue
            assert TOKEN.encode() not in pickled
    for holder in (static, called):
        with pytest.raises(TypeError, match="does not pickle"):
            pickle.dumps(holder)
        with pytest.raises(TypeError, match="does not pickle"):
            copy.deepcopy(holder)


def _show(thing: Any, seen: set[int]) -> str:
    """Return repr and attributes of an object of the package and of the objects it holds."""
    if id(thing) in seen:
        return ""
    seen.add(id(thing))
    names = [*getattr(thing, "__dict__", ()), *getattr(type(thing), "__slots__", ())]
    values = [getattr(thing, name, None) for name in names if isinstance(name, str) and not name.startswith("__")]
    own = [value for value in values if type(value).__module__.startswith("customers_async")]
    return " ".join([repr(thing), repr(values), *(_show(value, seen) for value in own)])


@pytest.mark.parametrize(
    "status", ["200 OK", "204 No", "302 Found", "400 Bad", "401 No", "422 No", "429 Many", "500 Oh"]
)
async def test_fault_49_body_that_echoes_the_token_leaks_nothing(status: str, impatient: RetryPolicy) -> None:
    """The token is in the body, in every shape, and in the reason phrase."""
    bearer = f"Bearer {TOKEN}"
    bodies: list[Any] = [
        {"message": bearer, "errors": {bearer: [bearer], "x": bearer}},
        {"message": f"X{TOKEN}X", "errors": [bearer, {"a": bearer}]},
        {"message": "A" * 195 + TOKEN, "errors": ["B" * 195 + TOKEN]},
        {"status": False, bearer: bearer},
        [{"uuid": bearer, bearer: bearer}],
        [bearer],
        bearer,
    ]
    for body in [json.dumps(body).encode() for body in bodies] + [f"<html>{bearer}".encode(), bearer.encode()]:
        async with serve(make_response(body, f"{status} {bearer}"), retry=impatient, max_rate_limit_wait=0) as (
            client,
            _,
        ):
            for call in (client.get_page(1), client.get_customer(EXAMPLE), client.whoami()):
                with contextlib.suppress(CustomersError):  # an object with unknown fields is accepted as the owner
                    await call


@pytest.mark.parametrize(
    "name",
    [
        "Content_Type",
        "Content_Encoding",
        "Transfer_Encoding",
        "Content_Length",
        "Location",
        "Retry_After",
        "Date",
        "Set_Cookie",
        "X_Api_Total",
        "X_Api_Per_Page",
        "X_RateLimit_Limit",
        "X_RateLimit_Remaining",
        "X_Request_Id",
        "X_Amzn_Trace_Id",
        "CF_Ray",
    ],
)
@pytest.mark.parametrize(
    "value", [f"Bearer {TOKEN}", f"text/{TOKEN}", f"text/html; charset={TOKEN}", TOKEN, f"id-{TOKEN[6:30]}"]
)
async def test_fault_49_header_that_echoes_the_token_leaks_nothing(
    name: str, value: str, impatient: RetryPolicy
) -> None:
    """The token is in a header, of error responses and of others."""
    for status in ("200 OK", "302 Found", "400 Bad", "429 Many", "500 Oh"):
        for body in (b"<html>", b"{}", customer()):
            async with serve(
                send_then(make_response(body, status, **{name: value}), hang_up), retry=impatient, max_rate_limit_wait=0
            ) as (client, _):
                with pytest.raises(CustomersError):
                    await client.get_page(1)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500])
async def test_fault_49_error_message_with_customer_data_leaks_nothing(status: int) -> None:
    """A failing server may put an SQL statement with customer data into its message."""
    if status == 422:
        body: Any = {"message": "VALIDATION_ERROR", "errors": []}
    else:
        body = {"message": f"Duplicate entry '{DATA}' for key name", "errors": [DATA], "trace": [DATA]}
    async with serve(make_response(json.dumps(body).encode(), f"{status} No"), retry=RetryPolicy(max_attempts=1)) as (
        client,
        _,
    ):
        with pytest.raises(APIStatusError):
            await client.get_customer(EXAMPLE)


async def test_fault_49_echo_of_the_emulator_leaks_nothing(emulator: Emulator, client: CustomersClient) -> None:
    """The same with the emulator, whose token looks like a real one."""
    emulator.fail_next("echo", times=None)
    with pytest.raises(APIStatusError):
        await client.whoami()
    with pytest.raises(APIStatusError):
        [found async for found in client.list_customers()]


async def test_fault_49_logs_hold_no_secret(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    """Paths are logged at DEBUG only, uuids never from INFO on, and tokens and names never."""
    emulator.fail_next(503)
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        found = await client.get_customer(EXAMPLE)
    assert EXAMPLE in caplog.text
    loud = "".join(record.getMessage() for record in caplog.records if record.levelno >= logging.INFO)
    assert "retrying" in loud
    assert EXAMPLE not in loud
    assert emulator.token not in caplog.text
    assert found.name is not None
    assert found.name not in caplog.text


@pytest.mark.parametrize("reply", [stall, send_then(make_response(page(), Content_Length="1000"), stall)])
@pytest.mark.parametrize("end", ["timeout", "cancel", "close", "asyncio.timeout"])
async def test_fault_49_interrupted_response_leaks_nothing(reply: Any, end: str) -> None:
    """The call is cancelled, timed out or closed while it receives headers or customers."""
    async with serve(reply, timeout=5.0, retry=RetryPolicy(max_attempts=1)) as (client, server):
        call = asyncio.ensure_future(client.get_page(1))
        while not server.requests:  # noqa: ASYNC110  # the server sets no event
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        match end:
            case "cancel":
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            case "close":
                await client.close()
                with pytest.raises(RuntimeError, match="client is closed"):
                    await call
            case "asyncio.timeout":
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(call, 1)
            case _:
                with pytest.raises(APITimeoutError):
                    await call


async def test_fault_49_interrupted_listing_leaks_nothing(emulator: Emulator, client: CustomersClient) -> None:
    """Pages that were received but not yielded yet are in the frames of the listing."""
    emulator.fail_next("stall_body", page=2, times=None)
    for ordered in (True, False):
        async with client.list_customers(per_page=50, ordered=ordered) as pager:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5):
                    [found async for found in pager]


async def test_fault_49_bad_records_leak_nothing(emulator: Emulator, client: CustomersClient) -> None:
    """The error names page, index and field, and its frames hold no record, with either decoder."""
    emulator.touch(7, name=5)
    for keep_unknown in (False, True):
        view = client.with_options(keep_unknown=keep_unknown)
        for call in (view.get_page(1), view.get_customer(next(emulator.uuids(7)))):
            with pytest.raises(APIResponseError, match="'name' is not"):
                await call
        with pytest.raises(APIResponseError, match="'name' is not"):
            [found async for found in view.list_customers()]


async def test_fault_49_failing_bad_record_handler_leaks_nothing(emulator: Emulator, client: CustomersClient) -> None:
    """An error from ``on_bad_record`` passes through frames that hold no record."""
    emulator.touch(7, name=5)

    def refuse(raw: object, error: CustomersError) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        [found async for found in client.list_customers(on_bad_record=refuse)]


@pytest.mark.parametrize("status", ["200 OK", "204 No", "302 Found", "404 No", "422 No", "429 Many", "500 Oh"])
@pytest.mark.parametrize("body", [f'["{DATA}", NaN]', f'{{"a": "{DATA}", "a": 1}}', f'{{"x": "{DATA}"', f"<i>{DATA}"])
async def test_fault_49_raw_calls_leak_nothing(status: str, body: str, impatient: RetryPolicy, canary: Canary) -> None:
    """What the path and the parameters name, and what the body has, is in no error, repr, log or event."""
    heard: list[Event] = []
    reply = make_response(body.encode(), status, X_Echo=f"{DATA} {TOKEN}")
    async with serve(reply, retry=impatient, max_rate_limit_wait=0, on_event=heard.append) as (client, _):
        with pytest.raises(CustomersError):
            response = await client.get_raw(f"/accounts/{DATA}/{DATA}%20é", params={DATA: [DATA, TOKEN]})
            canary.scan(repr(response), "the repr of a response")
            response.json()
    canary.scan(repr(heard), "an event")


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (f"/{DATA}/..", None),
        (f"{DATA}", None),
        (DATA.encode(), None),
        (f"/{DATA}", {"x": {DATA: DATA}}),
        (f"/{DATA}", {"x": f"{DATA}\ud800", 5: DATA}),
        (f"/{DATA}", DATA),
    ],
)
async def test_fault_49_refused_raw_calls_leak_nothing(client: CustomersClient, path: Any, params: Any) -> None:
    """A path or a parameter of the wrong form is shown neither by its error nor by the locals of the frames."""
    with pytest.raises((TypeError, ValueError)):
        await client.get_raw(path, params=params)


async def test_fault_49_failing_token_source_leaks_nothing(emulator: Emulator) -> None:
    """The source returns an invalid token, or fails when a newer one is requested."""

    class Failing:
        """Returns a token that is rejected, then raises."""

        async def get(self, *, rejected: str | None = None) -> str:
            if rejected is not None:
                raise ConfigurationError("the vault is sealed")
            return TOKEN

    async with CustomersClient(Failing(), base_url=emulator.url) as client:
        with pytest.raises((AuthenticationError, ConfigurationError)):
            await client.whoami()
    tokens = iter([TOKEN, f"{TOKEN} {TOKEN}"])

    async def mint() -> str:
        return next(tokens)

    async with CustomersClient(CallableToken(mint), base_url=emulator.url) as client:
        with pytest.raises((AuthenticationError, ConfigurationError)):
            await client.whoami()
