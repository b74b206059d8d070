"""The commands export, verify and diff in this process: output, files, exit codes."""

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
    """Stdout receives a small table, and the file the customers."""
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
    """One document, equal to the manifest beside the file."""
    path = tmp_path / "customers.parquet"
    outcome = command("export", f"{path}", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.document == json.loads(path.with_name("customers.parquet.manifest.json").read_text())


def test_quiet_export_prints_nothing(command: Command, service: Emulator, tmp_path: Path) -> None:
    """--quiet prints failures only."""
    outcome = command("export", f"{tmp_path / 'customers.csv'}", "--quiet", "--fields", "uuid, name")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert (tmp_path / "customers.csv").read_text(encoding="utf-8").startswith("uuid,name\n")


def test_export_to_stdout_prints_data_only(command: Command, service: Emulator) -> None:
    """The verdict is printed on stderr."""
    outcome = command("export", "-")
    assert outcome.code == 0
    assert [line["uuid"] for line in outcome.lines] == list(service.uuids())
    assert outcome.err == "customers-async: COMPLETE, 250 of 250 customers, 3 pages\n"


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_interrupted_export_says_how_to_resume(
    command: Command, service: Emulator, tmp_path: Path, number: int, code: int, word: str
) -> None:
    """The next run resumes."""
    path = tmp_path / "customers.jsonl"
    service.fail_next(signalling(number), page=3, after=0)
    outcome = command("export", f"{path}")
    assert outcome.code == code
    assert outcome.err == (
        "customers-async: the pages fetched so far are kept; run the same command again to resume\n"
        f"customers-async: {word}\n"
    )
    assert journal_path(path).exists()
    assert command("export", f"{path}", "--json").document["rows"] == 250


def test_server_error_exits_4_and_the_next_run_resumes(command: Command, service: Emulator, tmp_path: Path) -> None:
    """--restart discards the journal instead."""
    path = tmp_path / "customers.jsonl"
    service.fail_next(501, page=3)
    outcome = command("export", f"{path}")
    assert outcome.code == 4
    assert "run the same command again to resume" in outcome.err
    assert command("export", f"{path}", "--json").document["pages_resumed"] == 2
    service.fail_next(501, page=3)
    command("export", f"{path}")
    assert command("export", f"{path}", "--restart", "--json").document["pages_resumed"] == 0


def test_incomplete_list_exits_5_and_writes_nothing(command: Command, service: Emulator, tmp_path: Path) -> None:
    """The message gives the verdict."""
    service.capped, service.cap = True, 100
    outcome = command("export", f"{tmp_path / 'customers.jsonl'}")
    assert (outcome.code, outcome.out) == (5, "")
    assert "CAPPED, 100 of 250 customers" in outcome.err
    assert not (tmp_path / "customers.jsonl").exists()


def test_allow_incomplete_writes_the_file(command: Command, service: Emulator, tmp_path: Path) -> None:
    """It still exits 5, and no page is requested twice."""
    service.capped, service.cap = True, 100
    outcome = command("export", f"{tmp_path / 'customers.jsonl'}", "--allow-incomplete", "--json")
    assert (outcome.code, outcome.document["rows"], outcome.document["verdict"]) == (5, 100, "CAPPED")
    assert service.stats.requests == outcome.document["requests"]
    assert command("export", "-", "--allow-incomplete", "--quiet").code == 5


def test_bad_record_exits_4(command: Command, service: Emulator, tmp_path: Path) -> None:
    """The message names --rejected, which leaves such records out."""
    service.touch(7, name=17)
    path = tmp_path / "customers.jsonl"
    outcome = command("export", f"{path}")
    assert outcome.code == 4
    assert "use --rejected to export without records that do not fit" in outcome.err
    document = command("export", f"{path}", "--rejected", "--json").document
    assert (document["rows"], document["rejected"]) == (249, 1)


@pytest.mark.parametrize("target", ["missing/customers.jsonl", "directory.jsonl"])
def test_path_that_cannot_be_written_exits_1(command: Command, service: Emulator, tmp_path: Path, target: str) -> None:
    """The message names the path."""
    (tmp_path / "directory.jsonl").mkdir()
    outcome = command("export", f"{tmp_path / target}")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"customers-async: {tmp_path / target}: ")


def test_foreign_file_at_the_journals_path_exits_1(command: Command, service: Emulator, tmp_path: Path) -> None:
    """The message says what to do."""
    path = tmp_path / "customers.jsonl"
    journal_path(path).write_text("not a journal" * 1000)
    outcome = command("export", f"{path}")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == f"customers-async: {path}.journal is not a journal: move it away\n"


def test_terminal_shows_a_live_line(
    command: Command, service: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows pages and customers, and the second writing of a file without a bad record."""
    path, screens = tmp_path / "customers.jsonl", [""]
    with terminal(monkeypatch, "stderr", on_output=screens.append):
        assert command("export", f"{path}").code == 0
    assert "3 pages, 250 of 250" in screens[-1]
    assert "writing" not in screens[-1]
    service.touch(8, name=5)
    with terminal(monkeypatch, "stderr", on_output=screens.append):
        assert command("export", f"{path}", "--rejected").code == 0
    assert "writing 249 of 250" in screens[-1]


def test_remaining_time_includes_waits_for_the_rate_limit() -> None:
    """100,000 customers at 5,000 a second: waits for two windows, and the pages of one window after them."""
    seconds = iter([0.0, 0.0, 10.0, 10.0])
    waits = {1_000: 90.0}
    look_ups = SimpleNamespace(api=SimpleNamespace(bulk_wait=waits.__getitem__))
    client: Any = SimpleNamespace(rate_limit=RateLimit(500, 0, 30.0), _look_ups=look_ups)
    status = Status(client, clock=lambda: next(seconds))
    for customers in (0, 50_000):
        status.update(ExportProgress("walk", 1, customers // 100, customers, 150_000, 0))
    assert str(status).endswith("rate limit: waiting 30 s, 0:01:40 left")


def test_verify_accepts_an_unchanged_export(command: Command, service: Emulator, tmp_path: Path) -> None:
    """It exits 0."""
    path = tmp_path / "customers.jsonl"
    command("export", f"{path}")
    assert command("verify", f"{path}").out == f"{path}: verified\n"
    assert command("verify", f"{path}", "--json").document["verified"] is True


def test_verify_exits_1_on_a_difference(command: Command, service: Emulator, tmp_path: Path) -> None:
    """The message names what differs."""
    path = tmp_path / "customers.jsonl"
    command("export", f"{path}")
    path.write_bytes(path.read_bytes()[:-1])
    outcome = command("verify", f"{path}")
    assert (outcome.code, outcome.out) == (1, "")
    assert f"{path}: size is " in outcome.err
    document = command("verify", f"{path}", "--json").document
    assert (document["verified"], set(document["differences"])) == (False, {"size", "sha256"})


@pytest.mark.parametrize("missing", ["file", "manifest"])
def test_verify_without_file_or_manifest_exits_1(
    command: Command, service: Emulator, tmp_path: Path, missing: str
) -> None:
    """The message names the missing file."""
    path = tmp_path / "customers.jsonl"
    command("export", f"{path}")
    (path if missing == "file" else path.with_name("customers.jsonl.manifest.json")).unlink()
    outcome = command("verify", f"{path}")
    assert outcome.code == 1
    assert "customers.jsonl" in outcome.err


def test_diff_shows_what_changed(command: Command, service: Emulator, tmp_path: Path) -> None:
    """One line for each customer: added, changed field by field, or removed."""
    old, new = tmp_path / "old.jsonl", tmp_path / "new.csv"
    command("export", f"{old}", "--quiet")
    uuids = list(service.uuids())
    service.touch(3, name="Živilė\x1b[31m")
    service.delete(1, at=5)
    service.insert(1)
    service.touch(0, created_at=1744373843)  # else it might have been inserted during the listing
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
    assert document["not_seen"] == [uuids[5]]


def test_diff_says_what_absence_proves(command: Command, service: Emulator, tmp_path: Path) -> None:
    """Customers that were not seen are shown, with the reason why they may still be there."""
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    command("export", f"{old}", "--quiet")
    service.capped, service.cap = True, 200
    command("export", f"{new}", "--quiet", "--allow-incomplete")
    outcome = command("diff", f"{old}", f"{new}")
    assert (outcome.code, outcome.out) == (0, "".join(f"- {uuid}\n" for uuid in sorted(service.uuids(200, 250))))
    assert outcome.err.endswith(
        "customers-async: 0 added, 0 changed, 50 not seen\n"
        f"customers-async: those not seen may still be there: the verdict of {new} is CAPPED; --confirm looks them up\n"
    )
    document = command("diff", f"{old}", f"{new}", "--json").document
    assert (len(document["not_seen"]), document["unproven"]) == (50, f"the verdict of {new} is CAPPED")


def test_diff_confirms_removals(command: Command, service: Emulator, tmp_path: Path) -> None:
    """Each customer that was not seen is looked up: - removed, ! alive."""
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    command("export", f"{old}", "--quiet")
    gone, *_, missed = service.uuids()
    service.delete(1)
    service.capped, service.cap = True, 248
    command("export", f"{new}", "--quiet", "--allow-incomplete")
    service.capped = False
    outcome = command("diff", f"{old}", f"{new}", "--confirm", "--exit-code")
    assert (outcome.code, sorted(outcome.out.splitlines())) == (6, [f"! {missed}", f"- {gone}"])
    assert outcome.err.endswith("0 added, 0 changed, 1 removed, 1 alive, 0 unknown\n")
    document = command("diff", f"{old}", f"{new}", "--confirm", "--json").document
    assert (document["removed"], document["alive"], document["unknown"]) == ([gone], [missed], [])


def test_diff_exits_0_without_differences(command: Command, service: Emulator, tmp_path: Path) -> None:
    """With --exit-code, scripts learn from the exit code whether anything changed."""
    command("export", f"{tmp_path / 'old.jsonl'}", "--quiet")
    outcome = command("diff", f"{tmp_path / 'old.jsonl'}", f"{tmp_path / 'old.jsonl'}", "--exit-code")
    assert (outcome.code, outcome.out) == (0, "")
