"""The options that every command shares which talks to the service."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from customers_async import ConfigurationError, CustomersClient, FileToken

__all__ = ["Connection", "UsageError", "checking"]


class UsageError(Exception):
    """What was typed, or stands in the environment, cannot be meant."""


@contextmanager
def checking() -> Iterator[None]:
    """Values that the package refuses here came from the user."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise UsageError(f"{error}") from None


@Parameter(name="*", group="Connection")
@attrs.frozen(kw_only=True)
class Connection:
    """Where the service is and how patient to be with it.

    Attributes:
        base_url: Where the service is; else $CUSTOMERS_BASE_URL, else production.
        token_file: A file that holds the token; else $CUSTOMERS_TOKEN, else the file $CUSTOMERS_TOKEN_FILE names.
        timeout: Seconds that one attempt of a request may take.
        max_wait: Seconds that a request waits for the quota; 0 never waits.
        debug: Tell of each request.
    """

    base_url: str | None = None
    token_file: Path | None = None
    timeout: Annotated[float, Parameter(validator=Number(gt=0))] = 30.0
    max_wait: Annotated[float, Parameter(validator=Number(gte=0))] = 120.0
    debug: Annotated[bool, Parameter(negative="")] = False

    @asynccontextmanager
    async def client(self) -> AsyncIterator[CustomersClient]:
        """A client with these options.

        Raises:
            ConfigurationError: There is no token anywhere.
            UsageError: An option, or the address in the environment, is refused.
        """
        if self.debug:
            logging.getLogger("customers_async").setLevel(logging.DEBUG)
        with checking():
            client = self._make_client()
        async with client:
            yield client

    def _make_client(self) -> CustomersClient:
        try:
            return CustomersClient(
                FileToken(self.token_file) if self.token_file else None,
                base_url=self.base_url,
                timeout=self.timeout,
                max_rate_limit_wait=self.max_wait,
            )
        except ConfigurationError:
            problem = "no token: use --token-file, or set CUSTOMERS_TOKEN or CUSTOMERS_TOKEN_FILE"
        raise ConfigurationError(problem)
