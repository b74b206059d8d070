"""The walk of the list, several pages at a time. Knows a callable that fetches a page, and nothing of HTTP.

`PageReader` keeps pages in flight and passes the verdict. `CustomerPager` is what users hold: it outlives errors
and goes on where it stopped.
"""

import asyncio
import logging
import operator
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from types import TracebackType
from typing import Literal, Self

import attrs

from customers_async.errors import (
    APIStatusError,
    CustomersError,
)
from customers_async.events import Event, PageFetched, WalkFinished
from customers_async.models import Completeness, Customer, Page, Verdict
from customers_async.walk import Walk

__all__ = ["CustomerPager", "OnIncomplete", "PageReader"]

OnIncomplete = Literal["warn", "raise", "reconcile", "ignore"]

_Tasks = dict[asyncio.Task[Page], int]  # each with the number of its page, in the order of asking
_Done = asyncio.Queue[asyncio.Task[Page]]

_log = logging.getLogger("customers_async")


class PageReader:
    """Fetches the pages of a walk, several at a time, and passes the verdict at its end.

    Args:
        fetch: Fetches a page by its number.
        window: Pages in flight or waiting to be consumed.
        first_page: Where to begin.
        per_page: Customers a page.
        ordered: Hand pages on in the order of their numbers, else as they come.
        unique: See `Walk`.
        on_incomplete: What to do about a verdict other than COMPLETE.
        tell: Takes events.
    """

    RECONCILIATIONS = 3
    """How often a list that is not COMPLETE is walked again before `IncompleteListError`."""

    def __init__(
        self,
        fetch: Callable[[int], Awaitable[Page]],
        *,
        window: int,
        first_page: int,
        per_page: int,
        ordered: bool,
        unique: bool,
        on_incomplete: OnIncomplete,
        tell: Callable[[Event], None],
    ) -> None:
        self._fetch = fetch
        self._window = window
        self._per_page = per_page
        self._ordered = ordered
        self._on_incomplete = on_incomplete
        self._tell = tell
        self._again = self.RECONCILIATIONS if on_incomplete == "reconcile" else 0
        self._handed_on: set[str] = set()  # by the walks before this one
        self.walk = Walk(first_page, per_page, unique=unique)
        self.completeness: Completeness | None = None

    async def pages(self) -> AsyncGenerator[Page, None]:
        """The pages that have not been handed on yet, each with the customers that are new.

        Raises:
            CustomersError: A page could not be fetched; call again to go on with it.
            IncompleteListError: At the end, as ``on_incomplete`` says.
        """
        while self.completeness is None:
            async with aclosing(self._walk_pages()) as pages:
                async for page in pages:
                    yield page
            self._conclude()
        if self._on_incomplete in ("raise", "reconcile"):
            self.completeness.raise_if_incomplete()

    async def _walk_pages(self) -> AsyncGenerator[Page, None]:
        tasks: _Tasks = {}
        done: _Done = asyncio.Queue()
        try:
            self._fill(tasks, done)
            while tasks:
                page = await self._next_page(tasks, next(iter(tasks)) if self._ordered else await done.get())
                self._fill(tasks, done)
                if page is not None:
                    yield page
        except CustomersError as error:
            error.next_page = self.walk.next_page
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.walk.give_back(tasks.values())

    def _fill(self, tasks: _Tasks, done: _Done) -> None:
        while len(tasks) < self._window and (number := self.walk.take()) is not None:
            task = asyncio.ensure_future(self._fetch(number))
            task.add_done_callback(done.put_nowait)
            tasks[task] = number

    async def _next_page(self, tasks: _Tasks, task: asyncio.Task[Page]) -> Page | None:
        """The page to hand on; None when it was refused, or holds nothing that a walk before did not."""
        try:
            page = await task
        except APIStatusError as error:
            if not self.walk.refuse(tasks[task], error):
                raise
            del tasks[task]
            return None
        fresh = self.walk.add(page)
        del tasks[task]
        if self._handed_on:
            fresh = [customer for customer in fresh if customer.uuid not in self._handed_on]
        self._tell(PageFetched(page.number, len(fresh), page.total))
        if self._handed_on and not fresh:
            return None
        return page if fresh is page.customers else attrs.evolve(page, customers=fresh)

    def _conclude(self) -> None:
        """Accept the verdict, or walk again."""
        found = self.walk.completeness()
        incomplete = found.verdict is not Verdict.COMPLETE
        if incomplete and found.verdict is not Verdict.CAPPED and self._again:
            self._again -= 1
            _log.info("The list is walked again: %s.", found.describe())
            self._handed_on |= self.walk.seen
            self.walk = Walk(1, self._per_page, unique=True)
            return
        self.completeness = found
        self._tell(WalkFinished(found))
        if incomplete and self._on_incomplete == "warn":
            _log.warning("The list is not complete: %s.", found.describe())


class CustomerPager:
    """Every customer of the list, one by one with ``async for``, or page by page with `pages`.

    Made by `CustomersClient.list_customers`. After an error, or a ``break``, the same pager can be iterated again
    and goes on after the last customer it yielded. ``async with`` ends its requests in flight deterministically.

    Example:
        >>> async with client.list_customers() as pager:
        ...     names = [customer.name async for customer in pager]
        >>> pager.completeness.raise_if_incomplete()
    """

    def __init__(self, reader: PageReader) -> None:
        self._reader = reader
        self._stream: AsyncGenerator[Page, None] | None = None
        self._page: Page | None = None
        self._rest: Iterator[Customer] = iter(())

    def __repr__(self) -> str:
        state = f"next_page={self.next_page}" if self._reader.completeness is None else self.completeness.describe()
        return f"<CustomerPager {state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[Customer]:
        return self._customers()

    async def pages(self) -> AsyncGenerator[Page, None]:
        """The pages of the list; each ``Page.customers`` holds only customers that were not yielded before.

        Raises:
            CustomersError: A page could not be fetched; ``next_page`` says which. Iterate again to go on.
            IncompleteListError: At the end, where ``on_incomplete`` asks for it.
        """
        rest = tuple(self._rest)
        if rest and self._page is not None:
            yield attrs.evolve(self._page, customers=rest)
        while (page := await self._advance()) is not None:
            yield page

    @property
    def completeness(self) -> Completeness:
        """The verdict of the finished walk.

        Raises:
            RuntimeError: The walk has not come to its end.
        """
        if self._reader.completeness is None:
            raise RuntimeError(f"the walk has no verdict yet: it goes on with page {self.next_page}")
        return self._reader.completeness

    @property
    def next_page(self) -> int | None:
        """The lowest page not wholly yielded; None after a finished walk."""
        if self._page is not None and operator.length_hint(self._rest):
            return self._page.number
        return self._reader.walk.next_page if self._reader.completeness is None else None

    async def aclose(self) -> None:
        """End the requests in flight. Iterating again goes on."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    async def _customers(self) -> AsyncGenerator[Customer, None]:
        while True:
            for customer in self._rest:
                yield customer
            self._page = await self._advance()
            if self._page is None:
                return
            self._rest = iter(self._page.customers)

    async def _advance(self) -> Page | None:
        if self._stream is None:
            self._stream = self._reader.pages()
        try:
            page = await anext(self._stream, None)
        except BaseException:
            self._stream = None
            raise
        if page is None:
            self._stream = None
        return page
