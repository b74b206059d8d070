"""The only room that talks to aiohttp: one exchange, the one retry loop, and the life of the connection.

Each attempt is admitted anew, a place in flight and a request of the quota granted together as the last thing
before the wire. The body is read inside the attempt's timeout and up to a cap. Sleeping holds nothing.
"""

import asyncio
import logging
from collections.abc import Callable
from inspect import iscoroutinefunction
from itertools import count
from typing import Any, Final, TypedDict

import aiohttp
import attrs
from multidict import CIMultiDict
from yarl import URL

from customers_async import protocol
from customers_async._version import __version__
from customers_async.errors import (
    APIConnectionError,
    APIResponseError,
    APITimeoutError,
    AuthenticationError,
    CustomersError,
    RateLimitError,
)
from customers_async.events import (
    CallFinished,
    CallStarted,
    Event,
    QuotaWait,
    RequestAnswered,
    RequestSent,
    RetryScheduled,
    TokenReloaded,
)
from customers_async.protocol import Answer
from customers_async.rate_limiter import Lane, Permit, RateLimiter, Slots
from customers_async.request import Request
from customers_async.retry import RetryBudget, RetryPolicy, check_count, check_seconds
from customers_async.tokens import Credential, TokenKeeper, TokenSource

__all__ = ["Call", "OptionOverrides", "Options", "Session"]

_log = logging.getLogger("customers_async")
_call_numbers = count(1)
_USER_AGENT: Final = f"customers-async/{__version__}"
_NO_TIMEOUT: Final = aiohttp.ClientTimeout()
_ERROR_BODY_PATIENCE: Final = 2.0
"""Seconds to wait for the body of an error: its status says enough, and a 429 must shut the limiter soon."""


def _check_listener(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None and (not callable(value) or iscoroutinefunction(value)):
        raise TypeError(f"{attribute.name} must be a plain function of an event, or None")


@attrs.frozen(kw_only=True, cache_hash=True)
class Options:
    """What may differ from one view of a client to another; see `CustomersClient` for the meanings.

    Options are equal if a call made with the ones may wait for the answer to a call made with the others.
    """

    concurrency: int = attrs.field(default=8, validator=check_count, eq=False)
    timeout: float = attrs.field(default=30.0, validator=[check_seconds, attrs.validators.gt(0)])
    retry: RetryPolicy = attrs.field(factory=RetryPolicy, validator=attrs.validators.instance_of(RetryPolicy))
    max_rate_limit_wait: float = attrs.field(default=120.0, validator=check_seconds)
    max_body: int = attrs.field(default=32 * 2**20, validator=check_count)
    keep_unknown: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    on_event: Callable[[Event], None] | None = attrs.field(default=None, validator=_check_listener, eq=False)

    def tell(self, kind: Callable[..., Event], *values: object) -> None:
        """Make an event for the listener, if there is one. What the listener raises is logged and harms nobody."""
        if self.on_event is None:
            return
        event = kind(*values)
        try:
            self.on_event(event)
        except (Exception, asyncio.CancelledError) as error:  # the listener is not ours, its failure not the call's
            _log.warning("The on_event listener raised %s on %s.", type(error).__name__, type(event).__name__)


class OptionOverrides(TypedDict, total=False):
    """The names and types of `Options`, for a type checker's sake."""

    concurrency: int
    timeout: float
    retry: RetryPolicy
    max_rate_limit_wait: float
    max_body: int
    keep_unknown: bool
    on_event: Callable[[Event], None] | None


@attrs.frozen(eq=False)
class Call:
    """One call: what is asked, how, and by whom; the number is for a listener's sake."""

    request: Request
    options: Options
    slots: Slots
    lane: Lane
    number: int = 0


class Session:
    """The connection that a client and all its views share.

    Args:
        base_url: Checked, without a trailing slash.
        source: Where tokens come from.
        limiter: The quota.
        http: A borrowed aiohttp session, never closed here; None to open one at the first call.
        options: Those of the client, for what concerns no single call.
    """

    def __init__(
        self,
        base_url: str,
        source: TokenSource,
        limiter: RateLimiter,
        http: aiohttp.ClientSession | None,
        options: Options,
    ) -> None:
        self.base_url = base_url
        self._base = URL(base_url, encoded=True)
        self.limiter = limiter
        self._tokens = TokenKeeper(source, on_reload=lambda: options.tell(TokenReloaded))
        self._budget = RetryBudget()
        self._http = http
        self._borrowed = http is not None
        self._carried: tuple[Credential, CIMultiDict[str]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: dict[Call, asyncio.Task[Any]] = {}  # each with the task that waits for it
        self._closed = False
        self._ended = asyncio.Event()

    async def call(self, call: Call) -> Answer:
        """Send a request, again if need be, and return its answer of status 200.

        Raises:
            CustomersError: As the tree in `errors` says.
            RuntimeError: The client is closed, or belongs to another event loop.
        """
        http, task = self._open(), _current_task()
        cancelled_before = task.cancelling()
        self._calls[call] = task
        try:
            if call.options.on_event is None:
                return await self._attempts(http, call)
            return await self._observed(http, attrs.evolve(call, number=next(_call_numbers)))
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
            if self._http is not None and not self._borrowed:
                await self._http.close()

    def check_open(self) -> None:
        """Refuse a call where none is possible any more.

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

    def _open(self) -> aiohttp.ClientSession:
        self.check_open()
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # slots are the limit; a pool's would count against timeouts
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._http

    async def _observed(self, http: aiohttp.ClientSession, call: Call) -> Answer:
        """The attempts, with an event before them and one after."""
        request, tell, clock = call.request, call.options.tell, asyncio.get_running_loop().time
        started, failure = clock(), None
        tell(CallStarted, call.number, request.route, self.base_url + request.masked_target)
        try:
            return await self._attempts(http, call)
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            tell(CallFinished, call.number, request.route, clock() - started, failure)

    async def _attempts(self, http: aiohttp.ClientSession, call: Call) -> Answer:
        """The one retry loop. A 429 is no attempt: it shuts the limiter, which bounds the waiting."""
        attempt, waited, renewed = 1, 0.0, False
        rejection: RateLimitError | None = None
        credential = await self._tokens.current()
        while True:
            permit = await self._admit(call, waited, rejection)
            waited += permit.waited
            outcome = await self._attempt(http, call, permit, credential, attempt)
            if isinstance(outcome, Answer):
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
        self, http: aiohttp.ClientSession, call: Call, permit: Permit, credential: Credential, attempt: int
    ) -> Answer | CustomersError:
        """One exchange, and what its answer means. The permit is given back whatever happens."""
        request, tell, clock = call.request, call.options.tell, asyncio.get_running_loop().time
        started = clock()
        answer: Answer | CustomersError | None = None
        try:
            if permit.waited > 0:
                tell(QuotaWait, call.number, request.route, permit.waited)
            tell(RequestSent, call.number, request.route, attempt)
            answer = await self._exchange(http, request, call.options, credential)
        except BaseException as error:
            tell(RequestAnswered, call.number, request.route, attempt, None, clock() - started, type(error).__name__)
            raise
        finally:
            self._give_back(permit, answer)
        seconds = clock() - started
        status = answer.status if isinstance(answer, Answer) else None
        outcome = self._meaning(answer, request, credential, attempt)
        failure = None if isinstance(outcome, Answer) else type(outcome).__name__
        tell(RequestAnswered, call.number, request.route, attempt, status, seconds, failure)
        if _log.isEnabledFor(logging.DEBUG):
            label = status or failure
            _log.debug("GET %s, attempt %d: %s after %.3f s.", request.target, attempt, label, seconds)
        return outcome

    def _meaning(
        self, answer: Answer | CustomersError, request: Request, credential: Credential, attempt: int
    ) -> Answer | CustomersError:
        if isinstance(answer, APIConnectionError):
            answer.attempts = attempt
        if isinstance(answer, CustomersError):
            return answer
        if answer.status < 400:
            return protocol.response_error(answer) or answer
        expired = self._tokens.is_expired(credential)
        return protocol.status_error(answer, request, secret=credential.token, expired=expired, attempts=attempt)

    def _give_back(self, permit: Permit, answer: Answer | CustomersError | None) -> None:
        if not isinstance(answer, Answer):
            self.limiter.release(permit, answered=False)
            return
        quota, rejected_for = protocol.read_quota(answer.headers), None
        if answer.status == 429:
            rejected_for = protocol.DEFAULT_RETRY_AFTER if quota.retry_after is None else quota.retry_after
            _log.warning("The service answered 429: nothing is sent for %.0f s.", max(rejected_for, 0.0) + 1)
        self.limiter.release(
            permit, answered=True, limit=quota.limit, remaining=quota.remaining, rejected_for=rejected_for
        )

    def _url(self, request: Request) -> URL:
        base, path = self._base, self._base.raw_path.rstrip("/") + request.path
        return URL.build(
            scheme=base.scheme, authority=base.raw_authority, path=path, query_string=request.query, encoded=True
        )

    def _headers(self, credential: Credential) -> CIMultiDict[str]:
        """What each request carries; made once for each credential."""
        if self._carried is None or self._carried[0] is not credential:
            headers = {
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "Authorization": credential.header,
                "User-Agent": _USER_AGENT,
            }
            self._carried = credential, CIMultiDict(headers)
        return self._carried[1]

    async def _exchange(
        self, http: aiohttp.ClientSession, request: Request, options: Options, credential: Credential
    ) -> Answer | CustomersError:
        """The one door to aiohttp; its errors are returned in our own terms.

        Raised from here, an error would keep aiohttp's as its context, and with that the Authorization header.
        """
        head: Answer | None = None
        body = _Body()
        try:
            async with asyncio.timeout(options.timeout):
                response = await http.get(
                    self._url(request),
                    headers=self._headers(credential),
                    allow_redirects=False,
                    auto_decompress=False,
                    raise_for_status=False,
                    timeout=_NO_TIMEOUT,
                )
                try:
                    head = Answer(response.status, response.headers, b"")
                    if head.status < 400:
                        await body.read(response.content, options.max_body)
                    else:
                        async with asyncio.timeout(_ERROR_BODY_PATIENCE):
                            await body.read(response.content, options.max_body)
                finally:
                    response.release()
        except TimeoutError:
            failure: CustomersError = APITimeoutError(
                f"no whole answer within {options.timeout:g} s for {request.path}"
            )
        except aiohttp.ClientSSLError as error:
            failure = APIConnectionError(f"TLS failed: {_reason(error)}", transient=False)
        except aiohttp.ClientResponseError:
            failure = APIResponseError(f"the answer for {request.path} is not well-formed HTTP")
        except (aiohttp.ClientError, OSError) as error:
            failure = APIConnectionError(f"no usable answer for {request.path}: {_reason(error)}")
        else:
            if body.size <= options.max_body:
                return protocol.decoded(Answer(head.status, head.headers, body.whole()), options.max_body)
            failure = protocol.located(protocol.too_large(options.max_body), head)
        # From 400 on the status says enough, whatever became of the body.
        return head if head is not None and head.status >= 400 else failure


class _Body:
    """A body as it arrives. Nobody's repr shows it: a traceback that prints locals must not show customers."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    async def read(self, content: aiohttp.StreamReader, max_body: int) -> None:
        """Read what comes over the wire, whole or until it is over ``max_body``, which is enough to refuse it."""
        while self.size <= max_body and not content.at_eof():
            self._pieces.append(await content.readany())
            self.size += len(self._pieces[-1])

    def whole(self) -> bytes:
        """All that was read."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)


def _current_task() -> asyncio.Task[Any]:
    """The task that runs this: a coroutine always runs in one."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("the client works in asyncio tasks only")
    return task


def _reason(error: Exception) -> str:
    """What went wrong, without the error's own text: that may quote headers."""
    strerror = getattr(error, "strerror", None)
    return f"{type(error).__name__} ({strerror})" if isinstance(strerror, str) else type(error).__name__
