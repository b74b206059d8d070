"""The endpoints as typed calls: what a client, or one view of it, needs of this folder."""

from collections.abc import Awaitable
from typing import Any, Self

import aiohttp
import attrs

from customers_async.calls import endpoints
from customers_async.calls.credentials import TokenKeeper, subject
from customers_async.calls.endpoints import Request
from customers_async.calls.network import Network, check_destination
from customers_async.calls.options import Options
from customers_async.calls.rate_limiter import RateLimiter
from customers_async.calls.raw import RawResponse, RawTarget, raw_request, read_raw
from customers_async.calls.responses import Response
from customers_async.calls.retry import RetryBudget
from customers_async.calls.session import Call, Session
from customers_async.calls.slots import Lane, Slots
from customers_async.calls.tokens import TokenSource, token_source
from customers_async.calls.transport import Transport
from customers_async.models import Customer, Page, TokenOwner

__all__ = ["Api", "make_api"]


@attrs.frozen(eq=False)
class Api:
    """A session, with the token, options and slots of one view.

    Attributes:
        session: Shared by a client and all its views.
        tokens: The token of this view; shared with the client unless the view has one of its own.
        options: The settings of this view.
        slots: Its requests in flight; shared with the client unless the view has a ``concurrency`` of its own.
        budget: Its retries; shared with the client unless the view has a token of its own.
    """

    session: Session
    tokens: TokenKeeper
    options: Options
    slots: Slots
    budget: RetryBudget = attrs.field(factory=RetryBudget)

    def with_options(self, overrides: dict[str, Any]) -> Self:
        """The same session with other options.

        Raises:
            TypeError: There is no such option, or a value is of the wrong type.
            ValueError: A value is out of range.
        """
        names = [field.name for field in attrs.fields(Options)]
        for name in overrides.keys() - {*names}:
            raise TypeError(f"with_options() does not take {name!r}; it takes {', '.join(names)}")
        options = attrs.evolve(self.options, **overrides)
        slots = Slots(options.concurrency) if "concurrency" in overrides else self.slots
        return attrs.evolve(self, options=options, slots=slots)

    def with_token(self, source: TokenSource) -> Self:
        """The same session, options and slots with the tokens of another source, and with retries of its own."""
        tokens = self.session.keep_tokens(source, self.options.on_event)
        return attrs.evolve(self, tokens=tokens, budget=RetryBudget())

    @property
    def base_url(self) -> str:
        """The service's base URL."""
        return self.session.base_url

    async def account(self) -> str:
        """The ``sub`` claim of the token, or an empty string.

        Raises:
            ConfigurationError: There is no token.
            RuntimeError: The client is closed, or belongs to another event loop.
        """
        self.session.check_open()
        return subject((await self.tokens.current(self.options.timeout)).token)

    def bulk_wait(self, requests: int) -> float:
        """Seconds that the rate limit makes this many bulk requests wait in total, as far as is known now."""
        return self.session.limiter.bulk_wait(requests)

    async def get_customer(self, uuid: str, lane: Lane) -> Customer:
        """Send one look-up; see `CustomersClient.get_customer` for the errors."""
        response = await self._send(endpoints.customer_request(uuid), lane)
        return endpoints.read_customer(response, uuid, keep_unknown=self.options.keep_unknown)

    def fetch_page(self, number: int, per_page: int, lane: Lane = "bulk") -> Awaitable[Response]:
        """Request one page, and leave its body unread: see `read_page`."""
        return self._send(endpoints.page_request(number, per_page), lane)

    def read_page(self, number: int, response: Response, *, tolerant: bool) -> Page:
        """Parse what `fetch_page` returned; ``tolerant`` sets aside records that do not fit."""
        return endpoints.read_page(response, number, keep_unknown=self.options.keep_unknown, tolerant=tolerant)

    async def find_total(self) -> int | None:
        """The length of the list, or None if the service does not say."""
        return endpoints.read_total(await self.fetch_page(1, 1, "interactive"))

    async def count_customers(self) -> int:
        """The length of the list; see `CustomersClient.count_customers` for the errors."""
        response = await self.fetch_page(1, 1, "interactive")
        return endpoints.require_total(response)

    async def get_owner(self) -> TokenOwner:
        """The token's owner; see `CustomersClient.whoami` for the errors."""
        return endpoints.read_owner(await self._send(endpoints.owner_request(), "interactive"))

    async def get_raw(self, target: RawTarget, lane: Lane) -> RawResponse:
        """Request any path; see `CustomersClient.get_raw` for the errors."""
        return read_raw(await self._send(raw_request(target), lane))

    def _send(self, request: Request, lane: Lane) -> Awaitable[Response]:
        return self.session.call(Call(request, self.tokens, self.options, self.slots, lane, self.budget))


def make_api(
    token: str | TokenSource | None,
    base_url: str | None,
    options: Options,
    *,
    session: aiohttp.ClientSession | None,
    network: Network | None,
    rate_limiter: RateLimiter | None,
) -> Api:
    """Check the arguments of `CustomersClient`, and wire the parts of this folder together.

    Raises:
        ConfigurationError: There is no token anywhere.
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of range.
    """
    for name, value, kind in (
        ("network", network, Network),
        ("rate_limiter", rate_limiter, RateLimiter),
        ("session", session, aiohttp.ClientSession),
    ):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")
    if session is not None and network is not None:
        raise ValueError("network and session exclude each other: the session has its own settings")
    if session is not None and session.auth is not None:
        raise ValueError("session must not have an auth of its own: the token goes into its place")
    network = Network() if network is None else network
    source, url = token_source(token), check_destination(base_url, network)
    shared = Session(Transport(url, session, network), RateLimiter() if rate_limiter is None else rate_limiter)
    return Api(shared, shared.keep_tokens(source, options.on_event), options, Slots(options.concurrency))
