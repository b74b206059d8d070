"""``export``, ``verify`` and ``diff``: the whole list in a file, whether it is whole, and what changed."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from customers_async import (
    APIConnectionError,
    IncompleteListError,
    RateLimitError,
    RecordError,
    ServerError,
    Verdict,
)
from customers_async.cli.connection import Connection, UsageError, checking
from customers_async.cli.output import fields_table, json_line, message, render, safe, write
from customers_async.cli.progress import Watch, live_line, plain_lines, silence
from customers_async.export import Changes, ExportReport, diff_exports, export_customers, verify_export
from customers_async.export.formats import format_of
from customers_async.export.options import BadRecordPolicy, ExportOptions
from customers_async.listing.page_fetcher import OnIncomplete

__all__ = ["choose_watch", "diff", "export", "report_fields", "verify"]

Flag = Annotated[bool, Parameter(negative="")]
Run = Callable[..., Coroutine[Any, Any, ExportReport]]

_SERVICE = Connection()
_PIECES = 1000
"""Lines, or parts of a document, that are written at once."""


async def export(
    path: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    format: str | None = None,  # noqa: A002  # the option's name
    fields: str | None = None,
    allow_incomplete: Flag = False,
    rejected: Flag = False,
    restart: Flag = False,
    json: Flag = False,
    quiet: Flag = False,
    service: Connection = _SERVICE,
) -> int:
    """Write all customers into a file. Interrupted, it goes on where it stopped when it is run again.

    Args:
        path: The file; its suffix tells the format: .jsonl, .jsonl.gz, .csv, .sqlite, .parquet, .arrow. Or - for
            JSON Lines on stdout.
        format: The format, if not by the suffix.
        fields: What to write of each customer: names, with commas between them.
        allow_incomplete: Write a list that stays incomplete after it was walked again, too; exits 5 all the same.
        rejected: Write records that do not fit into PATH.rejected.jsonl, and go on.
        restart: Discard what an earlier run has left, and begin anew.
        json: Print the report as one JSON document.
        quiet: Tell of failures only.
        service: The service.
    """
    names = None if fields is None else [name.strip() for name in fields.split(",")]
    on_bad_record: BadRecordPolicy = "reject" if rejected else "raise"
    with checking():
        if path.startswith("-") and path != "-":
            raise ValueError("there is no such option")  # nor is it repeated: it may be a secret in the wrong place
        ExportOptions.check(path, format=format, fields=names, on_bad_record=on_bad_record)
    if path == "-" and json:
        raise UsageError("--json needs a file: on stdout are the customers")
    async with service.client() as client, choose_watch(quiet=quiet)(client) as on_progress:

        async def run(on_incomplete: OnIncomplete, *, resume: bool) -> ExportReport:
            return await export_customers(
                client,
                path,
                format=format,
                fields=names,
                on_incomplete=on_incomplete,
                on_bad_record=on_bad_record,
                resume=resume,
                progress=on_progress,
            )

        with _telling_how_to_go_on(path):
            if allow_incomplete and path == "-":
                report = await run("ignore", resume=False)
            else:
                report = await _run_whole(run, restart=restart, allow_incomplete=allow_incomplete)
    await _show(report, json=json, quiet=quiet)
    return 0 if report.completeness.verdict is Verdict.COMPLETE else 5


async def _run_whole(run: Run, *, restart: bool, allow_incomplete: bool) -> ExportReport:
    """Walk until the list is whole; else, on request, write what the last walk saw, which the journal has kept."""
    try:
        return await run("reconcile", resume=not restart)
    except IncompleteListError:
        if not allow_incomplete:
            raise
    return await run("ignore", resume=True)


async def _show(report: ExportReport, *, json: bool, quiet: bool) -> None:
    if json:
        await write(json_line(report.as_dict()))
    elif quiet:
        return
    elif report.path == "-":
        message(report.completeness.describe())
    else:
        await write(render(fields_table(report_fields(report))))


@contextmanager
def _telling_how_to_go_on(path: str) -> Iterator[None]:
    try:
        yield
    except (asyncio.CancelledError, APIConnectionError, ServerError, RateLimitError):
        if path != "-":
            message("what has come is kept; run the same command again to go on")
        raise
    except RecordError:
        if path != "-":
            message("with --rejected such records are set aside")
        raise


def choose_watch(*, quiet: bool = False) -> Watch:
    """How to tell how far the work is."""
    if quiet:
        return silence
    return live_line if sys.stderr.isatty() else plain_lines


def report_fields(report: ExportReport) -> dict[str, Any]:
    """What people want to know of an export."""
    found = report.completeness
    return {
        "customers": report.rows,
        **({"duplicates": found.duplicates} if found.duplicates else {}),
        **({"rejected": found.rejected} if found.rejected else {}),
        "requests": report.requests,
        "seconds": round(report.seconds, 3),
        "customers_a_second": round(report.rows / max(report.seconds, 0.001)),
        "answers_429": report.answers_429,
        "verdict": found.verdict,
        "path": report.path,
    }


async def verify(path: Path, /, *, json: Flag = False) -> int:
    """Compare an export with its manifest, and exit 1 if they differ.

    Args:
        path: The file that was exported.
        json: Print one JSON document.
    """
    differences = await asyncio.to_thread(verify_export, path)
    if json:
        found = {name: {"manifest": said, "file": found} for name, (said, found) in differences.items()}
        await write(json_line({"path": str(path), "verified": not found, "differences": found}))
    elif differences:
        for name, (said, found) in differences.items():
            message(f"{path}: {name} is {found}, the manifest says {said}")
    else:
        await write(f"{safe(str(path))}: verified\n")
    return 1 if differences else 0


async def diff(old: Path, new: Path, /, *, json: Flag = False) -> None:
    """Show what changed from one export to another, of whatever formats.

    Args:
        old: The older export.
        new: The newer one.
        json: Print one JSON document.
    """
    with checking():
        for path in (old, new):
            format_of(path)
    changes = await asyncio.to_thread(diff_exports, old, new)
    with changes:
        pieces = _as_json(changes) if json else _as_lines(changes)
        while piece := await asyncio.to_thread("".join, islice(pieces, _PIECES)):
            await write(piece)
    if changes.withheld is not None:
        message(f"who was removed is not told: {changes.withheld}")


def _as_lines(changes: Changes) -> Iterator[str]:
    for record in changes.added():
        yield f"+ {json_line(record)}"
    for change in changes.changed():
        fields = [f"{name}: {_plain(old)} -> {_plain(new)}" for name, (old, new) in change.fields.items()]
        yield f"~ {safe(change.uuid)} {', '.join(fields)}\n"
    for uuid in changes.removed():
        yield f"- {safe(uuid)}\n"


def _plain(value: object) -> str:
    return json_line(value).rstrip("\n")


def _as_json(changes: Changes) -> Iterator[str]:
    """One document, piece by piece: it may be as long as the list."""
    changed = (
        {"uuid": change.uuid, "fields": {name: {"old": old, "new": new} for name, (old, new) in change.fields.items()}}
        for change in changes.changed()
    )
    yield from _as_array('{"added": ', changes.added())
    yield from _as_array(', "changed": ', changed)
    if changes.withheld is None:
        yield from _as_array(', "removed": ', changes.removed())
    else:
        yield f', "removed": null, "withheld": {_plain(changes.withheld)}'
    yield "}\n"


def _as_array(before: str, values: Iterable[object]) -> Iterator[str]:
    yield f"{before}["
    for number, value in enumerate(values):
        yield f"{', ' if number else ''}{_plain(value)}"
    yield "]"
