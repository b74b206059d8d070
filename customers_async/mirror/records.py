"""How a store holds a customer: the record as the service sent it, and columns made from it."""

import re
import unicodedata
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import attrs
import msgspec

from customers_async import converter
from customers_async.errors import APIResponseError, ExportError
from customers_async.mirror.models import Kind
from customers_async.models import Customer

__all__ = ["StagedCustomer", "check_text", "compute_digest", "encode_customer", "fold", "is_same", "load_customer"]

_SEARCHED = 200
"""Characters of a name: an index does not hold texts of any length."""
_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t", "ŋ": "n"}
)
"""Letters that Unicode does not split into a letter and an accent."""
_find_impossible = re.compile("[\0\ud800-\udfff]").search
"""Finds characters that no database holds: the null character, and halves of surrogate pairs."""


@attrs.define(repr=False, eq=False)
class StagedCustomer:
    """A customer that a sync has seen and that may have changed.

    Attributes:
        kind: What happened to it, unless its record is the same after all.
        customer: The customer.
        record: Its record, as JSON text.
        digest: The digest of the record.
    """

    kind: Kind
    customer: Customer
    record: str = attrs.field(repr=False)
    digest: bytes = attrs.field(repr=False)

    def __repr__(self) -> str:
        return f"StagedCustomer(kind={self.kind!r}, uuid={self.customer.uuid!r})"

    def __rich_repr__(self) -> Iterable[object]:
        yield "kind", self.kind
        yield "uuid", self.customer.uuid


def compute_digest(record: bytes) -> bytes:
    """Return a digest of a record: of its spelling, not of its values."""
    return blake2b(record, digest_size=16).digest()


def encode_customer(customer: Customer) -> bytes:
    """Return a record of the customer, as the service might send it."""
    return msgspec.json.encode(converter.customer_to_dict(customer))


def load_customer(stored: Any, field: str = "record") -> Customer:
    """Return the customer of a record that a store holds.

    Args:
        stored: What holds the record, and hides it from printers of tracebacks.
        field: The name of the record's attribute.

    Raises:
        ExportError: It is not a customer's record: the database was changed by something else.
    """
    try:
        return _decode(getattr(stored, field))
    except APIResponseError:
        uuid = stored.uuid
    raise ExportError(f"the mirror's record of {uuid} is not a customer's: forget it, and sync again")


def is_same(before: str, after: str) -> bool:
    """Whether two records have the same values, however they are spelled."""
    return before == after or _decode(before) == _decode(after)


def _decode(record: str) -> Customer:
    return converter.decode_customer(record.encode(), keep_unknown=True)


def check_text(text: object) -> None:
    """Check a text to search for.

    Raises:
        TypeError: It is not a string.
        ValueError: No database holds it.
    """
    if not isinstance(text, str):
        raise TypeError(f"name, country and type must be strings, not {type(text).__name__}")
    if _find_impossible(text):
        raise ValueError("name, country and type must not have null characters or halves of surrogate pairs")


def fold(text: str) -> str:
    """Return the text in lower case and without accents, for searches: its first 200 characters."""
    if not text.isascii():
        letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).translate(_LETTERS)
        text = "".join(letter for letter in letters if not unicodedata.combining(letter) and letter != "\0")
    return text.lower().replace("\0", "")[:_SEARCHED]
