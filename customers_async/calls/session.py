"""Runs one API call: get a token, wait for the rate limit, send, interpret, retry. Also closes the client.

Each attempt waits for its slot and its permit together, immediately before it is sent. Nothing is held while a call
sleeps between attempts.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from customers_async.calls import responses
from customers_async.calls.credentials import Credential, TokenKeeper
from customers_async.calls.endpoints import Request, is_misnumbered, is_past_end, mismatch_error
from customers_async.calls.options import Options
from customers_async.calls.rate_limiter import RateLimiter
from customers_async.calls.reporter import CallReporter, reporter_for
from customers_async.calls.responses import Response
from customers_async.calls.retry import RetryBudget
from customers_async.calls.slots import Lane, Permit, Slots
from customers_async.calls.status_errors import status_error
from customers_async.calls.tokens import TokenSource
from customers_async.calls.transport import Transport
from customers_async.errors import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    CustomersError,
    NotFoundError,
    RateLimitError,
)
from customers_async.events import Listener, TokenReloaded, emit
from customers_async.models import Health
from customers_async.notes import add_notes, call_notes

__all__ = ["Call", "Session"]

_log = logging.getLogger("customers_async")


@attrs.define(eq=False)
class Call:
    """One call: the request, and the token, options, slots, lane and retry budget to send it with.

    Attributes:
        attempt: The number of the present attempt, from 1.
        misnumbered: Whether the last response named another page.
    """

    request: Request
    tokens: TokenKeeper
    options: Options
    slots: Slots
    lane: Lane
    budget: RetryBudget
    attempt: int = 1
    misnumbered: bool = False


class Session:
    """What a client and all its views share: the transport, the rate limiter and the calls in progress.

    Args:
        transport: Sends the requests.
        limiter: The rate limiter.
    """

    def __init__(self, transport: Transport, limiter: RateLimiter) -> None:
        self._transport = transport
        self.limiter = limiter
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: dict[Call, asyncio.Task[Any]] = {}  # each with the task that awaits it
        self._closed = False
        self._ignores_numbers = False  # because the service numbers its pages differently
        self._idle = asyncio.Event()
        self._last_response_at: float | None = None  # Unix seconds
        self._last_error: str | None = None
        self._last_error_at: float | None = None

    @property
    def health(self) -> Health:
        """How the last calls ended."""
        return Health(
            last_response_at=_read_time(self._last_response_at),
            last_error=self._last_error,
            last_error_at=_read_time(self._last_error_at),
            rate_limit=self.limiter.state,
        )

    @property
    def base_url(self) -> str:
        """The service's base URL."""
        return self._transport.base_url

    def keep_tokens(self, source: TokenSource, listeners: Sequence[Listener]) -> TokenKeeper:
        """Make the keeper of a source's tokens; the listeners receive an event when one replaces another."""
        return TokenKeeper(source, self._transport.timeouts, on_reload=lambda: emit(listeners, TokenReloaded()))

    async def call(self, call: Call) -> Response:
        """Send a request, with retries, and return its response, if that may be data.

        Raises:
            CustomersError: See the tree in `errors`.
            RuntimeError: The client is closed, or belongs to another event loop.
        """
        task = asyncio.current_task(self.check_open())
        if task is None:
            raise RuntimeError("the client works in asyncio tasks only")
        cancelled_before = task.cancelling()
        self._calls[call] = task
        reporter = reporter_for(call.options.on_event, call.request, self.base_url)
        try:
            reporter.call_started()
            response = await self._attempts(call, reporter)
        except BaseException as error:
            reporter.call_finished(error)
            if isinstance(error, CustomersError):
                self._record_failure(error, call)
            is_cancelled_by_close = self._closed and isinstance(error, asyncio.CancelledError)
            if not is_cancelled_by_close or task.uncancel() > cancelled_before:
                raise
        else:
            reporter.call_finished(None)
            self._last_response_at = time.time()
            return response
        finally:
            del self._calls[call]
            if self._closed and not self._calls:
                self._idle.set()
        raise RuntimeError("client is closed")

    def _record_failure(self, error: CustomersError, call: Call) -> None:
        if isinstance(error, NotFoundError):  # the service works
            self._last_response_at = time.time()
        else:
            self._last_error, self._last_error_at = type(error).__name__, time.time()
        max_attempts = call.options.retry.max_attempts
        add_notes(error, call_notes(error, page=call.request.page, attempt=call.attempt, max_attempts=max_attempts))

    async def close(self) -> None:
        """Cancel the calls in progress and close the connections; the caller's own aiohttp session stays open."""
        is_elsewhere = self._loop is not None and self._loop is not asyncio.get_running_loop()
        if self._loop is not None and is_elsewhere and not self._loop.is_closed():
            raise RuntimeError("this client belongs to another event loop: close it there")
        if is_elsewhere:  # its loop has ended, and the calls with it
            self._calls.clear()
        if not self._closed:
            self._closed = True
            for task in self._calls.values():
                task.cancel()
        try:
            if self._calls:
                await self._idle.wait()
        finally:
            await self._transport.close()

    def check_open(self) -> asyncio.AbstractEventLoop:
        """Return the event loop, if calls are possible on it.

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

    async def _attempts(self, call: Call, reporter: CallReporter) -> Response:
        """The one retry loop. A 429 is not an attempt: it closes the limiter, which bounds the wait."""
        waited, renewed, timeout, tokens = 0.0, False, call.options.timeout, call.tokens
        rejection: RateLimitError | None = None
        if not self._transport.is_prepared:
            await self._transport.prepare(timeout)
        credential = await tokens.current(timeout)
        while True:
            was_expiring = tokens.is_expiring(credential)
            permit = await self._acquire(call, waited, rejection)
            waited += permit.waited
            if not was_expiring and tokens.is_expiring(credential):  # it came to that during the wait
                self.limiter.withdraw(permit)  # nothing is held while the token source runs
                credential = await tokens.current(timeout)
                permit = await self._acquire(call, waited, rejection)
                waited += permit.waited
            outcome = await self._attempt(call, permit, credential, reporter)
            if isinstance(outcome, Response):
                call.budget.credit(call.attempt - 1)
                outcome.attempts = call.attempt
                return outcome
            if isinstance(outcome, RateLimitError):
                rejection = outcome
                continue
            if isinstance(outcome, AuthenticationError) and not renewed:
                newer = await tokens.replacement(credential, timeout)
                if newer is not None:
                    credential, renewed = newer, True
                    continue
            delay = call.options.retry.delay(outcome, attempt=call.attempt)
            if delay is None or not call.budget.spend():
                raise outcome
            _log.info("%s failed with %s; retrying in %.2f s.", call.request.route, type(outcome).__name__, delay)
            reporter.retry_scheduled(call.attempt, outcome, delay)
            await asyncio.sleep(delay)
            call.attempt, renewed = call.attempt + 1, False
            credential = await tokens.current(timeout)

    async def _acquire(self, call: Call, waited: float, rejection: RateLimitError | None) -> Permit:
        """Wait for a slot and a permit; ``waited`` and ``rejection`` are those of the call so far.

        If the limiter refuses after a 429, that 429 is raised: it says why, and that a request was sent.
        """
        try:
            max_wait = call.options.max_rate_limit_wait - waited
            return await self.limiter.acquire(call.slots, lane=call.lane, max_wait=max_wait)
        except APITimeoutError as error:
            error.attempts = call.attempt - 1
            raise
        except RateLimitError as error:
            refusal = error
        refusal.attempts, refusal.url_path = call.attempt - 1, call.request.label
        if rejection is None:
            raise refusal
        rejection.retry_after = refusal.retry_after
        raise rejection

    async def _attempt(
        self, call: Call, permit: Permit, credential: Credential, reporter: CallReporter
    ) -> Response | CustomersError:
        """Send the request once and interpret the response. The permit is released whatever happens."""
        request, attempt, clock = call.request, call.attempt, permit.loop.time
        started = clock()
        received: Response | CustomersError | None = None
        try:
            if permit.waited > 0:
                reporter.rate_limit_waited(permit.waited)
            reporter.request_sent(attempt)
            received = await self._transport.send(
                request, credential, timeout=call.options.timeout, max_body=call.options.max_body
            )
        except CustomersError as error:
            received = error.with_traceback(None)
        except BaseException as error:
            reporter.request_answered(attempt, None, clock() - started, error)
            raise
        finally:
            closed_for = self._release(permit, received)
        seconds = clock() - started
        status = received.status if isinstance(received, Response) else None
        outcome = self._interpret(received, call, credential)
        failure = None if isinstance(outcome, Response) else outcome
        reporter.request_answered(attempt, status, seconds, failure)
        if _log.isEnabledFor(logging.DEBUG):
            label = status or type(failure).__name__
            _log.debug("GET %s, attempt %d: %s after %.3f s.", request.target, attempt, label, seconds)
        if closed_for is not None:
            _log.warning("The service responded 429: nothing is sent for %.0f s.", closed_for)
        return outcome

    def _interpret(
        self, received: Response | CustomersError, call: Call, credential: Credential
    ) -> Response | CustomersError:
        """Return the response if it is data, or the error that it means."""
        if isinstance(received, APIConnectionError):
            received.attempts = call.attempt
        if isinstance(received, CustomersError):
            return received
        if received.status < 400:
            problem = responses.response_error(received, is_raw=call.request.is_raw)
            return problem or self._match(received, call)
        expired = call.tokens.is_expired(credential)
        return status_error(received, call.request.label, expired=expired, attempts=call.attempt)

    def _match(self, response: Response, call: Call) -> Response | CustomersError:
        """Return the response, or an error if it belongs to another request.

        A service that numbers a page wrongly a second time always does: its pages are accepted from then on. Only a
        page past the end says nothing about the others.
        """
        mismatch = mismatch_error(response, call.request)
        if mismatch is None:
            return response
        misnumbered = is_misnumbered(response, call.request)
        if misnumbered and (self._ignores_numbers or call.misnumbered):
            self._ignores_numbers |= not is_past_end(response, call.request)
            return response
        call.misnumbered = misnumbered
        self._transport.drop_connections()
        return mismatch

    def _release(self, permit: Permit, received: Response | CustomersError | None) -> float | None:
        """Release the permit, and pass on what the response's headers say about the rate limit.

        Returns:
            The seconds for which a 429 has just closed the limiter, or None.
        """
        if not isinstance(received, Response):
            if isinstance(received, APIConnectionError) and not received.sent:
                self.limiter.withdraw(permit)
            else:
                self.limiter.release(permit, answered=False)
            return None
        (limit, remaining), rejected_for = responses.read_rate_limit(received.headers), None
        if received.status == 429:
            retry_after = responses.read_retry_after(received.headers)
            rejected_for = responses.DEFAULT_RETRY_AFTER if retry_after is None else retry_after
        return self.limiter.release(permit, answered=True, limit=limit, remaining=remaining, rejected_for=rejected_for)


def _read_time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
