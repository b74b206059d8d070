"""`Network`: its values, and what reaches the service and the proxy, over real sockets."""

import asyncio
import copy
import pickle
import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import attrs
import pytest
import trustme

from customers_async import CustomersClient, Network
from customers_async.emulator import Emulator
from tests.proxy import Proxy, run_proxy
from tests.wire import TOKEN, RawServer, make_response, raw_server

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
CUSTOMER = make_response(f'{{"uuid":"{EXAMPLE}","name":"John Doe"}}'.encode())
HOST = "customers.example"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A private certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of its certificate."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """The TLS settings of a server with a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST, "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve the name ``emulator`` to loopback, as a network of containers does to another machine."""
    real = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host in ("emulator", b"emulator") else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def port_of(server: RawServer | Emulator | Proxy) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


async def look_up(base_url: str, network: Network) -> str | None:
    """Look up the example customer with a client of its own; return its name."""
    async with CustomersClient(TOKEN, base_url=base_url, network=network) as client:
        return (await client.get_customer(EXAMPLE)).name


def test_network_shows_no_secret() -> None:
    """The repr has the proxy's host and port, and the names of headers; the object does not pickle."""
    network = Network(
        proxy="http://billing:s3cret@proxy.example:3128", headers={"X-Gateway-Key": "k3y"}, app="billing/2.1"
    )
    assert repr(network) == (
        "Network(proxy='http://proxy.example:3128', trust_env=False, ssl_context=None, ca_file=None, client_cert=None,"
        " headers=['X-Gateway-Key'], app='billing/2.1', allow_http=())"
    )
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="does not pickle"):
            copied(network)
    assert attrs.evolve(network, app=None).headers == {"X-Gateway-Key": "k3y"}
    assert Network(allow_http=["Emulator", "10.0.0.5", "::1"]).allow_http == ("emulator", "10.0.0.5", "::1")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        network.app = "other"  # type: ignore[misc]  # on purpose


SERVER_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
S = "s3cret-of-a-header"


@pytest.mark.parametrize(
    ("arguments", "kind", "problem"),
    [
        ({"proxy": 5}, TypeError, "proxy must be a str, not int"),
        ({"proxy": b"http://x"}, TypeError, "proxy must be a str, not bytes"),
        *(
            ({"proxy": url}, ValueError, "^proxy ")
            for url in (
                *("", "proxy.example:3128", "socks5://proxy.example", "http://", f"http://u:{S}@", "http://proxy:x"),
                *(f"http://u:{S}@proxy/path", "http://proxy?x", "http://proxy#", "http://pro xy", "http://proxy:0"),
                *("http://proxy:70000", "http://prôxy", f"http://u:{S}%0d%0a@proxy", f"http://u%3A:{S}@proxy"),
                *("http://proxy\r\nX: y", "http://[::1", "http://x..y"),
                *(
                    "http://pro^xy",
                    f"http://u:{S}@pro\\xy",
                    "http://pro%41xy",
                    "http://*",
                    "http://-x",
                    "http://[::1]x",
                ),
            )
        ),
        *(
            ({"proxy": f"http://u:{S}{character}x@proxy"}, ValueError, "in user name and password, percent-encode")
            for character in "/?#"
        ),
        ({"trust_env": 1}, TypeError, "trust_env must be a bool"),
        ({"proxy": f"http://u:{S}@proxy", "trust_env": True}, ValueError, "exclude each other"),
        ({"ssl_context": True}, TypeError, "ssl_context must be an ssl.SSLContext, not bool"),
        ({"ssl_context": SERVER_CONTEXT}, ValueError, "for clients"),
        ({"ssl_context": ssl.create_default_context(), "ca_file": "x"}, ValueError, "ssl_context excludes"),
        ({"ssl_context": ssl.create_default_context(), "client_cert": "x"}, ValueError, "ssl_context excludes"),
        *(({name: 5}, TypeError, f"{name} must be a path, not int") for name in ("ca_file", "client_cert")),
        *(({name: b"x"}, TypeError, f"{name} must be a path") for name in ("ca_file", "client_cert")),
        *(
            ({name: bad}, ValueError, f"{name} must not")
            for name in ("ca_file", "client_cert")
            for bad in ("", "\0", "\ud800")
        ),
        ({"client_cert": ("x", 5)}, TypeError, "client_cert must be a path"),
        ({"client_cert": ("x", None)}, TypeError, "client_cert must be paths"),
        ({"client_cert": ("x", "y", "z")}, ValueError, "client_cert must be a path, or the paths"),
        ({"client_cert": ["x", "y"]}, TypeError, "client_cert must be a path, not list"),
        ({"headers": [("X-Key", S)]}, TypeError, "headers must be a mapping"),
        ({"headers": None}, TypeError, "headers must be a mapping"),
        ({"headers": {"X-Key": 5}}, TypeError, "headers must have strings"),
        ({"headers": {b"X-Key": S}}, TypeError, "headers must have strings"),
        *(
            ({"headers": {name: S}}, ValueError, f"headers must not have '{name}': ")
            for name in (
                *("Authorization", "HOST", "proxy-authorization", "Proxy-Connection", "Connection", "Keep-Alive", "TE"),
                *("Trailer", "transfer-encoding", "Upgrade", "Content-Length", "Content-Type", "Content-Encoding"),
                *("Accept", "Accept-Encoding", "Cache-Control", "User-Agent", "Expect", "Range", "If-None-Match"),
                *("If-Modified-Since", "HTTP2-Settings"),
            )
        ),
        *(
            ({"headers": {"X-Key": value}}, ValueError, "headers must not have 'X-Key': its value")
            for value in ("", " ", f" {S}", f"{S} ", f"{S}\r\nX: y", f"{S}\n", f"{S}\0", f"{S}é", f"{S}\t", f"{S}\x7f")
        ),
        ({"headers": {f"X-Key: {S}": "x"}}, ValueError, "the name of header 1 has a character"),
        ({"headers": {"": S}}, ValueError, "the name of header 1 has a character"),
        ({"headers": {"X-Kéy": S}}, ValueError, "the name of header 1 has a character"),
        ({"headers": {"X-Key": S, "x-key": S}}, ValueError, "headers has 'x-key' twice"),
        ({"app": 5}, TypeError, "app must be a str"),
        *(
            ({"app": app}, ValueError, "app must be a name")
            for app in ("", " ", "a/b/c", "billing/", "/2.1", "billing 2.1 ", "bill(ing)", "b\r\nX: y", "é", "a  b")
        ),
        ({"allow_http": "emulator"}, TypeError, r"allow_http must be a tuple of host names, such as \('emulator',\)"),
        ({"allow_http": 5}, TypeError, "allow_http must be a tuple"),
        ({"allow_http": (5,)}, TypeError, "allow_http must be host names, each a str"),
        *(
            ({"allow_http": (name,)}, ValueError, "allow_http must be exact host names")
            for name in ("", "*", "*.local", "http://emulator", "emulator:8000", "emulator/", "a b", "[::1]", "ä", "-x")
        ),
    ],
)
def test_bad_values_are_refused(arguments: dict[str, Any], kind: type[Exception], problem: str) -> None:
    """A value of the wrong type or form is refused at once, in a message without a secret."""
    with pytest.raises(kind, match=problem) as caught:
        Network(**arguments)
    assert S not in str(caught.value)


async def test_client_takes_a_network_or_a_session() -> None:
    """A session has its own settings, so a network beside it would be without effect."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match="network and session exclude each other"):
            CustomersClient(TOKEN, session=session, network=Network())
    with pytest.raises(TypeError, match="network must be a Network, not str"):
        CustomersClient(TOKEN, network="proxy")  # type: ignore[arg-type]  # on purpose


async def test_headers_and_app_reach_the_service() -> None:
    """Each request has the additional headers, and the program's name in front of the package's."""
    async with raw_server(CUSTOMER) as server:
        await look_up(server.url, Network(headers={"X-Gateway-Key": "k3y", "Cookie": "a=b"}, app="billing/2.1 jobs"))
        request = server.requests[0].decode()
    assert "X-Gateway-Key: k3y\r\nCookie: a=b\r\n" in request
    assert "User-Agent: billing/2.1 jobs customers-async/" in request
    assert f"Authorization: Bearer {TOKEN}\r\n" in request


@pytest.mark.usefixtures("resolve")
@pytest.mark.parametrize("source", ["argument", "environment", "both"])
async def test_plain_http_is_allowed_to_named_hosts(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """An emulator in another container is reached by its name, if an argument or the environment names it."""
    monkeypatch.setenv("CUSTOMERS_ALLOW_HTTP", {"argument": ""}.get(source, " other , Emulator,"))
    network = None if source == "environment" else Network(allow_http=("EMULATOR",))
    url = f"http://emulator:{port_of(emulator)}"
    async with CustomersClient(emulator.token, base_url=url, network=network) as client:
        assert await client.count_customers() == 250
    with pytest.raises(ValueError, match=r"Network\(allow_http=...\), --allow-http or CUSTOMERS_ALLOW_HTTP"):
        CustomersClient(TOKEN, base_url="http://emulator.example", network=network)


def test_names_in_the_environment_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wildcard or a URL in CUSTOMERS_ALLOW_HTTP is refused, by the variable's name."""
    monkeypatch.setenv("CUSTOMERS_ALLOW_HTTP", "http://emulator:8000")
    with pytest.raises(ValueError, match="CUSTOMERS_ALLOW_HTTP must be exact host names"):
        CustomersClient(TOKEN)


def test_plain_http_to_loopback_passes_no_proxy_elsewhere() -> None:
    """A loopback address is no protection if a proxy on another machine gets the request."""
    for url in ("http://127.0.0.1:8000", "http://localhost:8000"):
        CustomersClient(TOKEN, base_url=url, network=Network(proxy="http://127.0.0.1:3128"))
        with pytest.raises(ValueError, match="plain http would pass a proxy on another machine"):
            CustomersClient(TOKEN, base_url=url, network=Network(proxy="http://proxy.example:3128"))
    allowed = Network(proxy="http://proxy.example:3128", allow_http=("localhost",))
    CustomersClient(TOKEN, base_url="http://localhost:8000", network=allowed)


async def test_private_authority_is_trusted_besides_those_of_the_system(
    server_tls: ssl.SSLContext, ca_file: Path
) -> None:
    """``ca_file`` adds to the system's authorities; an SSL context replaces them."""
    async with raw_server(CUSTOMER, tls=server_tls) as server:
        assert await look_up(server.url, Network(ca_file=ca_file)) == "John Doe"
        assert await look_up(server.url, Network(ca_file=str(ca_file))) == "John Doe"
        context = ssl.create_default_context(cafile=ca_file)
        assert await look_up(server.url, Network(ssl_context=context)) == "John Doe"


async def test_authorities_of_the_system_stay_trusted(
    server_tls: ssl.SSLContext, ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the ``ca_file`` of another authority, a server with a certificate of the system's is still trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "another.pem"))
    async with raw_server(CUSTOMER, tls=server_tls) as server:
        assert await look_up(server.url, Network(ca_file=tmp_path / "another.pem")) == "John Doe"


@pytest.mark.parametrize("files", ["one", "two"])
async def test_client_certificate_is_presented(
    authority: trustme.CA, ca_file: Path, tmp_path: Path, files: str
) -> None:
    """A server that requires a client certificate gets it, from one file or two."""
    certificate = authority.issue_cert("billing.example")
    chain, key, both = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "both.pem"
    certificate.cert_chain_pems[0].write_to_path(str(chain))
    certificate.private_key_pem.write_to_path(str(key))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(both))
    demanding = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(demanding)
    authority.configure_trust(demanding)
    demanding.verify_mode = ssl.CERT_REQUIRED
    seen: list[Any] = []

    async def reply(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peercert"))
        writer.write(CUSTOMER)
        await writer.drain()

    async with raw_server(reply, tls=demanding) as server:
        network = Network(ca_file=ca_file, client_cert=both if files == "one" else (str(chain), key))
        assert await look_up(server.url, network) == "John Doe"
    assert ("DNS", "billing.example") in seen[0]["subjectAltName"]


@pytest.mark.parametrize("login", [None, "billing:p ss:wörd"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_https_passes_a_proxy_in_a_tunnel(
    server_tls: ssl.SSLContext, ca_file: Path, login: str | None, scheme: str
) -> None:
    """The proxy sees the host, its own password and the program's name; the service sees the token and the headers."""
    proxy_tls = server_tls if scheme == "https" else None
    async with (
        raw_server(CUSTOMER, tls=server_tls) as server,
        run_proxy({HOST: port_of(server)}, login=login, tls=proxy_tls) as proxy,
    ):
        url = proxy.url.replace("//", "//billing:p%20ss%3Aw%C3%B6rd@") if login else proxy.url
        network = Network(proxy=url, ca_file=ca_file, headers={"X-Gateway-Key": "k3y"}, app="billing/2.1")
        async with CustomersClient(TOKEN, base_url=f"https://{HOST}/api", network=network) as client:
            for _ in range(2):
                await client.get_customer(EXAMPLE)
        assert proxy.targets == [f"CONNECT {HOST}:443"]  # one tunnel for both requests
        assert server.targets == [f"/api/api/v1/customers/{EXAMPLE}"] * 2
    assert "User-Agent: billing/2.1 customers-async" in proxy.requests[0]
    assert not any(secret in proxy.requests[0] for secret in (TOKEN, "\r\nAuthorization", "X-Gateway-Key"))
    assert not any(b"proxy-auth" in request.lower() for request in server.requests)
    assert all(b"X-Gateway-Key: k3y" in request for request in server.requests)


@pytest.mark.parametrize("login", [None, "billing:pass"])
async def test_plain_http_passes_a_proxy_in_absolute_form(emulator: Emulator, login: str | None) -> None:
    """The emulator in another network is reached through a proxy that alone can resolve its name."""
    async with run_proxy({"emulator": port_of(emulator)}, login=login) as proxy:
        url = proxy.url.replace("//", f"//{login}@") if login else proxy.url
        network = Network(proxy=url, allow_http=("emulator",))
        async with CustomersClient(emulator.token, base_url="http://emulator:8000", network=network) as client:
            assert [found.uuid async for found in client.list_customers()] == list(emulator.uuids(0, 250))
        assert proxy.targets[0] == "GET http://emulator:8000/api/v1/customers?per_page=100&page=1"
        assert len(proxy.targets) == 3


@pytest.mark.parametrize(
    ("variables", "proxied"),
    [
        ({"HTTP_PROXY": "{}"}, True),
        ({"http_proxy": "{}"}, True),
        ({"ALL_PROXY": "{}"}, True),
        ({"HTTP_PROXY": "{}", "NO_PROXY": "other, emulator"}, False),
        ({"HTTP_PROXY": "{}", "NO_PROXY": "emulator:8000"}, True),
        ({"HTTP_PROXY": "{}", "NO_PROXY": "*"}, False),
        ({"HTTPS_PROXY": "{}"}, False),
        ({}, False),
    ],
)
@pytest.mark.usefixtures("resolve")
async def test_proxies_of_the_environment_are_used_with_trust_env(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], proxied: bool
) -> None:
    """``trust_env`` follows the usual variables, and NO_PROXY; their URLs may have a password, and lack a scheme."""
    async with run_proxy({"emulator": port_of(emulator)}, login="billing:pass") as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        address = proxy.url.replace("http://", "billing:pass@")
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(address))
        url = f"http://emulator:{port_of(emulator)}"
        network = Network(trust_env=True, allow_http=("emulator",))
        async with CustomersClient(emulator.token, base_url=url, network=network) as client:
            await client.count_customers()
        assert len(proxy.requests) == proxied


async def test_loopback_is_reached_without_the_proxy_of_the_environment(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in other tools, the environment's proxy is not for this machine."""
    async with run_proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        network = Network(trust_env=True)
        async with CustomersClient(emulator.token, base_url=emulator.url, network=network) as client:
            await client.count_customers()
        assert proxy.requests == []


async def test_files_are_read_once_and_off_the_event_loop(
    server_tls: ssl.SSLContext, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the first requests reads the files in a thread; the constructor and other requests do not."""
    reads: list[bool] = []
    load = ssl.create_default_context

    def note(*args: Any, **options: Any) -> ssl.SSLContext:
        reads.append(asyncio._get_running_loop() is None)
        return load(*args, **options)

    monkeypatch.setattr(ssl, "create_default_context", note)
    async with (
        raw_server(CUSTOMER, tls=server_tls) as server,
        CustomersClient(TOKEN, base_url=server.url, network=Network(ca_file=ca_file)) as client,
    ):
        assert reads == []
        await asyncio.gather(*(client.get_raw(f"/{number}") for number in range(8)))
        await client.get_customer(EXAMPLE)
        assert reads == [True]
