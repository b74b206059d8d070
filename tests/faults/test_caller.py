"""Row 48: invalid arguments are refused before anything is sent, without showing a secret."""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from customers_async import (
    ConfigurationError,
    CustomersClient,
    EnvToken,
    FileToken,
    RateLimiter,
    RetryPolicy,
    StaticToken,
    export_customers,
)
from customers_async.emulator import Emulator
from tests.faults.canary import EXAMPLE, customer
from tests.wire import TOKEN, make_response, serve


@pytest.mark.parametrize(
    ("uuid", "kind"),
    [
        ("../auth", ValueError),
        ("%2e%2e/auth", ValueError),
        ("..%2fauth", ValueError),
        ("", ValueError),
        (EXAMPLE + "\n", ValueError),
        (EXAMPLE + "\r\nX: y", ValueError),
        (" " + EXAMPLE, ValueError),
        (EXAMPLE.replace("1", "１"), ValueError),
        (EXAMPLE.replace("a", "а"), ValueError),
        (EXAMPLE[:-1], ValueError),
        (EXAMPLE[:-1] + "?", ValueError),
        (EXAMPLE.replace("-", ""), ValueError),
        (5, TypeError),
        (None, TypeError),
        (EXAMPLE.encode(), TypeError),
    ],
)
async def test_fault_48_bad_uuids_are_refused(
    emulator: Emulator, client: CustomersClient, uuid: Any, kind: type[Exception]
) -> None:
    """A malformed uuid never becomes part of a URL."""
    with pytest.raises(kind, match=r"^uuid must be ") as caught:
        await client.get_customer(uuid)
    assert type(caught.value) is kind
    assert emulator.stats.requests == 0


async def test_fault_48_uuid_need_not_be_hexadecimal() -> None:
    """Letters beyond f and capitals are accepted; the documented example ends in "g"."""
    for uuid in (EXAMPLE, EXAMPLE.upper(), "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz"):
        async with serve(make_response(customer(uuid))) as (client, server):
            assert (await client.get_customer(uuid)).uuid == uuid
            assert server.targets == [f"/api/v1/customers/{uuid}"]


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("per_page", 0, ValueError),
        ("per_page", 101, ValueError),
        ("per_page", -1, ValueError),
        ("per_page", True, TypeError),
        ("per_page", "10", TypeError),
        ("per_page", 1.5, TypeError),
        ("per_page", None, TypeError),
        ("first_page", 0, ValueError),
        ("first_page", -1, ValueError),
        ("first_page", True, TypeError),
        ("first_page", "1", TypeError),
        ("ordered", 1, TypeError),
        ("unique", None, TypeError),
        ("on_incomplete", "explode", ValueError),
        ("on_bad_record", "skip", TypeError),
        ("on_bad_record", None, TypeError),
    ],
)
async def test_fault_48_bad_list_options_are_refused(
    emulator: Emulator, client: CustomersClient, name: str, value: Any, kind: type[Exception]
) -> None:
    """The call itself refuses them, not the first page; so does the call for a single page."""
    with pytest.raises(kind):
        client.list_customers(**{name: value})
    page_arguments = {"number": 1, "per_page": 100} | {"number" if name == "first_page" else name: value}
    if page_arguments.keys() == {"number", "per_page"}:
        with pytest.raises(kind):
            await client.get_page(**page_arguments)
    assert emulator.stats.requests == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "https://",
        "https:///path",
        "http://",
        "",
        "example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        f"https://eve:{TOKEN}@example.com",
        f"https://{TOKEN}@example.com",
        f"http://{TOKEN}:@127.0.0.1",
        f"https://example.com?token={TOKEN}",
        f"https://example.com/?{TOKEN}",
        f"https://example.com#{TOKEN}",
        "https://example.com?",
        "https://example.com:port",
        "https://example.com:99999",
        "https://[::1",
        "https://exa mple.com",
        "https://example.com\r\nX: y",
        "https://exämple.com",
    ],
)
def test_fault_48_bad_base_urls_are_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain http to another host, no host, user info or a query is refused, also from the environment."""
    with pytest.raises(ValueError, match="base_url") as caught:
        CustomersClient(TOKEN, base_url=url)
    assert TOKEN not in str(caught.value)
    if url:
        monkeypatch.setenv("CUSTOMERS_BASE_URL", url)
        with pytest.raises(ValueError, match="base_url"):
            CustomersClient(TOKEN)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000",
        "http://127.1.2.3",
        "http://localhost",
        "http://[::1]:8000",
        "https://example.com",
        "https://example.com/",
        "https://example.com///",
        "https://example.com/prefix/",
        "HTTPS://EXAMPLE.COM",
    ],
)
def test_fault_48_good_base_urls_are_accepted(url: str) -> None:
    """Http to loopback is allowed, and trailing slashes are removed."""
    assert repr(CustomersClient(TOKEN, base_url=url)) == f"<CustomersClient {url.rstrip('/')}>"


async def test_fault_48_trailing_slashes_are_not_sent() -> None:
    """The path is the documented one."""
    async with serve(make_response()) as (_, server):
        async with CustomersClient(TOKEN, base_url=f"{server.url}//") as client:
            await client.get_page(1)
        assert server.targets == ["/api/v1/customers?per_page=100&page=1"]


BAD_TOKENS = [
    ("", ValueError),
    (f"{TOKEN}\r\nX: y", ValueError),
    (f"{TOKEN}\n", ValueError),
    (f"{TOKEN}\0", ValueError),
    (f"{TOKEN}é", ValueError),
    (f"{TOKEN}\u2028", ValueError),
    (f" {TOKEN}", ValueError),
    (f"{TOKEN} ", ValueError),
    (f"Bearer {TOKEN}", ValueError),
    (f"{TOKEN}\t{TOKEN}", ValueError),
    (TOKEN.encode(), TypeError),
    (bytearray(TOKEN.encode()), TypeError),
    ([TOKEN], TypeError),
    ({"token": TOKEN}, TypeError),
    (5, TypeError),
    (False, TypeError),
]


@pytest.mark.parametrize(("token", "kind"), BAD_TOKENS)
def test_fault_48_token_that_fits_no_header_is_refused(token: Any, kind: type[Exception]) -> None:
    """The constructor raises, without the token in the message or the traceback."""
    for make in (StaticToken, CustomersClient):
        with pytest.raises(kind, match=r"^token ") as caught:
            make(token)
        assert type(caught.value) is kind


@pytest.mark.parametrize("token", [token for token, _ in BAD_TOKENS if isinstance(token, str)])
async def test_fault_48_bad_token_from_a_source_is_refused(
    emulator: Emulator, token: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A bad token from a variable, a file or another source is a ConfigurationError, and nothing is sent."""

    class Own:
        async def get(self, *, rejected: str | None = None) -> str:
            return token

    sources: list[Any] = [Own()]
    if "\0" not in token:
        monkeypatch.setenv("SOME_TOKEN", token)
        sources.append(EnvToken("SOME_TOKEN"))
    if token.strip() not in (TOKEN, ""):  # surrounding white space is removed
        (tmp_path / "token").write_text(token, newline="")
        sources.append(FileToken(tmp_path / "token"))
    for source in sources:
        async with CustomersClient(source, base_url=emulator.url) as client:
            with pytest.raises(ConfigurationError, match="token"):
                await client.whoami()
    assert emulator.stats.requests == 0


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("base_url", 5, TypeError),
        ("base_url", b"https://example.com", TypeError),
        ("concurrency", 0, ValueError),
        ("concurrency", -1, ValueError),
        ("concurrency", 1.5, TypeError),
        ("concurrency", True, TypeError),
        ("timeout", 0, ValueError),
        ("timeout", -1, ValueError),
        ("timeout", float("nan"), ValueError),
        ("timeout", "30", TypeError),
        ("timeout", True, TypeError),
        ("timeout", None, TypeError),
        ("retry", 3, TypeError),
        ("rate_limiter", 500, TypeError),
        ("max_rate_limit_wait", -1, ValueError),
        ("max_rate_limit_wait", float("nan"), ValueError),
        ("max_body", 0, ValueError),
        ("max_body", True, TypeError),
        ("session", object(), TypeError),
        ("keep_unknown", 1, TypeError),
        ("on_event", "print", TypeError),
        ("on_event", CustomersClient.close, TypeError),
    ],
)
def test_fault_48_bad_settings_are_refused(name: str, value: Any, kind: type[Exception]) -> None:
    """The constructor refuses wrong types and values out of range."""
    with pytest.raises(kind, match=name):
        CustomersClient(TOKEN, **{name: value})


def test_fault_48_good_settings_are_accepted() -> None:
    """All arguments together are accepted without a running loop."""
    CustomersClient(
        TOKEN,
        base_url="https://example.com/",
        concurrency=1,
        timeout=0.5,
        retry=RetryPolicy(max_attempts=1),
        rate_limiter=RateLimiter(10, 1.0),
        max_rate_limit_wait=0,
        max_body=1,
        session=None,
        keep_unknown=True,
        on_event=lambda event: None,
    )


async def run_later(*_: object) -> None: ...


async def yield_later(*_: object) -> AsyncIterator[None]:
    yield


def run_when_iterated(*_: object) -> Iterator[None]:
    yield


class Later:
    __call__ = run_later

    async def method(self, *_: object) -> None: ...


class Generating:
    __call__ = run_when_iterated


NOT_PLAIN = {
    "a coroutine function": run_later,
    "an async generator function": yield_later,
    "a generator function": run_when_iterated,
    "a callable object": Later(),
    "a callable generating object": Generating(),
    "a method": Later().method,
    "a partial generator function": partial(run_when_iterated),
    "a partial callable object": partial(partial(Later(), 1), 2),
    "no arguments": lambda: None,
    "four arguments": lambda _a, _b, _c, _d: None,
    "a partial without arguments left": partial(lambda _: None, 1),
    "a keyword without default": lambda *_, key: None,
    "a number": 5,
    "a text": "print",
}


@pytest.mark.parametrize("function", NOT_PLAIN.values(), ids=NOT_PLAIN.keys())
async def test_fault_48_callback_that_would_not_run_is_refused(
    function: Any, emulator: Emulator, client: CustomersClient, tmp_path: Path
) -> None:
    """A coroutine or generator that nothing runs would lose events and records, as would other numbers of arguments."""
    plain = "must be .*plain function"
    with pytest.raises(TypeError, match=plain):
        CustomersClient(TOKEN, on_event=function)
    with pytest.raises(TypeError, match=plain):
        client.with_options(on_event=function)
    with pytest.raises(TypeError, match=plain):
        client.list_customers(on_bad_record=function)
    with pytest.raises(TypeError, match=plain):
        await export_customers(client, tmp_path / "c.jsonl", progress=function)
    assert emulator.stats.requests == 0


def logged(function: Callable[..., None]) -> Callable[..., None]:
    @wraps(function)
    def call(*arguments: object) -> None:
        function(*arguments, "more")

    return call


PLAIN = {
    "a lambda": lambda *_: None,
    "a method of a list": [].append,
    "a class": Mock,
    "a mock": Mock(),
    "a partial": partial(lambda *_: None, 1),
    "a decorated function": logged(lambda *_: None),
    "a decorated function of more arguments": logged(lambda _a, _b, _c, _d=None: None),
    "a default": lambda _a, _b=None, _c=None: None,
}


@pytest.mark.parametrize("function", PLAIN.values(), ids=PLAIN.keys())
async def test_fault_48_callback_that_runs_at_once_is_accepted(function: Any, client: CustomersClient) -> None:
    """Built-in functions, classes, mocks, partial and decorated functions are plain."""
    client.with_options(on_event=function)
    if function.__class__ is not type([].append):
        client.list_customers(on_bad_record=function)


@pytest.mark.parametrize("name", [5, None, b"TOKEN", ["TOKEN"]])
def test_fault_48_variable_that_is_no_text_is_refused(name: Any) -> None:
    """At once, not in the first call."""
    with pytest.raises(TypeError, match="name must be a str"):
        EnvToken(name)
