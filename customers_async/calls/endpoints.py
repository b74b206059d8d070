"""Each endpoint: the request to send, and how to read its response. No I/O.

The paths come from the vendor's API reference.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import msgspec

from customers_async import converter
from customers_async.calls.responses import (
    Response,
    add_location,
    read_current_page,
    read_page_metadata,
    with_location,
)
from customers_async.checks import is_uuid
from customers_async.errors import APIResponseError, stripped
from customers_async.models import Customer, Page, TokenOwner
from customers_async.notes import add_notes, call_notes

__all__ = [
    "Request",
    "customer_request",
    "is_misnumbered",
    "is_past_end",
    "mismatch_error",
    "owner_request",
    "page_request",
    "read_customer",
    "read_owner",
    "read_page",
    "read_total",
    "require_total",
]

_LIST_PATH = "/api/v1/customers"
_OTHER_CUSTOMER = "the response is another customer than the requested one"
_PAGE, _CUSTOMER, _OWNER, _OBJECT = "an array", "a customer", "the token's owner", "an object"
_CUSTOMERS = attrs.fields_dict(Customer).keys() - attrs.fields_dict(TokenOwner).keys()
"""The fields that only customers have."""
_OWNERS = attrs.fields_dict(TokenOwner).keys() - attrs.fields_dict(Customer).keys()
"""The fields that only the token's owner has."""
_begins_array = re.compile(rb"\s*\[").match
_decode_outline: Callable[[bytes], Any] = msgspec.json.Decoder(
    msgspec.defstruct("Outline", [(name, msgspec.Raw, None) for name in ("uuid", "status", *_CUSTOMERS, *_OWNERS)])
).decode
"""Finds the known fields of an object, and leaves their values unread."""

Decoded = TypeVar("Decoded")


@attrs.define
class Request:
    """A GET request: its path and query, and the route that stands for it in events.

    Attributes:
        path: The path, such as ``/api/v1/customers/e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g``.
        route: The path with ``{uuid}`` in place of a uuid.
        query: The encoded query.
        uuid: The requested customer, or None.
        page: The requested page, or None.
        per_page: The requested page size, or 0.
        data: Ids and values in a raw request, which no error may repeat.
        is_raw: Whether the response may be anything; see `raw`.
    """

    path: str = attrs.field(repr=False)  # of a raw request it may be data, and so may the query
    route: str
    query: str = attrs.field(default="", repr=False)
    uuid: str | None = None
    page: int | None = None
    per_page: int = 0
    data: tuple[str, ...] = attrs.field(default=(), repr=False)
    is_raw: bool = False

    @property
    def label(self) -> str:
        """The path for errors; the route of a raw request, in whose path anything may be data."""
        return self.route if self.is_raw else self.path

    @property
    def target(self) -> str:
        """Path and query for the log; of a raw request, the route."""
        return f"{self.label}?{self.query}" if self.query and not self.is_raw else self.label

    @property
    def masked_target(self) -> str:
        """Route and query: `target` without a uuid."""
        return f"{self.route}?{self.query}" if self.query and not self.is_raw else self.route


def mismatch_error(response: Response, request: Request) -> APIResponseError | None:
    """Return an error if the response belongs to another request; None if it does not, or if that is unknown.

    A proxy or a connection that mixes responses up may send the right one the next time, so the error is transient.
    """
    if request.is_raw:
        return None
    if request.uuid is not None:
        if response.body.startswith(b'{"uuid":"%b"' % request.uuid.encode()):  # as the service writes it
            return None
    elif request.page is not None and (page := read_current_page(response.headers)) is not None:
        if page == request.page:
            return None
        problem = f"the response is page {page}, not page {request.page}"
        return with_location(APIResponseError(problem, transient=True), response)
    wanted = _PAGE if request.page is not None else _OWNER if request.uuid is None else _CUSTOMER
    kind, uuid = _recognize(response.body)
    if kind not in (wanted, None) and (kind != _OBJECT or wanted == _PAGE):
        subject = "the response" if request.page is None else f"page {request.page}"
        return with_location(APIResponseError(f"{subject} is {kind}, not {wanted}", transient=True), response)
    if request.uuid is not None and uuid.lower() not in ("", request.uuid.lower()):
        return with_location(APIResponseError(_OTHER_CUSTOMER, transient=True), response)
    return None


def is_misnumbered(response: Response, request: Request) -> bool:
    """Whether the response names another page than the requested one."""
    return request.page is not None and read_current_page(response.headers) not in (request.page, None)


def is_past_end(response: Response, request: Request) -> bool:
    """Whether the requested page is past the end of the list, by the total that the response names."""
    total = read_total(response)
    return total is not None and request.page is not None and (request.page - 1) * request.per_page >= total


def _recognize(body: bytes) -> tuple[str | None, str]:
    """What a body is, None for errors and what is not JSON; and its uuid, or an empty text.

    The service may add fields, so the model with more of its own fields in the body is taken.
    """
    if _begins_array(body):
        return _PAGE, ""
    try:
        outline = _decode_outline(body)
    except (ValueError, RecursionError):
        return None, ""
    customer, owner = (sum(getattr(outline, name) is not None for name in names) for names in (_CUSTOMERS, _OWNERS))
    kind = _CUSTOMER if customer > owner else _OWNER if owner > customer else _OBJECT
    uuid = bytes(outline.uuid or b"").decode().strip('"')
    return (kind if outline.status is None else None), uuid if is_uuid(uuid) else ""


def customer_request(uuid: str) -> Request:
    """Request one customer; see `checks.check_uuid` for the form of ``uuid``."""
    return Request(f"{_LIST_PATH}/{uuid}", f"{_LIST_PATH}/{{uuid}}", uuid=uuid)


def read_customer(response: Response, uuid: str, *, keep_unknown: bool) -> Customer:
    """Read the response to `customer_request`.

    The service may spell the uuid in another case than ``uuid``: whether case matters is its decision.

    Raises:
        APIResponseError: It is not a customer, or another one.
    """
    customer = _decode(lambda: converter.decode_customer(response.body, keep_unknown=keep_unknown), response)
    if customer.uuid != uuid and customer.uuid.lower() != uuid.lower():
        raise with_location(APIResponseError(_OTHER_CUSTOMER, transient=True), response)
    return customer


def page_request(number: int, per_page: int) -> Request:
    """Request one page of the list; see `checks.check_page` for the limits."""
    return Request(_LIST_PATH, _LIST_PATH, f"per_page={per_page}&page={number}", None, number, per_page)


def read_page(response: Response, number: int, *, keep_unknown: bool, tolerant: bool) -> Page:
    """Read the response to `page_request`.

    Args:
        response: The response.
        number: The requested page number.
        keep_unknown: Keep fields that the model does not define.
        tolerant: Set aside records that do not fit.

    Raises:
        APIResponseError: It is not a page.
        RecordError: A record does not fit, and ``tolerant`` is False.
    """
    customers, rejected = _decode(
        lambda: converter.decode_customers(response.body, page=number, keep_unknown=keep_unknown, tolerant=tolerant),
        response,
        page=number,
    )
    if rejected:
        add_location([problem for _, problem in rejected], response)
    metadata = read_page_metadata(response.headers)
    return Page(
        number=number,
        per_page=metadata.per_page,
        total=metadata.total,
        has_more=metadata.has_more,
        current_page=metadata.current_page,
        customers=tuple(customers),
        rejected=tuple(rejected),
        raw=response.body,
    )


def read_total(response: Response) -> int | None:
    """Read the length of the list from the response to `page_request`; None if it is missing."""
    return read_page_metadata(response.headers).total


def require_total(response: Response) -> int:
    """Read the length of the list from the response to `page_request`.

    Raises:
        APIResponseError: The response does not name it.
    """
    total = read_total(response)
    if total is None:
        raise with_location(APIResponseError("the response names no total"), response)
    return total


def owner_request() -> Request:
    """Request the token's owner."""
    return Request("/api/v1/auth", "/api/v1/auth")


def read_owner(response: Response) -> TokenOwner:
    """Read the response to `owner_request`.

    Raises:
        APIResponseError: It is not an owner.
    """
    return _decode(lambda: converter.decode_owner(response.body), response)


def _decode(decode: Callable[[], Decoded], response: Response, *, page: int | None = None) -> Decoded:
    """Call the decoder. An error is raised again without its traceback, whose frames hold customer data."""
    try:
        return decode()
    except APIResponseError as error:
        failure = stripped(error)
    add_notes(failure, call_notes(failure, page=page))
    raise with_location(failure, response)
