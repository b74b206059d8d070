"""The command, in process: what it prints, what it asks for, how it ends."""

import asyncio
import json
import os
import re
import shlex
import signal
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
    """How a command ended, and what it left on its two streams."""

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
    """The emulator on a loop of its own, as the command has one too."""
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
    """A service of 250 customers, which the environment names, with a token for it."""
    with in_a_thread(Emulator(customers=250)) as emulator:
        monkeypatch.setenv("CUSTOMERS_BASE_URL", emulator.url)
        monkeypatch.setenv("CUSTOMERS_TOKEN", emulator.token)
        yield emulator


def signalling(number: int) -> Any:
    """A fault that sends this process a signal, and never answers."""

    async def fault(_: Exchange) -> web.StreamResponse:
        os.kill(os.getpid(), number)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return fault


# Data on stdout


def test_get_shows_every_field(command: Command, service: Emulator) -> None:
    """All 14 fields are shown, those that are empty as a dash."""
    outcome = command("get", DOCUMENTED)
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.out.splitlines()) == 14
    assert "John Doe" in outcome.out
    assert "2025-04-11 12:17:23 UTC" in outcome.out
    assert "risk country code           -\n" in outcome.out


def test_get_as_json_is_the_wire_form(command: Command, service: Emulator) -> None:
    """One document, with times in Unix seconds, that makes the same customer again."""
    outcome = command("get", DOCUMENTED, "--json")
    assert outcome.out.count("\n") == 1
    assert outcome.document["created_at"] == 1744373843
    assert customer_from_dict(outcome.document).name == "John Doe"


def test_list_shows_a_table(command: Command, service: Emulator) -> None:
    """A header, and a line for each customer, however many pages they came on."""
    outcome = command("list")
    header, *rows = outcome.out.splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    assert header.split() == ["UUID", "Type", "Country", "Name"]
    assert [row.split()[0] for row in rows] == list(service.uuids())
    assert {row[36:38] for row in rows} == {"  "}


def test_list_as_json_is_a_customer_a_line(command: Command, service: Emulator) -> None:
    """JSON Lines, in the order of the list."""
    outcome = command("list", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert [line["uuid"] for line in outcome.lines] == list(service.uuids())


def test_an_empty_list_is_complete(command: Command, service: Emulator) -> None:
    """Nobody there is not a failure."""
    service.delete(250)
    outcome = command("list", "--json")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_names_stay_readable_in_json(command: Command, service: Emulator) -> None:
    """Letters of any alphabet are printed as they are."""
    service.touch(0, name="Živilė Σ 日本")
    assert '"Živilė Σ 日本"' in command("get", DOCUMENTED, "--json").out


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
@pytest.mark.parametrize("arguments", [("get", DOCUMENTED), ("list", "--limit", "1")], ids=["get", "list"])
def test_nothing_steers_the_terminal(
    command: Command, service: Emulator, arguments: tuple[str, ...], form: tuple[str, ...]
) -> None:
    """Control characters, C1 ones too, and changes of writing direction are escaped; markup is only text."""
    service.touch(0, name="a\x1b[31m\r\n\x9b2J\x7f\u202eb[red]c[/red]")
    out = command(*arguments, *form).out
    assert r"a\u001b[31m\u000d\u000a\u009b2J\u007f\u202eb[red]c[/red]" in out.replace(r"\r\n", r"\u000d\u000a")
    assert all(character.isprintable() for line in out.split("\n") for character in line)


def test_count_is_a_bare_number(command: Command, service: Emulator) -> None:
    """Ready for a shell's arithmetic."""
    assert command("count") == Outcome(0, "250\n", "")


def test_count_as_json_is_an_object(command: Command, service: Emulator) -> None:
    """One document."""
    assert command("count", "--json").document == {"count": 250}


def test_whoami_names_the_owner(command: Command, service: Emulator) -> None:
    """The owner's fields are shown."""
    outcome = command("whoami")
    assert outcome.code == 0
    assert "api@example.com" in outcome.out
    assert "true" in outcome.out


def test_whoami_as_json_has_unix_seconds(command: Command, service: Emulator) -> None:
    """One document, with times as the service writes them."""
    owner = command("whoami", "--json").document
    assert owner["created_at"] == 1744373843
    assert owner["is_active"] is True


# What is asked for


@pytest.mark.parametrize(
    ("limit", "requests"), [(1, 1), (99, 1), (100, 1), (101, 2), (200, 2), (249, 3), (250, 3), (900, 3)]
)
def test_a_limit_asks_for_no_page_too_many(command: Command, service: Emulator, limit: int, requests: int) -> None:
    """So many customers cost their pages and no more, and a list cut short is not called incomplete."""
    outcome = command("list", "--json", "--limit", f"{limit}")
    assert (outcome.code, outcome.err) == (0, "")
    assert [line["uuid"] for line in outcome.lines] == list(service.uuids(0, min(limit, 250)))
    assert service.stats.requests == requests


def test_per_page_is_passed_on(command: Command, service: Emulator) -> None:
    """Smaller pages cost more requests."""
    assert len(command("list", "--json", "--per-page", "50").lines) == 250
    assert service.stats.requests == 5


def test_the_options_come_before_the_environment(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """--base-url and --token-file win over the variables."""
    monkeypatch.setenv("CUSTOMERS_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CUSTOMERS_TOKEN", "nonsense")
    token = tmp_path / "token"
    token.write_text(service.token)
    assert command("count", "--base-url", service.url, "--token-file", f"{token}").out == "250\n"


def test_a_token_file_from_the_environment(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """CUSTOMERS_TOKEN_FILE works as for the client."""
    token = tmp_path / "token"
    token.write_text(service.token)
    monkeypatch.delenv("CUSTOMERS_TOKEN")
    monkeypatch.setenv("CUSTOMERS_TOKEN_FILE", f"{token}")
    assert command("count").out == "250\n"


def test_debug_tells_of_each_request(command: Command, service: Emulator) -> None:
    """With --debug the log is shown on stderr, without the token; the next run is quiet again."""
    outcome = command("count", "--debug")
    assert outcome.out == "250\n"
    assert "GET /api/v1/customers" in outcome.err
    assert service.token not in outcome.err
    assert command("count").err == ""


# How it ends


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
        ("demo", "--customers", "-1"),
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
    """One line says what is wrong, and nothing was sent."""
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
        ("count", "--base-url", "https://user:CANARY@example.com"),
    ],
    ids=" ".join,
)
def test_a_mistyped_secret_is_not_repeated(command: Command, service: Emulator, arguments: tuple[str, ...]) -> None:
    """A token or a password in the wrong place does not get into the message."""
    outcome = command(*arguments)
    assert outcome.code == 2
    assert "CANARY" not in outcome.err


def test_a_malformed_uuid_is_wrong_without_a_token_too(command: Command) -> None:
    """Usage comes before credentials."""
    assert command("get", "../auth").code == 2


@pytest.mark.parametrize(
    "arguments", [("get", DOCUMENTED), ("list",), ("count",), ("whoami",), ("export", "-")], ids=" ".join
)
def test_no_token_exits_3(command: Command, arguments: tuple[str, ...]) -> None:
    """The message says where a token may come from."""
    outcome = command(*arguments)
    assert (outcome.code, outcome.out) == (3, "")
    assert (
        outcome.err == "customers-async: no token: use --token-file, or set CUSTOMERS_TOKEN or CUSTOMERS_TOKEN_FILE\n"
    )


def test_an_unreadable_token_file_exits_3(command: Command, tmp_path: Path) -> None:
    """It is named."""
    outcome = command("count", "--token-file", f"{tmp_path / 'missing'}")
    assert outcome.code == 3
    assert "missing cannot be read" in outcome.err


def test_a_refused_token_exits_3(command: Command, service: Emulator) -> None:
    """The service says 401; the token is not repeated."""
    token = service.token
    service.revoke(token)
    outcome = command("whoami")
    assert outcome.code == 3
    assert "401" in outcome.err
    assert token not in outcome.err


def test_an_address_that_is_not_allowed_exits_3(command: Command, service: Emulator) -> None:
    """The service says 403."""
    service.whitelisted = False
    outcome = command("count")
    assert outcome.code == 3
    assert "whitelist" in outcome.err


def test_an_unknown_uuid_exits_4(command: Command, service: Emulator) -> None:
    """The service says 404."""
    outcome = command("get", UNKNOWN)
    assert (outcome.code, outcome.out) == (4, "")
    assert "404" in outcome.err
    assert "run again" not in outcome.err


def test_a_spent_quota_exits_4_and_says_until_when(command: Command, service: Emulator) -> None:
    """With --max-wait 0 the command does not wait, and tells when to run again."""
    service.rate_limit(1)
    command("count")
    outcome = command("count", "--max-wait", "0")
    assert outcome.code == 4
    assert "; run again in " in outcome.err


def test_a_failing_service_exits_4(command: Command, service: Emulator) -> None:
    """A 501 is not tried again by the client, but perhaps by the user."""
    service.fail_next(501)
    outcome = command("count")
    assert outcome.code == 4
    assert outcome.err.endswith("; run again later\n")


def test_an_answer_that_is_not_the_services_exits_4(command: Command, service: Emulator) -> None:
    """HTML under a 200."""
    service.fail_next("html")
    assert command("count").code == 4


def test_a_list_that_fails_names_the_page(command: Command, service: Emulator) -> None:
    """The customers before it were printed."""
    service.fail_next(400, page=2)
    outcome = command("list", "--json")
    assert outcome.code == 4
    assert len(outcome.lines) == 100
    assert "stopped before page 2: 400" in outcome.err


def test_an_incomplete_list_exits_5(command: Command, service: Emulator) -> None:
    """All that came is printed, and the verdict is told."""
    service.capped = True
    service.cap = 100
    outcome = command("list", "--json")
    assert outcome.code == 5
    assert len(outcome.lines) == 100
    assert outcome.err.startswith("customers-async: the list is not complete: CAPPED, 100 of 250 customers")


def test_a_limit_beyond_the_end_cuts_nothing_short(command: Command, service: Emulator) -> None:
    """When the list ends before the limit is reached, its verdict counts."""
    service.capped = True
    service.cap = 100
    assert command("list", "--json", "--limit", "101").code == 5
    assert command("list", "--json", "--limit", "100").code == 0


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_it(command: Command, service: Emulator, number: int, code: int, word: str) -> None:
    """With the customary exit code and one word."""
    service.fail_next(signalling(number), page=2)
    outcome = command("list", "--json")
    assert outcome.code == code
    assert outcome.err == f"customers-async: {word}\n"
    assert len(outcome.lines) == 100


def test_a_reader_who_leaves_ends_it_quietly(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken pipe is no failure."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        outcome = command("list", "--json")
    assert (outcome.code, outcome.err) == (0, "")


def test_a_reader_of_messages_who_leaves_ends_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work is done all the same."""
    reader, writer = os.pipe()
    os.close(reader)
    output = tmp_path / "customers.jsonl"
    with os.fdopen(writer, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        outcome = command("demo", "--customers", "250", "--output", f"{output}", "--json")
    assert (outcome.code, outcome.document["customers"]) == (0, 250)
    assert output.read_bytes().count(b"\n") == 250


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_exits_1(command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says why."""
    with Path("/dev/full").open("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        outcome = command("list", "--json")
    assert (outcome.code, outcome.err) == (1, "customers-async: No space left on device\n")


# The demo


def test_the_demo_pulls_the_whole_list(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 customers, each once, in 101 requests or fewer and without a 429; in Parquet, with a manifest."""
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


def test_the_demo_without_pyarrow(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes JSON Lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("customers_async.cli.demo.find_spec", lambda _: None)
    assert command("demo", "--customers", "250", "--json").document["path"] == "customers.jsonl"
    assert Path("customers.jsonl").read_bytes().count(b"\n") == 250


def test_the_demo_tells_how_far_it_is(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal: a line now and then on stderr, the report on stdout."""
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


def test_the_demo_removes_no_journal_but_its_own(command: Command, tmp_path: Path) -> None:
    """What lies in its way stays: somebody's file, or the journal of an export at work."""
    output = tmp_path / "pulled.jsonl"
    journal_path(output).write_text("my diary, dear to me" * 1000)
    assert command("demo", "--customers", "0", "--output", f"{output}").code == 1
    assert journal_path(output).exists()


def test_the_demo_of_an_empty_list(command: Command, tmp_path: Path) -> None:
    """Is complete, and makes an empty file."""
    output = tmp_path / "none.jsonl"
    assert command("demo", "--customers", "0", "--output", f"{output}").code == 0
    assert output.read_bytes() == b""


def test_an_incomplete_demo_exits_5(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report tells the verdict."""
    monkeypatch.setattr("customers_async.cli.demo.Emulator", partial(Emulator, capped=True, cap=100))
    outcome = command("demo", "--customers", "250", "--output", f"{tmp_path / 'part.jsonl'}", "--json")
    assert outcome.code == 5
    assert (outcome.document["verdict"], outcome.document["customers"]) == ("CAPPED", 100)


def test_an_interrupted_demo_leaves_the_old_file(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing beside it."""

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


@pytest.mark.parametrize("place", ["missing/customers.jsonl", "."])
def test_a_demo_that_cannot_write_exits_1(command: Command, tmp_path: Path, place: str) -> None:
    """The message names the file."""
    output = tmp_path / place
    outcome = command("demo", "--output", f"{output}")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"customers-async: {output}: ")
    assert list(tmp_path.iterdir()) == []


# The emulator


def test_the_emulator_serves_until_it_is_interrupted(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it prints, pasted into a shell, leads a client to it."""
    counted = []

    async def paste(text: str) -> None:
        export, *words = shlex.split(text)
        variables = dict(word.split("=", 1) for word in words)
        assert export == "export"
        async with CustomersClient(variables["CUSTOMERS_TOKEN"], base_url=variables["CUSTOMERS_BASE_URL"]) as client:
            counted.append(await client.count_customers())
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("customers_async.cli.commands.write", paste)
    outcome = command("emulator", "--customers", "12", "--edition", "b", "--token-lifetime", "60")
    assert outcome.code == 130
    assert counted == [12]
    assert "12 customers at http://127.0.0.1:" in outcome.err
    assert "1 requests, 0 answered with 429" in outcome.err


def test_a_port_that_is_taken_exits_1(command: Command, service: Emulator) -> None:
    """The message says so."""
    outcome = command("emulator", "--port", service.url.rpartition(":")[2])
    assert outcome.code == 1
    assert "address already in use" in outcome.err


# On a terminal


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, *streams: str, on_output: Callable[[str], None]) -> Iterator[None]:
    """These streams are a terminal of 80 columns; all that it shows so far goes to ``on_output``, again and again."""
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    shown = b""

    def read() -> None:
        nonlocal shown
        with suppress(OSError):  # the other end was closed
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


def test_a_bar_on_the_terminal_and_data_in_the_pipe(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar does not take anything away from stdout."""
    screens = [""]
    with terminal(monkeypatch, "stderr", on_output=screens.append):
        outcome = command("list", "--json")
    assert outcome.code == 0
    assert [line["uuid"] for line in outcome.lines] == list(service.uuids())
    assert "250 of 250" in screens[-1]


def test_the_bar_tells_of_a_wait_for_the_quota(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits a minute wants to know what for; Ctrl-C gives the cursor back."""
    service.rate_limit(1)
    screens = [""]

    def interrupt(shown: str) -> None:
        if "rate limit: waiting" in shown and "rate limit: waiting" not in screens[-1]:
            os.kill(os.getpid(), signal.SIGINT)
        screens.append(shown)

    with terminal(monkeypatch, "stderr", on_output=interrupt):
        assert command("list", "--json").code == 130
    assert "\x1b[?25h" in screens[-1]


def test_a_table_on_a_terminal_has_a_line_for_each_customer(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long names are cut to fit, and no bar gets in between."""
    service.touch(1, name="Ona " * 100)
    screens = [""]
    with terminal(monkeypatch, "stdout", "stderr", on_output=screens.append):
        assert command("list").code == 0
    rows = re.sub(r"\x1b\[[0-9;]*m", "", screens[-1]).splitlines()[1:]
    assert [row[:36] for row in rows] == list(service.uuids())
    assert max(map(cell_len, rows)) <= 80
    assert rows[1].endswith("…")


def test_no_color_is_respected(command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR the terminal is not told any colour."""
    screens = [""]
    with terminal(monkeypatch, "stderr", on_output=screens.append):
        monkeypatch.setenv("NO_COLOR", "1")
        command("list", "--json")
    assert "250 of 250" in screens[-1]
    assert not re.search(r"\x1b\[[0-9;]*[349][0-9]m", screens[-1])


def test_a_closed_stdout_exits_1(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that nobody could see is a failure."""
    monkeypatch.setattr(sys, "stdout", None)
    assert command("--version") == Outcome(1, "", "customers-async: stdout is closed\n")


# Help


@pytest.mark.parametrize("name", ["get", "list", "count", "whoami", "export", "verify", "diff", "emulator", "demo"])
def test_help_needs_no_token(command: Command, name: str) -> None:
    """Each command is in the overview and explains itself on stdout."""
    assert name in command("--help").out
    outcome = command(name, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"customers-async {name}" in outcome.out


@pytest.mark.parametrize("name", ["get", "list", "count", "whoami", "export"])
def test_there_is_no_option_for_the_token_itself(command: Command, name: str) -> None:
    """It would be seen in the list of processes."""
    assert "--token " not in command(name, "--help").out


def test_without_a_command_it_explains_itself(command: Command) -> None:
    """The overview."""
    outcome = command()
    assert outcome.code == 0
    assert "Usage: customers-async COMMAND" in outcome.out


def test_the_version(command: Command) -> None:
    """The package's."""
    assert command("--version") == Outcome(0, f"{customers_async.__version__}\n", "")


def test_the_arguments_default_to_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the entry point calls it."""
    monkeypatch.setattr(sys, "argv", ["customers-async", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out == f"{customers_async.__version__}\n"


# The extra


@pytest.mark.parametrize("name", ["cyclopts", "rich"])
def test_a_missing_extra_is_named(command: Command, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One line says what to install."""
    monkeypatch.setitem(sys.modules, name, None)
    hint = "customers-async needs its command-line extra: pip install 'customers-async[cli]'\n"
    assert command("--version") == Outcome(1, "", hint)


def test_another_missing_module_surfaces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That is a fault to be seen, not a missing extra."""
    (tmp_path / "rich.py").write_text("import frobnication")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "rich", raising=False)
    with pytest.raises(ModuleNotFoundError, match="frobnication"):
        main(["--version"])
