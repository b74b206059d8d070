"""The parameters ``per_page`` and ``page``, read and validated as by PHP and Laravel, and the ``X-Api-*`` headers."""

import re
from collections.abc import Iterable
from typing import Literal

import attrs

__all__ = ["PARAMETERS", "Edition", "InvalidQueryError", "PageRequest", "make_page_headers", "parse_query"]

Edition = Literal["a", "b"]

_DEFAULT_SIZE = 15
_LARGEST_SIZE = 100
_LARGEST_INTEGER = 2**63 - 1
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class InvalidQueryError(ValueError):
    """A query that gets a 422.

    Attributes:
        errors: The messages for each invalid parameter.
    """

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__("invalid query")
        self.errors = errors


@attrs.frozen
class PageRequest:
    """The requested page: its number, from 1, and the number of records in a page."""

    number: int = 1
    size: int = _DEFAULT_SIZE


@attrs.frozen
class _Rule:
    """Laravel's ``integer|min:1|max:...``."""

    parameter: str
    default: int
    maximum: float = float("inf")

    def find_errors(self, value: str | None) -> list[str]:
        """Return Laravel's messages for ``value``; None means an array."""
        name = self.parameter.replace("_", " ")
        is_integer = value is not None and _INTEGER.fullmatch(value) is not None and _fits(value)
        size = 1.0 if value is None else _measure(value)
        return [
            *([] if is_integer else [f"The {name} must be an integer."]),
            *([] if size >= 1 else [f"The {name} must be at least 1."]),
            *([] if size <= self.maximum else [f"The {name} must not be greater than {self.maximum}."]),
        ]


_RULES = (_Rule("per_page", _DEFAULT_SIZE, _LARGEST_SIZE), _Rule("page", 1))
PARAMETERS = frozenset(rule.parameter for rule in _RULES)
"""The parameters of the customer list."""


def parse_query(query: Iterable[tuple[str, str]]) -> PageRequest:
    """Parse a query, given as its names and values in order.

    Raises:
        InvalidQueryError: A parameter is not a whole number in its range.

    Example:
        >>> parse_query([("per_page", "100"), ("page", "2"), ("page", "3")])
        PageRequest(number=3, size=100)
    """
    values = _read_like_php(query)
    given = [rule for rule in _RULES if rule.parameter in values]
    errors = {rule.parameter: messages for rule in given if (messages := rule.find_errors(values[rule.parameter]))}
    if errors:
        raise InvalidQueryError(errors)
    size, number = (int(values.get(rule.parameter) or rule.default) for rule in _RULES)
    return PageRequest(number, size)


def make_page_headers(edition: Edition, total: int, page: PageRequest, records: int) -> dict[str, str]:
    """Return the headers that describe a page of ``records`` records, in either edition of the documentation.

    The editions also disagree on ``X-Api-Per-Page``: in edition "a" it is the page size that was applied, in
    edition "b" the number of records on this page.
    """
    last = max(-(-total // page.size), 1)
    has_more = page.number < last
    if edition == "a":
        return {
            "X-Api-Total": str(total),
            "X-Api-Per-Page": str(page.size),
            "X-Api-Has-More-Pages": "true" if has_more else "false",
            "X-Api-Current-Page": str(page.number),
        }
    return {
        "X-Api-Total": str(total),
        "X-Api-Per-Page": str(records),
        "X-Api-Has-More-Pages": "1" if has_more else "",
        "X-Api-Page": str(page.number),
        "X-Api-Has-Has-Pages": str(last),
    }


def _read_like_php(query: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """Return the last value of each name, stripped; None for an array, such as ``name[]`` or ``name[key]``."""
    values: dict[str, str | None] = {}
    for name, value in query:
        scalar, bracket, _ = name.partition("[")
        values[scalar] = None if bracket else value.strip()
    return values


def _fits(integer: str) -> bool:
    return len(integer) <= 20 and abs(int(integer)) <= _LARGEST_INTEGER


def _measure(value: str) -> float:
    """Return what ``min`` and ``max`` compare: the number, or the length of other text."""
    return float(value) if _NUMBER.fullmatch(value) else len(value)
