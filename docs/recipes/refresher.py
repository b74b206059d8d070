"""All customers in memory, read anew every quarter of an hour while the program serves from what it has."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from customers_async import Customer, CustomersClient, CustomersError

log = logging.getLogger(__name__)


class Snapshot:
    """The whole list as it was at the last refresh that succeeded."""

    def __init__(self, client: CustomersClient) -> None:
        self._client = client
        self.customers: Mapping[str, Customer] = {}

    async def refresh(self) -> None:
        """Read the list; it takes the place of the old one at once, and only if it is whole."""
        pager = self._client.list_customers(on_incomplete="reconcile")
        self.customers = {customer.uuid: customer async for customer in pager}

    async def keep_fresh(self, seconds: float) -> None:
        """Refresh for ever; after a failure the old list stays until the next time."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except CustomersError as error:
                log.warning("The customers stay as they were: %s", type(error).__name__)


@asynccontextmanager
async def fresh_snapshot(client: CustomersClient, seconds: float = 900.0) -> AsyncIterator[Snapshot]:
    """A snapshot that is kept fresh within the block. The first one must succeed."""
    snapshot = Snapshot(client)
    await snapshot.refresh()
    async with asyncio.TaskGroup() as tasks:
        refreshing = tasks.create_task(snapshot.keep_fresh(seconds))
        try:
            yield snapshot
        finally:
            refreshing.cancel()
