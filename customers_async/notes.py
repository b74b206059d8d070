"""The notes that errors carry: which request failed, and what to do next. Tracebacks show them."""

import math
from collections.abc import Iterable, Iterator

from customers_async.errors import APIResponseError, ConfigurationError, CustomersError, RateLimitError, RecordError

__all__ = ["add_notes", "call_notes", "resume_note"]


def add_notes(error: CustomersError, notes: Iterable[str]) -> None:
    """Add each note once: an error may pass through several layers, and a token source may raise the same one again."""
    for note in notes:
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def call_notes(error: CustomersError, *, page: int | None, attempt: int = 1, max_attempts: int = 1) -> Iterator[str]:
    """Yield the notes of an error that ended a call.

    Args:
        error: The error.
        page: The page that was requested, or None.
        attempt: The last attempt, from 1.
        max_attempts: The number of attempts that the retry policy allows.
    """
    if page is not None and not isinstance(error, ConfigurationError):
        yield f"The request was for page {page} of the list."
    if attempt > 1:
        yield f"It failed at attempt {attempt} of at most {max_attempts}."
    if error.retryable:
        yield _retry_note(error)
    elif isinstance(error, RecordError):
        if page is not None:
            yield "To set such records aside, pass on_bad_record to list_customers."
    elif isinstance(error, APIResponseError):
        yield "Check what stands between this program and the service, such as a proxy, and the base URL."


def _retry_note(error: CustomersError) -> str:
    if error.retry_after is None or not math.isfinite(error.retry_after):
        return "The cause may pass: try again later."
    patience = " A larger max_rate_limit_wait would wait for it." if isinstance(error, RateLimitError) else ""
    return f"Try again after {math.ceil(error.retry_after)} s.{patience}"


def resume_note(number: int, per_page: int) -> str:
    """The note that says how to continue a listing; with another page size, page ``number`` begins elsewhere."""
    arguments = f"first_page={number} and per_page={per_page}"
    return f"To resume the listing, iterate the same pager again, or begin another one with {arguments}."
