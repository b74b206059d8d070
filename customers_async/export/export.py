"""Exports the list: reads it into the journal and the output, then moves the output into place."""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs

from customers_async.checks import MAX_PER_PAGE
from customers_async.client import CustomersClient, internals
from customers_async.errors import ExportError
from customers_async.export.journal import Journal
from customers_async.export.manifest import ExportReport, compute_sha256, find_versions
from customers_async.export.options import BadRecordPolicy, ExportOptions, OnProgress
from customers_async.export.output import Output
from customers_async.export.walk import ExportWalk
from customers_async.listing.page_fetcher import OnIncomplete
from customers_async.models import Completeness

__all__ = ["export_customers"]


async def export_customers(
    client: CustomersClient,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002  # the name that users look for
    fields: Sequence[str] | None = None,
    on_incomplete: OnIncomplete = "reconcile",
    on_bad_record: BadRecordPolicy = "raise",
    resume: bool = True,
    progress: OnProgress | None = None,
) -> ExportReport:
    """Write all customers to a file, with a manifest beside it that records the verdict and the figures.

    Pages are stored in a journal beside the file as they arrive. If the export fails or is killed, the next one with
    the same arguments resumes from the journal. The file appears when it is complete; until then an older one stays.
    Only their owner can read these files.

    Args:
        client: The client to read the list with.
        path: The file, or ``"-"`` for stdout, which leaves no journal and no manifest.
        format: ``"jsonl"``, ``"jsonl.gz"``, ``"csv"``, ``"sqlite"``, ``"parquet"`` or ``"arrow"``; None chooses by
            the suffix.
        fields: What to write of each customer, in this order; None writes everything, in JSON Lines also fields that
            the model does not know.
        on_incomplete: What to do if the verdict is not COMPLETE. ``"reconcile"`` reads the list again, up to three
            times, and then raises; ``"raise"`` raises at once; ``"warn"`` logs a warning and writes the file;
            ``"ignore"`` writes the file. The file holds the list as it was read last. ``"warn"`` and ``"ignore"``
            after an `IncompleteListError` write what the journal holds, without requests.
        on_bad_record: ``"raise"``, or ``"reject"`` to write records that do not fit to ``PATH.rejected.jsonl``, each
            with its page and the reason, and continue.
        resume: Resume from the journal of an earlier run; False discards it.
        progress: Called in the event loop after each page. It must return at once.

    Raises:
        CustomersError: A page could not be fetched; run again to resume.
        ExportError: The journal is in use, or of another service or account.
        IncompleteListError: The verdict is not COMPLETE.
        OSError: The file or the journal cannot be written.
        RecordError: A record does not fit.
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range, or the format needs pyarrow, which is not installed.

    Example:
        >>> report = await export_customers(client, "customers.jsonl")
        >>> print(report.rows, report.completeness.verdict)
        250 COMPLETE
    """
    options = ExportOptions.check(
        path, format=format, fields=fields, on_incomplete=on_incomplete, on_bad_record=on_bad_record, resume=resume
    )
    on_progress = progress or (lambda _: None)
    if os.fspath(path) != "-":
        return await _export(client, Path(path), options, on_progress)
    with tempfile.TemporaryDirectory(prefix="customers-async-") as directory:
        report = await _export(client, Path(directory, f"stdout.{options.format.name}"), options, on_progress)
        await asyncio.to_thread(_copy_to_stdout, Path(report.path))
    return attrs.evolve(report, path="-")


def _copy_to_stdout(path: Path) -> None:
    sys.stdout.flush()
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


async def _export(client: CustomersClient, path: Path, options: ExportOptions, on_progress: OnProgress) -> ExportReport:
    api = internals(client)
    account = await api.account()
    journal = await Journal.open(
        path, base_url=api.base_url, account=account, per_page=MAX_PER_PAGE, resume=options.resume
    )
    output = Output(path, options.format, options.fields)
    try:
        walk = ExportWalk(client, journal, output, options, on_progress)
        completeness = await walk.read_list()
        if completeness.duplicates or completeness.rejected:
            await walk.rewrite(completeness.last_total)
        await journal.run_in_thread(output.end)
        if output.rows != completeness.distinct:
            raise ExportError(f"the journal of {path} has changed during the export: {output.rows} rows")
        report = await journal.run_in_thread(_make_report, path, options, journal, output, walk, completeness)
        document = json.dumps(report.as_dict(), indent=2, ensure_ascii=False)
        await journal.run_in_thread(output.publish, f"{document}\n")
        await journal.discard()
    finally:
        await journal.close(output.drop)
    return report


def _make_report(
    path: Path, options: ExportOptions, journal: Journal, output: Output, walk: ExportWalk, completeness: Completeness
) -> ExportReport:
    """Make the report; runs in the journal's thread, since it reads the whole output."""
    first, last = journal.find_fetch_times()
    stats = walk.update_stats()
    return ExportReport(
        path=str(path),
        format=options.format.name,
        fields=options.fields,
        rows=output.rows,
        completeness=completeness,
        sha256=compute_sha256(output.path),
        size=output.path.stat().st_size,
        walks=walk.walks,
        pages_resumed=walk.resumed,
        requests=stats.requests,
        retries=stats.retries,
        answers_429=stats.answers_429,
        seconds=stats.seconds,
        first_page_at=datetime.fromtimestamp(first, UTC),
        last_page_at=datetime.fromtimestamp(last, UTC),
        base_url=walk.base_url,
        versions=find_versions(options.format),
    )
