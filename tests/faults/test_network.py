"""Rows 12, 49, 50, 65 and 66: proxies, certificates and their files, and the secrets of a `Network`."""

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from customers_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    CustomersClient,
    CustomersError,
    Network,
    PermissionDeniedError,
    RateLimiter,
    RetryPolicy,
    ServerError,
)
from customers_async.calls import transport
from customers_async.calls.loaded_network import LoadedNetwork
from customers_async.emulator import Emulator
from tests.faults.canary import EXAMPLE, Canary, customer
from tests.proxy import run_proxy
from tests.wire import TOKEN, Reply, hang_up, make_response, raw_server, reset, serve, stall

HOST = "customers.example"
HTTPS = f"https://{HOST}"
PASSWORD = "Pr0xyPassw0rd"
HEADER = "Gatew4yKeyValue"
KEY_TEXT = "K3yF1leContent"
UNTRUSTED = r"not trusted here; .* with Network\(ca_file=...\), --ca-file or SSL_CERT_FILE(\n|$)"


def refuse(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 9\r\nX-Secret: {PASSWORD}\r\n\r\n{PASSWORD[:9]}".encode()


def with_login(url: str) -> str:
    return url.replace("//", f"//billing:{PASSWORD}@")


async def fail(base_url: str, network: Network, **options: Any) -> CustomersError:
    """Send a request that must fail; return its error."""
    options = {"retry": RetryPolicy(max_attempts=2, base_delay=0), "timeout": 5.0, **options}
    async with CustomersClient(TOKEN, base_url=base_url, network=network, **options) as client:
        with pytest.raises(CustomersError) as caught:
            await client.get_page(1)
    return caught.value


@pytest.mark.parametrize(
    ("reply", "problem", "transient"),
    [
        (refuse("407 Proxy Authentication Required"), r"requires a user name and a password: .*\(status 407\)", False),
        (refuse("403 Forbidden"), rf"refuses to connect to {HOST} \(status 403\): does it allow this host\?", False),
        (refuse("302 Found"), rf"refuses to connect to {HOST} \(status 302\)", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", rf"refuses to connect to {HOST} \(status 204\)", False),
        (refuse("501 Not Implemented"), rf"refuses to connect to {HOST} \(status 501\)", False),
        (refuse("502 Bad Gateway"), rf"has no connection to {HOST} \(status 502\)", True),
        (refuse("503 Service Unavailable"), rf"has no connection to {HOST} \(status 503\)", True),
        (refuse("429 Too Many"), rf"has no connection to {HOST} \(status 429\)", True),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "no connection through the proxy", True),
        (b"HTTP/1.1 200 OK\r\n\r\n", "no connection through the proxy", True),
        (hang_up, "no connection through the proxy", True),
        (reset, "no connection through the proxy", True),
        (stall, r"no connection through the proxy 127.0.0.1:\d+ within 5 s", True),
    ],
)
async def test_fault_65_proxy_that_makes_no_tunnel_is_named(reply: Reply, problem: str, transient: bool) -> None:
    """The sentence says that it was the proxy. Nothing was sent; only what may pass is retried."""
    async with run_proxy(reply=reply) as proxy:
        error = await fail(HTTPS, Network(proxy=proxy.url))
        assert isinstance(error, APIConnectionError)
        assert isinstance(error, APITimeoutError) == (reply is stall)
        with pytest.raises(APIConnectionError, match=problem):
            raise error
        assert f"the proxy {proxy.url.removeprefix('http://')}" in str(error)
        assert (error.sent, error.transient, error.attempts) == (False, transient, 2 if transient else 1)


@pytest.fixture
def refusing_url() -> str:
    """A URL at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


async def test_fault_65_proxy_that_is_not_reached_is_named(monkeypatch: pytest.MonkeyPatch, refusing_url: str) -> None:
    """Nothing listens at its address, or its name is unknown: the errors name the proxy, not the service."""

    def fail_to_resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail_to_resolve)
    for url, reason in ((refusing_url, "Connect call failed"), ("http://proxy.invalid:3128", "Name or service")):
        error = await fail(HTTPS, Network(proxy=url))
        assert isinstance(error, APIConnectionError)
        assert f"the proxy {url.removeprefix('http://')} cannot be reached: " in str(error)
        assert reason in str(error)
        assert (error.sent, error.transient, error.attempts) == (False, True, 2)


@pytest.mark.parametrize("base_url", [HTTPS, "http://plain"])
@pytest.mark.parametrize("login", ["", "billing:wrong@"])
async def test_fault_65_proxy_that_refuses_the_password_is_not_tried_again(base_url: str, login: str) -> None:
    """A 407 is one request, in a tunnel or not; it is neither the service's response nor retried."""
    async with run_proxy(login=f"billing:{PASSWORD}") as proxy:
        network = Network(proxy=proxy.url.replace("//", f"//{login}"), allow_http=("plain",))
        error = await fail(base_url, network)
        assert isinstance(error, APIConnectionError)
        assert ("refuses the user name or the password" if login else "requires a user name") in str(error)
        assert (error.sent, error.transient, error.attempts) == (False, False, 1)
        assert len(proxy.requests) == 1


@pytest.mark.parametrize(("status", "kind"), [("403 Forbidden", PermissionDeniedError), ("502 Bad", ServerError)])
async def test_fault_65_other_statuses_of_a_proxy_look_like_the_services_without_a_tunnel(
    status: str, kind: type[APIStatusError]
) -> None:
    """With a plain http base URL nothing tells who sent them, so they are not blamed on the proxy."""
    async with run_proxy(reply=make_response(b"{}", status)) as proxy:
        error = await fail("http://plain", Network(proxy=proxy.url, allow_http=("plain",)))
    assert type(error) is kind
    assert "proxy" not in str(error)


async def test_fault_65_407_through_a_tunnel_is_the_response_of_the_service() -> None:
    """The proxy has made the tunnel, so it has refused nothing, and the request was sent."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority, trusted = trustme.CA(), ssl.create_default_context()
    authority.issue_cert(HOST).configure_cert(tls)
    authority.configure_trust(trusted)
    async with (
        raw_server(make_response(b"{}", "407 No"), tls=tls) as server,
        run_proxy({HOST: urlsplit(server.url).port or 0}) as proxy,
    ):
        error = await fail(HTTPS, Network(proxy=proxy.url, ssl_context=trusted))
    assert isinstance(error, APIStatusError)
    assert error.status == 407


async def test_fault_65_requests_that_a_proxy_stops_do_not_count(refusing_url: str) -> None:
    """What never reached the service takes nothing of its rate limit; a request that may have reached it does."""
    network = Network(proxy=refusing_url)
    options: Any = {"rate_limiter": RateLimiter(3, 60), "max_rate_limit_wait": 0, "retry": RetryPolicy(max_attempts=1)}
    async with CustomersClient(TOKEN, base_url=HTTPS, network=network, **options) as client:
        for _ in range(10):
            with pytest.raises(APIConnectionError, match="cannot be reached"):
                await client.get_page(1)
    async with run_proxy(reply=stall) as proxy:
        network = Network(proxy=proxy.url, allow_http=("plain",))
        error = await fail("http://plain", network)
        assert isinstance(error, APITimeoutError)
        assert error.sent
        assert "through the proxy" in str(error)


@pytest.mark.parametrize("side", ["through", "with"])
async def test_fault_65_tls_failure_names_the_side_that_failed(side: str) -> None:
    """The certificate of an https proxy, or of the service behind a proxy, is not trusted."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(HOST, "127.0.0.1").configure_cert(tls)
    async with (
        raw_server(make_response(), tls=tls) as server,
        run_proxy({HOST: urlsplit(server.url).port or 0}, tls=tls if side == "with" else None) as proxy,
    ):
        error = await fail(HTTPS, Network(proxy=proxy.url))
    assert isinstance(error, APIConnectionError)
    assert f"TLS failed {side} the proxy 127.0.0.1:" in str(error)
    with pytest.raises(APIConnectionError, match=UNTRUSTED):
        raise error
    assert (error.sent, error.transient, error.attempts) == (False, False, 1)


async def test_fault_65_proxy_without_tls_is_named() -> None:
    """An http proxy in an https:// URL: the hint is about the proxy's URL."""

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(respond, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    error = await fail(HTTPS, Network(proxy=url))
    assert "does not speak TLS there; check scheme and port in the proxy's URL" in str(error)
    listener.close()
    await listener.wait_closed()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of certificates and keys, good and bad."""
    authority, tmp_path = trustme.CA(), tmp_path_factory.mktemp("files")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name in ("one", "two"):
        certificate = authority.issue_cert(name)
        certificate.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.pem"))
        certificate.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
    key = serialization.load_pem_private_key((tmp_path / "one.key").read_bytes(), None)
    for name, form in (
        ("new", serialization.PrivateFormat.PKCS8),
        ("old", serialization.PrivateFormat.TraditionalOpenSSL),
    ):
        encryption = serialization.BestAvailableEncryption(PASSWORD.encode())
        (tmp_path / f"{name}.locked").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text(KEY_TEXT)
    for kind in ("CERTIFICATE", "PRIVATE KEY"):
        (tmp_path / f"cut {kind}").write_text(f"-----BEGIN {kind}-----\n{KEY_TEXT}\n-----END {kind}-----\n")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"ca_file": "missing"}, r"ca_file .*/missing cannot be read: No such file or directory"),
        *(({"ca_file": name}, "ca_file .* cannot be read: it is not a file") for name in ("pipe", ".")),
        *(({name: "/proc/self/mem"}, f"{name} /proc/self/mem cannot be read: ") for name in ("ca_file", "client_cert")),
        ({"ca_file": "empty/x"}, r"ca_file .*/empty/x cannot be read: Not a directory"),
        *(
            ({"ca_file": name}, rf"ca_file .*/{name} has no certificate in PEM form")
            for name in ("empty", "text", "cut CERTIFICATE", "one.key")
        ),
        ({"client_cert": ("one.pem", "missing")}, "client_cert .*/missing cannot be read: No such file"),
        ({"client_cert": ("missing", "one.key")}, "client_cert .*/missing cannot be read: No such file"),
        ({"client_cert": "pipe"}, "client_cert .*/pipe cannot be read: it is not a file"),
        (
            {"client_cert": ("one.pem", "two.key")},
            r"the key in .*/two.key is not that of the certificate in .*/one.pem",
        ),
        *(
            (
                {"client_cert": ("one.pem", name)},
                f"the key in .*/{name} has a passphrase: remove it, or pass ssl_context",
            )
            for name in ("new.locked", "old.locked")
        ),
        *(
            ({"client_cert": (name, "one.key")}, f"client_cert: .*/{name} has no certificate in PEM form")
            for name in ("empty", "text", "cut CERTIFICATE", "one.key")
        ),
        *(
            ({"client_cert": ("one.pem", name)}, f"client_cert: .*/{name} has no private key in PEM form")
            for name in ("empty", "text", "cut PRIVATE KEY", "two.pem")
        ),
        ({"client_cert": "one.pem"}, "client_cert: .*/one.pem has no private key in PEM form"),
    ],
)
async def test_fault_66_bad_certificate_files_are_named(
    files: Path, canary: Canary, arguments: dict[str, Any], problem: str
) -> None:
    """The first request raises a `ConfigurationError` with the path; the content is nowhere, and nothing is sent."""
    canary.secrets += [KEY_TEXT, PASSWORD, (files / "one.key").read_text().splitlines()[1]]
    [(name, value)] = arguments.items()
    paths: Any = tuple(files / part for part in value) if isinstance(value, tuple) else files / value
    network = Network(**{name: paths})
    limiter = RateLimiter(1, 60)
    async with CustomersClient(TOKEN, base_url=HTTPS, network=network, rate_limiter=limiter) as client:
        for _ in range(3):  # the rate limit of one request is not touched
            with pytest.raises(ConfigurationError, match=problem):
                await client.get_page(1)


async def test_fault_66_file_that_appears_later_is_read(emulator: Emulator, tmp_path: Path) -> None:
    """A failed reading is not remembered: the next call reads the file again."""
    path = tmp_path / "ca.pem"
    async with CustomersClient(emulator.token, base_url=emulator.url, network=Network(ca_file=path)) as client:
        with pytest.raises(ConfigurationError):
            await client.whoami()
        trustme.CA().cert_pem.write_to_path(str(path))
        assert (await client.whoami()).uuid


@pytest.mark.parametrize(
    "url",
    [
        "socks5://proxy.example:1080",
        f"http://billing:{PASSWORD}@proxy.example/path",
        f"http://billing:{PASSWORD}@pro^xy",
        "http://",
    ],
)
async def test_fault_66_bad_proxy_of_the_environment_is_an_error(
    monkeypatch: pytest.MonkeyPatch, canary: Canary, url: str
) -> None:
    """It is neither used nor ignored; the error says that it comes from the environment."""
    canary.secrets.append(PASSWORD)
    monkeypatch.setenv("https_proxy", url)
    error = await fail(HTTPS, Network(trust_env=True))
    assert isinstance(error, ConfigurationError)
    assert str(error).startswith("the proxy in the environment ")


async def test_fault_66_files_that_are_not_read_in_time_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs ends the call after ``timeout``; nothing was sent, and no thread holds the event loop."""
    released = threading.Event()

    def hang(*_: object) -> None:
        released.wait(10)

    monkeypatch.setattr(transport, "load_network", hang)
    error = await fail(HTTPS, Network(ca_file="ca.pem"), timeout=0.02)
    released.set()
    assert isinstance(error, APITimeoutError)
    assert str(error) == "the files of network were not read within 0.02 s"
    assert not error.sent


async def test_fault_66_disk_that_hangs_occupies_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that time out one after the other wait for the same thread; when it is done, the next call succeeds."""
    released, started = threading.Event(), threading.Semaphore(0)

    def hang(*_: object) -> LoadedNetwork:
        started.release()
        released.wait(10)
        return LoadedNetwork()

    monkeypatch.setattr(transport, "load_network", hang)
    async with serve(make_response(customer()), network=Network(ca_file="ca.pem")) as (client, _):
        for _ in range(3):
            with pytest.raises(APITimeoutError):
                await client.with_options(timeout=0.02).get_customer(EXAMPLE)
        assert started.acquire(blocking=False)
        assert not started.acquire(blocking=False)
        released.set()
        await client.get_customer(EXAMPLE)


@pytest.mark.parametrize("trust_env", [True, False])
async def test_fault_50_netrc_is_ignored_with_proxies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trust_env: bool
) -> None:
    """A netrc file replaces neither the token nor the proxy's password, with ``trust_env`` or a proxy."""
    (tmp_path / "netrc").write_text("machine plain login eve password guess\ndefault login eve password guess\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with (
        raw_server(make_response(customer())) as server,
        run_proxy({"plain": urlsplit(server.url).port or 0}) as proxy,
    ):
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        network = Network(trust_env=trust_env, proxy=None if trust_env else proxy.url, allow_http=("plain",))
        async with CustomersClient(TOKEN, base_url="http://plain", network=network) as client:
            await client.get_customer(EXAMPLE)
        assert len(proxy.requests) == 1
        assert "Proxy-Authorization" not in proxy.requests[0]
        assert f"Authorization: Bearer {TOKEN}\r\n" in proxy.requests[0]
        assert server.requests[0].count(b"Authorization") == 1


ECHOES = [
    f'{{"message":"{HEADER}","errors":{{"{HEADER}":["{PASSWORD}"],"x":["a {HEADER[:14]} {PASSWORD}"]}}}}',
    f'{{"message":"VALIDATION_ERROR","errors":["{HEADER} {PASSWORD}", "{HEADER.lower()}"]}}',
    f"<html>{HEADER}{PASSWORD}",
]


@pytest.mark.parametrize("base_url", [HTTPS, "http://plain"])
async def test_fault_49_secrets_of_a_network_leak_nowhere(canary: Canary, base_url: str) -> None:
    """Not from a proxy that fails in any way, and not from a service that repeats what it received."""
    canary.secrets += [PASSWORD, HEADER]
    replies: list[Reply] = [stall, hang_up, reset, b"garbage\r\n\r\n", refuse("407 No"), refuse("503 No")]
    for status in ("200 OK", f"302 {HEADER}", "403 No", "422 No", "500 No"):
        replies += [make_response(body.encode(), status, Location=f"https://{HEADER}.example") for body in ECHOES]
    for reply in replies:
        async with run_proxy(reply=reply) as proxy:
            network = Network(
                proxy=with_login(proxy.url), headers={"X-Gateway-Key": HEADER}, allow_http=("plain",), app="billing"
            )
            options: Any = {"network": network, "retry": RetryPolicy(max_attempts=1), "timeout": 1.0}
            async with CustomersClient(TOKEN, base_url=base_url, **options) as client:
                canary.scan(f"{client!r} {network!r} {client._api!r}", "a repr")
                for call in (client.get_customer(EXAMPLE), client.get_page(1), client.whoami()):
                    with contextlib.suppress(CustomersError):
                        await call
                await _cancel_in_flight(client)


async def _cancel_in_flight(client: CustomersClient) -> None:
    """Cancel a call in aiohttp's own frames, whose locals the canary prints."""
    call = asyncio.ensure_future(client.get_page(1))
    for _ in range(20):
        await asyncio.sleep(0)
    call.cancel()
    with contextlib.suppress(CustomersError, asyncio.CancelledError):
        await call


def test_fault_49_refused_values_leak_nowhere(canary: Canary) -> None:
    """Errors of the constructor show no value, nor do the locals of their frames."""
    canary.secrets += [PASSWORD, HEADER]
    mistakes: list[dict[str, Any]] = [
        {"proxy": f"http://billing:{PASSWORD}@proxy/path"},
        {"proxy": f"http://billing:{PASSWORD}@proxy:port"},
        {"proxy": [f"http://billing:{PASSWORD}@proxy"]},
        {"proxy": f"http://billing:{PASSWORD}@proxy", "trust_env": True},
        {"proxy": f"http://billing:{PASSWORD}@proxy", "allow_http": "emulator"},
        {"headers": {"X-Key": f"{HEADER}\r\n"}},
        {"headers": {f"X-Key: {HEADER}": "x"}},
        {"headers": {"Host": HEADER}},
        {"headers": {"X-Key": [HEADER]}},
        {"headers": [HEADER]},
        {"headers": {"X-Key": HEADER}, "app": ""},
    ]
    for mistake in mistakes:
        with pytest.raises((TypeError, ValueError)):
            Network(**mistake)
    with pytest.raises(ValueError, match="base_url"):
        CustomersClient(TOKEN, base_url="http://127.0.0.1", network=Network(proxy=f"http://u:{PASSWORD}@proxy"))


async def test_fault_49_service_that_repeats_a_header_is_still_read(canary: Canary) -> None:
    """A short value of a header is part of other words: texts that have it are kept."""
    reply = make_response(b'{"message":"VALIDATION_ERROR","errors":["europe is unknown"]}', "422 No")
    async with raw_server(reply) as server:
        error = await fail(server.url, Network(headers={"X-Region": "eu"}))
    assert isinstance(error, APIStatusError)
    assert error.errors == ["europe is unknown"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_fault_12_missing_client_certificate_names_the_remedy(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """With TLS 1.3 the server's alert comes after the handshake, in place of the response."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    tls.maximum_version = version
    tls.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.get_running_loop().run_in_executor(None, _refuse_handshakes, listener, tls)
        network = Network(ca_file=tmp_path / "ca.pem")
        error = await fail(f"https://127.0.0.1:{listener.getsockname()[1]}", network, retry=RetryPolicy(max_attempts=1))
        listener.shutdown(socket.SHUT_RDWR)
        await serving
    assert str(error).startswith("TLS failed: the server ")
    assert str(error).endswith("Network(client_cert=...)")


def _refuse_handshakes(listener: socket.socket, tls: ssl.SSLContext) -> None:
    """Accept connections until the listener is shut down; wait for the client's end, so that it reads the alert."""
    while True:
        try:
            accepted, _ = listener.accept()
        except OSError:
            return
        with accepted, accepted.dup() as raw:
            connection = tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
            with connection, contextlib.suppress(OSError):
                connection.do_handshake()
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(4096):
                    pass
