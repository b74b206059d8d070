"""Mistakes that both type checkers must report.

Each line with a mistake ignores its error in mypy and in basedpyright. If a checker accepts the mistake, it fails,
because it reports an ignore comment that ignores nothing.
"""

# pyright: standard, reportUnnecessaryTypeIgnoreComment=error
# (its strict mode would report the consequences of each mistake, too)

from customers_async import (  # type: ignore[attr-defined]
    CustomerClient,  # pyright: ignore[reportAttributeAccessIssue]
    CustomersClient,
    export_customers,
)

__all__ = ["CustomerClient"]


async def misuse(client: CustomersClient, uuid: str) -> None:
    """Misspell names and options, and take a value for another type."""
    client.get_costumer(uuid)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    client.with_options(timeuot=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.list_customers(on_incomplete="wran")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await export_customers(client, "a.csv", fields=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    page = client.get_page(1)
    len(page)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async for result in client.get_customers([uuid]):
        result.customer.uuid.upper()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
