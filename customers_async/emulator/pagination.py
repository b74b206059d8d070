"""``per_page`` and ``page`` as PHP reads and Laravel validates them, and the ``X-Api-*`` headers."""

import re
from collections.abc import Iterable
from typing import Literal

import attrs

__all__ = ["PARAMETERS", "Edition", "InvalidQueryError", "PageRequest", "page_headers", "page_request"]

Edition = Literal["a", "b"]

_DEFAULT_SIZE = 15
_LARGEST_SIZE = 100
_LARGEST_INTEGER = 2**63 - 1
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class InvalidQueryError(ValueError):
    """A query the service answers with a 422.

    Attributes:
        errors: What is wrong, for each parameter.
    """

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__("invalid query")
        self.errors = errors


@attrs.frozen
class PageRequest:
    """Which page is wanted: its number, from 1, and how many records make a page."""

    number: int = 1
    size: int = _DEFAULT_SIZE


@attrs.frozen
class _Rule:
    """Laravel's ``integer|min:1|max:...``."""

    parameter: str
    default: int
    maximum: float = float("inf")

    def complaints(self, value: str | None) -> list[str]:
        """What Laravel says of ``value``; None stands for an array."""
        name = self.parameter.replace("_", " ")
        is_integer = value is not None and _INTEGER.fullmatch(value) is not None and _fits(value)
        size = 1.0 if value is None else _size(value)
        return [
            *([] if is_integer else [f"The {name} must be an integer."]),
            *([] if size >= 1 else [f"The {name} must be at least 1."]),
            *([] if size <= self.maximum else [f"The {name} must not be greater than {self.maximum}."]),
        ]


_RULES = (_Rule("per_page", _DEFAULT_SIZE, _LARGEST_SIZE), _Rule("page", 1))
PARAMETERS = frozenset(rule.parameter for rule in _RULES)
"""What a query for the list may name."""


def page_request(query: Iterable[tuple[str, str]]) -> PageRequest:
    """Read a query, given as its names and values in order.

    Raises:
        InvalidQueryError: If a parameter is not a whole number in its range.

    Example:
        >>> page_request([("per_page", "100"), ("page", "2"), ("page", "3")])
        PageRequest(number=3, size=100)
    """
    values = _as_php_reads(query)
    given = [rule for rule in _RULES if rule.parameter in values]
    errors = {rule.parameter: complaints for rule in given if (complaints := rule.complaints(values[rule.parameter]))}
    if errors:
        raise InvalidQueryError(errors)
    size, number = (int(values.get(rule.parameter) or rule.default) for rule in _RULES)
    return PageRequest(number, size)


def page_headers(edition: Edition, total: int, page: PageRequest, records: int) -> dict[str, str]:
    """The headers that describe a page of ``records`` records, in either edition of the documentation.

    The editions also disagree on ``X-Api-Per-Page``: edition "a" gives the page size that was applied,
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


def _as_php_reads(query: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """The last value of each name, trimmed; None where ``name[]`` or ``name[key]`` makes it an array."""
    values: dict[str, str | None] = {}
    for name, value in query:
        scalar, bracket, _ = name.partition("[")
        values[scalar] = None if bracket else value.strip()
    return values


def _fits(integer: str) -> bool:
    return len(integer) <= 20 and abs(int(integer)) <= _LARGEST_INTEGER


def _size(value: str) -> float:
    """What ``min`` and ``max`` compare: the number, or the length of a text that is none."""
    return float(value) if _NUMBER.fullmatch(value) else len(value)
