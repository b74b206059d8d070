"""Several processes read the list together: each of n processes reads every n-th page."""

import asyncio
import multiprocessing
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from customers_async import CustomersClient

PER_PAGE = 100


async def count_pages() -> int:
    """Count the pages of the list."""
    async with CustomersClient() as client:
        return -(-await client.count_customers() // PER_PAGE)


async def count_countries(pages: range) -> Counter[str | None]:
    """Count the customers of some pages by country."""
    async with CustomersClient() as client:
        fetched = await asyncio.gather(*(client.get_page(number, per_page=PER_PAGE) for number in pages))
    return Counter(customer.post_address_country_code for page in fetched for customer in page.customers)


def work(pages: range) -> Counter[str | None]:
    """Run in each process, with its own event loop and client."""
    return asyncio.run(count_countries(pages))


def main(workers: int) -> None:
    """Distribute the pages, and add up the results."""
    last = asyncio.run(count_pages())
    shares = [range(first, last + 1, workers) for first in range(1, workers + 1)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        countries = sum(pool.map(work, shares), Counter[str | None]())
    print(countries.total(), "customers in", len(countries), "countries")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
