"""Token sources, a token's expiry, and single-flight reloading."""

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
    """A token that looks like a JWT; nobody verifies it."""
    return ".".join(
        base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b"{}", json.dumps(claims).encode(), b"s")
    )


class Rotating:
    """A source that hands out one token after another when asked for a newer one."""

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


async def test_the_environment_is_read_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that changes is followed; one that is missing or unusable is a ConfigurationError."""
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


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """White space around the token is dropped; a replaced file is noticed; a bad one is a ConfigurationError."""
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


async def test_a_function_is_called_once_until_a_newer_token_is_wanted() -> None:
    """The function's token is kept; a refused one makes it be called again; nonsense is a ConfigurationError."""
    tokens = iter(["one", "two", None])

    async def function() -> str:
        return next(tokens)  # type: ignore[return-value]  # the last one on purpose

    source = CallableToken(function)
    assert [await source.get(), await source.get(), await source.get(rejected="one")] == ["one", "one", "two"]
    with pytest.raises(ConfigurationError, match="token function"):
        await source.get(rejected="two")
    with pytest.raises(TypeError):
        CallableToken("token")  # type: ignore[arg-type]  # on purpose


def test_all_sources_are_token_sources() -> None:
    """The protocol can be checked, and anything with ``get`` fits."""
    assert all(isinstance(s, TokenSource) for s in (StaticToken("x"), EnvToken(), FileToken("x"), Rotating("x")))


def test_the_environment_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without ``token=``: the variable, else the file that a variable names, else an error that says so."""
    with pytest.raises(ConfigurationError, match="set CUSTOMERS_TOKEN or CUSTOMERS_TOKEN_FILE"):
        CustomersClient()
    monkeypatch.setenv("CUSTOMERS_TOKEN_FILE", str(tmp_path / "token"))
    assert "FileToken" in repr(vars(CustomersClient()._api.session))
    monkeypatch.setenv("CUSTOMERS_TOKEN", "x")
    assert "EnvToken" in repr(vars(CustomersClient()._api.session))


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
        ("opaque", float("inf")),
        ("a.b.c", float("inf")),
        ("a.é.c", float("inf")),
        ("a.W10.c", float("inf")),
    ],
)
def test_the_expiry_is_a_hint(token: str, expires: float) -> None:
    """``exp`` is read where it is there; whatever else a token looks like is no failure."""
    assert expiry(token) == expires


@pytest.mark.parametrize(
    ("token", "whose"),
    [(jwt(sub="a"), "a"), (jwt(sub=7), "7"), (jwt(), ""), (jwt(sub=None), ""), (jwt(sub=["a"]), ""), ("opaque", "")],
)
def test_the_subject_is_a_hint(token: str, whose: str) -> None:
    """Whose token it is, where it says so."""
    assert subject(token) == whose


async def test_an_expiring_token_is_reloaded_ahead_of_time() -> None:
    """Within a minute of ``exp`` the source is asked once for all callers, and the new token is used."""
    old, new = jwt(exp=1000), jwt(exp=9000)
    source, reloads, now = Rotating(old, new), [], 100.0
    keeper = TokenKeeper(source, Timeouts(), on_reload=lambda: reloads.append(1), clock=lambda: now)
    assert (await keeper.current(30.0)).token == old
    now = 945.0
    credentials = await asyncio.gather(*(keeper.current(30.0) for _ in range(10)))
    assert {credential.token for credential in credentials} == {new}
    assert (source.questions, reloads) == (1, [1])


async def test_an_expiring_token_without_successor_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """The source is asked a quarter of the remaining time before the expiry, and again after as long; one warning."""
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


async def test_a_source_that_fails_does_not_take_a_good_token_away(caplog: pytest.LogCaptureFixture) -> None:
    """``exp`` is a hint: while the source has trouble, the token in use stays until the service refuses it."""

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


async def test_first_callers_of_a_function_share_its_token() -> None:
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
def test_what_only_looks_like_a_source_is_refused(token: Any) -> None:
    """A mapping and a class have a ``get``, too."""
    with pytest.raises(TypeError, match="token must be a str"):
        CustomersClient(token)


async def test_refused_callers_share_one_question() -> None:
    """Many calls refused with one token ask the source once, whether it has a newer one or not."""
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


async def test_a_cancelled_caller_does_not_lose_the_token_for_the_others() -> None:
    """Whoever was first may be cancelled; the next one asks."""
    source = Rotating("one", "two")
    keeper = TokenKeeper(source, Timeouts(), on_reload=lambda: None)
    rejected = await keeper.current(30.0)
    first, second = (asyncio.ensure_future(keeper.replacement(rejected, 30.0)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    newer = await second
    assert isinstance(newer, Credential)
    assert newer.token == "two"


async def test_a_source_of_ones_own_is_checked() -> None:
    """What a source of one's own returns is checked before it is sent."""
    keeper = TokenKeeper(Rotating("two words"), Timeouts(), on_reload=lambda: None)
    with pytest.raises(ConfigurationError, match="token source"):
        await keeper.current(30.0)


async def test_a_rotated_token_carries_on(emulator: Emulator, tmp_path: Path) -> None:
    """A 401 in the middle of a walk makes the file be read again; nobody notices but the listener."""
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


async def test_a_source_that_always_has_another_token_is_believed_once(emulator: Emulator) -> None:
    """A function that mints tokens which the service refuses does not loop."""
    tokens = (f"token-{number}" for number in range(100))

    async def mint() -> str:
        return next(tokens)

    async with CustomersClient(CallableToken(mint), base_url=emulator.url) as client:
        with pytest.raises(AuthenticationError):
            await client.whoami()
    assert emulator.stats.requests == 2


async def test_an_expired_token_names_itself(emulator: Emulator) -> None:
    """401 with an ``exp`` in the past is a TokenExpiredError."""
    async with CustomersClient(jwt(exp=1), base_url=emulator.url) as client:
        with pytest.raises(TokenExpiredError, match="exp has passed"):
            await client.whoami()
