"""Which strategy of a batch takes fewer requests: looking customers up, or reading the list."""

from collections.abc import Iterable
from typing import Literal

import attrs

from customers_async.calls.look_ups import LookUps
from customers_async.checks import MAX_PER_PAGE, RESULT_CAP, check_uuids

__all__ = ["BatchPlan", "Strategy", "cheapest_strategy", "is_list_cheaper", "needs_total", "plan_batch"]

Strategy = Literal["auto", "lookups", "list"]

_FEW = 10
"""Up to this many customers are looked up without a request for the total, which would add a tenth or more."""


@attrs.frozen(kw_only=True)
class BatchPlan:
    """What a batch would cost, without the customers that are in the cache.

    Attributes:
        strategy: ``"lookups"``, one for each customer, or ``"list"``, one request for each page.
        requests: The most requests it takes, including one for the total if that is needed. ``"list"`` may take more:
            customers that are missing from the list, or moved while it was read, are looked up.
        seconds: How long the rate limit makes the batch wait, as far as is known now.
    """

    strategy: Literal["lookups", "list"]
    requests: int
    seconds: float


async def plan_batch(look_ups: LookUps, uuids: Iterable[str]) -> BatchPlan:
    """Estimate the cost of a batch; see `CustomersClient.plan_customers`."""
    api = look_ups.api
    customers = sum(look_ups.find(uuid) is None for uuid in {*check_uuids(uuids)})
    total = await api.find_total() if needs_total(customers) else None
    strategy, requests = cheapest_strategy(customers, total)
    return BatchPlan(strategy=strategy, requests=requests, seconds=api.bulk_wait(requests))


def needs_total(customers: int) -> bool:
    """Whether a request for the list's total can pay for this many customers."""
    return customers > _FEW


def cheapest_strategy(customers: int, total: int | None) -> tuple[Literal["lookups", "list"], int]:
    """Return the strategy that takes fewer requests, and how many it takes.

    Args:
        customers: Different customers in the batch that are not in the cache.
        total: The length of the list, or None if it is unknown.
    """
    if not needs_total(customers):
        return "lookups", customers
    if total is not None:
        pages_left = max(0, -(-total // MAX_PER_PAGE) - 1)  # without the first one, which is read for the total
        if is_list_cheaper(pages_left, total, customers):
            return "list", 1 + pages_left
    return "lookups", 1 + customers


def is_list_cheaper(pages: int, total: int, customers: int) -> bool:
    """Whether the pages of the list cost less than look-ups, and can contain every customer."""
    return pages < customers and total <= RESULT_CAP
