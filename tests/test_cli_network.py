"""The options of the command line for proxies, certificates and plain http, over real sockets."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from customers_async.cli.connection import Connection
from customers_async.emulator import Emulator
from tests.proxy import Proxy, run_proxy
from tests.test_cli import Command, command
from tests.wire import make_response, raw_server

__all__ = ["command"]

UUID = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
LOGIN = "billing:pass"


@contextmanager
def in_a_thread(stack: AsyncExitStack) -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop for servers in a thread, since the command runs its own; close the stack at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that alone can resolve the emulator's name; the environment names the emulator and a token."""

    async def start() -> Proxy:
        emulator = await stack.enter_async_context(Emulator(customers=250))
        monkeypatch.setenv("CUSTOMERS_TOKEN", emulator.token)
        ports = {"emulator": urlsplit(emulator.url).port or 0}
        return await stack.enter_async_context(run_proxy(ports, login=LOGIN))

    monkeypatch.setenv("CUSTOMERS_BASE_URL", "http://emulator:8000")
    stack = AsyncExitStack()
    with in_a_thread(stack) as loop:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(5)


def test_proxy_and_host_are_options(command: Command, proxy: Proxy) -> None:
    """``--proxy`` and ``--allow-http``, which takes one name and may be repeated, reach the emulator elsewhere."""
    url = proxy.url.replace("//", f"//{LOGIN}@")
    outcome = command("get", "--proxy", url, "--allow-http", "other", "--allow-http", "emulator", UUID)
    assert (outcome.code, outcome.err) == (0, "")
    assert proxy.targets == [f"GET http://emulator:8000/api/v1/customers/{UUID}"]


def test_proxy_and_host_are_variables(command: Command, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment may name them, too; an option precedes its variable."""
    monkeypatch.setenv("CUSTOMERS_PROXY", proxy.url.replace("//", f"//{LOGIN}@"))
    monkeypatch.setenv("CUSTOMERS_ALLOW_HTTP", "emulator")
    assert command("count").out == "250\n"
    refused = command("count", "--proxy", proxy.url)
    assert refused.code == 4
    assert "requires a user name and a password" in refused.err
    assert "run again later" not in refused.err


def test_usual_proxy_variables_are_not_used(command: Command, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exported HTTP_PROXY does not decide where the token goes."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    assert command("count", "--base-url", f"http://127.0.0.1:{proxy.ports['emulator']}").out == "250\n"
    assert proxy.requests == []


@pytest.mark.parametrize("by", ["option", "variable"])
def test_private_authority_is_trusted(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str
) -> None:
    """``--ca-file`` or CUSTOMERS_CA_FILE names the certificates; without them, the message says so."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    stack = AsyncExitStack()
    with in_a_thread(stack) as loop:
        serving = stack.enter_async_context(raw_server(make_response(b'{"name":"Owner"}'), tls=tls))
        server = asyncio.run_coroutine_threadsafe(serving, loop).result(5)
        monkeypatch.setenv("CUSTOMERS_BASE_URL", server.url)
        monkeypatch.setenv("CUSTOMERS_TOKEN", "token")
        untrusted = command("whoami")
        assert untrusted.code == 4
        assert "name its file with Network(ca_file=...), --ca-file or SSL_CERT_FILE" in untrusted.err
        monkeypatch.setenv("CUSTOMERS_CA_FILE", str(tmp_path / ("ca.pem" if by == "variable" else "missing")))
        options = ("--ca-file", str(tmp_path / "ca.pem")) if by == "option" else ()
        assert "Owner" in command("whoami", *options).out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--proxy", "http://u:s3cret@proxy/path"), 2, "proxy must have nothing after host and port"),
        (("--proxy", "s3cret"), 2, "proxy must begin with http:// or https://"),
        (("--allow-http", "http://s3cret"), 2, "allow_http must be exact host names"),
        (("--ca-file", "missing.pem"), 3, "ca_file missing.pem cannot be read: No such file or directory"),
    ],
)
def test_bad_options_are_named(
    command: Command, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: int, message: str
) -> None:
    """Wrong usage exits with 2, a file that is missing with 3, and no value is repeated."""
    monkeypatch.setenv("CUSTOMERS_TOKEN", "token")
    outcome = command("count", *options)
    assert outcome.code == code
    assert message in outcome.err
    assert "s3cret" not in outcome.err


def test_options_show_no_password() -> None:
    """A traceback with locals shows the repr of the options, and URLs may hold a password."""
    shown = repr(Connection(proxy=f"http://{LOGIN}@proxy.example", base_url=f"https://{LOGIN}@service.example"))
    assert LOGIN not in shown
