"""The doctor: each fault and state of a service, and of the way to it, is named with a remedy."""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
import trustme
from aiohttp import web

from customers_async import Network
from customers_async.calls.responses import Response
from customers_async.doctor.examination import examine, exit_code
from customers_async.doctor.facts import Certificate, DoctorFacts, SentRequest, Step, TokenFacts
from customers_async.doctor.finding import Finding
from customers_async.doctor.probe import probe
from customers_async.emulator import Emulator, Exchange
from customers_async.emulator.faults import NAMED_FAULTS
from tests.faults.test_command_line import terminal
from tests.proxy import run_proxy
from tests.test_cli import Command, command, service
from tests.wire import hang_up, raw_server

__all__ = ["command", "service"]  # fixtures

CHECKS = [
    "token",
    "expiry",
    "base_url",
    "proxy",
    "dns",
    "tcp",
    "tls",
    "response",
    "authentication",
    "whitelist",
    "clock",
    "rate_limit",
    "headers",
    "cap",
    "records",
    "latency",
]


@attrs.frozen
class Report:
    """The findings by their checks."""

    findings: dict[str, Finding]
    code: int
    requests: int

    def status(self, check: str) -> str:
        """The result of a check."""
        return self.findings[check].status

    @property
    def problems(self) -> dict[str, str]:
        """The results that are neither ok nor missing, but for the latency: the machine may be busy."""
        found = {name: finding.status for name, finding in self.findings.items() if name != "latency"}
        return {name: status for name, status in found.items() if status in ("warning", "failed")}


async def investigate(
    url: str, token: str | None = None, network: Network | None = None, timeout: float = 5.0
) -> DoctorFacts:
    """Collect the facts about a server, with a token in the environment."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CUSTOMERS_TOKEN", token or "token")
        return await probe(None, url, network or Network(), timeout=timeout)


async def diagnose(emulator: Emulator, token: str | None = None) -> Report:
    """Examine an emulator."""
    facts = await investigate(emulator.url, token or emulator.token, timeout=30.0)
    return report(facts, emulator.stats.requests)


def report(facts: DoctorFacts, requests: int = 0) -> Report:
    """Examine facts, and check what holds for every report."""
    findings = examine(facts)
    assert [finding.check for finding in findings] == CHECKS
    for finding in findings:
        assert finding.remedy is None or finding.status in ("warning", "failed"), finding
        assert finding.remedy is not None or finding.status != "warning", finding
        assert (finding.code in (2, 3, 4)) == (finding.status == "failed"), finding
    assert requests <= 3
    return Report({finding.check: finding for finding in findings}, exit_code(findings), requests)


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator with 250 customers."""
    async with Emulator(customers=250) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def _clear_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


# A service that works


async def test_all_is_well(emulator: Emulator) -> None:
    """Two requests; over plain http there is no certificate."""
    found = await diagnose(emulator)
    assert (found.problems, found.code, found.requests) == ({}, 0, 2)
    assert [name for name in CHECKS if found.status(name) == "not checked"] == ["tls"]
    assert found.findings["headers"].message == "edition a of the vendor's documentation"
    assert found.findings["rate_limit"].message == "498 of 500 requests are left; 0 were used before"


# Faults and states of the service

FAULTS: dict[int | str, tuple[str, int, str]] = {
    "html": ("response", 4, "HTML"),
    "maintenance": ("response", 4, "status 503 as an HTML page"),
    "redirect": ("response", 4, "redirect"),
    "echo": ("response", 4, "status 400"),
    "bad_json": ("response", 4, "not JSON"),
    "empty": ("response", 4, "empty"),
    "null": ("response", 4, "null"),
    "cut": ("response", 4, "ClientPayloadError"),
    "cut_gzip": ("response", 4, "cut short"),
    "stall": ("response", 4, "within 30 s"),
    "stall_body": ("response", 4, "within 30 s"),
    "drip": ("response", 4, "within 30 s"),
    "hang_up": ("response", 4, "ServerDisconnectedError"),
    "reset": ("response", 4, "reset"),
    "html_502": ("response", 4, "status 502 as an HTML page"),
    204: ("response", 4, "status 204"),
    400: ("response", 4, "status 400"),
    401: ("authentication", 3, "401"),
    403: ("whitelist", 3, "403"),
    404: ("response", 4, "status 404"),
    422: ("response", 4, "status 422"),
    429: ("rate_limit", 4, "429"),
    500: ("response", 4, "status 500"),
    503: ("response", 4, "status 503"),
}


def test_every_named_fault_has_a_row() -> None:
    """A new fault needs one in `FAULTS`."""
    assert NAMED_FAULTS.keys() <= FAULTS.keys()


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_fault_is_named(emulator: Emulator, fault: int | str) -> None:
    """In its own finding, with its exit code, and in no more than three requests."""
    check, code, words = FAULTS[fault]
    emulator.fail_next(fault, times=None)
    found = await diagnose(emulator)
    assert (found.status(check), found.code) == ("failed", code)
    assert words in found.findings[check].message
    assert [name for name, status in found.problems.items() if status == "failed"] == [check]
    assert emulator.token not in repr(found)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_fault_of_the_list_alone_is_named(emulator: Emulator, fault: int | str) -> None:
    """After a request that succeeded."""
    check, code, words = FAULTS[fault]
    emulator.fail_next(fault, times=None, page=1)
    found = await diagnose(emulator)
    assert (found.status(check), found.code, found.status("records")) == ("failed", code, "not checked")
    assert words in found.findings[check].message


async def rename(asked: Exchange) -> web.StreamResponse:
    """Respond with records that lack a field."""
    response = await asked.answer()
    response.body = bytes(response.body or b"").replace(b'"name"', b'"title"')  # type: ignore[arg-type]  # it is bytes
    return response


ODD: dict[str, Any] = {"Kan4ri Street": 1}
STATES: list[tuple[Callable[[Emulator], object], str, str, int, str]] = [
    (lambda e: e.expire_token(), "authentication", "failed", 3, "refuses the token"),
    (lambda e: setattr(e, "whitelisted", False), "whitelist", "failed", 3, "address"),
    (lambda e: e.rate_limit(1), "rate_limit", "failed", 4, "it says to wait for "),
    (lambda e: e.rate_limit(2), "rate_limit", "warning", 0, "0 of 2"),
    (lambda e: setattr(e, "edition", "b"), "headers", "ok", 0, "edition b"),
    (lambda e: e.headers.update({"X-Api-Total": None}), "headers", "warning", 0, "X-Api-Total"),
    (lambda e: e.headers.update({"X-Api-Has-More-Pages": "perhaps"}), "headers", "warning", 0, "Has-More"),
    (lambda e: e.headers.update({"X-RateLimit-Limit": None}), "rate_limit", "warning", 0, "do not name"),
    (lambda e: e.headers.update({"Date": None}), "clock", "not checked", 0, "no response"),
    (lambda e: e.headers.update({"Date": "Thu, 01 Jan 2015 00:00:00 GMT"}), "clock", "warning", 0, "days ahead of"),
    (lambda e: setattr(e, "latency", 5.0), "latency", "warning", 0, "5.0 s"),
    (lambda e: e.delete(250), "records", "not checked", 0, "the list is empty"),
    (lambda e: e.touch(3, name=1), "records", "failed", 4, "1 of 100 do not fit: name (1)"),
    (lambda e: e.touch(3, created_at=True), "records", "failed", 4, "created_at (1)"),
    (lambda e: e.touch(3, color="Kan4ri"), "records", "warning", 0, "not in the documentation: color"),
    (lambda e: e.touch(3, **ODD), "records", "ok", 0, "all of 100"),
    (lambda e: e.fail_next(rename, times=None, page=1), "records", "warning", 0, "missing: name (100)"),
]


@pytest.mark.parametrize(("prepare", "check", "status", "code", "words"), STATES)
async def test_state_is_named(
    emulator: Emulator, prepare: Callable[[Emulator], object], check: str, status: str, code: int, words: str
) -> None:
    """Warnings do not change the exit code; nothing shows a value."""
    token = emulator.token
    prepare(emulator)
    found = await diagnose(emulator, token)
    assert (found.status(check), found.code) == (status, code), found.findings[check]
    assert words in found.findings[check].message
    assert "Kan4ri" not in repr(found)


async def test_wrong_token_is_named(emulator: Emulator) -> None:
    """One that is no JWT is suspicious besides."""
    found = await diagnose(emulator, "Kan4ri-token")
    assert (found.code, found.problems) == (3, {"token": "warning", "authentication": "failed"})
    assert "Kan4ri" not in repr(found)


async def test_expiring_tokens_are_named(emulator: Emulator) -> None:
    """Soon, in time, and in the past: by the service's clock if this machine's is wrong."""
    soon = await diagnose(emulator, emulator.issue_token(lifetime=2 * 86_400))
    assert (soon.code, soon.problems) == (0, {"expiry": "warning"})
    assert "in 2 days" in soon.findings["expiry"].message
    emulator.stats.reset()
    assert (await diagnose(emulator, emulator.issue_token(lifetime=30 * 86_400))).problems == {}
    emulator.stats.reset()
    token = emulator.issue_token(lifetime=60)
    await asyncio.sleep(100)
    late = await diagnose(emulator, token)
    assert (late.code, late.problems["expiry"], late.problems["authentication"]) == (3, "failed", "failed")


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"customers": 10_000}, "ok", "no more than the cap"),
        ({"customers": 10_001}, "ok", "beyond the first 10,000"),
        ({"customers": 10_001, "capped": True}, "warning", "only the first 10,000 of 10,001"),
        ({"customers": 10_001, "capped": True, "cap_refuses": True}, "warning", "only the first 10,000 of 10,001"),
    ],
)
async def test_cap_is_found(settings: dict[str, Any], status: str, words: str) -> None:
    """By a third request, if the list is long enough."""
    async with Emulator(**settings) as emulator:
        found = await diagnose(emulator)
    assert (found.status("cap"), found.code) == (status, 0)
    assert words in found.findings["cap"].message


async def test_failure_beyond_the_cap_is_not_guessed_at() -> None:
    """Whether the list is capped is then not known."""
    async with Emulator(customers=10_001) as emulator:
        emulator.fail_next(500, page=101)
        found = await diagnose(emulator)
    assert (found.status("cap"), found.status("response"), found.code) == ("not checked", "failed", 4)


async def test_requests_of_other_programs_are_seen(emulator: Emulator) -> None:
    """Before and between the requests."""
    emulator.headers["X-RateLimit-Remaining"] = lambda remaining: str(int(remaining) - 10 * (500 - int(remaining)))
    found = await diagnose(emulator)
    assert found.findings["rate_limit"].message == (
        "478 of 500 requests are left; 10 were used before, and 10 meanwhile by other programs"
    )


# The way to the service


async def test_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing after it is checked; a proxy of the environment may be what is missing."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:Kan4ri@proxy.example")
    facts = await investigate("https://nowhere.invalid")
    found = report(facts)
    assert (found.code, found.status("dns"), found.status("proxy")) == (4, "failed", "warning")
    assert {found.status(name) for name in CHECKS[5:]} == {"not checked"}
    assert "Kan4ri" not in repr(found)


async def test_refused_connection() -> None:
    """The port is closed."""
    async with raw_server(b"") as server:
        url = server.url
    facts = await investigate(url)
    found = report(facts)
    assert (found.code, found.status("tcp")) == (4, "failed")
    assert "connect" in found.findings["tcp"].message


async def test_server_that_never_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout holds for each step."""

    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "open_connection", hang)
    found = report(await investigate("http://127.0.0.1:1"))
    assert found.findings["tcp"].message == "no connection to the server: nothing arrived within 5 s"


@asynccontextmanager
async def tls_server(authority: trustme.CA, name: str, **options: Any) -> AsyncIterator[str]:
    """A server with a certificate for a name; yield its URL."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name, **options).configure_cert(context)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
        await asyncio.sleep(0.1)  # the clock moves only after all connections have ended


@pytest.mark.parametrize(
    ("name", "trusted", "options", "words"),
    [
        ("localhost", False, {}, "from an authority that is not trusted here; if it is your company's, name its file"),
        ("other.example", True, {}, "for another host name; check the host in the base URL"),
        ("localhost", True, {"not_after": datetime.now(UTC) - timedelta(days=1)}, "has expired"),
        ("localhost", True, {"not_before": datetime.now(UTC) + timedelta(days=1)}, "not valid yet"),
    ],
)
async def test_bad_certificate_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, name: str, trusted: bool, options: dict[str, Any], words: str
) -> None:
    """By what is wrong with it."""
    authority = trustme.CA()
    if trusted:
        authority.cert_pem.write_to_path(f"{tmp_path / 'ca.pem'}")
        monkeypatch.setenv("SSL_CERT_FILE", f"{tmp_path / 'ca.pem'}")
    async with tls_server(authority, name, **options) as url:
        found = report(await investigate(url))
    assert (found.code, found.status("tls")) == (4, "failed")
    assert words in found.findings["tls"].message
    assert found.status("response") == "not checked"


async def test_good_certificate_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The version of TLS and the end of its validity; soon, it is a warning."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(f"{tmp_path / 'ca.pem'}")
    monkeypatch.setenv("SSL_CERT_FILE", f"{tmp_path / 'ca.pem'}")
    async with tls_server(authority, "localhost", not_after=datetime.now(UTC) + timedelta(days=3)) as url:
        found = report(await investigate(url))
    assert (found.status("tls"), found.findings["tls"].message[:7]) == ("warning", "TLSv1.3")


async def test_https_to_a_plain_port_is_named(emulator: Emulator) -> None:
    """It speaks no TLS."""
    found = report(await investigate(emulator.url.replace("http", "https")))
    assert (found.code, found.status("tls")) == (4, "failed")
    assert found.findings["tls"].message == (
        "TLS failed: the server does not speak TLS there; check scheme and port in the base URL"
    )


async def test_server_that_hangs_up_instead_of_tls_is_named() -> None:
    """The port may be that of another service."""
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        found = report(await investigate(url))
    assert (found.code, found.status("tls")) == (4, "failed")
    assert "check that the port of the base URL speaks https" in found.findings["tls"].message


async def test_server_that_is_no_web_server() -> None:
    """The response is not HTTP."""
    async with raw_server(b"220 mail.example ESMTP\r\n") as server:
        found = report(await investigate(server.url))
    assert (found.code, found.status("response")) == (4, "failed")
    assert "check the base URL" in f"{found.findings['response'].remedy}"


# Findings from facts alone


def facts_with(**changes: Any) -> DoctorFacts:
    """Facts of a working service over https, with changes."""
    response = Response(200, {"Content-Type": "application/json"}, b"[]")
    owner = SentRequest("/api/v1/auth", 0.1, 1e9, response)
    facts = DoctorFacts(
        now=1e9,
        token=TokenFacts("$CUSTOMERS_TOKEN", is_jwt=True),
        url="https://public-api.gurupay.eu",
        dns=Step(detail="192.0.2.1"),
        tcp=Step(detail="port 443"),
        tls=Certificate("TLSv1.3", 2e9),
        owner=owner,
    )
    return attrs.evolve(facts, **changes)


@pytest.mark.parametrize(
    ("changes", "check", "status", "words"),
    [
        ({}, "base_url", "ok", "production"),
        ({}, "tls", "ok", "valid until 2033-05-18"),
        ({"token": TokenFacts("$X", expires=1e9 - 100)}, "expiry", "warning", "still accepts"),
        ({"token": TokenFacts("$X", expires=1e9 - 100), "owner": None}, "expiry", "failed", "expired at 2001-09-09"),
        ({"token": TokenFacts("$X", expires=-1e15), "owner": None}, "expiry", "failed", "beyond all calendars"),
        ({"token": TokenFacts("$X", expires=1e9 + 90)}, "expiry", "warning", "in 2 minutes"),
        ({"tls": Certificate("TLSv1.2", float("inf"))}, "tls", "ok", "beyond all calendars"),
        ({"tls": Certificate(failure="wrong version number")}, "tls", "failed", "wrong version number"),
        ({"ignored_proxies": ("HTTPS_PROXY",)}, "proxy", "ok", "does not use the proxy in HTTPS_PROXY"),
    ],
)
def test_finding_from_facts(changes: dict[str, Any], check: str, status: str, words: str) -> None:
    """Without a server."""
    found = report(facts_with(**changes))
    assert found.status(check) == status
    assert words in found.findings[check].message


# The command


def test_command_prints_a_table(command: Command, service: Emulator) -> None:
    """One line for each check that is well."""
    outcome = command("doctor")
    assert (outcome.code, outcome.err) == (0, "")
    assert [line.split()[0] for line in outcome.out.splitlines()] == CHECKS


def test_command_prints_remedies(command: Command, service: Emulator) -> None:
    """Below what was found; the exit code is that of the failure."""
    service.whitelisted = False
    outcome = command("doctor")
    assert outcome.code == 3
    assert "-> add this machine's public address to the IP whitelist" in outcome.out


@pytest.mark.parametrize("columns", [40, 60])
def test_command_fits_a_narrow_terminal(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """Each check has a line of its own, and what was found is below it."""
    service.whitelisted = False
    shown: list[bytes] = []
    with terminal(monkeypatch, columns, shown):
        assert command("doctor").code == 3
    lines = re.sub(r"\x1b\[[0-9;]*m", "", b"".join(shown).decode()).splitlines()
    assert max(map(len, lines)) <= columns
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == CHECKS
    assert "whitelist: failed" in map(str.rstrip, lines)


def test_command_as_json_has_stable_names(command: Command, service: Emulator) -> None:
    """One document."""
    document = command("doctor", "--json").document
    assert document["requests"] == 2
    assert [finding["check"] for finding in document["findings"]] == CHECKS
    assert {*document["findings"][0]} == {"check", "status", "message", "remedy"}
    assert service.token not in json.dumps(document)


@pytest.mark.parametrize(
    ("environment", "code", "check"),
    [
        ({"CUSTOMERS_TOKEN": ""}, 3, "token"),
        ({"CUSTOMERS_TOKEN": "Kan4ri token"}, 3, "token"),
        ({"CUSTOMERS_TOKEN": "", "CUSTOMERS_TOKEN_FILE": "/nowhere/token"}, 3, "token"),
        ({"CUSTOMERS_BASE_URL": "http://Kan4ri.example"}, 2, "base_url"),
        ({"CUSTOMERS_BASE_URL": "https://user:Kan4ri@host.example"}, 2, "base_url"),
        ({"CUSTOMERS_BASE_URL": "Kan4ri"}, 2, "base_url"),
    ],
)
def test_command_names_what_is_missing_here(
    command: Command,
    service: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    code: int,
    check: str,
) -> None:
    """Without a request, and without the value."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    outcome = command("doctor", "--json")
    assert (outcome.code, outcome.document["requests"], service.stats.requests) == (code, 0, 0)
    assert [f["check"] for f in outcome.document["findings"] if f["status"] == "failed"] == [check]
    assert "Kan4ri" not in outcome.out + outcome.err


def test_command_names_the_variable_that_is_wrong(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy is not to correct the base URL, if that is not what is wrong."""
    monkeypatch.setenv("CUSTOMERS_ALLOW_HTTP", "http://emulator")
    outcome = command("doctor", "--json")
    finding = {f["check"]: f for f in outcome.document["findings"]}["base_url"]
    assert (outcome.code, finding["status"], finding["remedy"]) == (2, "failed", None)
    assert finding["message"].startswith("CUSTOMERS_ALLOW_HTTP must be exact host names")


@pytest.mark.parametrize("option", ["--debug", "--max-wait=1"])
def test_command_refuses_options_without_effect(command: Command, service: Emulator, option: str) -> None:
    """It does not wait for the rate limit, and its report is what it logs."""
    outcome = command("doctor", option)
    assert (outcome.code, "no such option" in outcome.err, service.stats.requests) == (2, True, 0)


def test_command_reads_the_token_from_a_file(command: Command, service: Emulator, tmp_path: Any) -> None:
    """The report names it."""
    (tmp_path / "token").write_text(service.token)
    outcome = command("doctor", "--json", "--token-file", f"{tmp_path / 'token'}")
    assert outcome.code == 0
    assert outcome.document["findings"][0]["message"] == f"a JWT from the file {tmp_path / 'token'}"


def test_command_without_a_token_checks_the_way_to_the_server(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name and port need none."""
    monkeypatch.delenv("CUSTOMERS_TOKEN")
    statuses = {f["check"]: f["status"] for f in command("doctor", "--json").document["findings"]}
    assert (statuses["token"], statuses["tcp"], statuses["response"]) == ("failed", "ok", "not checked")


# Networks


async def test_request_through_a_proxy(emulator: Emulator) -> None:
    """Name and port are the proxy's, and its password is not shown."""
    port = int(emulator.url.rpartition(":")[2])
    async with run_proxy({"127.0.0.1": port}, login="user:Kan4ri") as proxy:
        url = proxy.url.replace("http://", "http://user:Kan4ri@")
        network = Network(proxy=url)
        facts = await investigate(emulator.url, emulator.token, network=network)
    found = report(facts)
    assert (found.code, found.status("proxy"), found.status("tls")) == (0, "ok", "not checked")
    assert found.findings["proxy"].message.startswith("requests pass 127.0.0.1:")
    assert "Kan4ri" not in repr(found) + repr(facts)


async def test_proxy_that_does_not_run(emulator: Emulator) -> None:
    """It is the proxy that is named, not the server."""
    async with raw_server(b"") as server:
        network = Network(proxy=server.url)
    found = report(await investigate(emulator.url, network=network))
    assert (found.code, found.status("tcp")) == (4, "failed")
    assert "no connection to the proxy" in found.findings["tcp"].message


@pytest.mark.parametrize(
    ("login", "words"),
    [("", "requires a user name and a password"), ("user:Kan4ri@", "refuses the user name or the password")],
)
async def test_proxy_that_refuses_is_named(emulator: Emulator, login: str, words: str) -> None:
    """The message says what to do; to run it again does not help."""
    async with run_proxy(login="user:pass") as proxy:
        network = Network(proxy=proxy.url.replace("//", f"//{login}"))
        facts = await investigate(emulator.url, emulator.token, network=network)
    found = report(facts, len(proxy.requests))
    assert (found.code, found.problems, found.requests) == (4, {"response": "failed"}, 1)
    assert words in found.findings["response"].message
    assert found.findings["response"].remedy is None
    assert "Kan4ri" not in repr(found) + repr(facts)


async def test_proxy_that_hangs_up_may_do_better_later(emulator: Emulator) -> None:
    """The remedy is to run it again."""
    async with run_proxy(reply=b"") as proxy:
        network = Network(proxy=proxy.url)
        found = report(await investigate(emulator.url, emulator.token, network=network))
    assert (found.code, found.problems) == (4, {"response": "failed"})
    assert "run it again" in f"{found.findings['response'].remedy}"


@pytest.mark.parametrize("with_proxy", [False, True])
async def test_file_that_cannot_be_read_is_named(emulator: Emulator, tmp_path: Any, with_proxy: bool) -> None:
    """With and without a proxy, and before a request."""
    async with run_proxy() as proxy:
        network = Network(ca_file=tmp_path / "missing.pem", proxy=proxy.url if with_proxy else None)
        facts = await investigate(emulator.url, emulator.token, network=network)
    found = report(facts, emulator.stats.requests + len(proxy.requests))
    assert (found.code, found.problems, found.requests, facts.requests) == (3, {"tls": "failed"}, 0, [])
    assert "missing.pem cannot be read" in found.findings["tls"].message
    assert found.findings["tls"].remedy == "correct --ca-file or CUSTOMERS_CA_FILE"


async def test_authority_of_a_file(tmp_path: Any) -> None:
    """Its certificates are trusted; a file that is none is named."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(f"{tmp_path / 'ca.pem'}")
    (tmp_path / "none.pem").write_text("Kan4ri")
    async with tls_server(authority, "localhost") as url:
        network = Network(ca_file=tmp_path / "ca.pem")
        found = report(await investigate(url, network=network))
        assert found.status("tls") == "ok"
        network = Network(ca_file=tmp_path / "none.pem")
        found = report(await investigate(url, network=network))
    assert (found.code, found.status("tls")) == (3, "failed")
    assert "none.pem" in found.findings["tls"].message
    assert "Kan4ri" not in repr(found)


def test_command_allows_http_to_a_named_host(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the other commands do; the name need not exist."""
    monkeypatch.setenv("CUSTOMERS_BASE_URL", "http://nowhere.invalid:8000")
    statuses = {f["check"]: f["status"] for f in command("doctor", "--json").document["findings"]}
    assert statuses["base_url"] == "failed"
    outcome = command("doctor", "--json", "--allow-http", "nowhere.invalid")
    statuses = {f["check"]: f["status"] for f in outcome.document["findings"]}
    assert (outcome.code, statuses["base_url"], statuses["dns"]) == (4, "ok", "failed")


def test_command_refuses_a_bad_proxy(command: Command, service: Emulator) -> None:
    """Wrong usage, as for the other commands."""
    outcome = command("doctor", "--proxy", "ftp://user:Kan4ri@proxy")
    assert (outcome.code, outcome.out, "Kan4ri" in outcome.err) == (2, "", False)
