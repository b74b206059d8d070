"""What `CustomerPager.collect` returns: customers, with the verdict of their listing."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import attrs

from customers_async.models import Completeness, Customer

__all__ = ["CustomerList"]


@attrs.frozen(repr=False)
class CustomerList(Sequence[Customer]):
    """The customers of a listing, in an immutable sequence, with its verdict. A slice is a tuple: it has no verdict.

    The repr shows the count and the verdict, and no customer.

    Attributes:
        completeness: The verdict and its figures.

    Example:
        >>> customers = await client.list_customers().collect()
        >>> customers.completeness.raise_if_incomplete()
        >>> customers
        <CustomerList of 250: COMPLETE, 250 of 250 customers, 3 pages>
    """

    _customers: tuple[Customer, ...]
    completeness: Completeness

    def __len__(self) -> int:
        return len(self._customers)

    def __iter__(self) -> Iterator[Customer]:
        return iter(self._customers)

    def __contains__(self, customer: object) -> bool:
        return customer in self._customers

    @overload
    def __getitem__(self, index: int) -> Customer: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Customer, ...]: ...
    def __getitem__(self, index: int | slice) -> Customer | tuple[Customer, ...]:
        return self._customers[index]

    def __repr__(self) -> str:
        return f"<CustomerList of {len(self)}: {self.completeness.describe()}>"

    def __rich_repr__(self) -> Iterable[tuple[str, object]]:
        yield "len", len(self)
        yield "completeness", self.completeness

    def _repr_html_(self) -> str:
        return f"<p>CustomerList of {len(self):,}: {self.completeness.describe()}</p>"
