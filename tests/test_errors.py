"""The tree of errors: hierarchy, pickling and messages."""

import copy
import pickle
import re

import pytest

import customers_async
from customers_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    Completeness,
    CustomersError,
    IncompleteListError,
    NotFoundError,
    RateLimitError,
    RecordError,
    Verdict,
    errors,
)

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
