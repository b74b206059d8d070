"""Many customers by their uuids, for the fewest requests. Knows callables that fetch, and nothing of HTTP.

Either each is looked up, or the list is walked until all were seen, whichever takes fewer requests. `BatchReader`
keeps requests in flight and decides anew before each. `CustomerBatch` is what users hold.
"""

from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Literal, Self

import attrs

from customers_async.checks import MAX_PER_PAGE, RESULT_CAP, check_choice, check_flag, check_uuid
from customers_async.errors import (
    APIResponseError,
    APIStatusError,
    AuthenticationError,
    ConfigurationError,
    CustomersError,
    NotFoundError,
    PermissionDeniedError,
)
from customers_async.listing.in_flight import InFlight
from customers_async.listing.page_fetcher import PageSource
from customers_async.listing.resumable import ResumableIterator
from customers_async.listing.verdict import key_of
from customers_async.listing.walk import Walk
from customers_async.models import Customer

__all__ = [
    "BatchPlan",
    "BatchReader",
    "BatchResult",
    "CustomerBatch",
    "OnMissing",
    "Strategy",
    "check_batch",
    "check_uuids",
    "is_worth_asking",
    "plan",
]

Strategy = Literal["auto", "lookups", "list"]
OnMissing = Literal["yield", "raise", "skip"]

_FEW = 10
"""So many are looked up without asking how long the list is: that would add more than a tenth."""
_AHEAD = 100
"""In input order, so many positions ahead of the one awaited are looked up, or as many as requests may be in flight:
what waits for its turn takes memory."""


@attrs.frozen
class BatchResult:
    """What came of one uuid of a batch.

    Attributes:
        uuid: As it was asked for.
        customer: The customer, or None.
        error: Why there is none: `NotFoundError` if the service does not know the uuid.
    """

    uuid: str
    customer: Customer | None = None
    error: CustomersError | None = None


@attrs.frozen(kw_only=True)
class BatchPlan:
    """What a batch would cost.

    Attributes:
        strategy: ``"lookups"``, one for each customer, or ``"list"``, as many pages as it has.
        requests: How many requests at most, the list's first page included where that is to tell its length. A walk
            takes more if the list changes or does not have all: whom it does not see is looked up.
        seconds: How long the quota makes the batch wait, as far as it is known now.
    """

    strategy: Literal["lookups", "list"]
    requests: int
    seconds: float


def check_uuids(uuids: Iterable[str]) -> tuple[str, ...]:
    """All of them, before anything is sent.

    Raises:
        TypeError: They are not iterable, or are a single string, or one of them is not a string.
        ValueError: One of them is not of the service's form. The message names its position.
    """
    if isinstance(uuids, str | bytes):
        raise TypeError("uuids must be an iterable of strings, not one of them")
    checked = tuple(uuids)
    for position, uuid in enumerate(checked):
        try:
            check_uuid(uuid)
        except (TypeError, ValueError) as error:
            raise type(error)(f"uuids[{position}]: {error}") from None
    return checked


def check_batch(*, strategy: object, on_missing: object, ordered: object) -> None:
    """Refuse settings of a batch that cannot be meant; see `CustomersClient.get_customers`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range.
    """
    check_choice("strategy", strategy, Strategy)
    check_choice("on_missing", on_missing, OnMissing)
    check_flag("ordered", ordered)


def is_worth_asking(customers: int) -> bool:
    """Whether the length of the list may make a difference to so many customers that costs less than to ask."""
    return customers > _FEW


def plan(customers: int, total: int | None) -> tuple[Literal["lookups", "list"], int]:
    """The cheaper way to so many customers, and its requests.

    Args:
        customers: How many different ones.
        total: The length of the list, or None where it is not known.
    """
    if not is_worth_asking(customers):
        return "lookups", customers
    pages_left = None if total is None else max(0, -(-total // MAX_PER_PAGE) - 1)
    if total is not None and pages_left is not None and _walk_pays(pages_left, total, customers):
        return "list", 1 + pages_left
    return "lookups", 1 + customers  # the first page told, or did not


def _walk_pays(pages: int, total: int, customers: int) -> bool:
    """Whether the pages of a list cost less than to look customers up, and may show them all."""
    return pages < customers and total <= RESULT_CAP


class BatchReader:
    """Fetches the customers of a batch, several requests at a time.

    Args:
        uuids: Checked.
        look_up: Fetches a customer by its uuid.
        source: Where pages of the list come from; it sets aside records that do not fit.
        concurrency: Requests in flight.
        strategy: Which way to go.
        on_missing: What to do about a customer that the service does not know.
        ordered: Hand results on in the order of the uuids, else as they come.
    """

    def __init__(
        self,
        uuids: tuple[str, ...],
        look_up: Callable[[str], Awaitable[Customer]],
        source: PageSource,
        *,
        concurrency: int,
        strategy: Strategy,
        on_missing: OnMissing,
        ordered: bool,
    ) -> None:
        self._uuids = uuids
        self._get_customer = look_up
        self._source = source
        self._concurrency = concurrency
        self._ahead = max(_AHEAD, concurrency)
        self._strategy = strategy
        self._on_missing = on_missing
        self._ordered = ordered
        positions: dict[str, int] = {}
        for position, uuid in enumerate(uuids):
            positions.setdefault(uuid, position)
        self._repeats = Counter(uuids)  # how often each is still to be handed on
        self._pending = set(positions)
        self._unasked = deque(positions.values())
        self._requested: set[int] = set()  # the positions being looked up
        self._kept: dict[str, BatchResult] = {}  # came before their turn
        self._position = 0  # whose turn it is
        self._ready: deque[BatchResult] = deque()
        walks = strategy == "list" or (strategy == "auto" and is_worth_asking(len(positions)))
        self._walk = Walk(1, MAX_PER_PAGE, unique=False) if walks else None

    @property
    def left(self) -> int:
        """How many different customers have not come."""
        return len(self._pending)

    @property
    def is_finished(self) -> bool:
        """Whether everything was handed on."""
        return not self._pending and not self._ready

    async def results(self) -> AsyncGenerator[BatchResult, None]:
        """The results that have not been handed on yet.

        Raises:
            CustomersError: What no other customer would escape, such as a refused token; call again to go on.
            NotFoundError: A customer is missing, and ``on_missing`` asks for it; call again to go on.
        """
        in_flight: InFlight[None, None] = InFlight(self._concurrency, ordered=False)
        try:
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
            self._requeue_requested()  # before anything is awaited, because that may be cancelled
            await in_flight.cancel()

    def _start_requests(self, in_flight: InFlight[None, None]) -> None:
        while not in_flight.is_full and (job := self._next_job(idle=not in_flight)) is not None:
            in_flight.start(None, job)

    def _requeue_requested(self) -> None:
        """Plan to send again the requests whose results have not arrived."""
        if self._walk is not None:
            self._walk.requeue_pending()
        self._unasked.extendleft(sorted(self._requested, reverse=True))
        self._requested.clear()

    def _next_job(self, *, idle: bool) -> Coroutine[Any, Any, None] | None:
        """The next request; None when there is none before another result has arrived."""
        walk = self._walk
        if walk is not None:
            if self._is_worth_a_page(walk) and (number := walk.next_number()) is not None:
                return self._read(walk, number)
            if not idle:  # the pages in flight may bring all that is missing
                return None
            self._walk = None
        while self._unasked and self._uuids[self._unasked[0]] not in self._pending:
            self._unasked.popleft()
        if not self._unasked or (self._ordered and self._unasked[0] >= self._position + self._ahead):
            return None
        position = self._unasked.popleft()
        self._requested.add(position)
        return self._look_up(position)

    def _is_worth_a_page(self, walk: Walk) -> bool:
        """Whether to ask for another page: the first tells the total, then it must pay."""
        if walk.next_page == 1:
            return True
        pages, total = walk.pages_left, walk.claims.total
        if self._strategy == "list":
            return pages != 0 and bool(self._pending)
        return bool(pages) and total is not None and _walk_pays(pages or 0, total, len(self._pending))

    async def _read(self, walk: Walk, number: int) -> None:
        """Note whom a page holds. A page that cannot be read leaves its customers to be looked up."""
        try:
            page = self._source.decode(number, await self._source.fetch(number))
        except (AuthenticationError, ConfigurationError, PermissionDeniedError):
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
            self._note(BatchResult(customer.uuid, customer))
        for record, problem in page.rejected:
            self._note(BatchResult(str(key_of(record)), error=problem))

    async def _look_up(self, position: int) -> None:
        uuid = self._uuids[position]
        try:
            result = BatchResult(uuid, await self._get_customer(uuid))
        except (AuthenticationError, ConfigurationError):
            raise
        except CustomersError as error:
            result = BatchResult(uuid, error=error.with_traceback(None))  # its frames would outlive the batch
        self._requested.discard(position)
        self._note(result)

    def _note(self, result: BatchResult) -> None:
        """Make a result ready, once for each position of its uuid, or keep it until its turn comes."""
        if result.uuid not in self._pending:
            return
        self._pending.remove(result.uuid)
        if not self._ordered:
            self._ready.extend([result] * self._repeats[result.uuid])
            return
        self._kept[result.uuid] = result
        while self._position < len(self._uuids) and (uuid := self._uuids[self._position]) in self._kept:
            self._position += 1
            self._repeats[uuid] -= 1
            self._ready.append(self._kept[uuid] if self._repeats[uuid] else self._kept.pop(uuid))


class CustomerBatch:
    """The customers of a batch as they are asked for, each a `BatchResult`, with ``async for``.

    Made by `CustomersClient.get_customers`. After an error, or a ``break``, the same batch can be iterated again and
    goes on after the last result that it yielded. ``async with`` ends its requests in flight deterministically.

    Example:
        >>> async with client.get_customers(["e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"]) as batch:
        ...     found = {result.uuid: result.customer async for result in batch}
    """

    def __init__(self, reader: BatchReader) -> None:
        self._reader = reader
        self._stream = ResumableIterator(reader.results, lambda: reader.is_finished, owner="batch")

    def __repr__(self) -> str:
        return f"<CustomerBatch {self._reader.left} customers to come>"

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
        """End the requests in flight. Iterating again goes on.

        Raises:
            RuntimeError: Another task is waiting for the next result.
        """
        await self._stream.close()
