"""Look-ups of single customers: from the cache, or by a request that simultaneous callers share."""

import logging
from collections.abc import Hashable
from typing import Self
from weakref import WeakValueDictionary

import attrs

from customers_async.cache import TTLCache, isolated
from customers_async.calls.api import Api
from customers_async.calls.options import Options
from customers_async.calls.single_flight import SingleFlight
from customers_async.calls.slots import Lane
from customers_async.calls.tokens import TokenSource
from customers_async.errors import CustomersError, NotFoundError
from customers_async.models import Customer

__all__ = ["LookUps", "SharedLookUps"]

SharedLookUps = SingleFlight[tuple[str, Lane, int, Hashable], Customer]
"""By the uuid, the lane, the epoch of the cache, and the scope."""

_log = logging.getLogger("customers_async")


@attrs.frozen(eq=False)
class LookUps:
    """The look-ups of one view of a client.

    Attributes:
        api: Sends the requests.
        cache: The client's cache, or None.
        groups: The look-ups in progress of all views with this token, by their options.
        scope: Only look-ups of the same scope share a request. None for those of clients; a mirror, which has no cache,
            has scopes of its own.
        shared: Those with the options of this view.
    """

    api: Api
    cache: TTLCache | None = None
    groups: "WeakValueDictionary[Options, SharedLookUps]" = attrs.field(factory=WeakValueDictionary)
    scope: Hashable = None
    shared: SharedLookUps = attrs.field(init=False)

    @shared.default
    def _join_group(self) -> SharedLookUps:
        return self.groups.setdefault(self.api.options, SingleFlight())

    def with_token(self, source: TokenSource) -> Self:
        """Return the look-ups of a view with another token: nothing is shared, and the cache is empty."""
        return type(self)(self.api.with_token(source), None if self.cache is None else self.cache.successor())

    @property
    def epoch(self) -> int:
        """A number that changes when customers are removed from the cache: what was requested before is not cached."""
        return 0 if self.cache is None else self.cache.epoch

    def find(self, uuid: str) -> Customer | NotFoundError | None:
        """Return a cached customer, a remembered `NotFoundError`, or None if the cache has neither.

        Raises:
            RuntimeError: The client is closed, or belongs to another event loop.
        """
        self.api.session.check_open()
        if self.cache is None:
            return None
        found = self.cache.get(uuid, keep_unknown=self.api.options.keep_unknown)
        return isolated(found) if isinstance(found, Customer) else found

    async def get_customer(self, uuid: str, lane: Lane) -> Customer:
        """Return the customer from the cache or from the service; see `CustomersClient.get_customer` for the errors.

        Bulk work joins an interactive look-up of the same customer. The reverse would let a person wait behind bulk
        work.
        """
        found = self.find(uuid)
        if isinstance(found, NotFoundError):
            raise found
        if found is not None:
            return found
        epoch = self.epoch
        if lane == "bulk" and (uuid, "interactive", epoch, self.scope) in self.shared:
            lane = "interactive"
        key = uuid, lane, epoch, self.scope
        customer = await self.shared.run(key, lambda: self._request(uuid, lane, epoch))
        return isolated(customer)

    async def _request(self, uuid: str, lane: Lane, epoch: int) -> Customer:
        """Request a customer, once for all callers that share it, and note the result in the cache."""
        cache, keep_unknown = self.cache, self.api.options.keep_unknown
        if cache is None:
            return await self.api.get_customer(uuid, lane)
        try:
            customer = await self.api.get_customer(uuid, lane)
        except NotFoundError as error:
            cache.put_missing(uuid, error, epoch=epoch)
            raise
        except CustomersError as error:
            stale = cache.get_stale(uuid, keep_unknown=keep_unknown) if error.retryable else None
            if stale is None:
                raise
            _log.info("A look-up failed with %s; the cached customer is returned.", type(error).__name__)
            return stale
        cache.put(uuid, customer, keep_unknown=keep_unknown, epoch=epoch)
        return customer

    def remember(self, uuid: str, customer: Customer, epoch: int) -> Customer:
        """Put a customer that a page had, requested in that epoch, into the cache; return it, or a copy."""
        if self.cache is not None:
            self.cache.put(uuid, customer, keep_unknown=self.api.options.keep_unknown, epoch=epoch)
        return isolated(customer)
