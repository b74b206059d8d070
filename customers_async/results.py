"""The results of a batch: a customer that was found, or why there is none."""

from typing import TypeAlias

import attrs

from customers_async.errors import CustomersError
from customers_async.models import Customer

__all__ = ["BatchResult", "Failed", "Found"]


@attrs.frozen
class Found:
    """A customer of a batch.

    Attributes:
        uuid: The uuid that was passed in.
        customer: The customer.
        error: None.
    """

    uuid: str
    customer: Customer
    error: None = attrs.field(default=None, init=False, repr=False)


@attrs.frozen
class Failed:
    """A uuid of a batch for which there is no customer.

    Attributes:
        uuid: The uuid that was passed in.
        customer: None.
        error: Why: `NotFoundError` if the service does not know the uuid.
    """

    uuid: str
    customer: None = attrs.field(default=None, init=False, repr=False)
    error: CustomersError


BatchResult: TypeAlias = Found | Failed
"""The result for one uuid of a batch. To tell them apart, use ``isinstance``, ``match``, or whether ``customer`` or
``error`` is None."""
