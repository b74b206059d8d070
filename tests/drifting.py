"""A list that changes while it is read: customers join and leave at random, on a clock without waiting."""

import asyncio
import random
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Literal

import attrs

from customers_async import Completeness, Page
from customers_async.calls.responses import Response
from customers_async.listing.page_fetcher import PageFetcher, PageSource
from customers_async.models import Customer
from tests.simulation import SocketlessLoop

__all__ = ["Drift", "DriftingList", "Reading", "read"]

START = 1_750_000_000


@attrs.frozen
class Drift:
    """How the list changes.

    Attributes:
        inserts: Customers that join per second.
        deletes: Customers that leave per second.
        place: Where they join: the ``"front"`` of a list that begins with the newest, the ``"end"`` of one that begins
            with the oldest, or ``"anywhere"``.
        honest: Whether ``created_at`` is the time of joining; else it lies years back.
        settled: Whether nothing changes right before the first response, where ages are uncertain.
    """

    inserts: float = 0.0
    deletes: float = 0.0
    place: Literal["front", "end", "anywhere"] = "end"
    honest: bool = True
    settled: bool = False


class DriftingList:
    """The service's list. Its clock is the event loop's."""

    def __init__(self, size: int, drift: Drift, seed: int) -> None:
        self._chance = random.Random(seed)
        self._drift = drift
        self._changed_at = 0.0
        self._ids = iter(range(10**9))
        self.rows = [self._make(START - 1_000 - self._chance.randrange(10**6)) for _ in range(size)]
        self.deleted: set[str] = set()
        self.requests = 0

    def _make(self, created_at: int) -> Customer:
        return Customer(uuid=f"{next(self._ids)}", created_at=datetime.fromtimestamp(created_at, UTC))

    def _change(self) -> None:
        """Apply the changes since the last response: a random number, with the drift's mean."""
        now = asyncio.get_running_loop().time()
        elapsed, self._changed_at = now - self._changed_at, now
        if self._drift.settled and not self.requests:
            return
        changes = [self._insert] * self._draw(self._drift.inserts * elapsed)
        changes += [self._delete] * self._draw(self._drift.deletes * elapsed)
        self._chance.shuffle(changes)
        for change in changes:
            change()

    def _draw(self, mean: float) -> int:
        """A Poisson variate, by its definition: events at exponential distances."""
        count, at = 0, self._chance.expovariate(1)
        while at < mean:
            count, at = count + 1, at + self._chance.expovariate(1)
        return count

    def _insert(self) -> None:
        now = int(START + asyncio.get_running_loop().time())
        places = {"front": 0, "end": len(self.rows), "anywhere": self._chance.randint(0, len(self.rows))}
        self.rows.insert(places[self._drift.place], self._make(now if self._drift.honest else now - 10**8))

    def _delete(self) -> None:
        if self.rows:
            self.deleted.add(self.rows.pop(self._chance.randrange(len(self.rows))).uuid)

    def page(self, number: int, per_page: int) -> tuple[Page, float]:
        """The page as it is now, and the ``Date`` of the response."""
        self._change()
        self.requests += 1
        start = (number - 1) * per_page
        rows = self.rows[start : start + per_page]
        has_more = start + per_page < len(self.rows)
        page = Page(number=number, per_page=len(rows), total=len(self.rows), has_more=has_more, customers=rows, raw=b"")
        return page, START + asyncio.get_running_loop().time()


@attrs.define
class _Delivered(Response):
    """A response whose page is decoded already."""

    page: Page | None = None


@attrs.frozen
class Reading:
    """The result of one listing.

    Attributes:
        completeness: The verdict.
        balanced: Whether the totals agree and as many customers were seen: the rule before there was a proof.
        missed: Customers that were on the list at the first response, still are, and were not seen.
    """

    completeness: Completeness
    balanced: bool
    missed: int


def read(
    size: int,
    drift: Drift,
    seed: int,
    *,
    per_page: int = 10,
    concurrency: int = 4,
    ordered: bool = True,
    window: int = 20,
    pauses: bool = True,
    rereads: bool = True,
    stops: int = 0,
) -> Reading:
    """Read a list that changes meanwhile.

    Args:
        size: Customers at first.
        drift: How the list changes.
        seed: Chooses what is random.
        per_page: Customers per page.
        concurrency: Requests in flight.
        ordered: Whether pages are yielded in order.
        window: Requests that are sent before a pause of a minute.
        pauses: Whether there are such pauses.
        rereads: Whether the highest page is read again after a pause.
        stops: How often the consumer leaves and comes back after an hour.
    """
    with asyncio.Runner(loop_factory=SocketlessLoop) as runner:
        return runner.run(
            _read(size, drift, seed, per_page, concurrency, ordered, window if pauses else 10**9, rereads, stops)
        )


async def _read(
    size: int,
    drift: Drift,
    seed: int,
    per_page: int,
    concurrency: int,
    ordered: bool,
    window: int,
    rereads: bool,
    stops: int,
) -> Reading:
    service, chance = DriftingList(size, drift, seed), random.Random(seed)
    loop = asyncio.get_running_loop()
    at_start: set[str] = set()
    sent = 0

    async def fetch(number: int) -> Any:
        nonlocal sent
        sent += 1
        await asyncio.sleep(60.0 * ((sent - 1) // window) - loop.time())
        sent_at = loop.time()
        await asyncio.sleep(chance.uniform(0, 0.2))
        page, date = service.page(number, per_page)
        if not at_start:
            at_start.update(row.uuid for row in service.rows)
        await asyncio.sleep(chance.uniform(0, 0.2))
        headers = {"Date": formatdate(date, usegmt=True)}
        return _Delivered(200, headers, b"", sent_at if rereads else None, page)

    source = PageSource(fetch, lambda number, response: response.page)  # type: ignore[attr-defined]  # decoded
    fetcher = PageFetcher(
        source,
        concurrency=concurrency,
        first_page=1,
        per_page=per_page,
        ordered=ordered,
        unique=True,
        on_incomplete="ignore",
        on_bad_record=None,
        retry_pages=False,
        on_event=(),
    )
    seen: set[str] = set()
    leave_at = {chance.randint(1, max(1, size // per_page)) for _ in range(stops)}
    while fetcher.completeness is None:
        async for page in (pages := fetcher.pages()):
            seen.update(customer.uuid for customer in page.customers)
            if page.number in leave_at:
                leave_at.discard(page.number)
                break
        await pages.aclose()
        if fetcher.completeness is None:
            await asyncio.sleep(3_600)
    claims, found = fetcher.walk.claims, fetcher.completeness
    is_equal = not claims.total_changed and not found.duplicates
    balanced = is_equal and found.distinct == found.total and claims.are_consistent(fetcher.walk.seen.last_page)
    return Reading(found, balanced, len(at_start - service.deleted - seen))
