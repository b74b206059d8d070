"""A script without ``async``: one event loop and one client for the whole script."""

import asyncio
import sys
from collections.abc import Sequence

from customers_async import Customer, CustomersClient, NotFoundError


async def first_customers(client: CustomersClient, count: int) -> list[Customer]:
    """Return the first customers. Code with ``async for`` needs a coroutine function like this one."""
    page = await client.get_page(1, per_page=count)
    return list(page.customers)


def main(uuids: Sequence[str]) -> None:
    """Print the name of each customer; without uuids, of the first three."""
    with asyncio.Runner() as runner:
        client = CustomersClient()
        try:
            for customer in [] if uuids else runner.run(first_customers(client, 3)):
                print(customer.uuid, customer.name)
            for uuid in uuids:
                try:
                    print(uuid, runner.run(client.get_customer(uuid)).name)
                except NotFoundError:
                    print(uuid, "is unknown")
        finally:
            runner.run(client.close())


if __name__ == "__main__":
    main(sys.argv[1:])
