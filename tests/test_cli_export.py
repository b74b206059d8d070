"""The commands export, verify and diff, in process: what they print, what they leave, how they end."""

import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from customers_async import RateLimit
from customers_async.cli.progress import Status
from customers_async.emulator import Emulator
from customers_async.export import ExportProgress
from customers_async.export.formats import FORMATS
from customers_async.export.journal import journal_path
from tests.test_cli import Command, command, service, signalling, terminal

__all__ = ["command", "service"]  # fixtures


def test_export_shows_a_report(command: Command, service: Emulator, tmp_path: Path) -> None:
    """A small table on stdout, and the customers in the file."""
    path = tmp_path / "customers.csv"
    outcome = command("export", f"{path}")
    assert (outcome.code, outcome.err) == (0, "")
    assert dict(line.rsplit(maxsplit=1) for line in outcome.out.splitlines()).items() >= {
        ("customers", "250"),
        ("requests", "3"),
        ("verdict", "COMPLETE"),
        ("path", f"{path}"),
    }
    assert [record["uuid"] for record in FORMATS["csv"].read(path)] == list(service.uuids())


def test_export_as_json_prints_the_manifest(command: Command, service: Emulator, tmp_path: Path) -> None:
    """One document, the same as beside the file."""
    path = tmp_path / "customers.parquet"
    outcome = command("export", f"{path}", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.document == json.loads(path.with_name("customers.parquet.manifest.json").read_text())


def test_a_quiet_export_says_nothing(command: Command, service: Emulator, tmp_path: Path) -> None:
    """Unless it fails."""
    outcome = command("export", f"{tmp_path / 'customers.csv'}", "--quiet", "--fields", "uuid, name")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert (tmp_path / "customers.csv").read_text(encoding="utf-8").startswith("uuid,name\n")


def test_an_export_to_stdout_is_data_only(command: Command, service: Emulator) -> None:
    """The verdict goes to stderr."""
    outcome = command("export", "-")
    assert outcome.code == 0
    assert [line["uuid"] for line in outcome.lines] == list(service.uuids())
    assert outcome.err == "customers-async: COMPLETE, 250 of 250 customers, 3 pages\n"


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_an_interrupted_export_says_how_to_go_on(
    command: Command, service: Emulator, tmp_path: Path, number: int, code: int, word: str
) -> None:
    """And does."""
    path = tmp_path / "customers.jsonl"
    service.fail_next(signalling(number), page=3, after=0)
    outcome = command("export", f"{path}")
    assert outcome.code == code
    assert outcome.err == (
        f"customers-async: the pages fetched so far are kept; run the same command again to resume\ncustomers-async: {word}\n"
    )
    assert journal_path(path).exists()
    assert command("export", f"{path}", "--json").document["rows"] == 250


def test_a_failing_service_exits_4_and_the_next_run_goes_on(
    command: Command, service: Emulator, tmp_path: Path
) -> None:
    """With --restart it begins anew instead."""
    path = tmp_path / "customers.jsonl"
    service.fail_next(501, page=3)
    outcome = command("export", f"{path}")
    assert outcome.code == 4
    assert "run the same command again to resume" in outcome.err
    assert command("export", f"{path}", "--json").document["pages_resumed"] == 2
    service.fail_next(501, page=3)
    command("export", f"{path}")
    assert command("export", f"{path}", "--restart", "--json").document["pages_resumed"] == 0


def test_an_incomplete_list_exits_5_and_writes_nothing(command: Command, service: Emulator, tmp_path: Path) -> None:
    """The verdict is told."""
    service.capped, service.cap = True, 100
    outcome = command("export", f"{tmp_path / 'customers.jsonl'}")
    assert (outcome.code, outcome.out) == (5, "")
    assert "CAPPED, 100 of 250 customers" in outcome.err
    assert not (tmp_path / "customers.jsonl").exists()


def test_an_incomplete_list_is_written_on_request(command: Command, service: Emulator, tmp_path: Path) -> None:
    """It exits 5 all the same, and asks for nothing twice."""
    service.capped, service.cap = True, 100
    outcome = command("export", f"{tmp_path / 'customers.jsonl'}", "--allow-incomplete", "--json")
    assert (outcome.code, outcome.document["rows"], outcome.document["verdict"]) == (5, 100, "CAPPED")
    assert service.stats.requests == outcome.document["requests"]
    assert command("export", "-", "--allow-incomplete", "--quiet").code == 5


def test_a_bad_record_exits_4_and_says_what_to_do(command: Command, service: Emulator, tmp_path: Path) -> None:
    """With --rejected it is set aside."""
    service.touch(7, name=17)
    path = tmp_path / "customers.jsonl"
    outcome = command("export", f"{path}")
    assert outcome.code == 4
    assert "use --rejected to export without records that do not fit" in outcome.err
    document = command("export", f"{path}", "--rejected", "--json").document
    assert (document["rows"], document["rejected"]) == (249, 1)


@pytest.mark.parametrize("place", ["missing/customers.jsonl", "directory.jsonl"])
def test_a_file_that_cannot_be_written_exits_1(command: Command, service: Emulator, tmp_path: Path, place: str) -> None:
    """It is named."""
    (tmp_path / "directory.jsonl").mkdir()
    outcome = command("export", f"{tmp_path / place}")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"customers-async: {tmp_path / place}: ")


def test_a_journal_in_the_way_exits_1(command: Command, service: Emulator, tmp_path: Path) -> None:
    """One sentence says what to do about it."""
    path = tmp_path / "customers.jsonl"
    journal_path(path).write_text("my diary, dear to me" * 1000)
    outcome = command("export", f"{path}")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == f"customers-async: {path}.journal is not an export's journal: move it away\n"


def test_a_live_line_on_the_terminal(
    command: Command, service: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages and customers; then the writing of the file, where it has to be made anew without a bad record."""
    path, screens = tmp_path / "customers.jsonl", [""]
    with terminal(monkeypatch, "stderr", on_output=screens.append):
        assert command("export", f"{path}").code == 0
    assert "3 pages, 250 of 250" in screens[-1]
    assert "writing" not in screens[-1]
    service.touch(8, name=5)
    with terminal(monkeypatch, "stderr", on_output=screens.append):
        assert command("export", f"{path}", "--rejected").code == 0
    assert "writing 249 of 250" in screens[-1]


def test_the_time_that_is_left_counts_the_waits_for_the_quota() -> None:
    """100,000 customers to go, 5,000 a second: two windows to wait for, and one window's pages after that."""
    seconds = iter([0.0, 0.0, 10.0, 10.0])
    waits = {1_000: 90.0}
    client: Any = SimpleNamespace(rate_limit=RateLimit(500, 0, 30.0), _api=SimpleNamespace(bulk_wait=waits.__getitem__))
    status = Status(client, clock=lambda: next(seconds))
    for customers in (0, 50_000):
        status.update(ExportProgress("walk", 1, customers // 100, customers, 150_000, 0))
    assert str(status).endswith("rate limit: waiting 30 s, 0:01:40 left")


def test_verify_agrees(command: Command, service: Emulator, tmp_path: Path) -> None:
    """With a file that nobody touched."""
    path = tmp_path / "customers.jsonl"
    command("export", f"{path}")
    assert command("verify", f"{path}").out == f"{path}: verified\n"
    assert command("verify", f"{path}", "--json").document["verified"] is True


def test_verify_exits_1_on_a_difference(command: Command, service: Emulator, tmp_path: Path) -> None:
    """And says what differs."""
    path = tmp_path / "customers.jsonl"
    command("export", f"{path}")
    path.write_bytes(path.read_bytes()[:-1])
    outcome = command("verify", f"{path}")
    assert (outcome.code, outcome.out) == (1, "")
    assert f"{path}: size is " in outcome.err
    document = command("verify", f"{path}", "--json").document
    assert (document["verified"], set(document["differences"])) == (False, {"size", "sha256"})


@pytest.mark.parametrize("missing", ["file", "manifest"])
def test_verify_without_one_of_the_two_exits_1(
    command: Command, service: Emulator, tmp_path: Path, missing: str
) -> None:
    """It is named."""
    path = tmp_path / "customers.jsonl"
    command("export", f"{path}")
    (path if missing == "file" else path.with_name("customers.jsonl.manifest.json")).unlink()
    outcome = command("verify", f"{path}")
    assert outcome.code == 1
    assert "customers.jsonl" in outcome.err


def test_diff_shows_what_changed(command: Command, service: Emulator, tmp_path: Path) -> None:
    """A line for each customer: added, changed field by field, removed."""
    old, new = tmp_path / "old.jsonl", tmp_path / "new.csv"
    command("export", f"{old}", "--quiet")
    uuids = list(service.uuids())
    service.touch(3, name="Živilė\x1b[31m")
    service.delete(1, at=5)
    service.insert(1)
    command("export", f"{new}", "--quiet")
    outcome = command("diff", f"{old}", f"{new}")
    added, changed, removed = outcome.out.splitlines()
    assert outcome.code == 0
    assert added.startswith("+ {")
    assert changed.startswith(f"~ {uuids[3]} ")
    assert r"Živilė\u001b[31m" in changed
    assert removed == f"- {uuids[5]}"
    document = command("diff", f"{old}", f"{new}", "--json").document
    assert [record["uuid"] for record in document["added"]] == list(service.uuids(0, 1))
    assert document["changed"][0]["fields"]["name"]["new"] == "Živilė\x1b[31m"
    assert document["removed"] == [uuids[5]]


def test_diff_withholds_what_may_only_have_been_missed(command: Command, service: Emulator, tmp_path: Path) -> None:
    """And says why."""
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    command("export", f"{old}", "--quiet")
    service.capped, service.cap = True, 100
    command("export", f"{new}", "--quiet", "--allow-incomplete")
    outcome = command("diff", f"{old}", f"{new}")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.endswith(f"removed customers are not shown: the verdict of {new} is CAPPED\n")
    assert command("diff", f"{old}", f"{new}", "--json").document["removed"] is None
