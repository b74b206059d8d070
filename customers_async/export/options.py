"""What is asked of an export, checked, and what it tells while it is at work."""

import os
from collections.abc import Callable, Sequence
from typing import Literal, Self

import attrs

from customers_async.checks import check_choice
from customers_async.export.formats import Format, format_of
from customers_async.export.records import check_fields
from customers_async.listing.page_fetcher import OnIncomplete

__all__ = ["ExportOptions", "ExportProgress", "OnBadRecord", "OnProgress"]

OnBadRecord = Literal["raise", "reject"]


@attrs.frozen
class ExportProgress:
    """How far an export has come.

    Attributes:
        stage: ``"walk"`` while pages come and are written, ``"write"`` while the file is made anew, where something
            must be left out of it.
        walk: Which walk of the list this is, from 1; more than one where the list changed meanwhile.
        pages: Pages of this walk that are safe, or that are written.
        customers: Customers on them.
        total: Customers on the list, or None where that is not known.
        resumed: Pages that an earlier run had left.
    """

    stage: Literal["walk", "write"]
    walk: int
    pages: int
    customers: int
    total: int | None
    resumed: int


OnProgress = Callable[[ExportProgress], None]


@attrs.frozen
class ExportOptions:
    """What was asked for, checked; see `export_customers`."""

    format: Format
    fields: tuple[str, ...]
    on_incomplete: OnIncomplete
    on_bad_record: OnBadRecord
    resume: bool

    @classmethod
    def check(
        cls,
        path: str | os.PathLike[str],
        *,
        format: str | None,  # noqa: A002  # as `export_customers` calls it
        fields: Sequence[str] | None,
        on_incomplete: OnIncomplete = "reconcile",
        on_bad_record: OnBadRecord = "raise",
        resume: bool = True,
    ) -> Self:
        """Refuse what cannot be meant, before anything is sent.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: An argument is out of range, or the format needs what is not installed.
        """
        check_choice("on_incomplete", on_incomplete, OnIncomplete)
        check_choice("on_bad_record", on_bad_record, OnBadRecord)
        chosen, names = format_of(path, format), check_fields(fields)
        if chosen.name == "sqlite" and "uuid" not in names:
            raise ValueError("a table of customers needs their uuid: name it among the fields")
        if on_bad_record == "reject" and os.fspath(path) == "-":
            raise ValueError("rejected records need a place: there is none beside stdout")
        return cls(chosen, names, on_incomplete, on_bad_record, resume)
