"""What an answer with data holds: a page of customers, one customer, the token's owner. Pure.

`converter` returns what does not fit as an error; here it is raised, with the place of the answer.
"""

from typing import TypeVar

from customers_async import converter
from customers_async.calls import responses as protocol
from customers_async.calls.responses import Response
from customers_async.errors import APIResponseError
from customers_async.models import Customer, Page, TokenOwner

__all__ = ["read_customer", "read_owner", "read_page", "read_total"]

Decoded = TypeVar("Decoded")


def read_page(answer: Response, number: int, *, keep_unknown: bool, tolerant: bool) -> Page:
    """A page of the list.

    Args:
        answer: What came.
        number: The page that was asked for.
        keep_unknown: Keep fields that the model does not know.
        tolerant: Set aside records that do not fit.

    Raises:
        APIResponseError: It is no page.
        RecordError: A record does not fit, and is not to be set aside.
    """
    customers, rejected = _unwrap(
        converter.decode_customers(answer.body, page=number, keep_unknown=keep_unknown, tolerant=tolerant), answer
    )
    metadata = protocol.read_page_metadata(answer.headers)
    return Page(
        number=number,
        per_page=metadata.per_page,
        total=metadata.total,
        has_more=metadata.has_more,
        current_page=metadata.current_page,
        customers=tuple(customers),
        rejected=tuple(rejected),
        raw=answer.body,
    )


def read_customer(answer: Response, uuid: str, *, keep_unknown: bool) -> Customer:
    """The customer that was asked for.

    Raises:
        APIResponseError: It is no customer, or another one.
    """
    customer = _unwrap(converter.decode_customer(answer.body, keep_unknown=keep_unknown), answer)
    if customer.uuid != uuid:
        raise protocol.located(APIResponseError("the answer is another customer than the one asked for"), answer)
    return customer


def read_owner(answer: Response) -> TokenOwner:
    """Whom the token belongs to.

    Raises:
        APIResponseError: It is no owner.
    """
    return _unwrap(converter.decode_owner(answer.body), answer)


def read_total(answer: Response) -> int:
    """The length of the list.

    Raises:
        APIResponseError: The answer does not name it.
    """
    total = protocol.read_page_metadata(answer.headers).total
    if total is None:
        raise protocol.located(APIResponseError("the answer names no total"), answer)
    return total


def _unwrap(decoded: Decoded | APIResponseError, answer: Response) -> Decoded:
    if isinstance(decoded, APIResponseError):
        raise protocol.located(decoded, answer)
    return decoded
