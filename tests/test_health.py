"""``client.health``: what counts as a response, and what as an error."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from customers_async import CustomersClient, CustomersError, NotFoundError, RateLimitError, RetryPolicy, ServerError
from customers_async.emulator import Emulator
from tests.faults.canary import EXAMPLE

UNKNOWN = "00000000-0000-0000-0000-00000000000z"


def is_recent(time: datetime | None) -> bool:
    return time is not None and time.tzinfo is UTC and abs(datetime.now(UTC) - time) < timedelta(minutes=1)


async def test_new_client_knows_nothing(emulator: Emulator, client: CustomersClient) -> None:
    """No request is sent to find out."""
    health = client.health
    assert (health.last_response_at, health.last_error, health.last_error_at) == (None, None, None)
    assert health.rate_limit == client.rate_limit
    assert emulator.stats.requests == 0
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        health.last_error = "x"  # type: ignore[misc]  # on purpose


@pytest.mark.parametrize("uuid", [EXAMPLE, UNKNOWN], ids=["data", "404"])
async def test_data_and_404_are_responses(client: CustomersClient, uuid: str) -> None:
    """A service that does not know a customer works."""
    with suppress(NotFoundError):
        await client.get_customer(uuid)
    health = client.health
    assert is_recent(health.last_response_at)
    assert (health.last_error, health.last_error_at) == (None, None)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (401, "AuthenticationError"),
        (403, "PermissionDeniedError"),
        (500, "ServerError"),
        ("html", "APIResponseError"),
        ("reset", "APIConnectionError"),
        ("stall", "APITimeoutError"),
    ],
)
async def test_other_failures_are_errors(emulator: Emulator, client: CustomersClient, fault: Any, name: str) -> None:
    """Also a response with an error status, or one that cannot be read. The name of the class is all that is kept."""
    emulator.fail_next(fault, times=None)
    with pytest.raises(CustomersError):
        await client.with_options(retry=RetryPolicy(max_attempts=1)).get_customer(EXAMPLE)
    health = client.health
    assert (health.last_response_at, health.last_error) == (None, name)
    assert is_recent(health.last_error_at)


async def test_refusal_of_the_own_limiter_is_an_error(emulator: Emulator, client: CustomersClient) -> None:
    """Though nothing was sent."""
    emulator.rate_limit(1)
    await client.whoami()
    with pytest.raises(RateLimitError):
        await client.with_options(max_rate_limit_wait=0).whoami()
    assert client.health.last_error == "RateLimitError"
    assert client.health.rate_limit.remaining == 0


async def test_retried_failure_is_no_error(emulator: Emulator, client: CustomersClient) -> None:
    """What counts is how the call ended."""
    emulator.fail_next(503)
    await client.count_customers()
    assert client.health.last_error is None


async def test_last_error_stays_after_a_success(emulator: Emulator, client: CustomersClient) -> None:
    """The times tell which came last; a view has the same health."""
    emulator.fail_next(501)
    view = client.with_options(timeout=5)
    with pytest.raises(ServerError):
        await view.whoami()
    await view.whoami()
    health = client.health
    assert attrs.evolve(view.health, rate_limit=health.rate_limit) == health
    assert health.last_error == "ServerError"
    assert health.last_response_at is not None
    assert health.last_error_at is not None
    assert health.last_response_at >= health.last_error_at
