"""Hundreds of accounts in one process: one connection pool, one rate limit, and no account disturbs another."""

import asyncio
from collections.abc import Mapping

from customers_async import CustomerList, CustomersClient, CustomersError, RateLimiter

CONNECTIONS = 40
PAGES_AT_ONCE = 4
"""The most pages of one account in flight. The account with the fewest goes first, so small ones end soon."""


async def read_all(tokens: Mapping[str, str]) -> dict[str, CustomerList | CustomersError]:
    """Read the list of each account; the result is an error where that failed."""
    limiter = RateLimiter(max_in_flight=CONNECTIONS)  # the service counts requests by address, not by token
    some_token = next(iter(tokens.values()))
    async with CustomersClient(some_token, rate_limiter=limiter, max_rate_limit_wait=3600) as client:

        async def read(token: str) -> CustomerList | CustomersError:
            account = client.with_token(token).with_options(concurrency=PAGES_AT_ONCE)
            try:
                return await account.list_customers(on_incomplete="raise").collect()
            except CustomersError as error:  # such as a token that was revoked: the others go on
                return error

        results = await asyncio.gather(*(read(token) for token in tokens.values()))
    return dict(zip(tokens, results, strict=True))
