"""Looks up customers that an export does not contain, because absence proves nothing."""

from collections.abc import AsyncGenerator, Iterable
from enum import StrEnum

import attrs

from customers_async.calls.api import Api
from customers_async.calls.look_ups import LookUps
from customers_async.errors import CustomersError, NotFoundError
from customers_async.listing.batch import make_batch
from customers_async.models import Customer
from customers_async.results import BatchResult

__all__ = ["Removal", "RemovalStatus", "look_up_suspects"]


class RemovalStatus(StrEnum):
    """What is known of a customer that was not seen."""

    REMOVED = "REMOVED"
    """The service answered the look-up with a 404."""
    ALIVE = "ALIVE"
    """The service still has it, so the newer export missed it."""
    UNKNOWN = "UNKNOWN"
    """The look-up failed."""


@attrs.frozen
class Removal:
    """A customer that was not seen, and what its look-up showed.

    Attributes:
        uuid: The customer.
        status: REMOVED, ALIVE or UNKNOWN.
        customer: The customer as it is now if it is ALIVE, else None.
        error: Why the look-up failed if the status is UNKNOWN, else None.
    """

    uuid: str
    status: RemovalStatus
    customer: Customer | None = None
    error: CustomersError | None = None


async def look_up_suspects(api: Api, uuids: Iterable[str]) -> AsyncGenerator[Removal, None]:
    """Look up customers in the bulk lane, several at a time; yield the results as they arrive.

    Raises:
        CustomersError: An error that would affect every customer, such as a rejected token.
        ValueError: A uuid does not have the service's form. Nothing was sent.
    """
    asking = LookUps(api)  # without the cache, which may hold what the service has removed
    batch = make_batch(asking, uuids, strategy="lookups", on_missing="yield", ordered=False, lane="bulk")
    async with batch as results:
        async for result in results:
            yield _read(result)


def _read(result: BatchResult) -> Removal:
    if result.customer is not None:
        return Removal(result.uuid, RemovalStatus.ALIVE, customer=result.customer)
    if isinstance(result.error, NotFoundError):
        return Removal(result.uuid, RemovalStatus.REMOVED)
    return Removal(result.uuid, RemovalStatus.UNKNOWN, error=result.error)
