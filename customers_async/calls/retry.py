"""Whether to try again, and after how long. No clock, no sleep: a pure question with a pure answer."""

import random
from collections.abc import Callable

import attrs

from customers_async.checks import check_count, check_seconds
from customers_async.errors import APIConnectionError, APIStatusError, CustomersError

__all__ = ["RetryBudget", "RetryPolicy"]

_NEVER = frozenset({501, 505})


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often a transient failure is tried again: connection, timeout, 408, 425, and 5xx but 501 and 505.

    Attributes:
        max_attempts: Tries in all; 1 means no retry.
        base_delay: Upper bound of the first pause in seconds; it doubles with each retry. The pause is drawn
            evenly from 0 to the bound, so that clients that failed together do not come back together.
        max_delay: Upper bound of any pause in seconds. A server that asks for more (``Retry-After`` with a
            503) is not waited for: the error comes at once.

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
        """Seconds to wait before the next attempt, or None to give up.

        Args:
            failure: What went wrong. Its ``retry_after``, where the server gave one, is kept if it is longer.
            attempt: How many attempts were made, from 1.
            random: Evenly distributed from 0 to 1.
        """
        if attempt >= self.max_attempts or not is_transient(failure):
            return None
        bound: float = min(self.max_delay, self.base_delay * 2.0 ** min(attempt - 1, 64))
        pause = random() * bound
        asked = failure.retry_after if isinstance(failure, APIStatusError) else None
        if asked is None:
            return pause
        return max(asked, pause) if asked <= self.max_delay else None


def is_transient(failure: CustomersError) -> bool:
    """Whether the same request may succeed later. A failure may say so itself; TLS failures do not change."""
    if isinstance(failure, APIStatusError):
        status = failure.status
        return status in (408, 425) or (500 <= status < 600 and status not in _NEVER)
    return isinstance(failure, APIConnectionError) and failure.transient


class RetryBudget:
    """Bounds the retries of a whole client, so that an outage is not multiplied.

    A retry costs 5 of 100 tokens. A call that succeeds after retries gives back what they cost, any other
    success gives 1: one failure in five does not starve a walk, an outage ends the retries after 20.
    """

    SIZE = 100
    COST = 5

    def __init__(self) -> None:
        self.tokens: int = self.SIZE

    def spend(self) -> bool:
        """Take the price of one retry; False when too little is left."""
        if self.tokens < self.COST:
            return False
        self.tokens -= self.COST
        return True

    def credit(self, retries: int) -> None:
        """Note a success that took so many retries."""
        self.tokens = min(self.SIZE, self.tokens + max(1, retries * self.COST))
