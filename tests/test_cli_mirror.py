"""The commands sync, changes, find and watch in this process: output, files, exit codes."""

import json
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from customers_async.emulator import Emulator
from tests.test_cli import Command, command, service, signalling

__all__ = ["command", "service"]


@pytest.fixture
def target(tmp_path: Path) -> str:
    """Where the mirror is to be."""
    return f"{tmp_path / 'customers.db'}"


def test_sync_makes_a_mirror_and_keeps_it_in_step(command: Command, service: Emulator, target: str) -> None:
    """The report shows what changed."""
    assert command("sync", target, "--quiet").out == ""
    service.touch(0, name="Žygimantas")
    service.delete(1, at=3)
    outcome = command("sync", target)
    figures = dict(line.split(maxsplit=1) for line in outcome.out.splitlines())
    assert (outcome.code, figures["version"], figures["changed"], figures["removed"]) == (0, "2", "1", "1")
    document = command("sync", target, "--json").document
    assert (document["version"], document["added"], document["completeness"]["verdict"]) == (3, 0, "COMPLETE")


def test_changes_show_each_kind(command: Command, service: Emulator, target: str) -> None:
    """One line for each change, and where to continue."""
    command("sync", target, "--quiet")
    changed, removed = service.uuids(0, 2)
    service.touch(0, name="Živilė\x1b[31m")
    service.delete(1, at=1)
    command("sync", target, "--quiet")
    outcome = command("changes", target, "--since", "1")
    lines = sorted(outcome.out.splitlines())
    assert lines[0].startswith(f"- {removed} ")
    assert lines[1].startswith(f"~ {changed} ")
    assert r"Živilė\u001b[31m" in lines[1]
    assert outcome.err == "customers-async: continue with --since 2\n"
    documents = [json.loads(line) for line in command("changes", target, "--since", "1", "--json").out.splitlines()]
    assert {document["kind"]: document["uuid"] for document in documents} == {"changed": changed, "removed": removed}
    assert documents[0]["before"]["uuid"] == documents[0]["uuid"]


def test_find_prints_a_table_or_json_lines(command: Command, service: Emulator, target: str) -> None:
    """Case and accents do not matter."""
    service.touch(0, name="Žygimantas Qūux", registration_country_code="LT", type="company")
    command("sync", target, "--quiet")
    assert "Žygimantas Qūux" in command("find", target, "QUUX").out
    outcome = command("find", target, "mantas quux", "--country", "LT", "--type", "company", "--json")
    assert json.loads(outcome.out)["name"] == "Žygimantas Qūux"
    assert command("find", target, "no such name").out == ""


def test_mass_removal_exits_6(command: Command, service: Emulator, target: str) -> None:
    """Nothing is written; the message names the limit."""
    command("sync", target, "--quiet")
    service.delete(30)
    outcome = command("sync", target)
    assert (outcome.code, outcome.out) == (6, "")
    assert outcome.err.endswith("21 customers or more, and max_removals is 20; nothing was written\n")
    assert command("sync", target, "--max-removals", "30", "--quiet").code == 0


def test_drifted_list_is_applied_and_exits_5(command: Command, service: Emulator, target: str) -> None:
    """As every command does for a list that is not COMPLETE."""
    command("sync", target, "--quiet")
    service.on_page(2, delete=1)
    assert command("sync", target, "--quiet").code == 5


@pytest.mark.parametrize("arguments", [("changes", "{}"), ("find", "{}", "x")])
def test_missing_mirror_is_named(command: Command, target: str, arguments: tuple[str, ...]) -> None:
    """Reading creates no file."""
    outcome = command(*(argument.format(target) for argument in arguments))
    assert (outcome.code, outcome.err) == (1, f"customers-async: {target}: No such file or directory\n")
    assert not Path(target).exists()


def test_changes_that_were_pruned_exit_2(command: Command, service: Emulator, target: str) -> None:
    """The message says where to begin."""
    command("sync", target, "--quiet")
    with sqlite3.connect(target) as database:
        database.execute("INSERT INTO mirror_facts VALUES ('pruned', '1')")
    database.close()
    outcome = command("changes", target)
    assert outcome.code == 2
    assert "have been pruned" in outcome.err


@pytest.mark.parametrize("every", ["0s", "soon", "15"])
def test_bad_period_exits_2(command: Command, service: Emulator, target: str, every: str) -> None:
    """Before anything is sent."""
    assert command("watch", target, "--every", every).code == 2
    assert service.stats.requests == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("find", "{}", "\udcff"),
        ("find", "{}", "x", "--country", "\udcff"),
        ("find", "{}", "x", "--type", "a\udcff"),
        ("sync", "postgresql://host\udcff/db"),
        ("find", "{}", "x", "--limit", f"{10**20}"),
        ("changes", "{}", "--since", f"{10**20}"),
        ("sync", "{}", "--max-removals", f"{10**20}"),
        ("watch", "{}", "--max-removals", f"{10**20}"),
        ("watch", "{}", "--since", f"{10**20}"),
    ],
)
def test_value_that_no_database_holds_exits_2(
    command: Command, service: Emulator, target: str, arguments: tuple[str, ...]
) -> None:
    """A number of more than 64 bits, or an argument that is no UTF-8; nothing is sent."""
    command("sync", target, "--quiet")
    service.stats.reset()
    outcome = command(*(argument.format(target) for argument in arguments))
    assert (outcome.code, outcome.out, service.stats.requests) == (2, "", 0)
    assert outcome.err.startswith("customers-async: ")


def test_watch_prints_a_line_for_each_sync_and_ends_on_a_signal(
    command: Command, service: Emulator, target: str
) -> None:
    """SIGTERM ends it with 143; the mirror holds the last sync."""
    service.fail_next(signalling(signal.SIGTERM), page=1, after=2)
    outcome = command("watch", target, "--every", "0.05s")
    assert outcome.code == 143
    assert outcome.out.count("+ ") == 250
    assert "customers-async: version 1: 250 added, 0 changed, 0 removed; COMPLETE" in outcome.err
    assert "customers-async: version 2: 0 added, 0 changed, 0 removed; COMPLETE" in outcome.err


def test_empty_file_is_not_made_a_mirror_by_a_reader(command: Command, target: str) -> None:
    """Only sync makes a mirror."""
    Path(target).touch()
    assert command("find", target, "x").code == 2
    assert Path(target).stat().st_size == 0


def test_missing_extra_exits_2(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    for name in ("postgres", "postgres_staging"):
        monkeypatch.delitem(sys.modules, f"customers_async.mirror.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    outcome = command("changes", "postgresql://host/db")
    assert (outcome.code, "customers-async[postgres]" in outcome.err) == (2, True)


def test_many_customers_are_found_in_batches(command: Command, service: Emulator, target: str) -> None:
    """The table has one header."""
    command("sync", target, "--quiet")
    outcome = command("find", target, "", "--limit", "150")
    assert (outcome.out.count("UUID"), len(outcome.out.splitlines())) == (1, 151)
    assert len(command("find", target, "", "--limit", "200", "--json").out.splitlines()) == 200


@pytest.mark.parametrize("arguments", [("sync",), ("watch",)])
def test_missing_token_leaves_no_file(
    command: Command, target: str, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """It is looked for before the mirror is made."""
    monkeypatch.delenv("CUSTOMERS_TOKEN", raising=False)
    assert command(*arguments, target).code == 3
    assert not Path(target).exists()
