"""The options shared by the commands that send requests."""

import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from customers_async import ConfigurationError, CustomersClient, FileToken, Network, RateLimiter

__all__ = ["Access", "Connection", "Flag", "Reserve", "UsageError", "translate_usage_errors"]

Flag = Annotated[bool, Parameter(negative="")]
"""An option without a value, and without a ``--no-`` form."""

Reserve = Annotated[int, Parameter(validator=Number(gte=0))]
"""The option ``--reserve`` of commands that may run for long: see `RateLimiter`."""


class UsageError(Exception):
    """An argument or an environment variable has an invalid value."""


@contextmanager
def translate_usage_errors() -> Iterator[None]:
    """Raise a UsageError in place of a TypeError or ValueError, for code that checks the user's values."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise UsageError(f"{error}") from None


@Parameter(name="*", group="Connection")
@attrs.frozen(kw_only=True)
class Access:
    """How to reach the service.

    Attributes:
        base_url: The service's URL; default: $CUSTOMERS_BASE_URL, else production.
        token_file: A file that holds the token; default: $CUSTOMERS_TOKEN, else the file that $CUSTOMERS_TOKEN_FILE
            names.
        timeout: Seconds allowed for each attempt of a request.
        proxy: The URL of a proxy, perhaps with user name and password; default: $CUSTOMERS_PROXY, which other users of
            the machine cannot read. HTTPS_PROXY is not used.
        ca_file: A file of certificates of authorities to trust besides those of the system; default:
            $CUSTOMERS_CA_FILE.
        allow_http: A host name to which plain http is allowed, besides those in $CUSTOMERS_ALLOW_HTTP; may be repeated.
    """

    base_url: str | None = attrs.field(default=None, repr=False)  # may hold a password
    token_file: Path | None = None
    timeout: Annotated[float, Parameter(validator=Number(gt=0))] = 30.0
    proxy: str | None = attrs.field(default=None, repr=False)
    ca_file: Path | None = None
    allow_http: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()

    def make_token_source(self) -> FileToken | None:
        """Return the file of the token; None means the environment."""
        return None if self.token_file is None else FileToken(self.token_file)

    def make_network(self) -> Network:
        """Return how requests reach the service.

        Raises:
            ValueError: An option or a variable is invalid.
        """
        return Network(
            proxy=self.proxy or os.environ.get("CUSTOMERS_PROXY") or None,
            ca_file=self.ca_file or os.environ.get("CUSTOMERS_CA_FILE") or None,
            allow_http=self.allow_http,
        )


@Parameter(name="*", group="Connection")
@attrs.frozen(kw_only=True)
class Connection(Access):
    """How to connect to the service with a client.

    Attributes:
        max_wait: Longest wait of a call for the rate limit, in seconds; 0 never waits.
        debug: Log each request on stderr.
    """

    max_wait: Annotated[float, Parameter(validator=Number(gte=0))] = 120.0
    debug: Flag = False

    @asynccontextmanager
    async def client(self, *, reserve: int = 0) -> AsyncIterator[CustomersClient]:
        """Yield a client with these options.

        Args:
            reserve: Requests of each rate-limit window that bulk work leaves to other processes.

        Raises:
            ConfigurationError: There is no token.
            UsageError: An option or the URL in the environment is invalid.
        """
        if self.debug:
            logging.getLogger("customers_async").setLevel(logging.DEBUG)
        with translate_usage_errors():
            client = self._make_client(RateLimiter(reserve=reserve))
        async with client:
            yield client

    def _make_client(self, rate_limiter: RateLimiter) -> CustomersClient:
        try:
            return CustomersClient(
                self.make_token_source(),
                base_url=self.base_url,
                timeout=self.timeout,
                rate_limiter=rate_limiter,
                max_rate_limit_wait=self.max_wait,
                network=self.make_network(),
            )
        except ConfigurationError:
            problem = "no token: use --token-file, or set CUSTOMERS_TOKEN or CUSTOMERS_TOKEN_FILE"
        raise ConfigurationError(problem)
