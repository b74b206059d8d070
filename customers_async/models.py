"""The data classes: frozen, and independent of JSON and HTTP."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar, Final

import attrs

from customers_async.errors import IncompleteListError, RecordError

__all__ = [
    "FIELDS",
    "Completeness",
    "Customer",
    "CustomerType",
    "CustomerWithExtra",
    "Health",
    "Page",
    "RateLimit",
    "TokenOwner",
    "Verdict",
]

_NO_EXTRA: Final[Mapping[str, Any]] = MappingProxyType({})


class CustomerType(StrEnum):
    """The known values of ``Customer.type``. The service may send others: they stay plain strings."""

    INDIVIDUAL = "individual"
    COMPANY = "company"


class _Private:
    """Hides personal data from printers that do not use ``repr``.

    rich and structlog read the fields of attrs classes, and `rich.inspect` reads whatever ``dir`` lists. Attribute
    completion still works, because it uses the class.
    """

    __slots__ = ()
    _SHOWN: ClassVar[tuple[str, ...]] = ("uuid",)

    def __rich_repr__(self) -> Iterable[tuple[str, object]]:
        yield from ((name, getattr(self, name)) for name in self._SHOWN)

    def __dir__(self) -> list[str]:
        model: Any = type(self)
        fields = {field.name for field in attrs.fields(model)}
        return sorted({*super().__dir__()} - {"extra", *fields} | {*self._SHOWN})


class _PydanticType:
    """Is a type of Pydantic and FastAPI, if these are installed."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, make_schema: Callable[[Any], Any]) -> Any:
        from customers_async.pydantic_types import make_core_schema

        return make_core_schema(cls, make_schema)


@attrs.frozen(kw_only=True, repr=False)
class Customer(_Private, _PydanticType):
    """One customer: the fields of the API reference, under their own names.

    The reference marks each field optional, so all but ``uuid`` may be None. The repr shows the uuid only, so that
    logs and tracebacks hold no personal data. Use `customer_to_dict` to print a customer.

    Attributes:
        uuid: The key: 8-4-4-4-12 letters and digits, not hex only.
        identity_uuid: The identity behind the customer; documented as of the same form, which is not checked.
        type: ``"individual"``, ``"company"`` or a value that is not documented; compare with `CustomerType`.
        updated_at: The last change; aware, UTC.
        created_at: The creation; aware, UTC.
        name: A person's or a company's name.
        risk_country_code: Documented as not used.
        registration_country_code: Two letters, such as ``"LT"``.
        registration_address_line: Street and number.
        registration_address_index: Postal code; a string, because of leading zeros.
        post_address_country_code: Two letters, such as ``"LT"``.
        post_address_line: Street and number.
        post_address_index: Postal code; a string, because of leading zeros.
        related_persons: Documented as not used; any JSON value is kept.
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

    @property
    def extra(self) -> Mapping[str, Any]:
        """Fields that the model does not define; read-only, and empty unless ``keep_unknown=True`` kept some."""
        return _NO_EXTRA

    def __repr__(self) -> str:
        return f"Customer(uuid={self.uuid!r}, ...)"


FIELDS: Final[tuple[str, ...]] = tuple(field.name for field in attrs.fields(Customer))
"""The names of a customer's fields, in the order of the API reference."""


@attrs.frozen(kw_only=True, repr=False)
class CustomerWithExtra(Customer):
    """A customer whose record had fields that the model does not define.

    A class of its own, because decoding a page takes 134 µs, and 245 µs if each customer has this field.

    Attributes:
        extra: Those fields.
    """

    extra: Mapping[str, Any] = attrs.field(hash=False)


@attrs.frozen(kw_only=True)
class Page(_Private):
    """One page of the list.

    Attributes:
        number: The requested page number, from 1.
        per_page: The records on this page according to ``X-Api-Per-Page``, or None.
        total: The customers in the whole list according to ``X-Api-Total``, or None.
        has_more: Whether more pages follow according to ``X-Api-Has-More-Pages``, or None.
        current_page: This page's number according to the service, or None.
        customers: The customers on this page.
        rejected: The records that do not fit the model, each with its `RecordError`; empty without ``on_bad_record``.
        raw: The decompressed body, in bytes.
    """

    _SHOWN: ClassVar[tuple[str, ...]] = ("number", "per_page", "total", "has_more", "current_page")

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
class TokenOwner(_Private, _PydanticType):
    """The account that the token belongs to.

    Each field is optional, because Laravel's own response differs from the documented one. The repr shows the uuid
    only, like that of `Customer`.

    Attributes:
        uuid: The owner's uuid.
        is_active: Whether the owner may use the service.
        name: The owner's name.
        email: The owner's email address.
        created_at: The creation; aware, UTC.
        updated_at: The last change; aware, UTC.
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
    """The state of the rate limit, as far as it is known without a request.

    Attributes:
        limit: Requests per window.
        remaining: Requests that can be sent now; None before the first response of a window.
        resets_in: Seconds until the window ends at the latest; None if no window is known to be open.
    """

    limit: int
    remaining: int | None
    resets_in: float | None


@attrs.frozen(kw_only=True)
class Health:
    """How the last calls of a client and its views ended.

    A call succeeded if the service responded with data, or with 404: the service works, and does not know the customer.
    Whether the data fit the models is checked later, and does not count. A call that was cancelled is neither a success
    nor a failure.

    Attributes:
        last_response_at: When the last call succeeded, UTC; None if none did.
        last_error: The name of the error's class of the last call that failed, or None. The error itself is not kept,
            because its message may contain a uuid.
        last_error_at: When that call failed, UTC; None if none did.
        rate_limit: The state of the rate limit.
    """

    last_response_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    rate_limit: RateLimit


class Verdict(StrEnum):
    """The result of a listing."""

    COMPLETE = "COMPLETE"
    """Every customer that was on the list at the first response, and still is, was seen.

    That is proven if ``Completeness.proven`` is True. Otherwise the service sent no ``Date`` or not every
    ``created_at``, and the verdict rests on evidence: every response named the same total, and exactly that many
    distinct customers were seen.
    """
    DRIFTED = "DRIFTED"
    """The list changed during the listing, or may have changed, so customers may have been missed. The totals differed,
    customers appeared twice, a page changed, or a newcomer was seen (see ``Completeness.newcomers``)."""
    CAPPED = "CAPPED"
    """The service stopped returning records before its own total was reached."""
    INCONSISTENT = "INCONSISTENT"
    """Headers are missing, or contradict each other or the records; or only a part of the list was requested."""


@attrs.frozen(kw_only=True)
class Completeness:
    """The verdict of a listing, and the figures behind it.

    Attributes:
        verdict: COMPLETE, or what is wrong.
        total: The total in the last response, or None; the same as ``last_total``.
        first_total: The total in the first response, or None.
        last_total: The total in the last response, or None; differs from the first if the list changed.
        distinct: Distinct customers seen.
        duplicates: Records that repeated a customer already seen.
        pages: Pages read.
        rejected: Records that do not fit the model and were passed to ``on_bad_record``; they count as seen.
        newcomers: Customers seen that were created after the first response, or in the two seconds before it: they may
            have been added during the listing.
        proven: Whether it is proven that every customer that was on the list at the first response, and still is, was
            seen. The proof needs the service's ``created_at`` and ``Date`` to be right, and ``unique=True``.
    """

    verdict: Verdict
    total: int | None
    first_total: int | None
    last_total: int | None
    distinct: int
    duplicates: int
    pages: int
    rejected: int = 0
    newcomers: int = 0
    proven: bool = False

    def raise_if_incomplete(self, *, proven: bool = False) -> None:
        """Raise unless the verdict is COMPLETE.

        Args:
            proven: Insist on a proof: raise for a COMPLETE listing, too, that is not ``proven``.

        Raises:
            IncompleteListError: The verdict is not COMPLETE, or not proven.
        """
        if self.verdict is not Verdict.COMPLETE or (proven and not self.proven):
            raise IncompleteListError(self)

    def describe(self) -> str:
        """Return the verdict as one line, such as ``DRIFTED, 250 of 251 customers, 1 seen twice, 3 pages``.

        A proof is about the list at the first response, so the customers are then counted against its total, without
        the newcomers. ``new`` is the number of newcomers.
        """
        seen, total, changed = self.distinct, self.last_total, f", total changed from {self.first_total}"
        if self.proven:
            seen, total, changed = seen - self.newcomers, self.first_total, f", total changed to {self.last_total}"
        noun = "customer" if total == 1 else "customers"
        of_total = f"{seen} of {'an unknown total of' if total is None else total} {noun}"
        changed = changed if self.first_total != self.last_total else ""
        twice = f", {self.duplicates} seen twice" if self.duplicates else ""
        rejected = f", {self.rejected} rejected" if self.rejected else ""
        newcomers = f", {self.newcomers} new" if self.newcomers else ""
        pages = "1 page" if self.pages == 1 else f"{self.pages} pages"
        return f"{self.verdict}, {of_total}{changed}{twice}{rejected}{newcomers}, {pages}"
