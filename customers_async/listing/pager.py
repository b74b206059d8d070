"""What users hold of a walk: it outlives errors, and goes on after the last customer that it yielded."""

import operator
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Self

import attrs

from customers_async.listing.page_fetcher import PageFetcher
from customers_async.listing.resumable import ResumableIterator
from customers_async.models import Completeness, Customer, Page

__all__ = ["CustomerPager"]


class _Bookmark:
    """Where a pager is: the page at hand, what is left of it, and the stream of those to come."""

    def __init__(self, reader: PageFetcher) -> None:
        self.page: Page | None = None
        self.rest: Iterator[Customer] = iter(())
        self.stream = ResumableIterator(reader.pages, lambda: reader.completeness is not None, owner="pager")

    async def turn_page(self) -> Page | None:
        """The next page, or None at the end."""
        self.page = await self.stream.next()
        return self.page


class _Customers:
    """Iterates over customers. Unlike a generator it is not finished by an error."""

    def __init__(self, bookmark: _Bookmark) -> None:
        self._bookmark = bookmark

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Customer:
        bookmark = self._bookmark
        while True:
            customer = next(bookmark.rest, None)
            if customer is not None:
                return customer
            page = await bookmark.turn_page()
            if page is None:
                raise StopAsyncIteration
            bookmark.rest = iter(page.customers)


class _Pages:
    """Iterates over pages, beginning with what is left of the page at hand."""

    def __init__(self, bookmark: _Bookmark) -> None:
        self._bookmark = bookmark

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page:
        bookmark = self._bookmark
        rest = tuple(bookmark.rest)
        if rest and bookmark.page is not None:
            return attrs.evolve(bookmark.page, customers=rest)
        page = await bookmark.turn_page()
        if page is None:
            raise StopAsyncIteration
        return page


class CustomerPager:
    """Every customer of the list, one by one with ``async for``, or page by page with `pages`.

    Made by `CustomersClient.list_customers`. After an error, or a ``break``, the same pager can be iterated again
    and goes on after the last customer it yielded. ``async with`` ends its requests in flight deterministically.

    Example:
        >>> async with client.list_customers() as pager:
        ...     names = [customer.name async for customer in pager]
        >>> pager.completeness.raise_if_incomplete()
    """

    def __init__(self, reader: PageFetcher) -> None:
        self._reader = reader
        self._bookmark = _Bookmark(reader)

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
        return _Customers(self._bookmark)

    def pages(self) -> AsyncIterator[Page]:
        """The pages of the list; each ``Page.customers`` holds only customers that were not yielded before.

        The iterator raises `CustomersError` when a page could not be fetched (``next_page`` says which), and
        `IncompleteListError` at the end where ``on_incomplete`` asks for it. Iterate on, or anew, to go on.
        """
        return _Pages(self._bookmark)

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
        at_hand = self._bookmark.page if operator.length_hint(self._bookmark.rest) else None
        if self._reader.completeness is not None:
            return None if at_hand is None else at_hand.number
        return self._reader.next_page if at_hand is None else min(at_hand.number, self._reader.next_page)

    async def aclose(self) -> None:
        """End the requests in flight. Iterating again goes on.

        Raises:
            RuntimeError: Another task is waiting for the next page.
        """
        await self._bookmark.stream.close()
