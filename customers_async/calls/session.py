"""The way of one call: token, admission, exchange, meaning; the one retry loop, and the life of a client.

Each attempt is admitted anew, a place in flight and a request of the quota granted together as the last thing
before the wire. Sleeping holds nothing.
"""

import asyncio
import logging
from itertools import count
from typing import Any

import attrs

from customers_async.calls import responses as protocol
from customers_async.calls.credentials import Credential, TokenKeeper, subject
from customers_async.calls.options import Options
from customers_async.calls.rate_limiter import Lane, Permit, RateLimiter, Slots
from customers_async.calls.responses import Response
from customers_async.calls.retry import RetryBudget
from customers_async.calls.tokens import TokenSource
from customers_async.calls.transport import Transport
from customers_async.checks import Request
from customers_async.errors import APIConnectionError, AuthenticationError, CustomersError, RateLimitError
from customers_async.events import (
    CallFinished,
    CallStarted,
    QuotaWait,
    RequestAnswered,
    RequestSent,
    RetryScheduled,
    TokenReloaded,
)

__all__ = ["Call", "Session"]

_log = logging.getLogger("customers_async")
_call_numbers = count(1)


@attrs.define(eq=False)
class Call:
    """One call: what is asked, how, and by whom; the number is for a listener's sake."""

    request: Request
    options: Options
    slots: Slots
    lane: Lane
    number: int = 0


class Session:
    """What a client and all its views share: the wire, the token, the quota, and the calls in progress.

    Args:
        wire: The connection to the service.
        source: Where tokens come from.
        limiter: The quota.
        options: Those of the client, for what concerns no single call.
    """

    def __init__(
        self,
        wire: Transport,
        source: TokenSource,
        limiter: RateLimiter,
        options: Options,
    ) -> None:
        self._wire = wire
        self.limiter = limiter
        self._tokens = TokenKeeper(source, on_reload=lambda: options.tell(TokenReloaded))
        self._budget = RetryBudget()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: dict[Call, asyncio.Task[Any]] = {}  # each with the task that waits for it
        self._closed = False
        self._ended = asyncio.Event()

    @property
    def base_url(self) -> str:
        """Where the service is."""
        return self._wire.base_url

    async def call(self, call: Call) -> Response:
        """Send a request, again if need be, and return its answer of status 200.

        Raises:
            CustomersError: As the tree in `errors` says.
            RuntimeError: The client is closed, or belongs to another event loop.
        """
        task = asyncio.current_task(self.check_open())
        if task is None:
            raise RuntimeError("the client works in asyncio tasks only")
        cancelled_before = task.cancelling()
        self._calls[call] = task
        try:
            if call.options.on_event is None:
                return await self._attempts(call)
            return await self._observed(attrs.evolve(call, number=next(_call_numbers)))
        except asyncio.CancelledError:
            if not self._closed or task.uncancel() > cancelled_before:
                raise  # not only by close()
        finally:
            del self._calls[call]
            if self._closed and not self._calls:
                self._ended.set()
        raise RuntimeError("client is closed")

    async def close(self) -> None:
        """End the calls in flight and the connection; a borrowed aiohttp session stays open."""
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise RuntimeError("this client belongs to another event loop: close it there")
        if not self._closed:
            self._closed = True
            for task in self._calls.values():
                task.cancel()
        try:
            if self._calls:
                await self._ended.wait()
        finally:
            await self._wire.close()

    async def account(self) -> str:
        """Whose token is in use, as far as it says so.

        Raises:
            ConfigurationError: There is no token.
            RuntimeError: The client is closed, or belongs to another event loop.
        """
        self.check_open()
        return subject((await self._tokens.current()).token)

    def check_open(self) -> asyncio.AbstractEventLoop:
        """The event loop; refuses a call where none is possible any more.

        Raises:
            RuntimeError: The client is closed, or belongs to another event loop.
        """
        if self._closed:
            raise RuntimeError("client is closed")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("this client belongs to another event loop: make one client for each loop")
        return loop

    async def _observed(self, call: Call) -> Response:
        """The attempts, with an event before them and one after."""
        request, tell, clock = call.request, call.options.tell, asyncio.get_running_loop().time
        started, failure = clock(), None
        tell(CallStarted, call.number, request.route, self._wire.base_url + request.masked_target)
        try:
            return await self._attempts(call)
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            tell(CallFinished, call.number, request.route, clock() - started, failure)

    async def _attempts(self, call: Call) -> Response:
        """The one retry loop. A 429 is no attempt: it shuts the limiter, which bounds the waiting."""
        attempt, waited, renewed = 1, 0.0, False
        rejection: RateLimitError | None = None
        credential = await self._tokens.current()
        while True:
            permit = await self._admit(call, waited, rejection)
            waited += permit.waited
            outcome = await self._attempt(call, permit, credential, attempt)
            if isinstance(outcome, Response):
                self._budget.credit(attempt - 1)
                return outcome
            if isinstance(outcome, RateLimitError):
                rejection = outcome
                continue
            if isinstance(outcome, AuthenticationError) and not renewed:
                newer = await self._tokens.replacement(credential)
                if newer is not None:
                    credential, renewed = newer, True
                    continue
            delay = call.options.retry.delay(outcome, attempt=attempt)
            if delay is None or not self._budget.spend():
                raise outcome
            route, reason = call.request.route, type(outcome).__name__
            _log.info("%s failed with %s; trying again in %.2f s.", route, reason, delay)
            call.options.tell(RetryScheduled, call.number, route, attempt, reason, delay)
            await asyncio.sleep(delay)
            attempt += 1
            credential = await self._tokens.current()

    async def _admit(self, call: Call, waited: float, rejection: RateLimitError | None) -> Permit:
        """Wait for a place in flight and for the quota; ``waited`` and ``rejection`` are the call's so far."""
        try:
            max_wait = call.options.max_rate_limit_wait - waited
            return await self.limiter.acquire(call.slots, lane=call.lane, max_wait=max_wait)
        except RateLimitError as error:
            refusal = error
        refusal.url_path = call.request.path
        if rejection is None:
            raise refusal
        rejection.retry_after = refusal.retry_after
        raise rejection

    async def _attempt(
        self, call: Call, permit: Permit, credential: Credential, attempt: int
    ) -> Response | CustomersError:
        """One exchange, and what its answer means. The permit is given back whatever happens."""
        request, tell, clock = call.request, call.options.tell, permit.loop.time
        started = clock()
        answer: Response | CustomersError | None = None
        try:
            if permit.waited > 0:
                tell(QuotaWait, call.number, request.route, permit.waited)
            tell(RequestSent, call.number, request.route, attempt)
            answer = await self._wire.exchange(
                request, credential, timeout=call.options.timeout, max_body=call.options.max_body
            )
        except BaseException as error:
            tell(RequestAnswered, call.number, request.route, attempt, None, clock() - started, type(error).__name__)
            raise
        finally:
            self._give_back(permit, answer)
        seconds = clock() - started
        status = answer.status if isinstance(answer, Response) else None
        outcome = self._meaning(answer, request, credential, attempt)
        failure = None if isinstance(outcome, Response) else type(outcome).__name__
        tell(RequestAnswered, call.number, request.route, attempt, status, seconds, failure)
        if _log.isEnabledFor(logging.DEBUG):
            label = status or failure
            _log.debug("GET %s, attempt %d: %s after %.3f s.", request.target, attempt, label, seconds)
        return outcome

    def _meaning(
        self, answer: Response | CustomersError, request: Request, credential: Credential, attempt: int
    ) -> Response | CustomersError:
        if isinstance(answer, APIConnectionError):
            answer.attempts = attempt
        if isinstance(answer, CustomersError):
            return answer
        if answer.status < 400:
            return protocol.response_error(answer) or answer
        expired = self._tokens.is_expired(credential)
        return protocol.status_error(answer, request, secret=credential.token, expired=expired, attempts=attempt)

    def _give_back(self, permit: Permit, answer: Response | CustomersError | None) -> None:
        if not isinstance(answer, Response):
            self.limiter.release(permit, answered=False)
            return
        quota, rejected_for = protocol.read_quota(answer.headers), None
        if answer.status == 429:
            rejected_for = protocol.DEFAULT_RETRY_AFTER if quota.retry_after is None else quota.retry_after
            _log.warning("The service answered 429: nothing is sent for %.0f s.", max(rejected_for, 0.0) + 1)
        self.limiter.release(
            permit, answered=True, limit=quota.limit, remaining=quota.remaining, rejected_for=rejected_for
        )
