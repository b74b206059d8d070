"""The retry policy and the retry budget."""

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


def test_delay_doubles_up_to_its_maximum() -> None:
    """With full jitter and a draw of 0.5 each delay is half of its maximum: 0.5 s, doubled, at most 20 s."""
    policy = RetryPolicy(max_attempts=10)
    failure = APIConnectionError("reset")
    delays = [policy.delay(failure, attempt=attempt, random=lambda: 0.5) for attempt in range(1, 11)]
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0, None]


@given(st.integers(1, 3), st.floats(0, 1))
def test_delay_stays_within_its_bounds(attempt: int, draw: float) -> None:
    """For any draw the default policy waits between 0 and 0.5 s, doubled for each earlier retry."""
    delay = RetryPolicy().delay(APITimeoutError("slow"), attempt=attempt, random=lambda: draw)
    assert delay is not None
    assert 0 <= delay <= 0.5 * 2 ** (attempt - 1)


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
def test_only_transient_failures_are_retried(failure: CustomersError, transient: bool) -> None:
    """These are connection errors, timeouts, 408, 425, and any 5xx but 501 and 505."""
    assert (RetryPolicy().delay(failure, attempt=1) is not None) is transient


@pytest.mark.parametrize(("retry_after", "delay"), [(0.0, 0.25), (7.0, 7.0), (-3.0, 0.25), (20.0, 20.0), (21.0, None)])
def test_retry_after_is_respected(retry_after: float, delay: float | None) -> None:
    """Retry-After of a 503 is respected up to ``max_delay``; a longer one means no retry."""
    failure = ServerError("x", status=503, retry_after=retry_after)
    assert RetryPolicy().delay(failure, attempt=1, random=lambda: 0.5) == delay


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
    """Only numbers in their range are accepted."""
    with pytest.raises(kind):
        RetryPolicy(**arguments)


def test_budget_allows_twenty_retries_without_success() -> None:
    """Without any success the budget allows 20 retries in all."""
    budget = RetryBudget()
    assert sum(budget.spend() for _ in range(1000)) == 20


@given(st.lists(st.tuples(st.sampled_from(["fail", "recover", "succeed"]), st.integers(1, 3))))
def test_budget_stays_within_its_bounds(steps: list[tuple[str, int]]) -> None:
    """The budget stays between 0 and its size, and a recovery gives back what its retries cost."""
    budget = RetryBudget()
    for kind, retries in steps:
        before = budget.points
        if kind == "fail":
            assert budget.spend() is (before >= 5)
        elif kind == "recover" and all([budget.spend() for _ in range(retries)]):  # noqa: C419  # all are spent
            budget.credit(retries)
            assert budget.points == before
        else:
            budget.credit(0)
        assert 0 <= budget.points <= 100


def test_budget_survives_one_failure_in_five() -> None:
    """If one call in five of a thousand needs a retry, the budget is full at the end."""
    budget = RetryBudget()
    for call in range(1000):
        failed = call % 5 == 0
        assert not failed or budget.spend()
        budget.credit(1 if failed else 0)
    assert budget.points == 100
