"""The tree of errors: hierarchy, pickling and messages."""

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

import customers_async
from customers_async import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    Completeness,
    ConfigurationError,
    CustomersError,
    ExportError,
    IncompleteListError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RecordError,
    RetryPolicy,
    ServerError,
    TokenExpiredError,
    UnprocessableEntityError,
    Verdict,
    errors,
)
from customers_async.cli import run
from customers_async.mirror import MassRemovalError

INCOMPLETE = Completeness(
    verdict=Verdict.DRIFTED, total=251, first_total=250, last_total=251, distinct=250, duplicates=1, pages=3, rejected=2
)
ONE_OF_EACH = [
    CustomersError("x"),
    APITimeoutError("slow", attempts=4),
    APIConnectionError("TLS", transient=False),
    RecordError("bad", page=1, index=2, field="name", status=200, content_type="application/json"),
    NotFoundError("404", status=404, code="NOT_FOUND", errors=["x"], url_path="/api", attempts=1),
    RateLimitError("429", retry_after=7.0, sent=False, url_path="/api"),
    IncompleteListError(INCOMPLETE),
]


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_errors_pickle_and_copy(error: CustomersError) -> None:
    """Errors can be sent between processes without losing anything."""
    error.next_page = 7
    error.request_id = "abc"
    error.add_note("a note")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))


def test_tree_matches_the_docstring() -> None:
    """The module's docstring shows each public error under its base class."""
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"\s{4}((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+Error)\b", line)
        if match:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            drawn[match[2]] = path[depth - 1] if depth else "Exception"
    public = {name: getattr(errors, name) for name in errors.__all__}
    assert drawn == {name: kind.__bases__[0].__name__ for name, kind in public.items()}
    assert all(getattr(customers_async, name) is kind for name, kind in public.items())


def test_timeout_error_is_a_builtin_timeout_error() -> None:
    """``except TimeoutError`` catches APITimeoutError."""
    assert issubclass(APITimeoutError, TimeoutError)


def test_incomplete_list_error_shows_all_figures() -> None:
    """The message of an incomplete list contains all its figures."""
    assert str(IncompleteListError(INCOMPLETE)) == (
        "the list is not complete: DRIFTED, 250 of 251 customers, total changed from 250, "
        "1 seen twice, 2 rejected, 3 pages"
    )


def test_status_error_has_defaults() -> None:
    """All attributes exist, even if the response did not fill them."""
    error = APIStatusError("x", status=418)
    assert (error.code, error.errors, error.url_path, error.attempts, error.retry_after) == (None, (), "", 1, None)


LISTED: dict[str, Any] = {"total": 9, "first_total": 9, "last_total": 9, "distinct": 8, "duplicates": 0, "pages": 1}
RULE: list[tuple[CustomersError, bool, float | None, int, int]] = [
    (CustomersError("x"), False, None, 500, 4),
    (ConfigurationError("no token"), False, None, 500, 3),
    (ExportError("in use"), False, None, 500, 1),
    (MassRemovalError("too many", removals=9, max_removals=5), False, None, 500, 6),
    (APIConnectionError("reset"), True, None, 503, 4),
    (APIConnectionError("TLS", transient=False), False, None, 502, 4),
    (APITimeoutError("slow"), True, None, 504, 4),
    (APIResponseError("HTML"), False, None, 502, 4),
    (APIResponseError("another customer", transient=True), True, None, 503, 4),
    (RecordError("bad"), False, None, 502, 4),
    (BadRequestError("x", status=400), False, None, 502, 4),
    (AuthenticationError("x", status=401), False, None, 502, 3),
    (TokenExpiredError("x", status=401), False, None, 502, 3),
    (PermissionDeniedError("x", status=403), False, None, 502, 3),
    (NotFoundError("x", status=404), False, None, 404, 4),
    (APIStatusError("x", status=408), True, None, 503, 4),
    (APIStatusError("x", status=425), True, None, 503, 4),
    (APIStatusError("x", status=418), False, None, 502, 4),
    (UnprocessableEntityError("x", status=422), False, None, 502, 4),
    (RateLimitError("x", retry_after=7.0), True, 7.0, 429, 4),
    (RateLimitError("x", retry_after=7.0, sent=False), True, 7.0, 429, 4),
    (ServerError("x", status=500), True, None, 503, 4),
    (ServerError("x", status=503, retry_after=30.0), True, 30.0, 503, 4),
    (ServerError("x", status=501), False, None, 502, 4),
    (ServerError("x", status=505), False, None, 502, 4),
    (IncompleteListError(Completeness(verdict=Verdict.DRIFTED, **LISTED)), True, None, 503, 5),
    (IncompleteListError(Completeness(verdict=Verdict.INCONSISTENT, **LISTED)), True, None, 503, 5),
    (IncompleteListError(Completeness(verdict=Verdict.COMPLETE, **LISTED)), True, None, 503, 5),
    (IncompleteListError(Completeness(verdict=Verdict.CAPPED, **LISTED)), False, None, 502, 5),
]


@pytest.mark.parametrize(
    ("error", "retryable", "retry_after", "http_status", "exit_code"),
    RULE,
    ids=[f"{type(row[0]).__name__} {row[0]}"[:50] for row in RULE],
)
def test_rule_covers_each_error(
    error: CustomersError, retryable: bool, retry_after: float | None, http_status: int, exit_code: int
) -> None:
    """Whether to retry, when, what to send to one's own caller, and how the command line ends; also for a copy."""
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert (each.retryable, each.retry_after, each.http_status) == (retryable, retry_after, http_status)
        assert run._exit_code(each) == exit_code
        assert ("run again" in run._describe(each)) is retryable
        assert each.request_id is None


def test_rule_agrees_with_the_retry_policy() -> None:
    """What the client retries is retryable; the reverse holds but for the rate limit and incomplete lists."""
    for error, retryable, *_ in RULE:
        is_retried = RetryPolicy(max_delay=60).delay(error, attempt=1) is not None
        assert is_retried is (retryable and not isinstance(error, RateLimitError))


def test_each_error_is_in_the_table_of_the_guide() -> None:
    """The rule is documented for each class that is raised."""
    guide = (Path(__file__).parent.parent / "docs/howto/errors.md").read_text(encoding="utf-8")
    table = guide[guide.index("| error | `retryable`") :]
    assert [name for name in errors.__all__ if f"`{name}`" not in table] == ["CustomersError"]
