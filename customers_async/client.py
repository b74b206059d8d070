"""The public client: its methods and their documentation. `calls.api.make_api` wires the parts together."""

from collections.abc import Iterable, Sequence
from typing import Literal, Self, Unpack

import aiohttp
import attrs

from customers_async.cache import TTLCache, claim_for_client
from customers_async.calls.api import make_api
from customers_async.calls.look_ups import LookUps
from customers_async.calls.network import Network
from customers_async.calls.options import OptionOverrides, Options
from customers_async.calls.rate_limiter import RateLimiter
from customers_async.calls.raw import Params, RawResponse, RawTarget
from customers_async.calls.retry import RetryPolicy
from customers_async.calls.slots import Lane
from customers_async.calls.tokens import TokenSource, hide, token_source
from customers_async.checks import MAX_PER_PAGE, check_choice, check_page, check_uuid
from customers_async.events import Listener
from customers_async.listing.batch import CustomerBatch, OnMissing, make_batch
from customers_async.listing.batch_plan import BatchPlan, Strategy, plan_batch
from customers_async.listing.page_fetcher import OnBadRecord, OnIncomplete
from customers_async.listing.pager import CustomerPager, make_pager
from customers_async.logs import show_log
from customers_async.models import Customer, Health, Page, RateLimit, TokenOwner

__all__ = ["CustomersClient", "internals"]


class CustomersClient:
    """An asyncio client for the customers API.

    Creating a client needs no I/O and no running event loop. It is used on one event loop. Use it with ``async with``,
    or call `close` at the end.

    Args:
        token: The bearer token, or a source of tokens. None: ``$CUSTOMERS_TOKEN``, else the file that
            ``$CUSTOMERS_TOKEN_FILE`` names.
        base_url: The service's URL. None: ``$CUSTOMERS_BASE_URL``, else ``PRODUCTION_URL``. Plain http is accepted
            for loopback addresses; for other hosts, see `Network`.
        concurrency: The largest number of requests in flight.
        timeout: Seconds for one attempt, from sending to the last byte; the token source may take as long.
        retry: Whether and when a transient failure is retried.
        rate_limiter: The service's limit is per IP address, so pass one limiter to all clients of a process.
        max_rate_limit_wait: Seconds that one call may wait for the rate limit, in total. If the wait would be longer,
            `RateLimitError` is raised at once; 0 never waits.
        max_body: The largest response body in bytes, decompressed.
        session: Your own aiohttp session, with its own settings; the client never closes it.
        network: How requests reach the service: proxy, certificates, additional headers. Not with ``session``.
        keep_unknown: Keep fields that the model does not define in ``Customer.extra``.
        on_event: A function, or several in a sequence, called with each `Event`; they must return quickly.
        cache: Caches the customers that `get_customer` and `get_customers` return. None: each call sends a request.

    Raises:
        ConfigurationError: There is no token anywhere.
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range.

    Example:
        >>> async with CustomersClient() as client:
        ...     customer = await client.get_customer("e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g")
    """

    def __init__(
        self,
        token: str | TokenSource | None = None,
        *,
        base_url: str | None = None,
        concurrency: int = 8,
        timeout: float = 30.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen: clients that share it cannot change it
        rate_limiter: RateLimiter | None = None,
        max_rate_limit_wait: float = 120.0,
        max_body: int = 4 * 2**20,
        session: aiohttp.ClientSession | None = None,
        network: Network | None = None,
        keep_unknown: bool = False,
        on_event: Listener | Sequence[Listener] | None = None,
        cache: TTLCache | None = None,
    ) -> None:
        show_log()
        token, base_url = hide(token), hide(base_url)  # a URL may hold a password
        options = Options(
            concurrency=concurrency,
            timeout=timeout,
            retry=retry,
            max_rate_limit_wait=max_rate_limit_wait,
            max_body=max_body,
            keep_unknown=keep_unknown,
            on_event=on_event,
        )
        self._api = make_api(token, base_url, options, session=session, network=network, rate_limiter=rate_limiter)
        self._look_ups = LookUps(self._api, None if cache is None else claim_for_client(cache))

    def __repr__(self) -> str:
        api = getattr(self, "_api", None)  # a traceback may show a client whose arguments were refused
        return "<CustomersClient>" if api is None else f"<CustomersClient {api.base_url}>"

    def __reduce__(self) -> str:
        raise TypeError("a client holds connections and perhaps a secret, and does not pickle: make one per process")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Calls in progress raise ``RuntimeError("client is closed")``. Safe to repeat.

        Your own aiohttp session stays open. Closing a view closes the client, and vice versa.
        """
        await self._api.session.close()

    def with_options(self, **overrides: Unpack[OptionOverrides]) -> Self:
        """Return a view of this client with other settings; it shares connections, rate limiter and tokens.

        Args:
            overrides: Any of ``concurrency``, ``timeout``, ``retry``, ``max_rate_limit_wait``, ``max_body``,
                ``keep_unknown`` and ``on_event``, as `CustomersClient` takes and checks them.

        Example:
            >>> impatient = client.with_options(timeout=2.0, max_rate_limit_wait=0)
        """
        return self._view(attrs.evolve(self._look_ups, api=self._api.with_options({**overrides})))

    def with_token(self, token: str | TokenSource) -> Self:
        """Return a view of this client with another token, such as that of another account.

        It shares connections, rate limiter and ``concurrency`` with the client, but no look-ups and no retry budget. If
        the client has a cache, the view has one of its own, with the same settings and out of reach: keep the view.

        Args:
            token: The bearer token, or a source of tokens.

        Raises:
            TypeError: It is neither a string nor a source.
            ValueError: It cannot be a token.

        Example:
            >>> tenant = client.with_token("another-token").with_options(timeout=5)
        """
        token = hide(token)
        if token is None:  # which the client itself takes for the token of the environment
            raise TypeError("token must be a str or a token source, not NoneType")
        return self._view(self._look_ups.with_token(token_source(token)))

    def _view(self, look_ups: LookUps) -> Self:
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__, _api=look_ups.api, _look_ups=look_ups)
        return view

    @property
    def rate_limit(self) -> RateLimit:
        """The state of the rate limit, without I/O."""
        return self._api.session.limiter.state

    @property
    def health(self) -> Health:
        """How the last calls of this client and its views ended, without I/O."""
        return self._api.session.health

    async def get_customer(self, uuid: str) -> Customer:
        """Fetch one customer. Simultaneous calls for the same customer share one request, and its result or error.

        Args:
            uuid: 8-4-4-4-12 letters and digits; not hex only.

        Raises:
            NotFoundError: There is no such customer.
            CustomersError: Any other failure; see `customers_async.errors`.
            TypeError: ``uuid`` is not a string.
            ValueError: ``uuid`` does not have that form. Nothing was sent.
        """
        check_uuid(uuid)
        return await self._look_ups.get_customer(uuid, "interactive")

    def get_customers(
        self,
        uuids: Iterable[str],
        *,
        strategy: Strategy = "auto",
        on_missing: OnMissing = "yield",
        ordered: bool = True,
        lane: Lane = "bulk",
    ) -> CustomerBatch:
        """Fetch many customers with the fewest requests: by look-ups, or by listing all customers.

        The failure of one look-up is the ``error`` of its result. Errors that would affect every customer, such as a
        rejected token, are raised. A repeated uuid costs one request, and customers in the cache cost none.

        Args:
            uuids: Each 8-4-4-4-12 letters and digits; not hex only.
            strategy: ``"auto"`` uses look-ups for up to ten customers. For more it reads the list while fewer pages
                than customers are left, unless it has no total or may be capped. Customers that the list did not
                contain are looked up before they count as missing. ``"list"`` always reads it, ``"lookups"`` never.
            on_missing: If there is no such customer, ``"yield"`` a `Failed` with a `NotFoundError`, ``"raise"`` that
                error, or ``"skip"`` it.
            ordered: Yield in the order of ``uuids``; results of the list are then kept until their turn. False yields
                results as they arrive, and keeps no more of them than the requests in flight returned.
            lane: ``"interactive"`` if a person waits: the requests precede bulk work, and may use the ``reserve``.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: A uuid does not have that form; the message names its position. Nothing was sent.

        Example:
            >>> async with CustomersClient() as client:
            ...     async for result in client.get_customers(["e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"]):
            ...         print(result.customer or result.error)
            Customer(uuid='e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g', ...)
        """
        return make_batch(self._look_ups, uuids, strategy=strategy, on_missing=on_missing, ordered=ordered, lane=lane)

    async def plan_customers(self, uuids: Iterable[str]) -> BatchPlan:
        """Estimate the cost of `get_customers`, without customers in the cache. Sends at most one request.

        Args:
            uuids: As `get_customers` takes them.

        Raises:
            CustomersError: That request failed; see `customers_async.errors`.
            TypeError, ValueError: As `get_customers` raises them.

        Example:
            >>> async with CustomersClient() as client:
            ...     await client.plan_customers(["e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"])
            BatchPlan(strategy='lookups', requests=1, seconds=0.0)
        """
        return await plan_batch(self._look_ups, uuids)

    def list_customers(
        self,
        *,
        limit: int | None = None,
        per_page: int = MAX_PER_PAGE,
        first_page: int = 1,
        ordered: bool = True,
        unique: bool = True,
        on_incomplete: OnIncomplete = "warn",
        on_bad_record: Literal["raise"] | OnBadRecord = "raise",
    ) -> CustomerPager:
        """List all customers. Up to ``concurrency`` pages are fetched concurrently.

        A page that failed in spite of the retries is requested again, at most twice, if four other pages arrived.

        Args:
            limit: Yield at most this many customers, and request no more pages than that takes. If the list is longer,
                the verdict is INCONSISTENT, and not logged, because nothing is known of the rest.
            per_page: Customers per page, from 1 to 100.
            first_page: The page to begin with, such as an error's ``next_page`` with the same ``per_page``. The verdict
                is about the whole list, so a listing that begins later is never COMPLETE; ``"reconcile"`` then yields
                the earlier pages, too.
            ordered: Yield in the list's order; False yields pages as they arrive.
            unique: Drop and count customers that appear twice, which keeps every uuid in memory. Of two records on one
                page the one updated last is kept; on two pages, the first that arrived. False yields every record and
                uses constant memory: duplicates more than 5,000 customers apart are then not noticed.
            on_incomplete: What to do if the verdict is not COMPLETE. ``"warn"`` logs a warning, ``"raise"`` raises,
                ``"reconcile"`` lists again, up to three times, and yields only what was missed; ``"ignore"`` does
                nothing: check ``pager.completeness`` yourself.
            on_bad_record: ``"raise"``, or a function called with the raw record and its `RecordError`, once per
                record, before its page is yielded; the record is then in ``Page.rejected``.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: An argument is out of range, or excluded by another one.
        """
        return make_pager(
            self._api,
            limit=limit,
            per_page=per_page,
            first_page=first_page,
            ordered=ordered,
            unique=unique,
            on_incomplete=on_incomplete,
            on_bad_record=on_bad_record,
        )

    async def get_page(self, number: int, *, per_page: int = MAX_PER_PAGE) -> Page:
        """Fetch one page of the list.

        A page past the end is empty, or an error such as `UnprocessableEntityError`; that is not documented.

        Args:
            number: The page, from 1.
            per_page: Customers per page, from 1 to 100.

        Raises:
            RecordError: A record does not fit the model.
            CustomersError: Any other failure; see `customers_async.errors`.
            TypeError: An argument is not an int.
            ValueError: An argument is out of range. Nothing was sent.
        """
        check_page(number, per_page)
        response = await self._api.fetch_page(number, per_page, "interactive")
        return self._api.read_page(number, response, tolerant=False)

    async def count_customers(self) -> int:
        """Count the customers of the list, from its ``X-Api-Total`` header. Sends one request.

        Raises:
            CustomersError: See `customers_async.errors`; an `APIResponseError` if there is no such header.
        """
        return await self._api.count_customers()

    async def whoami(self) -> TokenOwner:
        """Fetch the account that the token belongs to.

        Raises:
            CustomersError: See `customers_async.errors`.
        """
        return await self._api.get_owner()

    async def get_raw(self, path: str, *, params: Params | None = None, lane: Lane = "interactive") -> RawResponse:
        """Send a GET request to any endpoint, with the token, retries, rate limit, events and errors of other calls.

        The response is returned if its status is from 200 to 299, whatever its type. Events, errors and logs name the
        route: the path with ``{uuid}`` or ``{id}`` in place of what looks like an id, without the parameters.

        Args:
            path: The path below the base URL, from ``/`` on; percent-encoded where that is missing.
            params: The query, as a mapping or as pairs. As with httpx, a list repeats the name, a bool becomes
                ``true`` or ``false``, and None an empty value.
            lane: ``"interactive"``, or ``"bulk"`` for work that lets look-ups go first.

        Raises:
            NotFoundError: There is no such path.
            CustomersError: Any other failure; see `customers_async.errors`.
            TypeError: An argument is of the wrong type.
            ValueError: The path is relative, ambiguous (``..``, ``//``, a backslash) or has a query; a number is not
                finite; or there is no such lane. Nothing was sent.

        Example:
            >>> async with CustomersClient() as client:
            ...     response = await client.get_raw("/api/v1/customers", params={"page": 2, "per_page": 50})
            >>> len(response.json())
            50
        """
        check_choice("lane", lane, Lane)
        target = RawTarget(path, params)
        del path, params  # they may be data, which a traceback with locals would show
        return await self._api.get_raw(target, lane)


def internals(client: CustomersClient) -> LookUps:
    """What the export, the mirror and the command line need of a client besides its public methods."""
    return client._look_ups  # noqa: SLF001  # so that no other module reads a private attribute of the client
