"""Whether to try again, and after how long: tables, and the budget's invariants."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers_async import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    CustomersError,
    RetryPolicy,
    ServerError,
)
from customers_async.calls.retry import RetryBudget


def test_the_pause_doubles_up_to_its_bound() -> None:
    """Full jitter: half of the bound for a draw of one half; 0.5 s, doubled, 20 s at most."""
    policy = RetryPolicy(max_attempts=10)
    failure = APIConnectionError("reset")
    pauses = [policy.delay(failure, attempt=attempt, random=lambda: 0.5) for attempt in range(1, 11)]
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0, None]


@given(st.integers(1, 3), st.floats(0, 1))
def test_the_pause_stays_within_its_bound(attempt: int, draw: float) -> None:
    """Whatever is drawn, the default policy waits from 0 to 0.5 s times two to the retries before."""
    pause = RetryPolicy().delay(APITimeoutError("slow"), attempt=attempt, random=lambda: draw)
    assert pause is not None
    assert 0 <= pause <= 0.5 * 2 ** (attempt - 1)


@pytest.mark.parametrize(
    ("failure", "transient"),
    [
        (APIConnectionError("reset"), True),
        (APITimeoutError("slow"), True),
        (APIConnectionError("TLS", transient=False), False),
        (APIResponseError("HTML"), False),
        (CustomersError("?"), False),
        *[
            (APIStatusError("x", status=status), status in (408, 425))
            for status in (400, 401, 403, 404, 408, 422, 425, 429)
        ],
        *[
            (ServerError("x", status=status), status not in (501, 505))
            for status in (500, 501, 502, 503, 504, 505, 599)
        ],
        (APIStatusError("x", status=999), False),
    ],
)
def test_only_transient_failures_are_tried_again(failure: CustomersError, transient: bool) -> None:
    """Connection, timeout, 408, 425, and any 5xx but 501 and 505."""
    assert (RetryPolicy().delay(failure, attempt=1) is not None) is transient


@pytest.mark.parametrize(("retry_after", "pause"), [(0.0, 0.25), (7.0, 7.0), (-3.0, 0.25), (20.0, 20.0), (21.0, None)])
def test_the_servers_pause_is_kept(retry_after: float, pause: float | None) -> None:
    """A 503 with Retry-After is obeyed up to ``max_delay``, and never less than backed off; beyond, no retry."""
    failure = ServerError("x", status=503, retry_after=retry_after)
    assert RetryPolicy().delay(failure, attempt=1, random=lambda: 0.5) == pause


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"max_attempts": 0}, ValueError),
        ({"max_attempts": True}, TypeError),
        ({"max_attempts": 2.0}, TypeError),
        ({"base_delay": -1}, ValueError),
        ({"base_delay": float("nan")}, ValueError),
        ({"max_delay": "20"}, TypeError),
        ({"max_delay": True}, TypeError),
    ],
)
def test_bad_policies_are_refused(arguments: dict[str, Any], kind: type[Exception]) -> None:
    """Numbers only, within their range."""
    with pytest.raises(kind):
        RetryPolicy(**arguments)


def test_an_outage_ends_the_retries_after_twenty() -> None:
    """Without any success the budget allows 20 retries in all, however many callers there are."""
    budget = RetryBudget()
    assert sum(budget.spend() for _ in range(1000)) == 20


@given(st.lists(st.tuples(st.sampled_from(["fail", "recover", "succeed"]), st.integers(1, 3))))
def test_the_budget_stays_within_its_bounds(story: list[tuple[str, int]]) -> None:
    """Never below 0, never above its size; a recovery gives back what it cost."""
    budget = RetryBudget()
    for kind, retries in story:
        before = budget.tokens
        if kind == "fail":
            assert budget.spend() is (before >= 5)
        elif kind == "recover" and all([budget.spend() for _ in range(retries)]):  # noqa: C419  # all are spent
            budget.credit(retries)
            assert budget.tokens == before
        else:
            budget.credit(0)
        assert 0 <= budget.tokens <= 100


def test_one_failure_in_five_does_not_starve_a_walk() -> None:
    """A thousand calls, each fifth of which needs a retry: the budget is full at the end."""
    budget = RetryBudget()
    for call in range(1000):
        failed = call % 5 == 0
        assert not failed or budget.spend()
        budget.credit(1 if failed else 0)
    assert budget.tokens == 100
