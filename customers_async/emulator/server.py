"""The emulator itself: a running server, and the levers to make its life hard."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

import attrs
from aiohttp import web

from customers_async.emulator.checks import check_seconds, check_whole_number
from customers_async.emulator.customer_list import CustomerList
from customers_async.emulator.drift import Drift
from customers_async.emulator.faults import Fault, Faults
from customers_async.emulator.quota import Quota
from customers_async.emulator.service import OWNER, Service
from customers_async.emulator.settings import Settings, at_least
from customers_async.emulator.stats import Stats
from customers_async.emulator.tokens import Tokens

__all__ = ["Emulator"]

_CLOSING_TAKES = 0.1


class _Clock:
    """Unix time that passes as the event loop's does."""

    def __init__(self) -> None:
        self._passed: Callable[[], float] = time.monotonic
        self._zero = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._zero + self._passed()

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on from now at the pace of ``loop``."""
        now = self()
        self._passed = loop.time
        self._zero = now - loop.time()


@attrs.define(slots=False, eq=False)
class Emulator(Settings):
    """A faithful local stand-in for the customers service.

    It listens on a real socket and answers as the service does: Laravel's fixed-window quota for each client
    address, bearer tokens, pagination told in headers, one JSON shape for all errors. The customers are computed
    from the seed, so a million of them cost nothing. The first is the one the API reference documents.

    Nothing is opened before `start`, which ``async with`` calls. All arguments are those of ``Settings``.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If an argument is out of its range.

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

    customers: int = attrs.field(default=1000, validator=at_least(0), on_setattr=attrs.setters.frozen)

    def __attrs_post_init__(self) -> None:
        clock = _Clock()
        directory = CustomerList(self.customers, self.seed)
        secret = sha256(str(self.seed).encode()).digest()
        self._clock = clock
        self._runner: web.AppRunner | None = None
        self._port = self.port
        self._service = Service(
            settings=self,
            directory=directory,
            drift=Drift(directory),
            quota=Quota(self.limit, self.window, clock),
            tokens=Tokens(secret, self.token_lifetime, clock, owner=str(OWNER["uuid"])),
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
        """Begin to listen; does nothing when it already does. After `close`, the port stays the same.

        Raises:
            OSError: If the port is taken.
        """
        if self._runner is not None:
            return
        self._clock.follow(asyncio.get_running_loop())
        self._runner = runner = web.AppRunner(
            self._service.application(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_CLOSING_TAKES,
        )
        try:
            await runner.setup()
            await web.TCPSite(runner, self.host, self._port).start()
        except BaseException:
            await self.close()
            raise
        self._port = runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening and drop every connection, stalled ones too; does nothing when closed."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self._service.hang_up()
            await runner.cleanup()

    @property
    def url(self) -> str:
        """Base URL, such as ``"http://127.0.0.1:49152"``.

        Raises:
            RuntimeError: If the emulator was never started, for then the port is not known.
        """
        if not self._port:
            raise RuntimeError("the emulator has no URL before it is started")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self._port}"

    @property
    def token(self) -> str:
        """A bearer token that is valid now; a new one once the last has expired or was revoked."""
        return self._service.tokens.current

    @property
    def stats(self) -> Stats:
        """What has arrived so far."""
        return self._service.stats

    @property
    def pending(self) -> list[str]:
        """What was scripted and has not happened, such as ``"fail_next(503)"``; faults without an end do not count."""
        service = self._service
        uses = service.tokens.uses_left
        return [
            *(f"fail_next({fault})" for fault in service.faults.pending),
            *(f"on_page({page})" for page in service.drift.pending),
            *([] if uses is None else [f"expire_token(after={uses})"]),
        ]

    @property
    def total(self) -> int:
        """How many customers are on the list now."""
        return len(self._service.directory)

    def uuids(self, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """The customers' uuids one by one, in list order, from position ``start`` up to ``stop``."""
        return self._service.directory.uuids(start, self.total if stop is None else stop)

    def issue_token(self, lifetime: float | None = None) -> str:
        """Make one more valid token; with a ``lifetime`` in seconds it says so in ``exp`` and ends then."""
        if lifetime is not None:
            check_seconds("lifetime", lifetime)
        return self._service.tokens.issue(lifetime)

    def revoke(self, token: str) -> None:
        """Answer ``token`` with 401 from now on."""
        self._service.tokens.revoke(token)

    def expire_token(self, after: int = 0) -> None:
        """Let all tokens valid now end once ``after`` more requests came with any token or none."""
        check_whole_number("after", after, 0)
        self._service.tokens.expire(after)

    def rate_limit(self, limit: int, window: float = 60.0) -> None:
        """Change the quota to ``limit`` requests in ``window`` seconds, and open new windows."""
        check_whole_number("limit", limit, 1)
        check_seconds("window", window)
        self._service.quota.change(limit, window)

    def insert(self, n: int = 1, at: int = 0) -> None:
        """Put ``n`` new customers, created later than all others, before position ``at``."""
        check_whole_number("n", n, 0)
        check_whole_number("at", at, 0)
        self._service.directory.insert(n, at)

    def delete(self, n: int = 1, at: int = 0) -> None:
        """Take ``n`` customers off the list, from position ``at`` on."""
        check_whole_number("n", n, 0)
        check_whole_number("at", at, 0)
        self._service.directory.delete(n, at)

    def touch(self, position: int = 0, **fields: Any) -> None:
        """Move ``updated_at`` of the customer at ``position`` on, and set any other ``fields`` to any JSON value."""
        check_whole_number("position", position, 0)
        if position >= self.total:
            raise ValueError(f"there is no position {position} in a list of {self.total}")
        self._service.directory.change(position, int(self._clock()), fields)

    def on_page(self, page: int, *, insert: int = 0, delete: int = 0, at: int = 0) -> None:
        """Once, right before ``page`` is answered, delete and then insert customers at position ``at``."""
        check_whole_number("page", page, 1)
        for name, value in {"insert": insert, "delete": delete, "at": at}.items():
            check_whole_number(name, value, 0)
        self._service.drift.script(page, insert, delete, at)

    def fail_next(
        self,
        fault: int | str | Fault,
        *,
        times: int | None = 1,
        path: str | None = None,
        page: int | None = None,
        after: int = 0,
    ) -> None:
        """Let requests fail that the quota admits.

        Args:
            fault: A status (204, or 400 and more: the error envelope); or a coroutine function that is given an
                `Exchange`; or one of these names. Answers that are not the API's: ``html`` with status 200,
                ``html_<status>``, ``maintenance`` (``html_503``), ``redirect`` to a login page. Spoilt bodies:
                ``bad_json``, ``empty``, ``null``, ``cut_gzip``, ``echo`` (a 400 that repeats the authorization).
                Spoilt connections: ``reset`` and ``hang_up`` before any answer, ``cut`` within the body,
                ``stall`` before the headers, ``stall_body`` within the body, ``drip`` (one byte a second).
            times: How many requests fail; None means all until `recover`.
            path: Only requests for this path; may be a pattern such as ``/api/v1/customers/*``.
            page: Only requests for this page of the list.
            after: How many such requests succeed first.

        Raises:
            TypeError: If ``fault`` is neither.
            ValueError: If no such fault is known.
        """
        check_whole_number("times", 1 if times is None else times, 1)
        check_whole_number("page", 1 if page is None else page, 1)
        check_whole_number("after", after, 0)
        self._service.faults.script(fault, times, path, page, after)

    def fail_randomly(self, rates: Mapping[int | str | Fault, float]) -> None:
        """Let admitted requests fail by chance, as in ``{503: 0.2, "cut": 0.05}``; replaces earlier rates.

        Raises:
            TypeError: If a key is no fault, see `fail_next`.
            ValueError: If no such fault is known, or the rates are negative or add up to more than 1.
        """
        self._service.faults.randomize(rates)

    def recover(self) -> None:
        """Forget all faults."""
        self._service.faults.clear()
