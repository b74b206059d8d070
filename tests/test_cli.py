"""The command in this process: output, requests, exit codes."""

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import web
from rich.cells import cell_len

import customers_async
from customers_async import CustomersClient, customer_from_dict
from customers_async.cli import main
from customers_async.emulator import Emulator, Exchange
from customers_async.export.formats import FORMATS
from customers_async.export.journal import journal_path

DOCUMENTED = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
UNKNOWN = "00000000-0000-0000-0000-000000000000"


@attrs.frozen
class Outcome:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Stdout as one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Stdout as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Outcome]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command with these arguments."""

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as exit_info:
            main(arguments)
        assert isinstance(exit_info.value.code, int)
        return Outcome(exit_info.value.code, *capsys.readouterr())

    return run


@contextmanager
def in_a_thread(emulator: Emulator) -> Iterator[Emulator]:
    """Run the emulator in a thread, since the command runs its own event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(emulator.start(), loop).result(5)
        yield emulator
    finally:
        asyncio.run_coroutine_threadsafe(emulator.close(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A service of 250 customers; environment variables hold its URL and a token."""
    with in_a_thread(Emulator(customers=250)) as emulator:
        monkeypatch.setenv("CUSTOMERS_BASE_URL", emulator.url)
        monkeypatch.setenv("CUSTOMERS_TOKEN", emulator.token)
        yield emulator


def signalling(number: int) -> Any:
    """A fault that sends this process a signal and never responds."""

    async def fault(_: Exchange) -> web.StreamResponse:
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return fault


# Data on stdout


def test_get_shows_every_field(command: Command, service: Emulator) -> None:
    """All 14 fields are shown, empty ones as a dash."""
    outcome = command("get", DOCUMENTED)
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.out.splitlines()) == 14
    assert "John Doe" in outcome.out
    assert "2025-04-11 12:17:23 UTC" in outcome.out
    assert "risk country code           -\n" in outcome.out


def test_get_as_json_prints_the_services_form(command: Command, service: Emulator) -> None:
    """One document with times in Unix seconds, from which the customer can be made again."""
    outcome = command("get", DOCUMENTED, "--json")
    assert outcome.out.count("\n") == 1
    assert outcome.document["created_at"] == 1744373843
    assert customer_from_dict(outcome.document).name == "John Doe"


def test_list_shows_a_table(command: Command, service: Emulator) -> None:
    """One header, and one line for each customer, over several pages."""
    outcome = command("list")
    header, *rows = outcome.out.splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    assert header.split() == ["UUID", "Type", "Country", "Name"]
    assert [row.split()[0] for row in rows] == list(service.uuids())
    assert {row[36:38] for row in rows} == {"  "}


def test_list_as_json_prints_one_customer_a_line(command: Command, service: Emulator) -> None:
    """JSON Lines, in the order of the list."""
    outcome = command("list", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert [line["uuid"] for line in outcome.lines] == list(service.uuids())


def test_empty_list_is_complete(command: Command, service: Emulator) -> None:
    """A list without customers is not a failure."""
    service.delete(250)
    outcome = command("list", "--json")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_json_keeps_non_ascii_letters(command: Command, service: Emulator) -> None:
    """Letters of any alphabet are printed unescaped."""
    service.touch(0, name="Živilė Σ 日本")
    assert '"Živilė Σ 日本"' in command("get", DOCUMENTED, "--json").out


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
@pytest.mark.parametrize("arguments", [("get", DOCUMENTED), ("list", "--limit", "1")], ids=["get", "list"])
def test_control_characters_are_escaped(
    command: Command, service: Emulator, arguments: tuple[str, ...], form: tuple[str, ...]
) -> None:
    """Control characters, C1 included, and changes of writing direction are escaped; markup is plain text."""
    service.touch(0, name="a\x1b[31m\r\n\x9b2J\x7f\u202eb[red]c[/red]")
    out = command(*arguments, *form).out
    assert r"a\u001b[31m\u000d\u000a\u009b2J\u007f\u202eb[red]c[/red]" in out.replace(r"\r\n", r"\u000d\u000a")
    assert all(character.isprintable() for line in out.split("\n") for character in line)


def test_count_prints_a_number(command: Command, service: Emulator) -> None:
    """The output is ready for shell arithmetic."""
    assert command("count") == Outcome(0, "250\n", "")


def test_count_as_json_prints_an_object(command: Command, service: Emulator) -> None:
    """One document."""
    assert command("count", "--json").document == {"count": 250}


def test_whoami_shows_the_owner(command: Command, service: Emulator) -> None:
    """The owner's fields are shown."""
    outcome = command("whoami")
    assert outcome.code == 0
    assert "api@example.com" in outcome.out
    assert "true" in outcome.out


def test_whoami_as_json_prints_unix_seconds(command: Command, service: Emulator) -> None:
    """One document, in the service's form."""
    owner = command("whoami", "--json").document
    assert owner["created_at"] == 1744373843
    assert owner["is_active"] is True


# Requests


@pytest.mark.parametrize(
    ("limit", "requests"), [(1, 1), (99, 1), (100, 1), (101, 2), (200, 2), (249, 3), (250, 3), (900, 3)]
)
def test_limit_requests_only_the_pages_needed(command: Command, service: Emulator, limit: int, requests: int) -> None:
    """A list cut short by --limit is not reported as incomplete."""
    outcome = command("list", "--json", "--limit", f"{limit}")
    assert (outcome.code, outcome.err) == (0, "")
    assert [line["uuid"] for line in outcome.lines] == list(service.uuids(0, min(limit, 250)))
    assert service.stats.requests == requests


def test_per_page_sets_the_page_size(command: Command, service: Emulator) -> None:
    """Smaller pages take more requests."""
    assert len(command("list", "--json", "--per-page", "50").lines) == 250
    assert service.stats.requests == 5


def test_options_override_the_environment(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """--base-url and --token-file take precedence over the variables."""
    monkeypatch.setenv("CUSTOMERS_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CUSTOMERS_TOKEN", "nonsense")
    token = tmp_path / "token"
    token.write_text(service.token)
    assert command("count", "--base-url", service.url, "--token-file", f"{token}").out == "250\n"


def test_token_file_from_the_environment(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """CUSTOMERS_TOKEN_FILE works as for the client."""
    token = tmp_path / "token"
    token.write_text(service.token)
    monkeypatch.delenv("CUSTOMERS_TOKEN")
    monkeypatch.setenv("CUSTOMERS_TOKEN_FILE", f"{token}")
    assert command("count").out == "250\n"


def test_debug_logs_each_request(command: Command, service: Emulator) -> None:
    """--debug shows the log on stderr, without the token; the next run does not log."""
    outcome = command("count", "--debug")
    assert outcome.out == "250\n"
    assert "GET /api/v1/customers" in outcome.err
    assert service.token not in outcome.err
    assert command("count").err == ""


# Exit codes


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("get",),
        ("get", "../auth"),
        ("get", f"{DOCUMENTED}\n"),
        ("get", DOCUMENTED, "another"),
        ("list", "--limit", "0"),
        ("list", "--limit", "-1"),
        ("list", "--limit", "many"),
        ("list", "--per-page", "101"),
        ("count", "--frobnicate"),
        ("count", "--timeout", "0"),
        ("count", "--timeout", "nan"),
        ("count", "--max-wait", "-1"),
        ("count", "--base-url", "http://example.com"),
        ("emulator", "--customers", "-1"),
        ("emulator", "--edition", "c"),
        ("emulator", "--customers", "1" + "0" * 23),
        ("emulator", "--port", "70000"),
        ("emulator", "--host", "a" * 70),
        ("emulator", "--host", "ü..x"),
        ("demo", "--customers", "-1"),
        ("demo", "--customers", "1" + "0" * 23),
        ("demo", "--output", "customers.xlsx"),
        ("export",),
        ("export", "customers.xlsx"),
        ("export", "customers.csv", "--format", "xlsx"),
        ("export", "customers.csv", "--fields", "shoe_size"),
        ("export", "-", "--json"),
        ("export", "-", "--rejected"),
        ("diff", "old.csv", "new.xlsx"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(command: Command, service: Emulator, arguments: tuple[str, ...]) -> None:
    """One line names the problem, and nothing is sent."""
    outcome = command(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("customers-async: ")
    assert outcome.err.count("\n") == 1
    assert service.stats.requests == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("count", "--token", "CANARY"),
        ("count", "--token=CANARY"),
        ("count", "CANARY"),
        ("get", "CANARY"),
        ("get", DOCUMENTED, "CANARY"),
        ("export", "CANARY"),
        ("export", "--token=CANARY"),
        ("export", "--token", "CANARY"),
        ("CANARY",),
        ("--CANARY",),
        ("-tCANARY",),
        ("-hCANARY",),
        ("count", "-tCANARY"),
        ("count", "--json=CANARY"),
        ("count", "--timeout", "CANARY"),
        ("count", "--max-wait=CANARY"),
        ("list", "--limit", "CANARY"),
        ("list", "--limit"),
        ("list", "--limit", "--CANARY"),
        ("list", "--per-page", "CANARY"),
        ("emulator", "--edition", "CANARY"),
        ("emulator", "--port", "CANARY"),
        ("export", "-CANARY"),
        ("export", "c.jsonl", "--format", "CANARY"),
        ("export", "c.jsonl", "--fields", "CANARY"),
        ("export", "c.jsonl", "--resume-within", "CANARY"),
        ("export", "c.jsonl", "--restart=CANARY"),
        ("count", "--base-url", "https://user:CANARY@example.com"),
    ],
    ids=" ".join,
)
def test_mistyped_secret_is_not_repeated(command: Command, service: Emulator, arguments: tuple[str, ...]) -> None:
    """A token or a password in the wrong place does not appear in the message."""
    outcome = command(*arguments)
    assert outcome.code == 2
    assert "CANARY" not in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lst",), 'there is no such command. Did you mean "list"?'),
        (("list", "--limt", "5"), "there is no such option. Did you mean --limit?"),
        (("list", "--limit"), "--limit requires a value"),
        (("list", "--limit", "0"), "the value of --limit is invalid. Must be >= 1."),
        (("list", "--limit", "x"), "the value of --limit is invalid"),
        (("emulator", "--edition", "c"), "the value of --edition is none of a, b"),
        (("get",), "UUID requires a value"),
    ],
)
def test_wrong_usage_names_the_option(command: Command, arguments: tuple[str, ...], message: str) -> None:
    """And what it accepts."""
    assert command(*arguments).err == f"customers-async: {message} (see customers-async --help)\n"


def test_malformed_uuid_exits_2_without_a_token(command: Command) -> None:
    """Arguments are checked before credentials."""
    assert command("get", "../auth").code == 2


@pytest.mark.parametrize(
    "arguments", [("get", DOCUMENTED), ("list",), ("count",), ("whoami",), ("export", "-")], ids=" ".join
)
def test_missing_token_exits_3(command: Command, arguments: tuple[str, ...]) -> None:
    """The message says how to supply a token."""
    outcome = command(*arguments)
    assert (outcome.code, outcome.out) == (3, "")
    assert (
        outcome.err == "customers-async: no token: use --token-file, or set CUSTOMERS_TOKEN or CUSTOMERS_TOKEN_FILE\n"
    )


def test_unreadable_token_file_exits_3(command: Command, tmp_path: Path) -> None:
    """The message names the file."""
    outcome = command("count", "--token-file", f"{tmp_path / 'missing'}")
    assert outcome.code == 3
    assert "missing cannot be read" in outcome.err


def test_refused_token_exits_3(command: Command, service: Emulator) -> None:
    """A 401 is reported without the token."""
    token = service.token
    service.revoke(token)
    outcome = command("whoami")
    assert outcome.code == 3
    assert "401" in outcome.err
    assert token not in outcome.err


def test_address_that_is_not_whitelisted_exits_3(command: Command, service: Emulator) -> None:
    """A 403 is reported with a hint at the whitelist."""
    service.whitelisted = False
    outcome = command("count")
    assert outcome.code == 3
    assert "whitelist" in outcome.err


def test_unknown_uuid_exits_4(command: Command, service: Emulator) -> None:
    """A 404 is reported without a hint to run again."""
    outcome = command("get", UNKNOWN)
    assert (outcome.code, outcome.out) == (4, "")
    assert "404" in outcome.err
    assert "run again" not in outcome.err


def test_reached_rate_limit_exits_4(command: Command, service: Emulator) -> None:
    """With --max-wait 0 the command does not wait; the message says when to run again."""
    service.rate_limit(1)
    command("count")
    outcome = command("count", "--max-wait", "0")
    assert outcome.code == 4
    assert "; run again in " in outcome.err


def test_server_error_exits_4(command: Command, service: Emulator) -> None:
    """The message of a 501 does not say to run again: the service will never do it."""
    service.fail_next(501)
    outcome = command("count")
    assert outcome.code == 4
    assert outcome.err.endswith("501 NOT_IMPLEMENTED for /api/v1/customers\n")


def test_unexpected_response_exits_4(command: Command, service: Emulator) -> None:
    """HTML with status 200 is an error."""
    service.fail_next("html")
    assert command("count").code == 4


def test_failed_list_names_the_page(command: Command, service: Emulator) -> None:
    """The customers before that page are printed."""
    service.fail_next(400, page=2)
    outcome = command("list", "--json")
    assert outcome.code == 4
    assert len(outcome.lines) == 100
    assert "stopped before page 2: 400" in outcome.err


def test_incomplete_list_exits_5(command: Command, service: Emulator) -> None:
    """All customers received are printed, and the message gives the verdict."""
    service.capped = True
    service.cap = 100
    outcome = command("list", "--json")
    assert outcome.code == 5
    assert len(outcome.lines) == 100
    assert outcome.err.startswith("customers-async: the list is not complete: CAPPED, 100 of 250 customers")


def test_limit_beyond_the_end_still_checks_completeness(command: Command, service: Emulator) -> None:
    """If the list ends before the limit, its verdict counts."""
    service.capped = True
    service.cap = 100
    assert command("list", "--json", "--limit", "101").code == 5
    assert command("list", "--json", "--limit", "100").code == 0


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signal_ends_a_command(command: Command, service: Emulator, number: int, code: int, word: str) -> None:
    """The exit code is 128 plus the signal's number, and one word is printed."""
    service.fail_next(signalling(number), page=2)
    outcome = command("list", "--json")
    assert outcome.code == code
    assert outcome.err == f"customers-async: {word}\n"
    assert len(outcome.lines) == 100


def test_broken_pipe_on_stdout_exits_0(command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that stops early is not a failure."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        outcome = command("list", "--json")
    assert (outcome.code, outcome.err) == (0, "")


def test_broken_pipe_on_stderr_is_ignored(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command completes its work."""
    reader, writer = os.pipe()
    os.close(reader)
    output = tmp_path / "customers.jsonl"
    with os.fdopen(writer, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        outcome = command("demo", "--customers", "250", "--output", f"{output}", "--json")
    assert (outcome.code, outcome.document["customers"]) == (0, 250)
    assert output.read_bytes().count(b"\n") == 250


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk_exits_1(command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the reason."""
    with Path("/dev/full").open("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        outcome = command("list", "--json")
    assert (outcome.code, outcome.err) == (1, "customers-async: No space left on device\n")


# The demo


def test_demo_exports_the_whole_list(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 customers, each once, in at most 101 requests and without a 429, as Parquet with a manifest."""
    monkeypatch.chdir(tmp_path)
    outcome = command("demo", "--json")
    report = outcome.document
    assert outcome.code == 0
    assert (report["customers"], report["verdict"], report["answers_429"]) == (10_000, "COMPLETE", 0)
    assert report["requests"] <= 101
    assert report["path"] == "customers.parquet"
    records = list(FORMATS["parquet"].read(Path("customers.parquet")))
    assert len({record["uuid"] for record in records}) == len(records) == 10_000
    assert {path.name for path in tmp_path.iterdir()} == {"customers.parquet", "customers.parquet.manifest.json"}


def test_demo_without_pyarrow_writes_json_lines(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default format needs no extra."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("customers_async.cli.demo.find_spec", lambda _: None)
    assert command("demo", "--customers", "250", "--json").document["path"] == "customers.jsonl"
    assert Path("customers.jsonl").read_bytes().count(b"\n") == 250


def test_demo_prints_its_progress(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, stderr receives a line from time to time and stdout the report."""
    monkeypatch.setattr("customers_async.cli.progress._PLAIN_INTERVAL", 0.01)
    outcome = command("demo", "--customers", "1000", "--output", f"{tmp_path / 'pulled.jsonl'}")
    assert outcome.code == 0
    assert re.search(r"^customers-async: \d+ pages, [\d,]+ of 1,000, [\d,]+/s, rate limit \d+/500", outcome.err, re.M)
    assert dict(line.rsplit(maxsplit=1) for line in outcome.out.splitlines()).items() >= {
        ("customers", "1,000"),
        ("requests", "10"),
        ("verdict", "COMPLETE"),
        ("path", f"{tmp_path / 'pulled.jsonl'}"),
    }


def test_demo_keeps_foreign_journals(command: Command, tmp_path: Path) -> None:
    """A file at the journal's path that the demo did not create is kept."""
    output = tmp_path / "pulled.jsonl"
    journal_path(output).write_text("not a journal" * 1000)
    assert command("demo", "--customers", "0", "--output", f"{output}").code == 1
    assert journal_path(output).exists()


def test_demo_of_an_empty_list(command: Command, tmp_path: Path) -> None:
    """The list is complete, and the file is empty."""
    output = tmp_path / "none.jsonl"
    assert command("demo", "--customers", "0", "--output", f"{output}").code == 0
    assert output.read_bytes() == b""


def test_incomplete_demo_exits_5(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report gives the verdict."""
    monkeypatch.setattr("customers_async.cli.demo.Emulator", partial(Emulator, capped=True, cap=100))
    outcome = command("demo", "--customers", "250", "--output", f"{tmp_path / 'part.jsonl'}", "--json")
    assert outcome.code == 5
    assert (outcome.document["verdict"], outcome.document["customers"]) == ("CAPPED", 100)


def test_interrupted_demo_keeps_the_old_file(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other file is left."""

    def make_emulator(customers: int) -> Emulator:
        emulator = Emulator(customers=customers)
        emulator.fail_next(signalling(signal.SIGTERM), page=2)
        return emulator

    monkeypatch.setattr("customers_async.cli.demo.Emulator", make_emulator)
    output = tmp_path / "customers.jsonl"
    output.write_text("old")
    assert command("demo", "--output", f"{output}").code == 143
    assert output.read_text() == "old"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("target", ["missing/customers.jsonl", "."])
def test_demo_that_cannot_write_exits_1(command: Command, tmp_path: Path, target: str) -> None:
    """The message names the file."""
    output = tmp_path / target
    outcome = command("demo", "--output", f"{output}")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"customers-async: {output}: ")
    assert list(tmp_path.iterdir()) == []


# The emulator


def test_emulator_serves_until_interrupted(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that it prints configures a client when a shell runs it."""
    counted = []

    async def paste(text: str) -> None:
        export, *words = shlex.split(text)
        variables = dict(word.split("=", 1) for word in words)
        assert export == "export"
        async with CustomersClient(variables["CUSTOMERS_TOKEN"], base_url=variables["CUSTOMERS_BASE_URL"]) as client:
            counted.append(await client.count_customers())
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("customers_async.cli.emulator.write", paste)
    outcome = command("emulator", "--customers", "12", "--edition", "b", "--token-lifetime", "60")
    assert outcome.code == 130
    assert counted == [12]
    assert "12 customers at http://127.0.0.1:" in outcome.err
    assert "1 request, 0 answered with 429" in outcome.err


def test_port_in_use_exits_1(command: Command, service: Emulator) -> None:
    """The message names the reason."""
    outcome = command("emulator", "--port", service.url.rpartition(":")[2])
    assert outcome.code == 1
    assert "address already in use" in outcome.err


@pytest.fixture
def announced(command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Run the emulator, and interrupt it when it has printed its line."""

    async def interrupt(text: str) -> None:
        sys.stdout.write(text)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("customers_async.cli.emulator.write", interrupt)
    return partial(command, "emulator")


def test_emulator_serves_given_records(announced: Command, service: Emulator, tmp_path: Path) -> None:
    """A file such as an export."""
    path = tmp_path / "customers.jsonl"
    path.write_text(f'{{"uuid": "{DOCUMENTED}"}}\n{{"uuid": "{UNKNOWN}"}}\n', encoding="utf-8")
    assert "2 customers at http://" in announced("--records", f"{path}").err


def test_emulator_takes_tokens_of_a_file_or_the_environment(
    announced: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each with a number of customers or without; not on the command line, where other users see them."""
    path = tmp_path / "tokens"
    path.write_text("first=12\n\nsecond=3 padded==\n", encoding="utf-8")
    outcome = announced("--tokens-file", f"{path}")
    assert "12 customers at http://" in outcome.err
    assert outcome.out.endswith(" CUSTOMERS_TOKEN=first\n")
    monkeypatch.setenv("CUSTOMERS_EMULATOR_TOKENS", "other=")
    outcome = announced("--customers", "7")
    assert "7 customers at http://" in outcome.err
    assert outcome.out.endswith(" CUSTOMERS_TOKEN=other=\n")


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff"])
def test_emulator_refuses_a_file_without_tokens(command: Command, tmp_path: Path, content: bytes) -> None:
    """Wrong usage, and the file is named."""
    path = tmp_path / "tokens"
    path.write_bytes(content)
    outcome = command("emulator", "--tokens-file", f"{path}")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"there is no token in {path}" in outcome.err


def test_emulator_for_other_machines_says_how_to_reach_it(announced: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that works here, one for other machines, and the control's token, which they need."""
    monkeypatch.setenv("CUSTOMERS_EMULATOR_CONTROL_TOKEN", "for-the-control")
    outcome = announced("--host", "0.0.0.0", "--control")  # noqa: S104  # the address under test
    host = socket.gethostname()
    assert re.search(r"CUSTOMERS_BASE_URL=http://127\.0\.0\.1:\d+ ", outcome.out)
    assert re.search(rf"from other machines: http://{host}:\d+, with CUSTOMERS_ALLOW_HTTP={host}\n", outcome.err)
    assert re.search(r"control: http://127\.0\.0\.1:\d+/_emulator, with the token for-the-control\n", outcome.err)


def test_emulator_on_loopback_needs_no_control_token(announced: Command) -> None:
    """So none is printed."""
    assert re.search(r"control: http://127\.0\.0\.1:\d+/_emulator\n", announced("--control").err)
    assert "control" not in announced().err


# On a terminal


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, *streams: str, on_output: Callable[[str], None]) -> Iterator[None]:
    """Make these streams a terminal of 80 columns; pass all that it has shown to ``on_output`` after each change."""
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    shown = b""

    def read() -> None:
        nonlocal shown
        with suppress(OSError):  # raised when the other end is closed
            while True:
                shown += os.read(master, 65536)
                on_output(shown.decode(errors="ignore"))

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(slave, "w") as stream, monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "80")
        patch.delenv("NO_COLOR", raising=False)
        for name in streams:
            patch.setattr(sys, name, stream)
        yield
    reader.join(5)
    os.close(master)


def test_bar_does_not_disturb_stdout(command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is shown on a terminal while stdout is a pipe."""
    screens = [""]
    with terminal(monkeypatch, "stderr", on_output=screens.append):
        outcome = command("list", "--json")
    assert outcome.code == 0
    assert [line["uuid"] for line in outcome.lines] == list(service.uuids())
    assert "250 of 250" in screens[-1]


def test_bar_shows_waits_for_the_rate_limit(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is shown as it lasts, and Ctrl-C restores the cursor."""
    service.rate_limit(1)
    screens = [""]

    def interrupt(shown: str) -> None:
        if "rate limit: waiting" in shown and "rate limit: waiting" not in screens[-1]:
            os.kill(os.getpid(), signal.SIGINT)
        screens.append(shown)

    with terminal(monkeypatch, "stderr", on_output=interrupt):
        assert command("list", "--json").code == 130
    assert "\x1b[?25h" in screens[-1]


def test_table_on_a_terminal_has_one_line_a_customer(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long names are cut to fit, and no bar is mixed in."""
    service.touch(1, name="Ona " * 100)
    screens = [""]
    with terminal(monkeypatch, "stdout", "stderr", on_output=screens.append):
        assert command("list").code == 0
    rows = re.sub(r"\x1b\[[0-9;]*m", "", screens[-1]).splitlines()[1:]
    assert [row[:36] for row in rows] == list(service.uuids())
    assert max(map(cell_len, rows)) <= 80
    assert rows[1].endswith("…")


def test_no_color_is_respected(command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR no colour codes are written."""
    screens = [""]
    with terminal(monkeypatch, "stderr", on_output=screens.append):
        monkeypatch.setenv("NO_COLOR", "1")
        command("list", "--json")
    assert "250 of 250" in screens[-1]
    assert not re.search(r"\x1b\[[0-9;]*[349][0-9]m", screens[-1])


def test_closed_stdout_exits_1(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that cannot be written is a failure."""
    monkeypatch.setattr(sys, "stdout", None)
    assert command("--version") == Outcome(1, "", "customers-async: stdout is closed\n")


# Help


@pytest.mark.parametrize("name", ["get", "list", "count", "whoami", "export", "verify", "diff", "emulator", "demo"])
def test_help_needs_no_token(command: Command, name: str) -> None:
    """Each command is in the overview and has a help text on stdout."""
    assert name in command("--help").out
    outcome = command(name, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"customers-async {name}" in outcome.out


@pytest.mark.parametrize("name", ["get", "list", "count", "whoami", "export"])
def test_no_option_takes_the_token(command: Command, name: str) -> None:
    """Other users could read it in the list of processes."""
    assert "--token " not in command(name, "--help").out


def test_help_is_shown_without_a_command(command: Command) -> None:
    """The overview is printed, and the exit code is 0."""
    outcome = command()
    assert outcome.code == 0
    assert "Usage: customers-async COMMAND" in outcome.out


def test_version_is_the_packages(command: Command) -> None:
    """--version prints the package's version."""
    assert command("--version") == Outcome(0, f"{customers_async.__version__}\n", "")


def test_arguments_default_to_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The entry point calls `main` without arguments."""
    monkeypatch.setattr(sys, "argv", ["customers-async", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out == f"{customers_async.__version__}\n"


# The extra


@pytest.mark.parametrize("name", ["cyclopts", "rich"])
def test_missing_extra_is_named(command: Command, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, name, None)
    hint = "customers-async needs its command-line extra: pip install 'customers-async[cli]'\n"
    assert command("--version") == Outcome(1, "", hint)


def test_other_missing_module_is_raised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A fault in an installed dependency is not reported as a missing extra."""
    (tmp_path / "rich.py").write_text("import frobnication")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "rich", raising=False)
    with pytest.raises(ModuleNotFoundError, match="frobnication"):
        main(["--version"])


def test_demo_shows_a_mirror(command: Command, tmp_path: Path) -> None:
    """A sync, three changes, another sync, and what it found."""
    outcome = command("demo", "--customers", "250", "--mirror", f"{tmp_path / 'customers.db'}")
    assert outcome.code == 0
    assert sorted(line[0] for line in outcome.out.splitlines()) == ["+", "-", "~"]
    assert "Changed by the demo" in outcome.out
    assert "version 1: 250 added, 0 changed, 0 removed" in outcome.err
    assert "version 2: 1 added, 1 changed, 1 removed" in outcome.err
