"""Exports the list: reads it into the journal and the output, then moves the output into place."""

import asyncio
import json
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from customers_async.checks import MAX_PER_PAGE
from customers_async.client import CustomersClient, internals
from customers_async.errors import ExportError
from customers_async.export.journal import Journal
from customers_async.export.manifest import ExportReport, compute_sha256, find_versions
from customers_async.export.options import RESUME_WITHIN, BadRecordPolicy, ExportOptions, OnProgress, check_progress
from customers_async.export.output import Output
from customers_async.export.stdout import prepare_stdout
from customers_async.export.target import find_target
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
    resume: timedelta | bool = RESUME_WITHIN,
    progress: OnProgress | None = None,
) -> ExportReport:
    """Write all customers to a file, with a manifest beside it that records the verdict and the figures.

    Pages are stored in a journal beside the file as they arrive. If the export fails or is killed, the next one with
    the same arguments resumes from the journal, unless its pages are too old. The file appears when it is complete;
    until then an older one stays. Only their owner can read these files.

    Args:
        client: The client to read the list with.
        path: The file, or ``"-"`` for stdout, which leaves no journal and no manifest. If it is a symbolic link, the
            file it points to is replaced, and the journal and the manifest are beside that file.
        format: ``"jsonl"``, ``"jsonl.gz"``, ``"csv"``, ``"sqlite"``, ``"parquet"`` or ``"arrow"``; None chooses by
            the suffix.
        fields: What to write of each customer, in this order; None writes everything, in JSON Lines also fields that
            the model does not know.
        on_incomplete: What to do if the verdict is not COMPLETE. ``"reconcile"`` reads the list again, up to three
            times, and then raises; ``"raise"`` raises at once; ``"warn"`` logs a warning and writes the file;
            ``"ignore"`` writes the file. The file holds the list as it was read last. If an earlier run ended with an
            `IncompleteListError`, ``"warn"`` and ``"ignore"`` write what the journal holds, without requests.
        on_bad_record: ``"raise"``, or ``"reject"`` to write records that do not fit to ``PATH.rejected.jsonl``, each
            with its page, its index and the reason, and continue.
        resume: The age up to which pages in the journal of an earlier run are used; older ones are fetched again, and
            all of them if the first page is older. True uses them whatever their age is; False discards the journal.
        progress: A plain function, called in the event loop after each page. It must return at once. What it raises
            ends the export.

    Raises:
        CustomersError: A page could not be fetched; run again to resume.
        ExportError: The journal is in use, damaged, or of another service or account.
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
    on_progress = check_progress(progress)
    if os.fspath(path) != "-":
        return await _export(client, find_target(path), str(Path(path)), options, on_progress)
    move_to_stdout = prepare_stdout(options.format)
    with tempfile.TemporaryDirectory(prefix="customers-async-") as directory:
        target = find_target(Path(directory, f"stdout.{options.format.name}"))
        report = await _export(client, target, "-", options, on_progress)
        await asyncio.to_thread(move_to_stdout, target)
    return report


async def _export(
    client: CustomersClient, target: Path, path: str, options: ExportOptions, on_progress: OnProgress
) -> ExportReport:
    """Export to ``target``; ``path`` is how the caller named it."""
    api = internals(client).api
    account = await api.account()
    journal = await Journal.open(
        target, base_url=api.base_url, account=account, per_page=MAX_PER_PAGE, resume=options.resume
    )
    output = Output(target, options.format, options.fields)
    try:
        walk = ExportWalk(
            client,
            journal,
            output,
            on_incomplete=options.on_incomplete,
            on_bad_record=options.on_bad_record,
            on_progress=on_progress,
        )
        completeness = await walk.read_list()
        if walk.must_rewrite:
            await walk.rewrite(completeness.last_total)
        await journal.run_in_thread(output.end)
        if output.rows != completeness.distinct:
            raise ExportError(f"the journal of {target} has changed during the export")
        report = await journal.run_in_thread(_make_report, path, options, journal, output, walk, completeness)
        document = json.dumps(report.as_dict(), indent=2, ensure_ascii=False)
        await journal.run_in_thread(output.publish, f"{document}\n")
        await journal.discard()
    finally:
        await journal.close(output.drop)
    return report


def _make_report(
    path: str, options: ExportOptions, journal: Journal, output: Output, walk: ExportWalk, completeness: Completeness
) -> ExportReport:
    """Make the report; runs in the journal's thread, since it reads the whole output."""
    first, last = journal.find_fetch_times(walk.numbers)
    stats = walk.update_stats()
    return ExportReport(
        path=path,
        format=options.format.name,
        fields=options.fields,
        rows=output.rows,
        completeness=completeness,
        sha256=compute_sha256(output.path),
        size=output.path.stat().st_size,
        walks=walk.walks,
        pages_resumed=len(walk.resumed),
        resumed_from=walk.find_resumed_from(),
        requests=stats.requests,
        retries=stats.retries,
        answers_429=stats.answers_429,
        seconds=stats.seconds,
        first_page_at=datetime.fromtimestamp(first, UTC),
        last_page_at=datetime.fromtimestamp(last, UTC),
        base_url=walk.api.base_url,
        versions=find_versions(options.format),
    )
