"""What the service speaks of, as frozen classes that know nothing of JSON or HTTP."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NoReturn

import attrs

from customers_async.errors import IncompleteListError, RecordError

__all__ = ["NO_EXTRA", "Completeness", "Customer", "CustomerType", "Page", "RateLimit", "TokenOwner", "Verdict"]


class CustomerType(StrEnum):
    """The known values of ``Customer.type``. The list is open: an unknown value is simply another string."""

    INDIVIDUAL = "individual"
    COMPANY = "company"


class _NoExtra(dict[str, Any]):
    """An empty dict that refuses to be filled: one for all customers, since a dict for each would cost time."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "NO_EXTRA"

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a customer's extra cannot be changed")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


NO_EXTRA: Mapping[str, Any] = _NoExtra()


class _EmptyUntilFilled:
    """Fields that the model does not know.

    Wraps a slot, and fills it when it is first read: that spares whoever decodes many customers to fill it in each.
    """

    def __init__(self, slot: Any) -> None:
        self._slot = slot

    def __get__(self, customer: Any, owner: type | None = None) -> Any:
        if customer is None:
            return self
        try:
            return self._slot.__get__(customer, owner)
        except AttributeError:
            self._slot.__set__(customer, NO_EXTRA)
            return NO_EXTRA

    def __set__(self, customer: Any, extra: Mapping[str, Any]) -> None:
        self._slot.__set__(customer, extra)


@attrs.frozen(kw_only=True, repr=False)
class Customer:
    """One customer: the 14 fields of the API reference, under their own names.

    The reference marks each field optional, so all but ``uuid`` may be None. The repr shows the uuid only: a
    customer that gets into a log or a traceback takes no personal data along. ``customer_to_dict`` shows all.

    Attributes:
        uuid: The key: 8-4-4-4-12 letters and digits, not hex only.
        identity_uuid: The identity behind the customer, of the same form.
        type: ``"individual"``, ``"company"`` or a value yet unknown; compare with `CustomerType`.
        updated_at: Last change, aware, UTC.
        created_at: Creation, aware, UTC.
        name: A person's or a company's name.
        risk_country_code: "Not used" today, says the reference.
        registration_country_code: Two letters, such as ``"LT"``.
        registration_address_line: Street and number.
        registration_address_index: Postal code, a string: leading zeros count.
        post_address_country_code: Two letters, such as ``"LT"``.
        post_address_line: Street and number.
        post_address_index: Postal code, a string: leading zeros count.
        related_persons: "Not used" today; kept as it comes.
        extra: Fields the model does not know; filled only with ``keep_unknown=True``.
    """

    uuid: str
    identity_uuid: str | None = None
    type: str | None = None
    updated_at: datetime | None = None
    created_at: datetime | None = None
    name: str | None = None
    risk_country_code: str | None = None
    registration_country_code: str | None = None
    registration_address_line: str | None = None
    registration_address_index: str | None = None
    post_address_country_code: str | None = None
    post_address_line: str | None = None
    post_address_index: str | None = None
    related_persons: Any = attrs.field(default=None, hash=False)
    extra: Mapping[str, Any] = attrs.field(default=NO_EXTRA, hash=False)

    def __repr__(self) -> str:
        return f"Customer(uuid={self.uuid!r}, ...)"


# Nothing is in it when customers were decoded a page at a time, and had no unknown fields to keep.
Customer.extra = _EmptyUntilFilled(Customer.extra)  # type: ignore[assignment]  # it reads and is set as the field is


@attrs.frozen(kw_only=True)
class Page:
    """One page of the list.

    Attributes:
        number: The page asked for, from 1.
        per_page: What ``X-Api-Per-Page`` says, or None: by one edition of the vendor's pages the page size that was
            applied, by the other the records on this page.
        total: Customers in the whole list (``X-Api-Total``), or None.
        has_more: Whether more pages follow, or None when nothing tells.
        current_page: The page number that the server says this is, or None.
        customers: The customers of this page.
        rejected: The records that did not fit, each with its `RecordError`; empty unless ``on_bad_record`` takes them.
        raw: The decompressed body as it came, in bytes.
    """

    number: int
    per_page: int | None
    total: int | None
    has_more: bool | None
    current_page: int | None = None
    customers: Sequence[Customer] = attrs.field(repr=lambda customers: f"<{len(customers)}>")
    rejected: Sequence[tuple[Any, RecordError]] = attrs.field(
        default=(), hash=False, repr=lambda rejected: f"<{len(rejected)}>"
    )
    raw: bytes = attrs.field(repr=lambda raw: f"<{len(raw)} bytes>")


@attrs.frozen(kw_only=True, repr=False)
class TokenOwner:
    """Whom the token belongs to. Each field is optional: Laravel's own answer differs from the documented one.

    The repr shows the uuid only, as that of `Customer` does.

    Attributes:
        uuid: The owner's uuid.
        is_active: Whether the owner may use the service.
        name: The owner's name.
        email: The owner's address.
        created_at: Creation, aware, UTC.
        updated_at: Last change, aware, UTC.
    """

    uuid: str | None = None
    is_active: bool | None = None
    name: str | None = None
    email: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def __repr__(self) -> str:
        return f"TokenOwner(uuid={self.uuid!r}, ...)"


@attrs.frozen
class RateLimit:
    """What is known of the quota, without asking anybody.

    Attributes:
        limit: Requests a window.
        remaining: Requests that can be sent now; None before the first answer of a window.
        resets_in: Seconds until the window ends at the latest; None when no window is known to be open.
    """

    limit: int
    remaining: int | None
    resets_in: float | None


class Verdict(StrEnum):
    """How a walk of the list ended."""

    COMPLETE = "COMPLETE"
    """Every answer named the same total, and exactly so many distinct customers were seen."""
    DRIFTED = "DRIFTED"
    """The list changed meanwhile, since the totals differed or customers came twice."""
    CAPPED = "CAPPED"
    """The server stopped giving rows below its own total."""
    INCONSISTENT = "INCONSISTENT"
    """The headers are missing, or contradict one another or the rows."""


@attrs.frozen(kw_only=True)
class Completeness:
    """A walk's verdict and the figures behind it.

    Attributes:
        verdict: COMPLETE or what is known to be amiss.
        total: The last total that the server named, or None.
        first_total: The first one.
        last_total: The last one; differs from the first when the list changed.
        distinct: Different customers seen.
        duplicates: Rows that repeated a customer already seen.
        pages: Pages read.
        rejected: Records that did not fit and were handed to ``on_bad_record``; they count as seen.
    """

    verdict: Verdict
    total: int | None
    first_total: int | None
    last_total: int | None
    distinct: int
    duplicates: int
    pages: int
    rejected: int = 0

    def raise_if_incomplete(self) -> None:
        """Do nothing after a COMPLETE walk.

        Raises:
            IncompleteListError: The verdict is another.
        """
        if self.verdict is not Verdict.COMPLETE:
            raise IncompleteListError(self)

    def describe(self) -> str:
        """The verdict in a line, such as ``DRIFTED, 250 of 251 customers, 1 seen twice, 3 pages``."""
        total = "an unknown total" if self.total is None else f"{self.total}"
        changed = f", total changed from {self.first_total}" if self.first_total != self.last_total else ""
        twice = f", {self.duplicates} seen twice" if self.duplicates else ""
        rejected = f", {self.rejected} rejected" if self.rejected else ""
        pages = "1 page" if self.pages == 1 else f"{self.pages} pages"
        return f"{self.verdict}, {self.distinct} of {total} customers{changed}{twice}{rejected}, {pages}"
