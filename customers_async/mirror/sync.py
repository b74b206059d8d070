"""One sync: read the list, look up customers missing from it, and write what changed in one transaction."""

from collections.abc import Iterable
from contextlib import aclosing
from datetime import timedelta

from customers_async.checks import MAX_PER_PAGE
from customers_async.client import CustomersClient, internals
from customers_async.errors import ExportError, stripped
from customers_async.export.journal import Journal
from customers_async.export.options import OnProgress
from customers_async.export.records import RejectedRecord, load_json, split_records
from customers_async.export.removals import RemovalStatus, look_up_suspects
from customers_async.export.walk import ExportWalk
from customers_async.mirror.merge import Known, Merge, check_removals, default_max_removals
from customers_async.mirror.models import SyncReport
from customers_async.mirror.records import StagedCustomer, compute_digest, encode_customer
from customers_async.mirror.store import Facts, Staging, Store, Sync
from customers_async.models import Completeness, Customer, Page

__all__ = ["run_sync"]

_LOOK_UPS_STAGED = 100
"""Customers found by look-ups that are staged at once."""


async def run_sync(
    store: Store,
    client: CustomersClient,
    *,
    max_removals: int | None,
    resume: timedelta | bool,
    on_progress: OnProgress,
) -> SyncReport:
    """Bring the store up to date; see `Mirror.sync` for arguments and errors."""
    api = internals(client).api
    facts = {"base_url": api.base_url, "account": await api.account()}
    _check_facts(facts, await store.read_facts())
    async with store.start_sync() as staging:
        journal = await Journal.open(
            store.find_journal_target(),
            base_url=facts["base_url"],
            account=facts["account"],
            per_page=MAX_PER_PAGE,
            resume=resume,
            purpose="sync",
        )
        try:
            known = await staging.read_known()
            if min(journal.times.values(), default=known.written_at) <= known.written_at:
                await journal.clear()  # these pages would bring back what was written or erased since
            sync = _SyncRun(client, journal, staging, known, max_removals, on_progress)
            report = await sync.run(facts)
            await journal.discard()
        finally:
            await journal.close()  # before the staging, which its threads use
    return report


class _SyncRun:
    """One sync, with its journal and its staging.

    Args:
        client: The client to read the list with.
        journal: Stores the pages.
        staging: Where to stage what may have changed.
        known: What the store holds.
        max_removals: The most customers that may be removed, or None for the default.
        on_progress: Called after each page.
    """

    def __init__(
        self,
        client: CustomersClient,
        journal: Journal,
        staging: Staging,
        known: Known,
        max_removals: int | None,
        on_progress: OnProgress,
    ) -> None:
        self._journal = journal
        self._staging = staging
        self._listing = _Listing(staging, known)
        self._walk = ExportWalk(
            client, journal, self._listing, on_incomplete="warn", on_bad_record="reject", on_progress=on_progress
        )
        self._max_removals = default_max_removals(len(known.digests)) if max_removals is None else max_removals

    async def run(self, facts: Facts) -> SyncReport:
        """Read the list, look up customers missing from it, and commit."""
        completeness = await self._walk.read_list()
        if self._walk.must_rewrite:
            await self._walk.rewrite(completeness.last_total)
        look_ups = _LookUps(self._listing, self._journal, self._max_removals)
        await look_ups.run(self._walk)
        stats = self._walk.update_stats()
        seen_at, _ = self._journal.find_fetch_times(self._walk.numbers)
        columns = _describe(completeness, look_ups, stats.requests, stats.seconds)
        version, kinds = await self._commit(
            Sync(facts=facts, seen_at=seen_at, removed=look_ups.removed, suspects=look_ups.suspects, columns=columns)
        )
        return SyncReport(
            version=version,
            added=kinds.get("added", 0),
            changed=kinds.get("changed", 0),
            removed=kinds.get("removed", 0),
            restored=kinds.get("restored", 0),
            missed=look_ups.missed,
            rejected=completeness.rejected,
            suspects=len(look_ups.suspects),
            completeness=completeness,
            requests=stats.requests,
            seconds=stats.seconds,
        )

    async def _commit(self, sync: Sync) -> tuple[int, dict[str, int]]:
        try:
            return await self._staging.commit(sync)
        except Exception as error:  # whatever it is: its frames and its context may hold customer data
            failure = stripped(error)
        raise failure


class _Listing:
    """What the sync sees, as it arrives. Its methods are called in threads."""

    def __init__(self, staging: Staging, known: Known) -> None:
        self._staging = staging
        self._known = known
        self.merge: Merge = Merge(known)
        self.rows: int = 0

    def begin(self) -> None:
        """Begin, or begin again."""
        self._staging.clear()
        self.merge = Merge(self._known)
        self.rows = 0

    def add(self, page: Page) -> None:
        """Stage the customers of a page that may have changed."""
        self.rows += len(page.customers)
        self.add_customers(zip(page.customers, map(bytes, split_records(page.raw)), strict=True))

    def add_customers(self, customers: Iterable[tuple[Customer, bytes]]) -> None:
        """Stage those customers, each with its record, that may have changed."""
        staged = []
        for customer, record in customers:
            digest = compute_digest(record)
            if kind := self.merge.see(customer.uuid, digest):
                staged.append(StagedCustomer(kind, customer, record.decode(), digest))
        if staged:
            self._staging.add(staged)

    def add_rejected(self, records: Iterable[RejectedRecord]) -> None:
        """Keep what the store holds of customers whose records do not fit."""
        for rejected in records:
            record = load_json(bytes(rejected.record).decode())
            uuid = record.get("uuid") if isinstance(record, dict) else None
            if isinstance(uuid, str):
                self.merge.keep(uuid)


class _LookUps:
    """Looks up the customers that the listing did not show.

    Attributes:
        removed: Those whose look-up was answered with a 404.
        suspects: Those whose look-up failed.
        missed: The number of those that exist.
    """

    def __init__(self, listing: _Listing, journal: Journal, max_removals: int) -> None:
        self._listing = listing
        self._journal = journal
        self._max_removals = max_removals
        self._found: list[tuple[Customer, bytes]] = []
        self.removed: list[str] = []
        self.suspects: list[str] = []
        self.missed = 0

    async def run(self, walk: ExportWalk) -> None:
        """Look them up, in the bulk lane.

        Raises:
            MassRemovalError: More are removed than allowed.
            CustomersError: An error that would affect every customer, such as a rejected token.
        """
        api = walk.api.with_options({"keep_unknown": True})
        async with aclosing(look_up_suspects(api, self._listing.merge.suspects)) as removals:
            async for removal in removals:
                if removal.status is RemovalStatus.REMOVED:
                    self.removed.append(removal.uuid)
                    check_removals(len(self.removed), self._max_removals)
                elif removal.customer is None:
                    self.suspects.append(removal.uuid)
                else:
                    self.missed += 1
                    if removal.customer.uuid == removal.uuid:  # else the service spells it in another case
                        self._found.append((removal.customer, encode_customer(removal.customer)))
                if len(self._found) == _LOOK_UPS_STAGED:
                    await self._stage()
        await self._stage()

    async def _stage(self) -> None:
        await self._journal.run_beside(self._listing.add_customers, self._found)  # no local variable holds a record
        self._found = []


def _check_facts(facts: Facts, stored: Facts) -> None:
    """Check that the store is of the client's list.

    Raises:
        ExportError: It is of another one.
    """
    if stored.get("base_url", facts["base_url"]) != facts["base_url"]:
        raise ExportError(f"the mirror is of the list of {stored['base_url']}: use another one for another service")
    if stored.get("account", facts["account"]) != facts["account"]:
        raise ExportError("the mirror is of another account's list: use one mirror for each account")


def _describe(
    completeness: Completeness, look_ups: _LookUps, requests: int, seconds: float
) -> dict[str, str | bool | int | float | None]:
    """Return the figures that the table ``syncs`` shows, except for the numbers of changes."""
    return {
        "verdict": f"{completeness.verdict}",
        "proven": completeness.proven,
        "total": completeness.last_total,
        "listed": completeness.distinct,
        "missed": look_ups.missed,
        "rejected": completeness.rejected,
        "suspects": len(look_ups.suspects),
        "requests": requests,
        "seconds": seconds,
    }
