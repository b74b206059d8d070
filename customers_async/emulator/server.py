"""The emulator: a server, and the methods that change its behaviour."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from types import TracebackType
from typing import Any, Self, get_args

import attrs
from aiohttp import web

from customers_async.emulator.accounts import Account, check_tokens, make_accounts
from customers_async.emulator.addresses import find_local_host
from customers_async.emulator.checks import MOST_CUSTOMERS, check_duration, check_whole_number
from customers_async.emulator.clock import Clock
from customers_async.emulator.control import make_control
from customers_async.emulator.customer_list import CustomerList
from customers_async.emulator.faults import Fault, Faults
from customers_async.emulator.rate_limit import RateLimitWindows
from customers_async.emulator.records import read_records
from customers_async.emulator.service import Service
from customers_async.emulator.settings import Part, Settings, at_least
from customers_async.emulator.stats import Stats
from customers_async.emulator.tokens import Tokens

__all__ = ["Emulator"]

_SHUTDOWN_TIMEOUT = 0.1
_STEPS_TO_ACCEPT = 5
"""Steps of the event loop until aiohttp knows a connection that was made, and can close it. asyncio leaves it open if
the server closes before."""


@attrs.define(slots=False, eq=False)
class Emulator(Settings):
    """A local emulator of the customers service.

    It listens on a real socket and responds like the service: Laravel's fixed-window rate limit for each client
    address, bearer tokens, pagination in headers, one JSON shape for all errors. The customers are computed from
    the seed, so a million of them take no memory. The first is the one in the API reference. The time in the
    responses' ``Date`` and in new records follows the event loop, so it also fits a ``VirtualTimeLoop``.

    Nothing is opened before `start`, which ``async with`` calls. The arguments are these and those of ``Settings``.

    Args:
        customers: The number of customers at first, at most 10**12; as many can be inserted at once.
        tokens: Tokens to accept, each with the number of customers on a list of its own; None means ``customers``, or
            all ``records``. They do not expire by themselves. All of them share the rate limit of a client address.
        records: Customers to serve instead of invented ones: a path of JSON Lines or of a JSON array, or dicts in the
            service's form. They are kept in memory. Each list has the first of them.

    Raises:
        OSError: The file of ``records`` cannot be read.
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range, or a record is not in the service's form. The message names its
            position, never a value.

    Example:
        >>> import asyncio, aiohttp
        >>> async def main():
        ...     async with Emulator(customers=250) as emulator, aiohttp.ClientSession() as session:
        ...         headers = {"Authorization": f"Bearer {emulator.token}"}
        ...         async with session.get(f"{emulator.url}/api/v1/customers", headers=headers) as response:
        ...             return len(await response.json()), response.headers["X-Api-Total"]
        >>> asyncio.run(main())
        (15, '250')
    """

    customers: int = attrs.field(default=1000, validator=at_least(0, MOST_CUSTOMERS), on_setattr=attrs.setters.frozen)

    tokens: Mapping[str, int | None] | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(check_tokens),
        on_setattr=attrs.setters.frozen,
        kw_only=True,
        repr=False,
    )
    records: Mapping[str, bytes] | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(read_records),
        on_setattr=attrs.setters.frozen,
        kw_only=True,
        repr=False,
    )

    def __attrs_post_init__(self) -> None:
        clock = Clock()
        default = self.customers if self.records is None else None
        sizes = [default] if self.tokens is None else [default if n is None else n for n in self.tokens.values()]
        accounts = make_accounts(sizes, self.records, self.seed, clock)
        secret = sha256(str(self.seed).encode()).digest()
        owner = str(accounts[0].owner["uuid"])
        self._clock = clock
        self._runner: web.AppRunner | None = None
        self._port = self.port
        self._service = Service(
            settings=self,
            clock=clock,
            accounts=accounts,
            windows=RateLimitWindows(self.limit, self.window, clock),
            tokens=Tokens(secret, self.token_lifetime, clock, owner, given=self.tokens or ()),
            faults=Faults(self.seed),
            stats=Stats(),
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Start to listen, if not listening yet. After `close`, the port stays the same.

        Raises:
            OSError: The port is in use.
        """
        if self._runner is not None:
            return
        self._clock.follow(asyncio.get_running_loop())
        self._runner = runner = web.AppRunner(
            self._service.make_application(make_control(self, self._service) if self.control else None),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_TIMEOUT,
        )
        try:
            await runner.setup()
            await web.TCPSite(runner, self.host, self._port).start()
        except BaseException:
            await self.close()
            raise
        self._port = runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening and close all connections, including stalled ones. Does nothing if already closed."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        try:
            for _ in range(_STEPS_TO_ACCEPT):
                await asyncio.sleep(0)
        finally:
            self._service.hang_up()
            await runner.cleanup()

    @property
    def url(self) -> str:
        """Base URL for this machine, such as ``"http://127.0.0.1:49152"``, also if it listens on all addresses.

        Raises:
            RuntimeError: The emulator was never started, so its port is not known.
        """
        if not self._port:
            raise RuntimeError("the emulator has no URL before it is started")
        host = find_local_host(self.host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    @property
    def token(self) -> str:
        """A valid bearer token; a new one if the last has expired or was revoked."""
        return self._service.tokens.current

    @property
    def stats(self) -> Stats:
        """Counts of the requests received so far."""
        return self._service.stats

    @property
    def pending(self) -> list[str]:
        """What was scripted and has not happened, such as ``"fail_next(503)"``; without faults that never end."""
        service = self._service
        requests = service.tokens.requests_left
        return [
            *(f"fail_next({fault})" for fault in service.faults.pending),
            *(f"on_page({page})" for account in service.accounts for page in account.drift.pending),
            *([] if requests is None else [f"expire_token(after={requests})"]),
        ]

    @property
    def total(self) -> int:
        """The number of customers on the list now; on the first token's if there are several."""
        return len(self._account(None).customer_list)

    def uuids(self, start: int = 0, stop: int | None = None, *, token: str | None = None) -> Iterator[str]:
        """Yield the customers' uuids in list order, from position ``start`` up to ``stop``.

        Args:
            start: The first position.
            stop: The position after the last one; None means the end.
            token: Whose list to use, here and in the other methods with this argument; None means the first token's.
        """
        customer_list = self._account(token).customer_list
        return customer_list.uuids(start, len(customer_list) if stop is None else stop)

    def issue_token(self, lifetime: float | None = None) -> str:
        """Return one more valid token. A ``lifetime`` in seconds makes it expire, and sets its ``exp`` claim."""
        if lifetime is not None:
            check_duration("lifetime", lifetime)
        return self._service.tokens.issue(lifetime)

    def revoke(self, token: str) -> None:
        """Reject ``token`` with a 401 from now on."""
        self._service.tokens.revoke(token)

    def expire_token(self, after: int = 0) -> None:
        """Expire all currently valid tokens after ``after`` more requests, counting those without a token too."""
        check_whole_number("after", after, 0)
        self._service.tokens.expire(after)

    def rate_limit(self, limit: int, window: float = 60.0) -> None:
        """Change the rate limit to ``limit`` requests in ``window`` seconds, and discard all open windows."""
        check_whole_number("limit", limit, 1)
        check_duration("window", window)
        self._service.windows.change(limit, window)

    def insert(self, n: int = 1, at: int = 0, *, token: str | None = None) -> None:
        """Insert ``n`` customers before position ``at``. Their ``created_at`` is the emulator's time now."""
        check_whole_number("n", n, 0, MOST_CUSTOMERS)
        check_whole_number("at", at, 0)
        self._account(token).customer_list.insert(n, at)

    def delete(self, n: int = 1, at: int = 0, *, token: str | None = None) -> None:
        """Delete ``n`` customers from position ``at`` on."""
        check_whole_number("n", n, 0)
        check_whole_number("at", at, 0)
        self._account(token).customer_list.delete(n, at)

    def touch(self, position: int = 0, *, token: str | None = None, **fields: Any) -> None:
        """Advance ``updated_at`` of the customer at ``position``, and set any other ``fields`` to JSON values."""
        self._find_position("position", position, token).change(position, fields)

    def swap(self, first: int, second: int, *, token: str | None = None) -> None:
        """Let the customers at two positions change places."""
        self._find_position("first", first, token)
        self._find_position("second", second, token).swap(first, second)

    def on_page(self, page: int, *, insert: int = 0, delete: int = 0, at: int = 0, token: str | None = None) -> None:
        """Delete, then insert customers at position ``at``, once, right before ``page`` is read."""
        check_whole_number("page", page, 1)
        check_whole_number("insert", insert, 0, MOST_CUSTOMERS)
        check_whole_number("delete", delete, 0)
        check_whole_number("at", at, 0)
        self._account(token).drift.script(page, insert, delete, at)

    def _account(self, token: str | None) -> Account:
        number = 0 if token is None else self._service.tokens.account_of(token)
        if number is None:
            raise ValueError("the emulator has no such token")
        return self._service.accounts[number]

    def _find_position(self, name: str, position: int, token: str | None) -> CustomerList:
        """Return the list of ``token``, if it has that position."""
        check_whole_number(name, position, 0)
        customer_list = self._account(token).customer_list
        if position >= len(customer_list):
            raise ValueError(f"there is no position {position} in a list of {len(customer_list)}")
        return customer_list

    def fail_next(
        self,
        fault: int | str | Fault,
        *,
        times: int | None = 1,
        path: str | None = None,
        page: int | None = None,
        after: int = 0,
    ) -> None:
        """Make the next requests fail that the rate limit admits.

        Args:
            fault: A status (204, or from 400 on with the JSON error body); or a coroutine function that takes an
                `Exchange`; or one of these names. Responses that the API does not give: ``html`` with status 200,
                ``html_<status>``, ``maintenance`` (``html_503``), ``redirect`` to a login page. Broken bodies:
                ``bad_json``, ``empty``, ``null``, ``cut_gzip``, ``echo`` (a 400 that repeats the authorization).
                Broken connections: ``reset`` and ``hang_up`` before the response, ``cut`` within the body,
                ``stall`` before the headers, ``stall_body`` within the body, ``drip`` (one byte a second).
            times: How many requests fail; None means all until `recover`.
            path: Only requests for this path; may be a pattern such as ``/api/v1/customers/*``. The service may lack
                the path: the fault is then its endpoint, for tests of ``get_raw``.
            page: Only requests for this page of the list.
            after: How many of these requests succeed first.

        Raises:
            TypeError: ``fault`` has another type.
            ValueError: There is no such fault.
        """
        check_whole_number("times", 1 if times is None else times, 1)
        check_whole_number("page", 1 if page is None else page, 1)
        check_whole_number("after", after, 0)
        self._service.faults.script(fault, times, path, page, after)

    def fail_randomly(self, rates: Mapping[int | str | Fault, float]) -> None:
        """Make admitted requests fail at random, as in ``{503: 0.2, "cut": 0.05}``; replaces earlier rates.

        Raises:
            TypeError: A key is not a fault; see `fail_next`.
            ValueError: There is no such fault, a rate is negative, or the rates add up to more than 1.
        """
        self._service.faults.randomize(rates)

    def recover(self) -> None:
        """Remove all faults."""
        self._service.faults.clear()

    def reset(self, *parts: Part) -> None:
        """Return to the state before the first request; the settings stay as they are.

        Args:
            parts: What to reset: ``"list"`` (every list, and the changes scripted for it), ``"faults"``, ``"tokens"``
                (revoked tokens are valid again), ``"rate_limit"``, ``"stats"``. None of them means all.

        Raises:
            ValueError: There is no such part.
        """
        service = self._service
        resets: dict[str, Callable[[], None]] = {
            "list": self._reset_lists,
            "faults": service.faults.reset,
            "tokens": service.tokens.reset,
            "rate_limit": lambda: service.windows.change(self.limit, self.window),
            "stats": service.stats.reset,
        }
        for part in parts:
            if part not in resets:
                raise ValueError(f"there is nothing called {part!r} to reset; there is {', '.join(resets)}")
        for part in parts or get_args(Part):
            resets[part]()

    def _reset_lists(self) -> None:
        for account in self._service.accounts:
            account.customer_list.reset()
            account.drift.clear()
