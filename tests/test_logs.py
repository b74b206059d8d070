"""``$CUSTOMERS_LOG``."""

import io
import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from customers_async import CustomersClient, cli
from customers_async.emulator import Emulator
from customers_async.logs import show_log

LINE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING) customers_async: .+"


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    """As in a process without a client."""
    log = logging.getLogger("customers_async")
    handlers, level = [*log.handlers], log.level
    show_log.cache_clear()
    yield
    log.handlers[:] = handlers
    log.setLevel(level)
    show_log.cache_clear()


def remove_root_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove those of pytest, which it adds when the test begins."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


@pytest.mark.parametrize(
    ("value", "levels"),
    [("debug", {"DEBUG", "INFO"}), (" DEBUG ", {"DEBUG", "INFO"}), ("info", {"INFO"}), ("", set())],
)
async def test_level_is_set_and_lines_have_a_time(
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    value: str,
    levels: set[str],
) -> None:
    """The first client makes the log visible on stderr."""
    remove_root_handlers(monkeypatch)
    monkeypatch.setenv("CUSTOMERS_LOG", value)
    emulator.fail_next(503)
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        await client.count_customers()
    CustomersClient("another")  # adds no second handler
    lines = capsys.readouterr().err.splitlines()
    assert all(re.fullmatch(LINE, line) for line in lines)
    assert {line.split()[2] for line in lines} == levels
    assert len([line for line in lines if "retrying" in line]) == (1 if levels else 0)
    assert emulator.token not in "".join(lines)


def test_threads_that_start_together_add_one_handler(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each makes its first client while the other does; two handlers would each leave the message to the other."""
    remove_root_handlers(monkeypatch)
    monkeypatch.setenv("CUSTOMERS_LOG", "info")
    for _ in range(2):
        show_log.__wrapped__()
    logging.getLogger("customers_async").info("a message")
    assert re.fullmatch(LINE + "\n", capsys.readouterr().err)


@pytest.mark.parametrize("where", ["customers_async", ""], ids=["the package", "the root"])
async def test_other_handlers_come_first(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """If the program handles the log, also from later on, no message appears twice."""
    remove_root_handlers(monkeypatch)
    monkeypatch.setenv("CUSTOMERS_LOG", "info")
    emulator.fail_next(503, times=2)
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign,assignment]  # a stub
    async with CustomersClient(emulator.token, base_url=emulator.url) as client:
        logging.getLogger(where).addHandler(handler)
        await client.count_customers()
    assert len([record for record in records if "retrying" in record.getMessage()]) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("value", ["verbose", "s3cret", "10"])
def test_other_values_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    """The warning is logged once, without the value; the client works."""
    monkeypatch.setenv("CUSTOMERS_LOG", value)
    for _ in range(2):
        CustomersClient("x")
    assert [record.getMessage() for record in caplog.records] == ["CUSTOMERS_LOG is ignored: it must be debug or info."]


def test_lower_level_of_the_program_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--debug`` of the command line with CUSTOMERS_LOG=info logs each request."""
    log = logging.getLogger("customers_async")
    monkeypatch.setenv("CUSTOMERS_LOG", "info")
    log.setLevel(logging.DEBUG)
    CustomersClient("x")
    assert log.level == logging.DEBUG


@pytest.mark.parametrize(("arguments", "requests"), [([], 0), (["--debug"], 1)])
def test_command_line_prints_its_log_once(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    customers_emulator: Emulator,
    arguments: list[str],
    requests: int,
) -> None:
    """The command line has a handler of its own."""
    monkeypatch.setenv("CUSTOMERS_LOG", "info")
    customers_emulator.fail_next(503)
    with pytest.raises(SystemExit):
        cli.main(["count", *arguments])
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("customers-async: ") for line in lines)
    assert len([line for line in lines if "retrying" in line]) == 1
    assert len([line for line in lines if "200 after" in line]) == requests


@pytest.mark.parametrize("is_missing", [True, False])
def test_closed_stderr_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_missing: bool
) -> None:
    """A program without stderr works, and its stdout stays clean."""
    closed = io.StringIO()
    closed.close()
    remove_root_handlers(monkeypatch)
    monkeypatch.setenv("CUSTOMERS_LOG", "debug")
    monkeypatch.setattr(sys, "stderr", None if is_missing else closed)
    CustomersClient("x")
    logging.getLogger("customers_async").warning("a message")
    assert capsys.readouterr().out == ""


def test_import_alone_configures_nothing() -> None:
    """The variable works from the first client on."""
    script = (
        "import logging, customers_async as c; log = logging.getLogger('customers_async'); print(log.level, end=' ');"
        "c.CustomersClient('x'); print(log.level)"
    )
    run = subprocess.run(  # noqa: S603  # ours
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"CUSTOMERS_LOG": "debug"}
    )
    assert run.stdout == "0 10\n"
