"""The export: the walk into the journal and a draft, the verdict, and the file in its place."""

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
from customers_async.export.manifest import ExportReport, digest, versions
from customers_async.export.options import ExportOptions, OnBadRecord, OnProgress
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
    on_bad_record: OnBadRecord = "raise",
    resume: bool = True,
    progress: OnProgress | None = None,
) -> ExportReport:
    """Write every customer into a file, with a manifest beside it that says how whole it is.

    Pages go into a journal beside the file as they come. Whatever ends the export, the next one with the same
    arguments goes on there. The file appears only whole; an older one stays until then. Both are readable by their
    owner only.

    Args:
        client: Whose customers.
        path: The file, or ``"-"`` for stdout, which leaves no journal and no manifest.
        format: ``"jsonl"``, ``"jsonl.gz"``, ``"csv"``, ``"sqlite"``, ``"parquet"`` or ``"arrow"``; None: what the
            suffix says.
        fields: What to write of each customer, in this order; None: everything, and in JSON Lines also what the
            model does not know.
        on_incomplete: What to do when the list was not seen whole. ``"reconcile"`` walks it again, up to three times,
            and raises if that does not help; ``"raise"`` raises at once; ``"warn"`` writes what there is, and logs;
            ``"ignore"`` writes what there is. The file holds what the last walk saw. After an error, ``"warn"`` and
            ``"ignore"`` write what that walk saw, without asking again.
        on_bad_record: ``"raise"``, or ``"reject"``: write records that do not fit into ``PATH.rejected.jsonl``, each
            with its page and the reason, and go on.
        resume: Go on with the journal that an earlier run left; False discards it.
        progress: Called in the event loop whenever there is something to tell: it must return at once.

    Raises:
        CustomersError: A page could not be fetched; run again to go on.
        ExportError: The journal is in use, or of another service or account.
        IncompleteListError: The list was not seen whole.
        OSError: The file or the journal cannot be written.
        RecordError: A record does not fit.
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range, or the format needs what is not installed.

    Example:
        >>> report = await export_customers(client, "customers.jsonl")
        >>> print(report.rows, report.completeness.verdict)
        250 COMPLETE
    """
    order = ExportOptions.check(
        path, format=format, fields=fields, on_incomplete=on_incomplete, on_bad_record=on_bad_record, resume=resume
    )
    on_progress = progress or (lambda _: None)
    if os.fspath(path) != "-":
        return await _export(client, Path(path), order, on_progress)
    with tempfile.TemporaryDirectory(prefix="customers-async-") as scratch:
        report = await _export(client, Path(scratch, f"stdout.{order.format.name}"), order, on_progress)
        await asyncio.to_thread(_copy, Path(report.path))
    return attrs.evolve(report, path="-")


def _copy(path: Path) -> None:
    """Write the file to stdout."""
    sys.stdout.flush()
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


async def _export(client: CustomersClient, path: Path, order: ExportOptions, on_progress: OnProgress) -> ExportReport:
    api = internals(client)
    account = await api.account()
    journal = await Journal.open(
        path, base_url=api.base_url, account=account, per_page=MAX_PER_PAGE, resume=order.resume
    )
    draft = Output(path, order.format, order.fields)
    try:
        walker = ExportWalk(client, journal, draft, order, on_progress)
        found = await walker.walk_until_whole()
        if found.duplicates or found.rejected:
            await walker.write_anew(found)
        await journal.in_thread(draft.end)
        if draft.rows != found.distinct:
            raise ExportError(f"the journal of {path} has changed under the export: {draft.rows} rows")
        report = await journal.in_thread(_report, path, order, journal, draft, walker, found)
        document = json.dumps(report.as_dict(), indent=2, ensure_ascii=False)
        await journal.in_thread(draft.publish, f"{document}\n")
        await journal.discard()
    finally:
        await journal.close(draft.drop)
    return report


def _report(
    path: Path, order: ExportOptions, journal: Journal, draft: Output, walker: ExportWalk, found: Completeness
) -> ExportReport:
    """What the export came to; reads the whole draft, so it is for the journal's thread."""
    first, last = journal.fetched_between()
    cost = walker.cost
    return ExportReport(
        path=str(path),
        format=order.format.name,
        fields=order.fields,
        rows=draft.rows,
        completeness=found,
        sha256=digest(draft.path),
        size=draft.path.stat().st_size,
        walks=walker.walks,
        pages_resumed=walker.resumed,
        requests=cost.requests,
        retries=cost.retries,
        answers_429=cost.answers_429,
        seconds=cost.seconds,
        first_page_at=datetime.fromtimestamp(first, UTC),
        last_page_at=datetime.fromtimestamp(last, UTC),
        base_url=walker.source.base_url,
        versions=versions(order.format),
    )
