"""The tree of errors: as drawn, picklable, and within one base class."""

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
def test_each_error_pickles_and_copies(error: CustomersError) -> None:
    """Process pools and task queues send errors around: nothing is lost on the way."""
    error.next_page = 7
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))


def test_the_tree_is_as_drawn() -> None:
    """The module's docstring draws each class under its parent, and every public error stands in it."""
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


def test_timeouts_are_timeouts_too() -> None:
    """``except TimeoutError`` catches ours."""
    assert issubclass(APITimeoutError, TimeoutError)


def test_the_verdict_speaks_for_itself() -> None:
    """The message of an incomplete list holds all its figures."""
    assert str(IncompleteListError(INCOMPLETE)) == (
        "the list is not complete: DRIFTED, 250 of 251 customers, total changed from 250, "
        "1 seen twice, 2 rejected, 3 pages"
    )


def test_a_status_error_has_its_defaults() -> None:
    """Attributes are there even where the answer did not fill them."""
    error = APIStatusError("x", status=418)
    assert (error.code, error.errors, error.url_path, error.attempts, error.retry_after) == (None, (), "", 1, None)
