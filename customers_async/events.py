"""The events that a client passes to ``on_event``: typed, without secrets or customer data."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import attrs

from customers_async.models import Completeness

__all__ = [
    "DURATION_BUCKETS",
    "WAIT_BUCKETS",
    "CallEvent",
    "CallFinished",
    "CallStarted",
    "Event",
    "Listener",
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

DURATION_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds: the bounds of histograms of ``RequestAnswered.seconds``."""
WAIT_BUCKETS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0)
"""Seconds: the bounds of histograms of ``QuotaWait.seconds``."""


@attrs.frozen
class Event:
    """The base class of all events."""


@attrs.frozen
class CallEvent(Event):
    """The base class of the events of one call: `CallStarted`, `CallFinished` and those between them.

    Attributes:
        call: The call's number in this process, from 1; the same in all its events.
        route: The path with placeholders, such as ``/api/v1/customers/{uuid}``; never a uuid.
    """

    call: int
    route: str


@attrs.frozen
class CallStarted(CallEvent):
    """A call began. Its request will be sent once or several times.

    Attributes:
        url: The request's URL, with ``{uuid}`` in place of a uuid; of ``get_raw`` the route without parameters.
    """

    url: str


@attrs.frozen
class CallFinished(CallEvent):
    """A call ended. There is exactly one for each `CallStarted`, even if the call was cancelled.

    Attributes:
        seconds: The time since `CallStarted`, including all waits and retries.
        error: The name of the error's class, or None if the service responded with data. Whether the data fit the
            models is checked later.
    """

    seconds: float
    error: str | None


@attrs.frozen
class RequestSent(CallEvent):
    """A request is sent.

    Attributes:
        attempt: The attempt, from 1. A request that is sent again after a 429, or with a newer token after a 401,
            belongs to the same attempt.
    """

    attempt: int


@attrs.frozen
class RequestAnswered(CallEvent):
    """A request ended. There is exactly one for each `RequestSent`, even if the call was cancelled.

    Attributes:
        attempt: As in `RequestSent`.
        status: The HTTP status, or None if no usable response arrived.
        seconds: The time from sending to the last byte.
        error: The name of the error's class, or None if the response is data.
    """

    attempt: int
    status: int | None
    seconds: float
    error: str | None


@attrs.frozen
class RetryScheduled(CallEvent):
    """A call will be retried.

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
    """A call waited for the rate limit, and its request is about to be sent.

    Attributes:
        seconds: How long it waited.
    """

    seconds: float


@attrs.frozen
class TokenReloaded(Event):
    """Another token replaced the one in use."""


@attrs.frozen
class PageFetched(Event):
    """A page of a listing was read.

    Attributes:
        number: The page number, from 1.
        customers: The customers on it that the listing had not seen before.
        total: The total that the response named, or None.
    """

    number: int
    customers: int
    total: int | None


@attrs.frozen
class WalkFinished(Event):
    """A listing ended, but not at its ``limit``. An export emits it for each pass over the list.

    Attributes:
        completeness: The verdict and its figures.
    """

    completeness: Completeness


Listener: TypeAlias = Callable[[Event], None]
"""What receives the events."""


def emit(listeners: Sequence[Listener], event: Event) -> None:
    """Call each listener. What one raises is logged, because its failure must not become the call's."""
    for listener in listeners:
        try:
            listener(event)
        except (Exception, asyncio.CancelledError) as error:
            _log.warning("The on_event listener raised %s on %s.", type(error).__name__, type(event).__name__)
