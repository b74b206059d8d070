"""The mirror: a table that is kept in step with the list, and its change feed."""

import copy
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Self

import attrs

from customers_async.checks import check_not_negative, check_uuid, is_plain_function
from customers_async.client import CustomersClient, internals
from customers_async.errors import ACCESS_ERRORS, CustomersError, NotFoundError
from customers_async.export.options import RESUME_WITHIN, OnProgress, check_progress, check_resume
from customers_async.export.target import find_target
from customers_async.mirror.models import Change, MirroredCustomer, SyncReport
from customers_async.mirror.recent import Recent
from customers_async.mirror.records import check_text, fold, load_customer
from customers_async.mirror.sqlite import SqliteStore
from customers_async.mirror.store import PAGE, Store, StoredChange, StoredCustomer
from customers_async.mirror.sync import run_sync
from customers_async.mirror.watch import watch_changes
from customers_async.models import Customer

__all__ = ["Mirror"]


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = logging.getLogger("customers_async")


class Mirror:
    """A table of all customers, kept in step with the list by `sync`. Made by `open`, used in an ``async with`` block.

    A mirror is of one account's list. It holds personal data: see the guide for what is stored where.

    Example:
        >>> from customers_async.mirror import Mirror
        >>> async with Mirror.open("customers.db") as mirror:
        ...     report = await mirror.sync(client)
        ...     print(report.added, report.completeness.verdict)
        250 COMPLETE
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recent = Recent()

    def __repr__(self) -> str:
        return f"<Mirror {self._store!r}>"

    @classmethod
    def open(cls, target: str | os.PathLike[str]) -> Self:
        """Return a mirror, whose database is opened at the beginning of the ``async with`` block.

        Args:
            target: The path of an SQLite file, which is created if it is missing, readable by its owner only. Or a
                PostgreSQL URL, ``postgresql://...``, which needs the extra ``postgres``.

        Raises:
            ModuleNotFoundError: The extra is missing.
            OSError: The path is that of something else than a file, or its folder is missing.
            TypeError: ``target`` is neither a path nor a string.
            ValueError: The path or the URL cannot be used.
        """
        text = os.fspath(target)
        if not isinstance(text, str):
            raise TypeError(f"target must be a path or a URL, not {type(target).__name__}")
        if text.startswith(("postgresql://", "postgres://")):
            from customers_async.mirror.postgres import PostgresStore

            return cls(PostgresStore(text))
        if "://" in text:
            raise ValueError("target must be a path or a postgresql:// URL")
        return cls(SqliteStore(find_target(target)))

    async def __aenter__(self) -> Self:
        await self._store.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._store.close()

    async def sync(
        self,
        client: CustomersClient,
        *,
        max_removals: int | None = None,
        resume: timedelta | bool = RESUME_WITHIN,
        progress: OnProgress | None = None,
    ) -> SyncReport:
        """Read the list, and write what has changed in one transaction, as the next version.

        A customer that is missing from the listing is not removed: it is looked up. A 404 removes it; a customer that
        the look-up finds stays; if the look-up fails, the customer stays a suspect for the next sync. A record that
        does not fit the model is counted, and the mirror keeps what it held.

        The pages are stored in a journal as they arrive. A sync that was interrupted changes nothing, and the next one
        resumes from the journal.

        Args:
            client: The client to read the list with.
            max_removals: The most customers that may be removed. Default: 5 % of the mirror, and at least 20.
            resume: The age up to which pages of an interrupted sync are used. True uses them whatever their age is;
                False discards them.
            progress: A plain function, called in the event loop after each page. What it raises ends the sync.

        Raises:
            MassRemovalError: More than ``max_removals`` customers would be removed. Nothing was written.
            CustomersError: A page could not be fetched, or every look-up fails; sync again to resume.
            ExportError: Another sync is running, or the mirror is damaged, or of another service or account.
            OSError: The database or the journal cannot be written.
            TypeError: An argument is of the wrong type.
            ValueError: An argument is out of range.
        """
        if max_removals is not None:
            check_not_negative("max_removals", max_removals)
        report = await run_sync(
            self._store,
            client,
            max_removals=max_removals,
            resume=check_resume(resume),
            on_progress=check_progress(progress),
        )
        _log.info("Synced: %s.", report.describe())
        return report

    async def get(self, uuid: str) -> Customer | None:
        """Return a customer as the last sync saw it, or None. Sends nothing."""
        check_uuid(uuid)
        stored = await self._store.get(uuid)
        return None if stored is None else load_customer(stored)

    async def get_customer(self, uuid: str, client: CustomersClient, *, max_age: float = 300.0) -> MirroredCustomer:
        """Return a customer: from the mirror if it is recent, else from the service, else from the mirror as it is.

        Responses, including 404, are remembered in this object. If the service fails, the newest of what is remembered
        and what the mirror holds is returned, marked as stale. The mirror itself changes by `sync` only.

        Args:
            uuid: The customer.
            client: The client to look the customer up with. For a web service, give it a short ``timeout`` and
                ``max_rate_limit_wait=0`` by ``with_options``.
            max_age: Seconds for which data is recent.

        Raises:
            NotFoundError: The service does not know the customer.
            CustomersError: The look-up failed, and nothing is known of the customer; or access was refused.
            TypeError: An argument is of the wrong type.
            ValueError: ``uuid`` does not have the service's form, or ``max_age`` is negative.
        """
        check_uuid(uuid)
        if isinstance(max_age, bool) or not isinstance(max_age, int | float):
            raise TypeError(f"max_age must be a number of seconds, not {type(max_age).__name__}")
        if not max_age >= 0:
            raise ValueError("max_age must be 0 or more")
        stored = await self._store.get(uuid)
        held = None if stored is None else _load_customer(stored)
        held_at, oldest = (0.0 if stored is None else stored.seen_at), time.time() - max_age
        newest = self._recent.get(uuid, newer_than=max(held_at, oldest))
        if newest is None and held_at > oldest:
            newest = held
        if newest is not None:
            return newest
        epoch = self._recent.epoch
        try:
            look_ups = internals(client.with_options(keep_unknown=True))
            customer = await attrs.evolve(look_ups, cache=None, scope=epoch).get_customer(uuid, "interactive")
        except NotFoundError as error:
            self._recent.put(uuid, copy.copy(error), epoch=epoch)
            raise
        except ACCESS_ERRORS:
            raise
        except CustomersError as error:  # also one that is not retryable, such as HTML: nothing better will come
            newest = self._recent.get(uuid, newer_than=held_at) or held
            if newest is None:
                raise
            _log.info("The service failed with %s; the mirror's copy is returned.", type(error).__name__)
            return attrs.evolve(newest, stale=True)
        found = MirroredCustomer(customer=customer, seen_at=datetime.now(UTC), stale=False)
        self._recent.put(uuid, found, epoch=epoch)
        return found

    async def find(
        self,
        name: str,
        *,
        country: str | None = None,
        type: str | None = None,  # noqa: A002  # the name of the field
        limit: int | None = 50,
    ) -> AsyncGenerator[Customer, None]:
        """Yield the customers whose name contains this text, in the order of their names. Sends nothing.

        Args:
            name: Part of the name; case and accents do not matter. An empty text matches every customer.
            country: The ``registration_country_code``, such as ``"LT"``.
            type: The ``type``, such as ``"company"``.
            limit: Yield at most this many; None yields all.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: ``limit`` is negative, or a text has characters that no database holds.
        """
        wanted = {"registration_country_code": country, "type": type}
        columns = {column: value for column, value in wanted.items() if value is not None}
        for text in (name, *columns.values()):
            check_text(text)
        if limit is not None:
            check_not_negative("limit", limit)
        left, after, folded = limit, None, fold(name)
        while left is None or left > 0:
            count = PAGE if left is None else min(left, PAGE)
            rows = await self._store.find(folded, columns, after=after, limit=count)
            for after in rows:
                yield load_customer(after)
            if len(rows) < count:
                return
            left = None if left is None else left - len(rows)

    async def changes(self, since: int = 0) -> AsyncGenerator[Change, None]:
        """Yield the changes of all versions after ``since``, in the order in which they were written. Sends nothing.

        Store the last version of which you have handled every change, and continue with ``since=`` that version.

        Args:
            since: A version; 0 begins with the first.

        Raises:
            TypeError: ``since`` is not an int.
            ValueError: ``since`` is negative, or later than the last version; or changes after it have been pruned, so
                they cannot all be yielded.
        """
        check_not_negative("since", since)
        after = 0
        while True:
            rows = await self._store.read_changes(since, after, PAGE)
            last, pruned = await self._store.read_versions()  # after the rows, which another process may have pruned
            if since < pruned:
                raise ValueError(
                    f"changes up to version {pruned} have been pruned: read all customers, then since={pruned}"
                )
            if since > last:
                raise ValueError(f"since is {since}, but the last version is {last}: this is another mirror")
            if not rows:
                return
            for row in rows:
                after = row.id
                yield _load_change(row)

    async def watch(
        self,
        client: CustomersClient,
        *,
        every: float,
        since: int | None = None,
        max_removals: int | None = None,
        on_sync: Callable[[SyncReport], object] | None = None,
    ) -> AsyncGenerator[Change, None]:
        """Sync again and again, and yield the changes, also those that other processes write in between.

        It ends only when it is closed or cancelled. Each change is yielded at least once: to continue after a restart,
        pass the last version of which you have handled every change.

        A sync that fails is logged as a warning and repeated after 5 s, then 10 s, and so on, up to ``every``.

        Args:
            client: The client to read the list with.
            every: Seconds from the beginning of one sync to that of the next.
            since: Yield the changes after this version. Default: those of the first sync, and all later ones.
            max_removals: As in `sync`.
            on_sync: Called with the report of each sync, before its changes are yielded. What it raises ends the
                iteration.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: ``every`` is not above 0, or ``max_removals`` is negative.
        """
        if isinstance(every, bool) or not isinstance(every, int | float):
            raise TypeError(f"every must be a number of seconds, not {type(every).__name__}")
        if not every > 0:
            raise ValueError("every must be above 0")
        if max_removals is not None:
            check_not_negative("max_removals", max_removals)
        if since is not None:
            check_not_negative("since", since)
        if on_sync is not None and not is_plain_function(on_sync, 1):
            raise TypeError("on_sync must be a plain function of a SyncReport, or None")
        sync = partial(self.sync, client, max_removals=max_removals)
        watching = watch_changes(sync, self.changes, every=float(every), since=since, on_sync=on_sync)
        async with aclosing(watching):
            async for change in watching:
                yield change

    async def forget(self, uuid: str) -> int:
        """Erase a customer: the row and its history. Return how many rows were deleted.

        If the service still lists the customer, the next sync adds it again.
        """
        check_uuid(uuid)
        self._recent.erase(uuid)
        return await self._store.forget(uuid)

    async def prune(self, older_than: timedelta) -> int:
        """Delete the changes found by syncs that are older than that. Return how many rows were deleted.

        Raises:
            ValueError: ``older_than`` is negative.
        """
        if older_than < timedelta():
            raise ValueError("older_than must not be negative")
        now = datetime.now(UTC)
        return await self._store.prune(now - min(older_than, now - _EPOCH))


def _load_customer(stored: StoredCustomer) -> MirroredCustomer:
    seen_at = datetime.fromtimestamp(stored.seen_at, UTC)
    return MirroredCustomer(customer=load_customer(stored), seen_at=seen_at, stale=False)


def _load_change(row: StoredChange) -> Change:
    return Change(
        version=row.version,
        kind=row.kind,
        uuid=row.uuid,
        before=None if row.before is None else load_customer(row, "before"),
        after=None if row.after is None else load_customer(row, "after"),
        seen_at=datetime.fromtimestamp(row.seen_at, UTC),
    )
