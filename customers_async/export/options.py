"""The arguments of an export, checked, and its progress."""

import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal, Self

import attrs

from customers_async.checks import check_choice, is_plain_function
from customers_async.export.formats import Format, format_of
from customers_async.export.records import check_fields
from customers_async.listing.page_fetcher import OnIncomplete

__all__ = [
    "RESUME_WITHIN",
    "BadRecordPolicy",
    "ExportOptions",
    "ExportProgress",
    "OnProgress",
    "check_progress",
    "check_resume",
]

RESUME_WITHIN = timedelta(hours=1)
"""Older pages of an earlier run are fetched again."""

BadRecordPolicy = Literal["raise", "reject"]


@attrs.frozen
class ExportProgress:
    """The progress of an export.

    Attributes:
        stage: ``"walk"`` while pages are fetched and written, ``"write"`` while the file is written again without
            duplicates and rejected records.
        walk: The number of the current pass over the list, from 1. There are several if the list is read again.
        pages: Pages stored in the journal, or written again.
        customers: Customers on these pages.
        total: Customers on the list, or None if unknown.
        resumed: Pages that an earlier run left and that are used.
        resumed_from: When the oldest of them was received, UTC; None if there are none.
    """

    stage: Literal["walk", "write"]
    walk: int
    pages: int
    customers: int
    total: int | None
    resumed: int
    resumed_from: datetime | None = None


OnProgress = Callable[[ExportProgress], None]


@attrs.frozen
class ExportOptions:
    """The checked arguments of `export_customers`."""

    format: Format
    fields: tuple[str, ...]
    on_incomplete: OnIncomplete
    on_bad_record: BadRecordPolicy
    resume: timedelta | bool

    @classmethod
    def check(
        cls,
        path: str | os.PathLike[str],
        *,
        format: str | None,  # noqa: A002  # as in `export_customers`
        fields: Sequence[str] | None,
        on_incomplete: OnIncomplete = "reconcile",
        on_bad_record: BadRecordPolicy = "raise",
        resume: timedelta | bool = RESUME_WITHIN,
    ) -> Self:
        """Check the arguments, before anything is sent.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: An argument is out of range, or the format needs pyarrow, which is not installed.
        """
        check_choice("on_incomplete", on_incomplete, OnIncomplete)
        check_choice("on_bad_record", on_bad_record, BadRecordPolicy)
        chosen, names = format_of(path, format), check_fields(fields)
        if chosen.name == "sqlite" and "uuid" not in names:
            raise ValueError("the sqlite format needs the uuid, its key: add it to the fields")
        if on_bad_record == "reject" and os.fspath(path) == "-":
            raise ValueError("on_bad_record='reject' needs a file: rejected records are written beside it")
        return cls(chosen, names, on_incomplete, on_bad_record, check_resume(resume))


def check_progress(progress: object) -> OnProgress:
    """Return the function to call after each page.

    Raises:
        TypeError: It is neither None nor a plain function.
    """
    if progress is None:
        return lambda _: None
    if not is_plain_function(progress, 1):
        raise TypeError("progress must be a plain function of an ExportProgress, or None")
    return progress


def check_resume(resume: object) -> timedelta | bool:
    """Return the age up to which pages of an earlier run are used.

    Raises:
        TypeError: It is neither a timedelta nor a bool.
        ValueError: It is negative.
    """
    if not isinstance(resume, timedelta | bool):
        raise TypeError(f"resume must be a timedelta or a bool, not {type(resume).__name__}")
    if isinstance(resume, timedelta) and resume < timedelta():
        raise ValueError("resume must not be negative")
    return resume
