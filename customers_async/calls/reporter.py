"""Emits the events of one call to the client's listeners."""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Final

from customers_async.calls.endpoints import Request
from customers_async.events import (
    CallFinished,
    CallStarted,
    Listener,
    QuotaWait,
    RequestAnswered,
    RequestSent,
    RetryScheduled,
    emit,
)

__all__ = ["CallReporter", "reporter_for"]

_call_numbers = count(1)


class CallReporter:
    """The reporter of a call without a listener: each method does nothing."""

    def call_started(self) -> None:
        """The call begins."""

    def call_finished(self, error: BaseException | None) -> None:
        """The call ended, with this error or with data."""

    def rate_limit_waited(self, seconds: float) -> None:
        """The rate limit kept the request waiting for this long."""

    def request_sent(self, attempt: int) -> None:
        """A request is sent."""

    def request_answered(self, attempt: int, status: int | None, seconds: float, error: BaseException | None) -> None:
        """A request ended, with this error or with data."""

    def retry_scheduled(self, attempt: int, error: BaseException, delay: float) -> None:
        """The call is retried after ``delay`` seconds."""


class _ListenerReporter(CallReporter):
    def __init__(self, listeners: Sequence[Listener], request: Request, base_url: str) -> None:
        self._listeners = listeners
        self._number, self._route = next(_call_numbers), request.route
        self._url = base_url + request.masked_target
        self._clock = asyncio.get_running_loop().time
        self._started_at = self._clock()

    def call_started(self) -> None:
        emit(self._listeners, CallStarted(self._number, self._route, self._url))

    def call_finished(self, error: BaseException | None) -> None:
        seconds = self._clock() - self._started_at
        emit(self._listeners, CallFinished(self._number, self._route, seconds, _name(error)))

    def rate_limit_waited(self, seconds: float) -> None:
        emit(self._listeners, QuotaWait(self._number, self._route, seconds))

    def request_sent(self, attempt: int) -> None:
        emit(self._listeners, RequestSent(self._number, self._route, attempt))

    def request_answered(self, attempt: int, status: int | None, seconds: float, error: BaseException | None) -> None:
        emit(self._listeners, RequestAnswered(self._number, self._route, attempt, status, seconds, _name(error)))

    def retry_scheduled(self, attempt: int, error: BaseException, delay: float) -> None:
        emit(self._listeners, RetryScheduled(self._number, self._route, attempt, type(error).__name__, delay))


_SILENT: Final = CallReporter()


def reporter_for(listeners: Sequence[Listener], request: Request, base_url: str) -> CallReporter:
    """The reporter of one call to ``request``."""
    return _ListenerReporter(listeners, request, base_url) if listeners else _SILENT


def _name(error: BaseException | None) -> str | None:
    return None if error is None else type(error).__name__
