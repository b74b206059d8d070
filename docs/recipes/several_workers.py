"""Several processes read the list together: each takes every n-th page. They share the quota without talking."""

import asyncio
import multiprocessing
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from customers_async import CustomersClient

PER_PAGE = 100


async def count_pages() -> int:
    """How many pages the list has."""
    async with CustomersClient() as client:
        return -(-await client.count_customers() // PER_PAGE)


async def count_countries(pages: range) -> Counter[str | None]:
    """How many customers of some pages live in each country."""
    async with CustomersClient() as client:
        fetched = await asyncio.gather(*(client.get_page(number, per_page=PER_PAGE) for number in pages))
    return Counter(customer.post_address_country_code for page in fetched for customer in page.customers)


def work(pages: range) -> Counter[str | None]:
    """What each process does: an event loop and a client of its own."""
    return asyncio.run(count_countries(pages))


def main(workers: int) -> None:
    """Share the pages out, and add up what comes back."""
    last = asyncio.run(count_pages())
    shares = [range(first, last + 1, workers) for first in range(1, workers + 1)]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        countries = sum(pool.map(work, shares), Counter[str | None]())
    print(countries.total(), "customers in", len(countries), "countries")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
