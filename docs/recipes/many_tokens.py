"""Several accounts behind one address: each has its own token, and all share one rate limiter."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from customers_async import CustomersClient, RateLimiter


async def count_all(tokens: Mapping[str, str]) -> dict[str, int]:
    """Count the customers of each account."""
    limiter = RateLimiter()  # the service counts requests by address, not by token
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(CustomersClient(token, rate_limiter=limiter)) for token in tokens.values()
        ]
        counts = await asyncio.gather(*(client.count_customers() for client in clients))
    return dict(zip(tokens, counts, strict=True))
