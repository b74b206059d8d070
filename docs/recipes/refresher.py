"""All customers in memory, read again every quarter of an hour while the program uses the previous list."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from customers_async import Customer, CustomersClient, CustomersError

log = logging.getLogger(__name__)


class Snapshot:
    """The list as of the last successful refresh."""

    def __init__(self, client: CustomersClient) -> None:
        self._client = client
        self.customers: Mapping[str, Customer] = {}

    async def refresh(self) -> None:
        """Read the list. It replaces the old one only if it is complete."""
        pager = self._client.list_customers(on_incomplete="reconcile")
        self.customers = {customer.uuid: customer async for customer in pager}

    async def keep_fresh(self, seconds: float) -> None:
        """Refresh for ever. After a failure the old list stays until the next refresh."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except CustomersError as error:
                log.warning("The customers were not refreshed: %s", type(error).__name__)


@asynccontextmanager
async def fresh_snapshot(client: CustomersClient, seconds: float = 900.0) -> AsyncIterator[Snapshot]:
    """Create a snapshot that is kept fresh within the block. Its first refresh must succeed."""
    snapshot = Snapshot(client)
    await snapshot.refresh()
    async with asyncio.TaskGroup() as tasks:
        refreshing = tasks.create_task(snapshot.keep_fresh(seconds))
        try:
            yield snapshot
        finally:
            refreshing.cancel()
