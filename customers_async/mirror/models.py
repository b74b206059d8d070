"""What the mirror returns: reports, changes and customers, and the error that stops a mass removal."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import attrs

from customers_async.errors import CustomersError
from customers_async.models import Completeness, Customer

__all__ = ["Change", "Kind", "MassRemovalError", "MirroredCustomer", "SyncReport"]

Kind = Literal["added", "changed", "removed", "restored"]


class MassRemovalError(CustomersError):
    """A sync would remove more customers than ``max_removals``. Nothing was written.

    Attributes:
        removals: The customers found to be removed until the sync stopped.
        max_removals: How many were allowed.
    """

    def __init__(self, message: str, *, removals: int, max_removals: int) -> None:
        super().__init__(message)
        self.removals = removals
        self.max_removals = max_removals


@attrs.frozen(kw_only=True)
class SyncReport:
    """The result of one sync.

    Attributes:
        version: The number of the sync; its changes have the same.
        added: Customers that are new in the mirror.
        changed: Customers that differ from what the mirror held.
        removed: Customers whose look-up was answered with a 404.
        restored: Customers that had been removed and are back.
        missed: Customers that the listing did not show although they exist: their look-up found them.
        rejected: Records that do not fit the model; the mirror keeps what it held of them.
        suspects: Customers that neither the listing nor a look-up showed, because the look-up failed. They stay, and
            the next sync looks them up again.
        completeness: The verdict of the listing.
        requests: Requests sent, for the listing and the look-ups, by this sync and the interrupted ones before it.
        seconds: The duration of this sync and the interrupted ones before it.
    """

    version: int
    added: int
    changed: int
    removed: int
    restored: int
    missed: int
    rejected: int
    suspects: int
    completeness: Completeness
    requests: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return attrs.asdict(self)

    def describe(self) -> str:
        """Return the report as one line, such as ``version 4: 1 added, 2 changed, 0 removed; COMPLETE, ...``."""
        names = ("added", "changed", "removed", "restored", "missed", "rejected", "suspects")
        always = ("added", "changed", "removed")
        counts = [f"{getattr(self, name):,} {name}" for name in names if name in always or getattr(self, name)]
        return f"version {self.version}: {', '.join(counts)}; {self.completeness.describe()}"


@attrs.frozen(kw_only=True, repr=False)
class Change:
    """One change of one customer. The repr shows no personal data.

    Attributes:
        version: The sync that found it.
        kind: ``"added"``, ``"changed"``, ``"removed"`` or ``"restored"``.
        uuid: The customer.
        before: The customer as the mirror held it; None if it was added or restored.
        after: The customer as the sync found it; None if it was removed.
        seen_at: When the listing of that sync began, UTC.
    """

    version: int
    kind: Kind
    uuid: str
    before: Customer | None
    after: Customer | None
    seen_at: datetime

    def __repr__(self) -> str:
        return f"Change(version={self.version}, kind={self.kind!r}, uuid={self.uuid!r})"

    def __rich_repr__(self) -> Iterator[object]:
        yield "version", self.version
        yield "kind", self.kind
        yield "uuid", self.uuid


@attrs.frozen(kw_only=True)
class MirroredCustomer:
    """A customer, and how old the data is.

    Attributes:
        customer: The customer.
        seen_at: When the service last showed it like this, UTC.
        stale: Whether the service did not answer, so that this is what the mirror held.
    """

    customer: Customer
    seen_at: datetime
    stale: bool
