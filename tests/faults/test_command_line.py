"""Faults of the command line: signals while it is blocked, narrow and missing terminals, absurd figures."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from customers_async import RateLimit, RateLimitError
from customers_async.cli import run
from customers_async.cli.export import parse_duration
from customers_async.cli.progress import Status
from customers_async.emulator import Emulator
from customers_async.export import ExportProgress
from tests.test_cli import Command, command, in_a_thread, service
from tests.test_cli_process import started

__all__ = ["command", "service"]  # fixtures

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and pipes")


@pytest.fixture(autouse=True)
def canary() -> None:
    """Replace the search for leaks: commands print customers."""


# Signals


def wait_until_blocked(process: "subprocess.Popen[str]") -> None:
    """Wait until the process has used no processor time for a while."""
    stat_file, used, idle = Path(f"/proc/{process.pid}/stat"), -1, 0
    while idle < 6:
        time.sleep(0.05)
        user, system = map(int, stat_file.read_text().rpartition(")")[2].split()[11:13])
        idle = idle + 1 if (user + system, used > 20) == (used, True) else 0
        used = user + system


@pytest.fixture(scope="module")
def large_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of one customer and one whose reading takes hours, each with a manifest."""
    folder = tmp_path_factory.mktemp("large")
    with in_a_thread(Emulator(customers=1)) as emulator:
        environment = {"CUSTOMERS_BASE_URL": emulator.url, "CUSTOMERS_TOKEN": emulator.token}
        with started("export", f"{folder / 'small.jsonl'}", **environment) as process:
            process.communicate(timeout=10)
    (folder / "large.jsonl.manifest.json").write_bytes((folder / "small.jsonl.manifest.json").read_bytes())
    with (folder / "large.jsonl").open("wb") as file:
        file.truncate(2**42)
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        ("list --json", signal.SIGINT, 130),
        ("export - --quiet", signal.SIGTERM, 143),
        ("export - --quiet", signal.SIGHUP, 129),
        ("list --json", signal.SIGQUIT, 131),
        ("verify large.jsonl", signal.SIGINT, 130),
        ("diff small.jsonl large.jsonl", signal.SIGTERM, 143),
    ],
)
@pytest.mark.slow
def test_fault_62_signal_ends_a_blocked_command(large_files: Path, arguments: str, number: int, code: int) -> None:
    """Within 2 s, although its thread writes to a pipe that is not read, or reads a huge file."""
    with in_a_thread(Emulator(customers=3000, limit=10**6)) as emulator:
        environment = {"CUSTOMERS_BASE_URL": emulator.url, "CUSTOMERS_TOKEN": emulator.token, "PYTHONDEVMODE": ""}
        words = [f"{large_files / word}" if word.endswith(".jsonl") else word for word in arguments.split()]
        with started(*words, **environment) as process:
            if "large.jsonl" in arguments:
                time.sleep(1.5)
            else:
                wait_until_blocked(process)
            assert process.poll() is None
            before = time.monotonic()
            process.send_signal(number)
            assert process.wait(timeout=10) == code
            assert time.monotonic() - before < 2
            assert process.stderr is not None
            assert process.stderr.read().splitlines()[-1] in (
                "customers-async: interrupted",
                "customers-async: terminated",
                "customers-async: the terminal was closed",
                "customers-async: quit",
            )


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("signals", [[signal.SIGHUP], [signal.SIGQUIT], [signal.SIGINT] * 2, [signal.SIGKILL]])
@pytest.mark.slow
def test_fault_62_export_to_a_blocked_stdout_leaves_no_customers(tmp_path: Path, signals: list[int]) -> None:
    """Whatever ends it: the temporary file has no name by then."""
    with in_a_thread(Emulator(customers=3000, limit=10**6)) as emulator:
        environment = {"CUSTOMERS_BASE_URL": emulator.url, "CUSTOMERS_TOKEN": emulator.token, "PYTHONDEVMODE": ""}
        with started("export", "-", "--quiet", TMPDIR=f"{tmp_path}", **environment) as process:
            wait_until_blocked(process)
            for number in signals:
                process.send_signal(number)
            process.wait(timeout=10)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b'"uuid":' in path.read_bytes()]


STALLED = """
import sys, time
from customers_async.cli import main
from customers_async.export.journal_file import JournalFile
write = JournalFile.write
def stall(file, statements):
    write(file, statements)
    print("stalled", flush=True)
    time.sleep(60)
JournalFile.write = stall
main(["export", sys.argv[1], "--quiet"])
"""


@pytest.mark.slow
def test_fault_62_signal_ends_an_export_on_a_stalled_disk(command: Command, service: Emulator, tmp_path: Path) -> None:
    """Within 2 s, and the next export runs."""
    path = tmp_path / "c.jsonl"
    with subprocess.Popen([sys.executable, "-c", STALLED, f"{path}"], stdout=subprocess.PIPE) as process:  # noqa: S603  # our own code
        assert process.stdout is not None
        assert process.stdout.readline() == b"stalled\n"
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143
        assert time.monotonic() - before < 2
    assert command("export", f"{path}", "--json").document["rows"] == 250


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.slow
def test_fault_62_second_signal_ends_at_once() -> None:
    """Even while the first one is being handled."""
    with in_a_thread(Emulator(customers=3000, limit=10**6)) as emulator:
        environment = {"CUSTOMERS_BASE_URL": emulator.url, "CUSTOMERS_TOKEN": emulator.token, "PYTHONDEVMODE": ""}
        with started("list", "--json", **environment) as process:
            wait_until_blocked(process)
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
            before = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == 130
            assert time.monotonic() - before < 0.5


# Terminals


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, columns: int, shown: list[bytes]) -> Iterator[None]:
    """Make stdout a terminal of this width; its output is added to ``shown``."""
    import pty

    master, slave = pty.openpty()

    def read() -> None:
        with suppress(OSError):  # raised when the other end is closed
            while data := os.read(master, 65536):
                shown.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(slave, "w") as stream, monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", f"{columns}")
        patch.setattr(sys, "stdout", stream)
        yield
    reader.join(5)
    os.close(master)


@pytest.mark.parametrize("value", ["0", "00", "-1", "wide", "²", "", "9" * 5000])
def test_fault_63_odd_width_in_the_environment_is_ignored(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """In 0 columns, rich would print nothing."""
    shown: list[bytes] = []
    with terminal(monkeypatch, 80, shown):
        monkeypatch.setenv("COLUMNS", value)
        monkeypatch.setenv("LINES", value)
        command("list")
    assert next(iter(service.uuids())).encode() in b"".join(shown)


@pytest.mark.parametrize("columns", [38, 40, 60, 79])
@pytest.mark.parametrize("arguments", ["list", "get e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"])
def test_fault_63_narrow_terminal_shows_whole_names_and_uuids(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch, columns: int, arguments: str
) -> None:
    """Values are below each other, and no text is cut."""
    name = "\u0160imkut\u0117 " * 12
    service.touch(0, name=name)
    shown: list[bytes] = []
    with terminal(monkeypatch, columns, shown):
        assert command(*arguments.split()).code == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", b"".join(shown).decode()).splitlines()
    assert max(map(len, lines)) <= columns
    assert "\u2026" not in "".join(lines)
    assert any("e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g" in line for line in lines)
    assert "".join(name.split()) in "".join("".join(lines).split())


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"])
@pytest.mark.parametrize("arguments", ["list --limit 1", "whoami", "get e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"])
def test_fault_63_piped_data_has_no_colours(
    command: Command, service: Emulator, monkeypatch: pytest.MonkeyPatch, variable: str, arguments: str
) -> None:
    """Whatever the environment asks for."""
    monkeypatch.setenv(variable, "1")
    outcome = command(*arguments.split())
    assert (outcome.code, "\x1b" in outcome.out) == (0, False)


@pytest.mark.parametrize("total", [None, 0, 1, 10**18])
@pytest.mark.parametrize("wait", [0.0, 30.0, 1e17, float("inf")])
@pytest.mark.parametrize("customers", [0, 1, 10**18])
def test_fault_63_absurd_figures_do_not_break_the_progress(total: int | None, wait: float, customers: int) -> None:
    """It is one line in any case, and one page is singular."""
    look_ups = SimpleNamespace(api=SimpleNamespace(bulk_wait=lambda _: wait))
    client: Any = SimpleNamespace(rate_limit=RateLimit(500, 0, wait), _look_ups=look_ups)
    status = Status(client)
    for pages in (0, 1):
        status.update(ExportProgress("walk", 1, pages, customers * pages, total, 0))
    assert re.match(r"1 page, ", f"{status}")
    assert "\n" not in f"{status}"


@pytest.mark.parametrize("seconds", [1.5, 1e17, 1e300, float("inf"), float("nan")])
def test_fault_63_absurd_wait_does_not_replace_the_error(seconds: float) -> None:
    """The message is that of the error."""
    assert run._describe(RateLimitError("the rate limit is used up", retry_after=seconds)).startswith("the rate limit")


# Old pages


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("1.5h", 5400), ("2d", 172800), ("10m", 600), ("9" * 400 + "d", None)]
)
def test_fault_59_durations_of_the_command_line(text: str, seconds: int | None) -> None:
    """A number and a unit; an endless one is the longest there is."""
    assert seconds is None or parse_duration("--resume-within", text).total_seconds() == seconds
    assert parse_duration("--resume-within", text).days >= 0


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1 h", "1w", "1hh", "1e3s", "\u0661h", "inf", "nan", "1,5h"])
def test_fault_59_other_durations_are_wrong_usage(
    command: Command, service: Emulator, tmp_path: Path, text: str
) -> None:
    """Exit code 2, and nothing is sent."""
    outcome = command("export", f"{tmp_path / 'c.jsonl'}", f"--resume-within={text}")
    assert (outcome.code, outcome.out, service.stats.requests) == (2, "", 0)


def test_fault_59_command_says_what_is_resumed(command: Command, service: Emulator, tmp_path: Path) -> None:
    """On stderr and in the report; not if the pages are too old."""
    path = tmp_path / "c.jsonl"
    for within, resumed in ("1d", True), ("0s", False):
        service.fail_next(501, page=3)
        assert command("export", f"{path}").code == 4
        outcome = command("export", f"{path}", "--resume-within", within)
        assert ("customers-async: resumed: 2 pages of an earlier run, the oldest from 20" in outcome.err) is resumed
        assert ("resumed from" in outcome.out) is resumed


# Checked before the first request


@pytest.mark.parametrize("command_line", ["export {}", "demo --customers 1 --output {}"])
@pytest.mark.parametrize(("name", "code"), [("caf\udce9.jsonl", 2), ("a" * 249 + ".jsonl", 1), ("missing/c.jsonl", 1)])
def test_fault_60_command_refuses_a_path_before_any_request(
    command: Command, service: Emulator, tmp_path: Path, command_line: str, name: str, code: int
) -> None:
    """One message, without a traceback."""
    outcome = command(*(word.format(tmp_path / name) for word in command_line.split()))
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (code, "", 1)
    assert service.stats.requests == 0


def test_fault_58_command_does_not_promise_pages_that_are_not_kept(
    command: Command, service: Emulator, tmp_path: Path
) -> None:
    """The first page did not arrive."""
    service.fail_next(501, times=None)
    outcome = command("export", f"{tmp_path / 'c.jsonl'}")
    assert (outcome.code, "kept" in outcome.err, list(tmp_path.iterdir())) == (4, False, [])
