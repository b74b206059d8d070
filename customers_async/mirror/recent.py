"""Remembers what the service answered to look-ups, for a short time."""

import copy
import time
from collections import OrderedDict

from customers_async.errors import NotFoundError
from customers_async.mirror.models import MirroredCustomer

__all__ = ["Recent"]

_SIZE = 10_000
"""Look-ups that are remembered."""


class Recent:
    """The last responses: customers, and that there is no such customer.

    Attributes:
        epoch: Another object after each `erase`; note it before a request.
    """

    def __init__(self) -> None:
        self._responses: OrderedDict[str, tuple[float, MirroredCustomer | NotFoundError]] = OrderedDict()
        self.epoch: object = object()

    def get(self, uuid: str, *, newer_than: float) -> MirroredCustomer | None:
        """Return a customer that was received after that time, Unix seconds; None if there is none.

        Raises:
            NotFoundError: The response was a 404.
        """
        at, response = self._responses.get(uuid, (0.0, None))
        if at <= newer_than:
            return None
        if isinstance(response, NotFoundError):
            raise copy.copy(response)
        return response

    def put(self, uuid: str, response: MirroredCustomer | NotFoundError, *, epoch: object) -> None:
        """Remember a response, unless a customer was erased since its request, which was sent in that `epoch`."""
        if epoch is not self.epoch:
            return
        self._responses[uuid] = time.time(), response
        self._responses.move_to_end(uuid)
        if len(self._responses) > _SIZE:
            self._responses.popitem(last=False)

    def erase(self, uuid: str) -> None:
        """Forget a customer."""
        self._responses.pop(uuid, None)
        self.epoch = object()
