"""The events that a client passes to ``on_event``: typed, without secrets or customer data."""

import asyncio
import logging
from collections.abc import Callable

import attrs

from customers_async.models import Completeness

__all__ = [
    "CallEvent",
    "CallFinished",
    "CallStarted",
    "Event",
    "PageFetched",
    "QuotaWait",
    "RequestAnswered",
    "RequestSent",
    "RetryScheduled",
    "TokenReloaded",
    "WalkFinished",
    "emit",
]

_log = logging.getLogger("customers_async")


@attrs.frozen
class Event:
    """The base of all events."""


@attrs.frozen
class CallEvent(Event):
    """The base of what befalls one call: of `CallStarted`, `CallFinished` and all between them.

    Attributes:
        call: The call's number in this process, from 1, by which its events are told from those of others.
        route: The path's kind, such as ``/api/v1/customers/{uuid}``; never a uuid.
    """

    call: int
    route: str


@attrs.frozen
class CallStarted(CallEvent):
    """A look-up, a page or another question is about to be sent, once or several times.

    Attributes:
        url: Where it goes, with ``{uuid}`` in place of a uuid.
    """

    url: str


@attrs.frozen
class CallFinished(CallEvent):
    """A call ended: exactly one for each `CallStarted`, also when it was cancelled.

    Attributes:
        seconds: From `CallStarted`, with all waits and retries.
        error: The name of the error's class, or None when the service answered with data. Whether the data fit the
            models is found out later.
    """

    seconds: float
    error: str | None


@attrs.frozen
class RequestSent(CallEvent):
    """An attempt goes out.

    Attributes:
        attempt: From 1. A request that is sent again after a 429, or with a newer token after a 401, is the same
            attempt.
    """

    attempt: int


@attrs.frozen
class RequestAnswered(CallEvent):
    """An attempt ended: exactly one for each `RequestSent`, also when it was cancelled.

    Attributes:
        attempt: As in `RequestSent`.
        status: The HTTP status, or None when no usable answer came.
        seconds: From sending to the last byte.
        error: The name of the error's class, or None when the answer is data.
    """

    attempt: int
    status: int | None
    seconds: float
    error: str | None


@attrs.frozen
class RetryScheduled(CallEvent):
    """The call will be tried again.

    Attributes:
        attempt: The attempt that failed, from 1.
        reason: The name of the error's class.
        delay: Seconds until the next attempt.
    """

    attempt: int
    reason: str
    delay: float


@attrs.frozen
class QuotaWait(CallEvent):
    """A call waited for the quota, and is about to be sent.

    Attributes:
        seconds: How long it waited.
    """

    seconds: float


@attrs.frozen
class TokenReloaded(Event):
    """Another token took the place of the one in use."""


@attrs.frozen
class PageFetched(Event):
    """A page of a walk was read.

    Attributes:
        number: The page number, from 1.
        customers: Customers on it that were new to the walk.
        total: The total that the server named, or None.
    """

    number: int
    customers: int
    total: int | None


@attrs.frozen
class WalkFinished(Event):
    """A walk of the list ended.

    Attributes:
        completeness: The verdict and its figures.
    """

    completeness: Completeness


def emit(listener: Callable[[Event], None], event: Event) -> None:
    """Call the listener. Whatever it raises is logged: its failure must not become the call's."""
    try:
        listener(event)
    except (Exception, asyncio.CancelledError) as error:
        _log.warning("The on_event listener raised %s on %s.", type(error).__name__, type(event).__name__)
