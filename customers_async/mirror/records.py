"""How a store holds a customer: the record as the service sent it, and columns made from it."""

import unicodedata
from collections.abc import Iterable
from hashlib import blake2b

import attrs
import msgspec

from customers_async import converter
from customers_async.mirror.models import Kind
from customers_async.models import Customer

__all__ = ["StagedCustomer", "compute_digest", "encode_customer", "fold", "is_same", "load_customer"]

_SEARCHED = 200
"""Characters of a name: an index does not hold texts of any length."""
_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t", "ŋ": "n"}
)
"""Letters that Unicode does not split into a letter and an accent."""


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
    record: str
    digest: bytes

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


def load_customer(record: str) -> Customer:
    """Return the customer of a record that a store holds."""
    return converter.decode_customer(record.encode(), keep_unknown=True)


def is_same(before: str, after: str) -> bool:
    """Whether two records have the same values, however they are spelled."""
    return before == after or load_customer(before) == load_customer(after)


def fold(text: str) -> str:
    """Return the text in lower case and without accents, for searches: its first 200 characters."""
    if not text.isascii():
        letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).translate(_LETTERS)
        text = "".join(letter for letter in letters if not unicodedata.combining(letter) and letter != "\0")
    return text.lower().replace("\0", "")[:_SEARCHED]
