"""Many customers by their uuids, with the fewest requests.

Either each customer is looked up, or the list is read until all were found, whichever takes fewer requests.
What the cache holds needs no request.
"""

from collections import Counter, deque
from collections.abc import AsyncGenerator, Coroutine, Iterable
from types import TracebackType
from typing import Any, Literal, Self

from customers_async.calls.look_ups import LookUps
from customers_async.calls.slots import Lane
from customers_async.checks import MAX_PER_PAGE, check_choice, check_flag, check_uuids
from customers_async.errors import (
    ACCESS_ERRORS,
    APIResponseError,
    APIStatusError,
    AuthenticationError,
    ConfigurationError,
    CustomersError,
    NotFoundError,
)
from customers_async.listing.batch_plan import Strategy, is_list_cheaper, needs_total
from customers_async.listing.in_flight import InFlight
from customers_async.listing.page_fetcher import PageSource
from customers_async.listing.resumable import ResumableIterator
from customers_async.listing.verdict import key_of
from customers_async.listing.walk import Walk
from customers_async.results import BatchResult, Failed, Found

__all__ = ["BatchReader", "CustomerBatch", "OnMissing", "make_batch"]

OnMissing = Literal["yield", "raise", "skip"]

_AHEAD = 100
"""In input order, look-ups run ahead of the next result by at most this many positions, because results that wait for
their turn take memory. If ``concurrency`` is larger, it is the limit."""


class BatchReader:
    """Fetches the customers of a batch, several requests at a time.

    The cheaper strategy is chosen again before each request.

    Args:
        uuids: The checked uuids.
        look_ups: Finds customers in the cache, and fetches them by their uuids.
        source: Where pages of the list come from; it must set aside records that do not fit.
        concurrency: Requests in flight.
        strategy: Which strategy to use.
        on_missing: What to do about a customer that the service does not know.
        ordered: Yield results in the order of the uuids, otherwise as they arrive.
        lane: The lane of the look-ups.
    """

    def __init__(
        self,
        uuids: tuple[str, ...],
        look_ups: LookUps,
        source: PageSource,
        *,
        concurrency: int,
        strategy: Strategy,
        on_missing: OnMissing,
        ordered: bool,
        lane: Lane,
    ) -> None:
        self._uuids = uuids
        self._look_ups = look_ups
        self._lane: Lane = lane
        self._source = source
        self._concurrency = concurrency
        self._ahead = max(_AHEAD, concurrency)
        self._strategy = strategy
        self._on_missing = on_missing
        self._ordered = ordered
        positions: dict[str, int] = {}
        for position, uuid in enumerate(uuids):
            positions.setdefault(uuid, position)
        self._pending = set(positions)  # uuids without a result
        self._queue = deque(positions.values())  # positions to look up, in order
        self._requested: set[int] = set()  # positions being looked up
        self._repeats = Counter(uuids)  # how many results each uuid still gets
        self._early: dict[str, BatchResult] = {}  # arrived before their turn
        self._turn = 0  # the position of the next result
        self._ready: deque[BatchResult] = deque()
        self._has_begun = False
        self._walk: Walk | None = None

    @property
    def pending(self) -> int:
        """How many different customers have not arrived."""
        return len(self._pending)

    @property
    def is_finished(self) -> bool:
        """Whether every result was yielded."""
        return not self._pending and not self._ready

    async def results(self) -> AsyncGenerator[BatchResult, None]:
        """Yield the results that have not been yielded yet.

        Raises:
            CustomersError: An error that would affect every customer, such as a rejected token; call again to resume.
            NotFoundError: A customer is missing, and ``on_missing`` is ``"raise"``; call again to resume.
        """
        in_flight: InFlight[None, None] = InFlight(self._concurrency, ordered=False)
        try:
            if not self._has_begun:
                self._begin()
            while not self.is_finished:
                self._start_requests(in_flight)
                while self._ready:
                    result = self._ready.popleft()
                    if not isinstance(result.error, NotFoundError) or self._on_missing == "yield":
                        yield result
                    elif self._on_missing == "raise":
                        raise result.error
                if self._pending:
                    _, task = await in_flight.next()
                    task.result()
        finally:
            self._requeue()  # before anything is awaited, because that may be cancelled
            await in_flight.cancel()

    def _begin(self) -> None:
        """Take what the cache holds, and choose how to begin with the others."""
        for uuid in dict.fromkeys(self._uuids):
            found = self._look_ups.find(uuid)
            if found is not None:
                self._add(Failed(uuid, found) if isinstance(found, NotFoundError) else Found(uuid, found))
        may_read_list = self._strategy == "list" or (self._strategy == "auto" and needs_total(len(self._pending)))
        if self._pending and may_read_list:
            self._walk = Walk(1, MAX_PER_PAGE, unique=False)
        self._has_begun = True

    def _start_requests(self, in_flight: InFlight[None, None]) -> None:
        while not in_flight.is_full and (request := self._next_request(idle=not in_flight)) is not None:
            in_flight.start(None, request)

    def _requeue(self) -> None:
        """Plan to send again the requests whose results have not arrived."""
        if self._walk is not None:
            self._walk.requeue_pending()
        self._queue.extendleft(sorted(self._requested, reverse=True))
        self._requested.clear()

    def _next_request(self, *, idle: bool) -> Coroutine[Any, Any, None] | None:
        """Return the next request; None if there is none, or none before a result has arrived."""
        walk = self._walk
        if walk is not None:
            if self._wants_page(walk) and (number := walk.next_number()) is not None:
                return self._read_page(walk, number)
            if not idle:  # the pages in flight may contain all pending customers
                return None
            self._walk = None
        while self._queue and self._uuids[self._queue[0]] not in self._pending:
            self._queue.popleft()
        if not self._queue or (self._ordered and self._queue[0] >= self._turn + self._ahead):
            return None
        position = self._queue.popleft()
        self._requested.add(position)
        return self._look_up(position)

    def _wants_page(self, walk: Walk) -> bool:
        """Whether to request another page. The first one is needed for the total; others must be worth it."""
        if walk.next_page == 1:
            return True
        pages, total = walk.pages_left, walk.claims.total
        if self._strategy == "list":
            return pages != 0 and bool(self._pending)
        if not pages or total is None:
            return False
        return is_list_cheaper(pages, total, len(self._pending))

    async def _read_page(self, walk: Walk, number: int) -> None:
        """Add the customers of a page. If it cannot be read, they are looked up later."""
        epoch = self._look_ups.epoch
        try:
            page = self._source.decode(number, await self._source.fetch(number))
        except ACCESS_ERRORS:
            raise
        except CustomersError as error:
            if number == 1:
                self._walk = None
            elif not (isinstance(error, APIStatusError) and walk.refuse(number, error)):
                walk.skip(number)
            return
        try:
            walk.add(page)
        except APIResponseError:  # the server ignores ``page``
            self._walk = None
        for customer in page.customers:
            if customer.uuid in self._pending:  # the cache is for customers that were requested
                self._add(Found(customer.uuid, self._look_ups.remember(customer.uuid, customer, epoch)))
        for record, problem in page.rejected:
            self._add(Failed(str(key_of(record)), problem))

    async def _look_up(self, position: int) -> None:
        uuid = self._uuids[position]
        result: BatchResult
        try:
            result = Found(uuid, await self._look_ups.get_customer(uuid, self._lane))
        except (AuthenticationError, ConfigurationError):  # a 403 may be about this customer only
            raise
        except CustomersError as error:
            result = Failed(uuid, error.with_traceback(None))  # its frames would outlive the batch
        self._requested.discard(position)
        self._add(result)

    def _add(self, result: BatchResult) -> None:
        """Make a result ready, once for each position of its uuid, or keep it until its turn."""
        if result.uuid not in self._pending:
            return
        self._pending.remove(result.uuid)
        if not self._ordered:
            self._ready.extend([result] * self._repeats[result.uuid])
            return
        self._early[result.uuid] = result
        while self._turn < len(self._uuids) and (uuid := self._uuids[self._turn]) in self._early:
            self._turn += 1
            self._repeats[uuid] -= 1
            self._ready.append(self._early[uuid] if self._repeats[uuid] else self._early.pop(uuid))


class CustomerBatch:
    """The results of a batch, each a `Found` or a `Failed`, with ``async for``.

    Made by `CustomersClient.get_customers`. After an error or a ``break``, iterate the same batch again: it resumes
    after the last result that it yielded. ``async with`` cancels the requests in flight at the end of the block.

    Example:
        >>> async with client.get_customers(["e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"]) as batch:
        ...     found = {result.uuid: result.customer async for result in batch}
    """

    def __init__(self, reader: BatchReader) -> None:
        self._reader = reader
        self._stream = ResumableIterator(reader.results, lambda: reader.is_finished, owner="batch")

    def __repr__(self) -> str:
        pending = self._reader.pending
        return f"<CustomerBatch {pending} customer{'' if pending == 1 else 's'} pending>"

    def __reduce__(self) -> str:
        raise TypeError("a batch uses its client's connections, and does not pickle")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult:
        result = await self._stream.next()
        if result is None:
            raise StopAsyncIteration
        return result

    async def aclose(self) -> None:
        """Cancel the requests in flight. Iterating again resumes.

        Raises:
            RuntimeError: Another task is waiting for the next result.
        """
        await self._stream.close()


def make_batch(
    look_ups: LookUps,
    uuids: Iterable[str],
    *,
    strategy: Strategy,
    on_missing: OnMissing,
    ordered: bool,
    lane: Lane,
) -> CustomerBatch:
    """Check the arguments of `CustomersClient.get_customers`, and make the batch.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range.
    """
    checked = check_uuids(uuids)
    check_choice("strategy", strategy, Strategy)
    check_choice("on_missing", on_missing, OnMissing)
    check_flag("ordered", ordered)
    check_choice("lane", lane, Lane)
    reader = BatchReader(
        checked,
        look_ups,
        PageSource.of(look_ups.api, MAX_PER_PAGE, tolerant=True, lane=lane),
        concurrency=look_ups.api.options.concurrency,
        strategy=strategy,
        on_missing=on_missing,
        ordered=ordered,
        lane=lane,
    )
    return CustomerBatch(reader)
