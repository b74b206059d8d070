"""The public iterator over the list of customers: resumes after an error or a ``break``."""

import operator
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import chain
from types import TracebackType
from typing import Literal, Self

import attrs

from customers_async.calls.api import Api
from customers_async.checks import check_choice, check_flag, check_limit, check_page, is_plain_function
from customers_async.errors import CustomersError
from customers_async.listing.customer_list import CustomerList
from customers_async.listing.page_fetcher import OnBadRecord, OnIncomplete, PageFetcher, PageSource
from customers_async.listing.resumable import ResumableIterator
from customers_async.models import Completeness, Customer, Page
from customers_async.notes import add_notes, resume_note

__all__ = ["CustomerPager", "make_pager"]


class CustomerPager:
    """Every customer of the list, one by one with ``async for``, or page by page with `pages`.

    Made by `CustomersClient.list_customers`. After an error or a ``break``, iterate the same pager again: it resumes
    after the last customer that it yielded. ``async with`` cancels the requests in flight at the end of the block.

    Example:
        >>> async with client.list_customers() as pager:
        ...     names = [customer.name async for customer in pager]
        >>> pager.completeness.raise_if_incomplete()
    """

    def __init__(self, fetcher: PageFetcher) -> None:
        self._fetcher = fetcher
        self._stream = ResumableIterator(fetcher.pages, lambda: fetcher.completeness is not None, owner="pager")
        self._page: Page | None = None  # the last one read
        self._rest: Iterator[Customer] = iter(())  # its customers that have not been yielded
        self._unused: deque[Page] = deque()  # read by a `collect` that failed

    def __repr__(self) -> str:
        state = f"next_page={self.next_page}" if self._fetcher.completeness is None else self.completeness.describe()
        return f"<CustomerPager {state}>"

    def __reduce__(self) -> str:
        raise TypeError("a pager uses its client's connections, and does not pickle")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Customer:
        while (customer := next(self._rest, None)) is None:
            page = await self._advance()
            if page is None:
                raise StopAsyncIteration
            self._rest = iter(page.customers)
        return customer

    def pages(self) -> AsyncIterator[Page]:
        """Iterate over the pages; each ``Page.customers`` holds only customers that were not yielded before.

        The iterator raises `CustomersError` when a page could not be fetched (``next_page`` says which), and
        `IncompleteListError` at the end if ``on_incomplete`` requires it. To resume, continue with the same iterator
        or call `pages` again.
        """
        return _Pages(self._read_page)

    async def collect(self) -> CustomerList:
        """Read the rest of the list, and return the customers that were not yielded before.

        After an error, call it again or iterate: nothing that was read is lost.

        Raises:
            CustomersError: A page could not be fetched.
            IncompleteListError: At the end, if ``on_incomplete`` requires it. To get the customers nevertheless,
                iterate.

        Example:
            >>> customers = await client.list_customers(on_incomplete="raise").collect()
            >>> len(customers)
            250
        """
        pages: deque[Page] = deque()
        try:
            while (page := await self._read_page()) is not None:
                pages.append(page)
        except BaseException:
            self._unused.extendleft(reversed(pages))
            raise
        customers = tuple(chain.from_iterable(page.customers for page in pages))
        return CustomerList(customers, self.completeness)

    async def _read_page(self) -> Page | None:
        """Return the unused customers of the current page, else the next page; None at the end."""
        rest, self._rest = tuple(self._rest), iter(())
        if rest and self._page is not None:
            return attrs.evolve(self._page, customers=rest)
        return await self._advance()

    async def _advance(self) -> Page | None:
        """Return the next page, which is then the current one; None at the end."""
        if self._unused:
            self._page = self._unused.popleft()
            return self._page
        try:
            self._page = await self._stream.next()
        except CustomersError as error:
            if error.next_page is not None:
                add_notes(error, [resume_note(error.next_page, self._fetcher.per_page)])
            raise
        return self._page

    @property
    def completeness(self) -> Completeness:
        """The verdict on the finished listing.

        Raises:
            RuntimeError: The listing is not finished.
        """
        if self._fetcher.completeness is None:
            raise RuntimeError(f"the listing has no verdict yet: it continues with page {self.next_page}")
        return self._fetcher.completeness

    @property
    def next_page(self) -> int | None:
        """The lowest page not wholly yielded; None after a finished listing."""
        pages = [page.number for page in self._unused]
        if self._page is not None and operator.length_hint(self._rest):
            pages.append(self._page.number)
        if self._fetcher.completeness is None:
            pages.append(self._fetcher.next_page)
        return min(pages, default=None)

    async def aclose(self) -> None:
        """Cancel the requests in flight. Iterating again resumes.

        Raises:
            RuntimeError: Another task is waiting for the next page.
        """
        await self._stream.close()


class _Pages:
    """Iterates over pages. Unlike a generator, it can continue after an error."""

    def __init__(self, read_page: Callable[[], Awaitable[Page | None]]) -> None:
        self._read_page = read_page

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page:
        page = await self._read_page()
        if page is None:
            raise StopAsyncIteration
        return page


def make_pager(
    api: Api,
    *,
    limit: int | None,
    per_page: int,
    first_page: int,
    ordered: bool,
    unique: bool,
    on_incomplete: OnIncomplete,
    on_bad_record: Literal["raise"] | OnBadRecord,
) -> CustomerPager:
    """Check the arguments of `CustomersClient.list_customers`, and make the pager.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range.
    """
    check_page(first_page, per_page)
    check_flag("ordered", ordered)
    check_flag("unique", unique)
    check_choice("on_incomplete", on_incomplete, OnIncomplete)
    if on_incomplete == "reconcile" and not unique:
        raise ValueError("on_incomplete='reconcile' needs unique=True, to yield each customer once")
    if limit is not None:
        check_limit(limit)
        if on_incomplete in ("raise", "reconcile"):
            raise ValueError(f"on_incomplete={on_incomplete!r} needs the whole list: it does not go with limit")
        if first_page == 1:  # other pages begin elsewhere with another size
            per_page = min(per_page, limit)
    listener = _check_on_bad_record(on_bad_record)
    fetcher = PageFetcher(
        PageSource.of(api, per_page, tolerant=listener is not None),
        concurrency=api.options.concurrency,
        limit=limit,
        first_page=first_page,
        per_page=per_page,
        ordered=ordered,
        unique=unique,
        on_incomplete=on_incomplete,
        on_bad_record=listener,
        retry_pages=api.options.retry.max_attempts > 1,
        on_event=api.options.on_event,
    )
    return CustomerPager(fetcher)


def _check_on_bad_record(on_bad_record: object) -> OnBadRecord | None:
    """Return the function to call, or None to raise.

    Raises:
        TypeError: It is neither ``"raise"`` nor a plain function.
    """
    if on_bad_record == "raise":
        return None
    if not is_plain_function(on_bad_record, 2):
        raise TypeError("on_bad_record must be 'raise' or a plain function of the raw record and the error")
    return on_bad_record
