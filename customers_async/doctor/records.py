"""Which fields of the records on a page do not fit the model; never their values."""

import re
from collections import Counter

import attrs

from customers_async import converter
from customers_async.calls.responses import Response
from customers_async.json_limits import parse
from customers_async.models import FIELDS

__all__ = ["Records", "describe_records"]

_SHOWN = 5
"""Unknown fields that are named."""
_is_name = re.compile(r"[a-z][a-z0-9_]{0,39}").fullmatch


@attrs.frozen
class Records:
    """The records of a page.

    Attributes:
        count: How many there are.
        misfits: How many records do not fit because of each field.
        missing: How many records lack each field.
        unknown: Fields that the model does not define.
    """

    count: int
    misfits: Counter[str]
    missing: Counter[str]
    unknown: list[str]


def describe_records(page: Response) -> Records:
    """Describe the records of a page that `endpoints.read_page` accepts."""
    _, rejected = converter.decode_customers(page.body, page=1, tolerant=True)
    records = parse(page.body)
    objects = [record for record in records if isinstance(record, dict)]
    names = Counter(name for record in objects for name in record)
    unknown = sorted(name for name in names.keys() - {*FIELDS} if _is_name(name))
    return Records(
        count=len(records),
        misfits=Counter(error.field or "no object" for _, error in rejected),
        missing=Counter({name: len(objects) - names[name] for name in FIELDS if names[name] < len(objects)}),
        unknown=unknown[:_SHOWN],
    )
