"""``export`` and ``verify``: write the list to a file, and check the file."""

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
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
from customers_async.cli.connection import Connection, Flag, Reserve, UsageError, translate_usage_errors
from customers_async.cli.output import (
    count,
    escape,
    format_json_line,
    format_time,
    make_fields_table,
    print_message,
    render,
    write,
)
from customers_async.cli.progress import Display, OnProgress, print_lines, show_live_line, show_nothing
from customers_async.exit_codes import INCOMPLETE, LOCAL
from customers_async.export import ExportProgress, ExportReport, export_customers, verify_export
from customers_async.export.journal import journal_path
from customers_async.export.options import BadRecordPolicy, ExportOptions
from customers_async.export.stdout import prepare_stdout
from customers_async.export.target import find_target, follow_link
from customers_async.listing.page_fetcher import OnIncomplete

__all__ = [
    "announce_resuming",
    "check_path",
    "choose_display",
    "export",
    "parse_duration",
    "summarize_report",
    "verify",
]

_CONNECTION = Connection()


async def export(
    path: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    file_format: Annotated[str | None, Parameter(name="--format")] = None,
    fields: str | None = None,
    allow_incomplete: Flag = False,
    rejected: Flag = False,
    resume_within: str = "1h",
    restart: Flag = False,
    reserve: Reserve = 0,
    json: Flag = False,
    quiet: Flag = False,
    connection: Connection = _CONNECTION,
) -> int:
    """Write all customers to a file. If it is interrupted, run it again to resume.

    Args:
        path: The file, in the format that its suffix names: .jsonl, .jsonl.gz, .csv, .sqlite, .parquet, .arrow. Or -
            for JSON Lines on stdout.
        file_format: The format, if the suffix does not name it.
        fields: What to write of each customer: names, separated by commas.
        allow_incomplete: Write the file even if the list is still incomplete after it was read again; still exits 5.
        rejected: Write records that do not fit to PATH.rejected.jsonl, and continue.
        resume_within: Use pages of an earlier run up to this age: a number with the unit s, m, h or d.
        restart: Discard what an earlier run left.
        reserve: Requests of each minute to leave to other processes behind the same address, such as a web service.
        json: Print the report as one JSON document.
        quiet: Print failures only.
        connection: How to connect to the service.
    """
    names = None if fields is None else [name.strip() for name in fields.split(",")]
    on_bad_record: BadRecordPolicy = "reject" if rejected else "raise"
    with translate_usage_errors():
        if path.startswith("-") and path != "-":
            raise ValueError("there is no such option")  # not repeated: it may be a mistyped secret
        options = ExportOptions.check(path, format=file_format, fields=names, on_bad_record=on_bad_record)
        check_path(path, options)
        resume = not restart and parse_duration("--resume-within", resume_within)
    if path == "-" and json:
        raise UsageError("--json needs a file: stdout is for the customers")
    # An export to stdout leaves no journal from which a second call could write an incomplete list.
    on_incomplete: OnIncomplete = "ignore" if allow_incomplete and path == "-" else "reconcile"
    async with connection.client(reserve=reserve) as client, choose_display(quiet=quiet)(client) as on_progress:
        run = partial(
            export_customers,
            client,
            path,
            format=file_format,
            fields=names,
            on_bad_record=on_bad_record,
            progress=on_progress if quiet else announce_resuming(on_progress),
        )
        with _explain_errors(path):
            try:
                report = await run(on_incomplete=on_incomplete, resume=resume)
            except IncompleteListError:
                if not allow_incomplete:
                    raise
                report = await run(on_incomplete="ignore", resume=True)  # sends nothing: the journal holds the pages
    await _print_report(report, json=json, quiet=quiet)
    return 0 if report.completeness.verdict is Verdict.COMPLETE else INCOMPLETE


def check_path(path: str, options: ExportOptions) -> None:
    """Check the path of an export, as `export_customers` does, before a client is made.

    Raises:
        OSError: There is something else than a file, or stdout is closed.
        ValueError: The path cannot be used.
    """
    if path == "-":
        prepare_stdout(options.format)
    else:
        find_target(path)


def parse_duration(option: str, text: str) -> timedelta:
    """Return the duration that is the value of an option: a number and a unit, such as 90s, 15m, 1.5h or 2d.

    Raises:
        ValueError: The text is something else.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text, re.ASCII)
    if match is None:
        raise ValueError(f"{option} must be a number with the unit s, m, h or d, such as 90m")
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        return timedelta.max


def announce_resuming(on_progress: OnProgress) -> OnProgress:
    """Return the function with a message before its first call, if pages of an earlier run are used."""
    is_first = True

    def announce(progress: ExportProgress) -> None:
        nonlocal is_first
        if is_first and progress.resumed_from is not None:
            pages = count(progress.resumed, "page")
            print_message(f"resumed: {pages} of an earlier run, the oldest from {format_time(progress.resumed_from)}")
        is_first = False
        on_progress(progress)

    return announce


async def _print_report(report: ExportReport, *, json: bool, quiet: bool) -> None:
    if json:
        await write(format_json_line(report.as_dict()))
    elif quiet:
        return
    elif report.path == "-":
        print_message(report.completeness.describe())
    else:
        await write(render(make_fields_table(summarize_report(report))))


@contextmanager
def _explain_errors(path: str) -> Iterator[None]:
    """Print what to do about an error."""
    try:
        yield
    except (asyncio.CancelledError, APIConnectionError, ServerError, RateLimitError):
        if path != "-" and journal_path(follow_link(Path(path))).exists():
            print_message("the pages fetched so far are kept; run the same command again to resume")
        raise
    except RecordError:
        if path != "-":
            print_message("use --rejected to export without records that do not fit")
        raise


def choose_display(*, quiet: bool = False) -> Display:
    """Return how to show progress."""
    if quiet:
        return show_nothing
    return show_live_line if sys.stderr.isatty() else print_lines


def summarize_report(report: ExportReport) -> dict[str, Any]:
    """Return the figures of a report that are shown."""
    completeness = report.completeness
    return {
        "customers": report.rows,
        **({"duplicates": completeness.duplicates} if completeness.duplicates else {}),
        **({"rejected": completeness.rejected} if completeness.rejected else {}),
        **({"resumed_from": report.resumed_from} if report.resumed_from is not None else {}),
        "requests": report.requests,
        "seconds": round(report.seconds, 3),
        "customers_a_second": round(report.rows / max(report.seconds, 0.001)),
        "answers_429": report.answers_429,
        "verdict": completeness.verdict,
        "path": report.path,
    }


async def verify(path: Path, /, *, json: Flag = False) -> int:
    """Compare an export with its manifest; exit 1 if they differ.

    Args:
        path: The exported file.
        json: Print one JSON document.
    """
    differences = await asyncio.to_thread(verify_export, path)
    if json:
        pairs = {name: {"manifest": expected, "file": actual} for name, (expected, actual) in differences.items()}
        await write(format_json_line({"path": str(path), "verified": not pairs, "differences": pairs}))
    elif differences:
        for name, (expected, actual) in differences.items():
            print_message(f"{path}: {name} is {actual}, but {expected} in the manifest")
    else:
        await write(f"{escape(str(path))}: verified\n")
    return LOCAL if differences else 0
