"""The export: the walk into the journal and into a draft, the verdict, and the file in its place."""

import asyncio
import json
import logging
import os
import shutil
import sys
import tempfile
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import attrs
import msgspec

from customers_async.client import CustomersClient
from customers_async.errors import CustomersError, ExportError
from customers_async.events import Event, RequestAnswered, RequestSent
from customers_async.export.journal import Cost, Journal
from customers_async.export.manifest import ExportReport, digest, manifest_path, rejected_path, versions
from customers_async.export.memory import CompactSet
from customers_async.export.rows import Rejected, accepted, check_fields
from customers_async.export.sinks import Write, format_of, new_file, open_sink
from customers_async.models import Completeness, Verdict
from customers_async.pager import OnIncomplete, PageReader, PageSource
from customers_async.protocol import Answer
from customers_async.request import MAX_PER_PAGE, check_choice
from customers_async.walk import Walk

__all__ = ["ExportProgress", "OnBadRecord", "Order", "export_customers"]

OnBadRecord = Literal["raise", "reject"]
SetAside = Callable[[Iterable[Rejected]], None]

_AHEAD = 4
"""So many pages for each that may be in flight wait at most to be written down or for their turn."""

_log = logging.getLogger("customers_async")


@attrs.frozen
class ExportProgress:
    """How far an export has come.

    Attributes:
        stage: ``"walk"`` while pages come and are written, ``"write"`` while the file is made anew, where something
            must be left out of it.
        walk: Which walk of the list this is, from 1; more than one where the list changed meanwhile.
        pages: Pages of this walk that are safe, or that are written.
        customers: Customers on them.
        total: Customers on the list, or None where that is not known.
        resumed: Pages that an earlier run had left.
    """

    stage: Literal["walk", "write"]
    walk: int
    pages: int
    customers: int
    total: int | None
    resumed: int


OnProgress = Callable[[ExportProgress], None]


@attrs.frozen
class Order:
    """What was asked for, checked; see `export_customers`."""

    format: str
    fields: tuple[str, ...]
    on_incomplete: OnIncomplete
    on_bad_record: OnBadRecord
    resume: bool

    @classmethod
    def check(
        cls,
        path: str | os.PathLike[str],
        *,
        format: str | None,  # noqa: A002  # as `export_customers` calls it
        fields: Sequence[str] | None,
        on_incomplete: OnIncomplete = "reconcile",
        on_bad_record: OnBadRecord = "raise",
        resume: bool = True,
    ) -> Self:
        """Refuse what cannot be meant, before anything is sent.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: An argument is out of range, or the format needs what is not installed.
        """
        check_choice("on_incomplete", on_incomplete, OnIncomplete)
        check_choice("on_bad_record", on_bad_record, OnBadRecord)
        chosen, names = format_of(path, format), check_fields(fields)
        if chosen == "sqlite" and "uuid" not in names:
            raise ValueError("a table of customers needs their uuid: name it among the fields")
        if on_bad_record == "reject" and os.fspath(path) == "-":
            raise ValueError("rejected records need a place: there is none beside stdout")
        return cls(chosen, names, on_incomplete, on_bad_record, resume)


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
        ExportError: The journal is in use, or of another service.
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
    order = Order.check(
        path, format=format, fields=fields, on_incomplete=on_incomplete, on_bad_record=on_bad_record, resume=resume
    )
    on_progress = progress or (lambda _: None)
    if os.fspath(path) != "-":
        return await _export(client, Path(path), order, on_progress)
    with tempfile.TemporaryDirectory(prefix="customers-async-") as scratch:
        report = await _export(client, Path(scratch, f"stdout.{order.format}"), order, on_progress)
        await asyncio.to_thread(_copy, Path(report.path))
    return attrs.evolve(report, path="-")


def _copy(path: Path) -> None:
    """Write the file to stdout."""
    sys.stdout.flush()
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


async def _export(client: CustomersClient, path: Path, order: Order, on_progress: OnProgress) -> ExportReport:
    base_url = client._page_source(MAX_PER_PAGE, tolerant=False).base_url
    journal = await Journal.open(path, base_url=base_url, per_page=MAX_PER_PAGE, resume=order.resume)
    draft = _Draft(path, order)
    try:
        walker = _Walker(client, journal, draft, order, on_progress)
        found = await walker.walk_until_whole()
        report = await _Writer(path, journal, draft, order, walker, on_progress).write(found)
        await journal.discard()
    finally:
        await journal.close(draft.tidy)
    return report


class _Draft:
    """The file while it grows, page by page. Used in the journal's thread only."""

    def __init__(self, path: Path, order: Order) -> None:
        self.path = _partial(path, "data")
        self._target = path
        self.rows = 0
        self._order = order
        self._sink: AbstractContextManager[Write] | None = None

    def begin(self) -> None:
        """Begin the file, or begin it again."""
        self.drop()
        sink = open_sink(self.path, self._order.format, self._order.fields)
        self._write, self._sink, self.rows = sink.__enter__(), sink, 0

    def add(self, body: bytes) -> None:
        """Write the records of a page."""
        self.rows += self._write(body)

    def end(self) -> None:
        """Write what is left; the file is whole."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.__exit__(None, None, None)

    def drop(self) -> None:
        """Give the file up, if there is one."""
        with suppress(Exception):  # a full disk may be the reason for giving up
            self.end()
        self.path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Give up whatever has not got into its place."""
        self.drop()
        for part in ("rejected", "manifest"):
            _partial(self._target, part).unlink(missing_ok=True)


class _Walker:
    """Walks the list, from the journal as far as that reaches."""

    def __init__(
        self, client: CustomersClient, journal: Journal, draft: _Draft, order: Order, on_progress: OnProgress
    ) -> None:
        self._client = client.with_options(on_event=self._count)
        self._listener = client._options.on_event
        self._journal = journal
        self._draft = draft
        self._order = order
        self._on_progress = on_progress
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()
        self._cost = journal.cost
        self._seconds_before = journal.cost.seconds
        self.source: PageSource = self._client._page_source(MAX_PER_PAGE, tolerant=order.on_bad_record == "reject")
        self.resumed = len(journal.numbers)
        self.walks = 0
        self.numbers = array("Q")  # of the pages of the last walk, in the order of the list

    async def walk_until_whole(self) -> Completeness:
        """Walk, and again where that may help; returns the verdict on the last walk, if it is to be written.

        Raises:
            IncompleteListError: It is not to be written.
        """
        order, journal = self._order, self._journal
        again = PageReader.RECONCILIATIONS if order.on_incomplete == "reconcile" else 0
        if journal.concluded and order.on_incomplete in ("reconcile", "raise"):
            await self._begin_again()
        while (found := await self._walk()).verdict is not Verdict.COMPLETE:
            await journal.conclude()
            if found.verdict is Verdict.CAPPED or not again:
                break
            again -= 1
            _log.info("The list is walked again: %s.", found.describe())
            await self._begin_again()
        if order.on_incomplete in ("reconcile", "raise"):
            found.raise_if_incomplete()
        if order.on_incomplete == "warn" and found.verdict is not Verdict.COMPLETE:
            _log.warning("The list is not complete: %s.", found.describe())
        return found

    async def _begin_again(self) -> None:
        self.resumed = 0
        await self._journal.begin_walk()

    async def _walk(self) -> Completeness:
        options = self._client._options
        reader = PageReader(
            attrs.evolve(self.source, fetch=self._fetch),
            concurrency=_AHEAD * options.concurrency,
            first_page=1,
            per_page=MAX_PER_PAGE,
            ordered=True,
            unique=True,
            on_incomplete="ignore",
            on_bad_record=None,
            persistent=options.retry.max_attempts > 1,
            tell=options.tell,
            seen=CompactSet(),
        )
        self.walks += 1
        self.numbers = array("Q")
        customers = 0
        try:
            async with aclosing(reader.pages()) as pages, self._drafting() as add:
                async for page in pages:
                    if not reader.walk.left_out:
                        await add(page.raw)
                    self.numbers.append(page.number)
                    customers += len(page.customers)
                    self._on_progress(
                        ExportProgress("walk", self.walks, len(self.numbers), customers, page.total, self.resumed)
                    )
        except CustomersError as error:
            if error.next_page is not None:  # should it be that page that cannot be read, another may come
                await self._journal.forget(error.next_page, self.cost)
            raise
        assert reader.completeness is not None  # noqa: S101  # the walk has come to its end
        return reader.completeness

    @asynccontextmanager
    async def _drafting(self) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        """Write pages in the journal's thread while the walk goes on: whoever adds one waits for the one before."""
        await self._journal.in_thread(self._draft.begin)
        adding: asyncio.Future[None] | None = None

        async def add(body: bytes) -> None:
            nonlocal adding
            if adding is not None:
                await adding
            adding = asyncio.ensure_future(self._journal.in_thread(self._draft.add, body))

        try:
            yield add
        finally:
            if adding is not None:
                await adding

    async def _fetch(self, number: int) -> Answer:
        if number in self._journal.numbers:
            return await self._journal.get(number)
        answer = await self.source.fetch(number)
        await self._journal.put(number, answer, self.cost)
        return answer

    @property
    def cost(self) -> Cost:
        """What the export has cost until now, with the runs before this one."""
        self._cost.seconds = self._seconds_before + self._clock() - self._started
        return self._cost

    def _count(self, event: Event) -> None:
        cost = self._cost
        if isinstance(event, RequestSent):
            cost.requests += 1
            cost.retries += event.attempt > 1
        elif isinstance(event, RequestAnswered):
            cost.answers_429 += event.status == 429
        if self._listener is not None:
            self._listener(event)


class _Writer:
    """Makes the file of what the journal holds, where the draft is not it already, and publishes it."""

    def __init__(
        self,
        path: Path,
        journal: Journal,
        draft: _Draft,
        order: Order,
        walker: _Walker,
        on_progress: OnProgress,
    ) -> None:
        self._path = path
        self._journal = journal
        self._draft = draft
        self._order = order
        self._walker = walker
        self._on_progress = on_progress

    async def write(self, found: Completeness) -> ExportReport:
        """Put the file in its place. What must not be in it was drafted with the rest: then it is written anew."""
        in_thread = self._journal.in_thread
        if found.duplicates or found.rejected:
            await self._write_anew(found)
        await in_thread(self._draft.end)
        if self._draft.rows != found.distinct:
            raise ExportError(f"the journal of {self._path} has changed under the export: {self._draft.rows} rows")
        return await in_thread(self._publish, found)

    async def _write_anew(self, found: Completeness) -> None:
        """Write from the journal, a page at a time, so that the event loop hears of each."""
        in_thread, draft, walker = self._journal.in_thread, self._draft, self._walker
        await in_thread(draft.begin)
        with ExitStack() as stack:
            bodies = self._bodies(found, stack)
            pages = 0
            while (body := await in_thread(next, bodies, None)) is not None:
                await in_thread(draft.add, body)
                pages += 1
                self._on_progress(
                    ExportProgress("write", walker.walks, pages, draft.rows, found.last_total, walker.resumed)
                )

    def _bodies(self, found: Completeness, stack: ExitStack) -> Iterator[bytes]:
        """What is to be written of each page; what is set aside goes into a file of its own."""
        set_aside = stack.enter_context(self._rejects()) if found.rejected else None
        walk = Walk(1, MAX_PER_PAGE, unique=True, seen=CompactSet())
        for number, answer in self._journal.pages(self._walker.numbers):
            page = self._walker.source.decode(number, answer)
            body, rejected = accepted(walk.add(page), page)
            if set_aside is not None and rejected:
                set_aside(rejected)
            yield body

    def _publish(self, found: Completeness) -> ExportReport:
        """Put the files in their places, the manifest last; the journal can make them again until then."""
        _sync(self._draft.path)
        report = self._report(found)
        document = json.dumps(report.as_dict(), indent=2, ensure_ascii=False)
        with new_file(_partial(self._path, "manifest")).open("w", encoding="utf-8") as file:
            file.write(f"{document}\n")
        _sync(_partial(self._path, "manifest"))
        self._draft.path.replace(self._path)
        if found.rejected:
            _sync(_partial(self._path, "rejected"))
            _partial(self._path, "rejected").replace(rejected_path(self._path))
        else:
            rejected_path(self._path).unlink(missing_ok=True)  # of an earlier export
        _partial(self._path, "manifest").replace(manifest_path(self._path))
        if os.name == "posix":
            _sync(self._path.parent)
        return report

    def _report(self, found: Completeness) -> ExportReport:
        first, last = self._journal.fetched_between()
        cost = self._walker.cost
        return ExportReport(
            path=str(self._path),
            format=self._order.format,
            fields=self._order.fields,
            rows=self._draft.rows,
            completeness=found,
            sha256=digest(self._draft.path),
            size=self._draft.path.stat().st_size,
            walks=self._walker.walks,
            pages_resumed=self._walker.resumed,
            requests=cost.requests,
            retries=cost.retries,
            answers_429=cost.answers_429,
            seconds=cost.seconds,
            first_page_at=datetime.fromtimestamp(first, UTC),
            last_page_at=datetime.fromtimestamp(last, UTC),
            base_url=self._walker.source.base_url,
            versions=versions(self._order.format),
        )

    @contextmanager
    def _rejects(self) -> Iterator[SetAside]:
        with new_file(_partial(self._path, "rejected")).open("wb") as file:
            yield lambda rejected: file.writelines(msgspec.json.encode(record) + b"\n" for record in rejected)


def _partial(path: Path, part: str) -> Path:
    return path.with_name(f".{path.name}.{part}.partial")


def _sync(path: Path) -> None:
    """Let the disk have it, before anything relies on it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
