"""Decides whether a failed request is retried, and after how long. No clock, no sleep."""

import random
from collections.abc import Callable

import attrs

from customers_async.checks import check_count, check_seconds
from customers_async.errors import CustomersError, RateLimitError

__all__ = ["RetryBudget", "RetryPolicy"]


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often a transient failure is retried: connection, timeout, 408, 425, and 5xx except 501 and 505.

    Attributes:
        max_attempts: The number of attempts in total; 1 means no retry.
        base_delay: The upper bound of the first delay in seconds; it doubles with each retry. The delay is random
            between 0 and the bound, so that clients that failed together do not retry together.
        max_delay: The upper bound of any delay in seconds. If the service asks for a longer one (``Retry-After`` with
            a 503), the error is raised at once.

    Raises:
        TypeError: A value is not a number.
        ValueError: ``max_attempts`` is below 1, or a delay is negative.

    Example:
        >>> RetryPolicy(max_attempts=2).delay(APIConnectionError("reset"), attempt=1, random=lambda: 0.5)
        0.25
    """

    max_attempts: int = attrs.field(default=4, validator=check_count)
    base_delay: float = attrs.field(default=0.5, validator=check_seconds)
    max_delay: float = attrs.field(default=20.0, validator=check_seconds)

    def delay(
        self,
        failure: CustomersError,
        *,
        attempt: int,
        random: Callable[[], float] = random.random,
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give up.

        Args:
            failure: The error. Its ``retry_after`` is used if it is longer than the delay.
            attempt: How many attempts were made, from 1.
            random: Returns numbers evenly distributed from 0 to 1.
        """
        if attempt >= self.max_attempts or not failure.retryable or isinstance(failure, RateLimitError):
            return None  # a call waits for the rate limit without an attempt
        bound: float = min(self.max_delay, self.base_delay * 2.0 ** min(attempt - 1, 64))
        delay = random() * bound
        requested = failure.retry_after
        if requested is None:
            return delay
        return max(requested, delay) if requested <= self.max_delay else None


class RetryBudget:
    """Bounds the retries of a whole client, so that they do not multiply the load during an outage.

    A retry costs 5 of 100 points. A call that succeeds after retries returns their cost, any other success returns 1.
    So a listing survives one failure in five, and an outage ends the retries after 20.
    """

    SIZE = 100
    COST = 5

    def __init__(self) -> None:
        self.points: int = self.SIZE

    def spend(self) -> bool:
        """Take the cost of one retry; return False if too few points are left."""
        if self.points < self.COST:
            return False
        self.points -= self.COST
        return True

    def credit(self, retries: int) -> None:
        """Count a success after this many retries."""
        self.points = min(self.SIZE, self.points + max(1, retries * self.COST))
