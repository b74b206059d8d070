"""Every fault test also searches for leaks: no output may hold the token or a customer's data."""

import logging
from collections.abc import Iterator

import pytest

from customers_async import (
    Completeness,
    CustomerBatch,
    CustomerPager,
    CustomersClient,
    Network,
    RateLimiter,
    RawResponse,
    StaticToken,
    TTLCache,
)
from customers_async.emulator.fake_customers import FakeCustomers
from customers_async.emulator.tokens import Tokens
from customers_async.listing import pager
from tests.faults.canary import Canary, mark_customers

WATCHED = [
    (Completeness, "raise_if_incomplete"),
    (CustomerBatch, "__anext__"),
    (CustomerBatch, "aclose"),
    (CustomerPager, "__anext__"),
    (CustomerPager, "aclose"),
    (CustomerPager, "collect"),
    (CustomersClient, "__init__"),
    (CustomersClient, "close"),
    (CustomersClient, "count_customers"),
    (CustomersClient, "get_customer"),
    (CustomersClient, "get_customers"),
    (CustomersClient, "get_page"),
    (CustomersClient, "get_raw"),
    (CustomersClient, "list_customers"),
    (CustomersClient, "plan_customers"),
    (CustomersClient, "whoami"),
    (CustomersClient, "with_options"),
    (CustomersClient, "with_token"),
    (Network, "__init__"),
    (RateLimiter, "__init__"),
    (RawResponse, "json"),
    (StaticToken, "__init__"),
    (TTLCache, "__init__"),
    (pager._Pages, "__anext__"),
]


@pytest.fixture(autouse=True)
def canary(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Canary]:
    """Serve recognisable secrets, watch all loggers at DEBUG, and fail the test if a secret leaks."""
    canary = Canary()
    monkeypatch.setattr(FakeCustomers, "customer", mark_customers(FakeCustomers.customer))
    monkeypatch.setattr(Tokens, "issue", canary.record_tokens(Tokens.issue))
    for owner, name in WATCHED:
        monkeypatch.setattr(owner, name, canary.watch(getattr(owner, name)))
    root = logging.getLogger()
    level = root.level
    root.addHandler(canary)
    root.setLevel(logging.DEBUG)
    yield canary
    root.setLevel(level)
    root.removeHandler(canary)
    canary.scan("".join(capfd.readouterr()), "the output")
    assert not canary.leaks, "\n".join(canary.leaks)
