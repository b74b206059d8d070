"""Each endpoint: the request to send, and how to read its response. No I/O.

The paths come from the vendor's API reference.
"""

from typing import TypeVar

import attrs

from customers_async import converter
from customers_async.calls import responses
from customers_async.calls.responses import Response
from customers_async.checks import check_uuid
from customers_async.errors import APIResponseError
from customers_async.models import Customer, Page, TokenOwner

__all__ = [
    "Request",
    "customer_request",
    "owner_request",
    "page_request",
    "read_customer",
    "read_owner",
    "read_page",
    "read_total",
    "require_total",
]

_LIST_PATH = "/api/v1/customers"

Decoded = TypeVar("Decoded")


@attrs.define
class Request:
    """A GET: the path, with the query as sent, and the route that names its kind in events."""

    path: str
    route: str
    query: str = ""

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def masked_target(self) -> str:
        """Route and query: `target` without a uuid."""
        return f"{self.route}?{self.query}" if self.query else self.route


def customer_request(uuid: str) -> Request:
    """Ask for one customer.

    Raises:
        TypeError: ``uuid`` is not a string.
        ValueError: ``uuid`` is not of the service's form.
    """
    check_uuid(uuid)
    return Request(f"{_LIST_PATH}/{uuid}", f"{_LIST_PATH}/{{uuid}}")


def page_request(number: int, per_page: int) -> Request:
    """Ask for one page of the list; see `check_page` for what is accepted."""
    return Request(_LIST_PATH, _LIST_PATH, f"per_page={per_page}&page={number}")


def owner_request() -> Request:
    """Ask whom the token belongs to."""
    return Request("/api/v1/auth", "/api/v1/auth")


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
    metadata = responses.read_page_metadata(answer.headers)
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
        raise responses.with_location(APIResponseError("the answer is another customer than the one asked for"), answer)
    return customer


def read_owner(answer: Response) -> TokenOwner:
    """Whom the token belongs to.

    Raises:
        APIResponseError: It is no owner.
    """
    return _unwrap(converter.decode_owner(answer.body), answer)


def read_total(response: Response) -> int | None:
    """The length of the list, or None where the response does not name it."""
    return responses.read_page_metadata(response.headers).total


def require_total(response: Response) -> int:
    """The length of the list.

    Raises:
        APIResponseError: The response does not name it.
    """
    total = read_total(response)
    if total is None:
        raise responses.with_location(APIResponseError("the answer names no total"), response)
    return total


def _unwrap(decoded: Decoded | APIResponseError, answer: Response) -> Decoded:
    if isinstance(decoded, APIResponseError):
        raise responses.with_location(decoded, answer)
    return decoded
