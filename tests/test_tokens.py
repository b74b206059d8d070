"""Token sources, the expiry of tokens, and reloading them."""

import asyncio
import base64
import json
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from customers_async import (
    AuthenticationError,
    CallableToken,
    ConfigurationError,
    CustomersClient,
    EnvToken,
    FileToken,
    StaticToken,
    TokenExpiredError,
    TokenReloaded,
    TokenSource,
)
from customers_async.calls.credentials import Credential, TokenKeeper, expiry, subject
from customers_async.calls.timeouts import Timeouts
from customers_async.emulator import Emulator


def jwt(**claims: Any) -> str:
    """Return a token that looks like a JWT, with an invalid signature."""
    return ".".join(
        base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b"{}", json.dumps(claims).encode(), b"s")
    )


class Rotating:
    """A source that returns the next token when the current one was rejected."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.questions = 0

    async def get(self, *, rejected: str | None = None) -> str:
        await asyncio.sleep(0.01)
        if rejected is not None:
            self.questions += 1
            if rejected == self.tokens[0] and len(self.tokens) > 1:
                self.tokens.pop(0)
        return self.tokens[0]


async def test_env_token_is_read_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed variable is read again; a missing or unusable one is a ConfigurationError."""
    source = EnvToken("SOME_TOKEN")
    for value in ("one", "two"):
        monkeypatch.setenv("SOME_TOKEN", value)
        assert await source.get() == value
    for value in ("", "a b"):
        monkeypatch.setenv("SOME_TOKEN", value)
        with pytest.raises(ConfigurationError, match="SOME_TOKEN"):
            await source.get()
    monkeypatch.delenv("SOME_TOKEN")
    with pytest.raises(ConfigurationError, match="is not set"):
        await source.get()
    assert repr(source) == "EnvToken('SOME_TOKEN')"


async def test_file_token_is_read_again_after_a_change(tmp_path: Path) -> None:
    """White space around the token is removed, a replaced file is read, a bad one is a ConfigurationError."""
    path = tmp_path / "token"
    source = FileToken(path)
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        await source.get()
    path.write_text("one\n")
    assert [await source.get(), await source.get()] == ["one", "one"]
    replacement = tmp_path / "new"
    replacement.write_text("two\n")
    replacement.replace(path)
    assert await source.get() == "two"
    path.write_text("two words")
    with pytest.raises(ConfigurationError, match="must be visible ASCII"):
        await source.get()
    path.write_bytes(b"\xff")
    os.utime(path, (1, 1))
    with pytest.raises(ConfigurationError, match="cannot be read: not text"):
        await source.get()
    assert "two" not in repr(vars(source))
    assert pickle.loads(pickle.dumps(source)).path == path


async def test_token_function_is_called_again_after_a_rejection() -> None:
    """The token is kept until it is rejected; an invalid one is a ConfigurationError."""
    tokens = iter(["one", "two", None])

    async def function() -> str:
        return next(tokens)  # type: ignore[return-value]  # the last one on purpose

    source = CallableToken(function)
    assert [await source.get(), await source.get(), await source.get(rejected="one")] == ["one", "one", "two"]
    with pytest.raises(ConfigurationError, match="token function"):
        await source.get(rejected="two")
    with pytest.raises(TypeError):
        CallableToken("token")  # type: ignore[arg-type]  # on purpose


def test_sources_match_the_protocol() -> None:
    """The protocol can be checked at runtime, and any class with ``get`` matches."""
    assert all(isinstance(s, TokenSource) for s in (StaticToken("x"), EnvToken(), FileToken("x"), Rotating("x")))


def test_environment_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without ``token=`` the variable is used, then the file that a variable names; else an error says so."""
    with pytest.raises(ConfigurationError, match="set CUSTOMERS_TOKEN or CUSTOMERS_TOKEN_FILE"):
        CustomersClient()
    monkeypatch.setenv("CUSTOMERS_TOKEN_FILE", str(tmp_path / "token"))
    assert "FileToken" in repr(CustomersClient()._api.tokens)
    monkeypatch.setenv("CUSTOMERS_TOKEN", "x")
    assert "EnvToken" in repr(CustomersClient()._api.tokens)


@pytest.mark.parametrize(
    ("token", "expires"),
    [
        (jwt(exp=1744373843), 1744373843.0),
        (jwt(exp=1.5), 1.5),
        (jwt(sub="x"), float("inf")),
        (jwt(exp="soon"), float("inf")),
        (jwt(exp=True), float("inf")),
        (jwt(exp=10**30), float("inf")),
        (jwt(exp=10**400), float("inf")),
        (jwt(exp=-(10**400)), -1e15),
        ("opaque", float("inf")),
        ("a.b.c", float("inf")),
        ("a.é.c", float("inf")),
        ("a.W10.c", float("inf")),
    ],
)
def test_expiry_is_optional(token: str, expires: float) -> None:
    """``exp`` is read if it is there; any other token has no expiry."""
    assert expiry(token) == expires


@pytest.mark.parametrize(
    ("token", "expected"),
    [(jwt(sub="a"), "a"), (jwt(sub=7), "7"), (jwt(), ""), (jwt(sub=None), ""), (jwt(sub=["a"]), ""), ("opaque", "")],
)
def test_subject_is_optional(token: str, expected: str) -> None:
    """``sub`` is read if it is there."""
    assert subject(token) == expected


async def test_expiring_token_is_reloaded_early() -> None:
    """Within a minute of ``exp`` all callers share one reload, and the new token is used."""
    old, new = jwt(exp=1000), jwt(exp=9000)
    source, reloads, now = Rotating(old, new), [], 100.0
    keeper = TokenKeeper(source, Timeouts(), on_reload=lambda: reloads.append(1), clock=lambda: now)
    assert (await keeper.current(30.0)).token == old
    now = 945.0
    credentials = await asyncio.gather(*(keeper.current(30.0) for _ in range(10)))
    assert {credential.token for credential in credentials} == {new}
    assert (source.questions, reloads) == (1, [1])


async def test_expiring_token_without_a_newer_one_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The source is asked after three quarters of the remaining time, and again later; the log has one warning."""
    now = 945.0
    source = Rotating(jwt(exp=1000))
    keeper = TokenKeeper(source, Timeouts(), on_reload=lambda: None, clock=lambda: now)
    with caplog.at_level(logging.WARNING, "customers_async"):
        for moment in (945.0, 987.0, 990.0, 1006.0):
            now = moment
            credential = await keeper.current(30.0)
    assert source.questions == 2
    assert len(caplog.records) == 1
    assert "about to expire" in caplog.text
    assert source.tokens[0] not in caplog.text
    assert keeper.is_expired(credential)


async def test_failing_source_keeps_the_current_token(caplog: pytest.LogCaptureFixture) -> None:
    """If the source fails, the current token is used until the service rejects it."""

    class Failing(Rotating):
        async def get(self, *, rejected: str | None = None) -> str:
            if rejected is not None:
                raise OSError("s3cr3t store is down")
            return await super().get()

    keeper = TokenKeeper(Failing(jwt(exp=1000)), Timeouts(), on_reload=lambda: None, clock=lambda: 950.0)
    credential = await keeper.current(30.0)
    assert credential.expires == 1000
    assert await keeper.replacement(credential, 30.0) is None
    assert "The token source failed with OSError" in caplog.text
    assert "s3cr3t" not in caplog.text


async def test_first_callers_share_one_token_function_call() -> None:
    """Simultaneous first calls run the function once."""
    calls = 0

    async def function() -> str:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)
        return f"token-{calls}"

    keeper = TokenKeeper(CallableToken(function), Timeouts(), on_reload=lambda: None)
    credentials = await asyncio.gather(*(keeper.current(30.0) for _ in range(8)))
    assert {credential.token for credential in credentials} == {"token-1"}


@pytest.mark.parametrize("token", [{"a": 1}, EnvToken, 5.0])
def test_objects_that_are_not_sources_are_refused(token: Any) -> None:
    """A mapping and a class are refused, although they have a ``get``."""
    with pytest.raises(TypeError, match="token must be a str"):
        CustomersClient(token)


async def test_rejected_callers_share_one_reload() -> None:
    """Many calls that were rejected with one token ask the source once, even if it has no newer one."""
    for tokens in (["one", "two"], ["one"]):
        source = Rotating(*tokens)
        keeper = TokenKeeper(source, Timeouts(), on_reload=lambda: None)
        rejected = await keeper.current(30.0)
        newer = await asyncio.gather(*(keeper.replacement(rejected, 30.0) for _ in range(10)))
        assert {credential and credential.token for credential in newer} == {tokens[-1] if len(tokens) > 1 else None}
        assert source.questions == 1
        late = await keeper.replacement(rejected, 30.0)
        assert (late and late.token) == (tokens[1] if len(tokens) > 1 else None)
        assert source.questions == 1


async def test_cancelled_reload_is_run_again_for_other_callers() -> None:
    """If the first caller is cancelled, the next one asks the source."""
    source = Rotating("one", "two")
    keeper = TokenKeeper(source, Timeouts(), on_reload=lambda: None)
    rejected = await keeper.current(30.0)
    first, second = (asyncio.ensure_future(keeper.replacement(rejected, 30.0)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    newer = await second
    assert isinstance(newer, Credential)
    assert newer.token == "two"


async def test_token_of_a_custom_source_is_checked() -> None:
    """A token that fits no header is a ConfigurationError."""
    keeper = TokenKeeper(Rotating("two words"), Timeouts(), on_reload=lambda: None)
    with pytest.raises(ConfigurationError, match="token source"):
        await keeper.current(30.0)


async def test_listing_continues_with_a_rotated_token(emulator: Emulator, tmp_path: Path) -> None:
    """A 401 during a listing makes the file be read again, without an error."""
    path = tmp_path / "token"
    path.write_text(emulator.token)
    events: list[object] = []

    class Rotated(FileToken):
        async def get(self, *, rejected: str | None = None) -> str:
            if rejected is not None:
                path.write_text(emulator.token + "\n")
            return await super().get(rejected=rejected)

    async with CustomersClient(Rotated(path), base_url=emulator.url, on_event=events.append) as client:
        emulator.expire_token(after=3)
        assert len([customer async for customer in client.list_customers(per_page=10)]) == 250
    assert events.count(TokenReloaded()) == 1
    assert 1 <= emulator.stats.statuses[401] <= 8


async def test_rejected_call_tries_one_newer_token(emulator: Emulator) -> None:
    """A function that returns a new rejected token each time does not cause a loop."""
    tokens = (f"token-{number}" for number in range(100))

    async def mint() -> str:
        return next(tokens)

    async with CustomersClient(CallableToken(mint), base_url=emulator.url) as client:
        with pytest.raises(AuthenticationError):
            await client.whoami()
    assert emulator.stats.requests == 2


async def test_rejected_expired_token_is_a_token_expired_error(emulator: Emulator) -> None:
    """A 401 for a token whose ``exp`` has passed is a TokenExpiredError."""
    async with CustomersClient(jwt(exp=1), base_url=emulator.url) as client:
        with pytest.raises(TokenExpiredError, match="exp has passed"):
            await client.whoami()
