"""Several accounts from one address: each has a token of its own, and all share one limiter."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from customers_async import CustomersClient, RateLimiter


async def count_all(tokens: Mapping[str, str]) -> dict[str, int]:
    """How many customers each account has."""
    limiter = RateLimiter()  # the quota is counted for the address, not for the token
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(CustomersClient(token, rate_limiter=limiter)) for token in tokens.values()
        ]
        counts = await asyncio.gather(*(client.count_customers() for client in clients))
    return dict(zip(tokens, counts, strict=True))
