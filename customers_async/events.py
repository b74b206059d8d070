"""What a client tells ``on_event``: typed, without secrets and without customers' data."""

import attrs

from customers_async.models import Completeness

__all__ = [
    "Event",
    "PageFetched",
    "QuotaWait",
    "RequestAnswered",
    "RequestSent",
    "RetryScheduled",
    "TokenReloaded",
    "WalkFinished",
]


@attrs.frozen
class Event:
    """The base of all events."""


@attrs.frozen
class RequestSent(Event):
    """An attempt goes out.

    Attributes:
        route: The path's kind, such as ``/api/v1/customers/{uuid}``; never a uuid.
        attempt: From 1.
    """

    route: str
    attempt: int


@attrs.frozen
class RequestAnswered(Event):
    """An attempt ended.

    Attributes:
        route: As in `RequestSent`.
        attempt: From 1.
        status: The HTTP status, or None when no usable answer came.
        seconds: From sending to the last byte.
    """

    route: str
    attempt: int
    status: int | None
    seconds: float


@attrs.frozen
class RetryScheduled(Event):
    """The call will be tried again.

    Attributes:
        route: As in `RequestSent`.
        attempt: The attempt that failed, from 1.
        reason: The error's class name.
        delay: Seconds until the next attempt.
    """

    route: str
    attempt: int
    reason: str
    delay: float


@attrs.frozen
class QuotaWait(Event):
    """A call waited for the quota.

    Attributes:
        route: As in `RequestSent`.
        seconds: How long it waited.
    """

    route: str
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
