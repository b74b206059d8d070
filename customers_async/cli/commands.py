"""The commands. Each returns its exit code, or None for 0."""

import sys
from datetime import datetime
from typing import Annotated, Any

import attrs
from cyclopts import App, Parameter
from cyclopts.validators import Number

from customers_async import CustomerPager, Verdict, __version__, customer_to_dict
from customers_async.checks import check_uuid
from customers_async.cli.completion import add_completion
from customers_async.cli.connection import Connection, Flag, translate_usage_errors
from customers_async.cli.demo import demo
from customers_async.cli.diff import diff
from customers_async.cli.doctor import doctor
from customers_async.cli.emulator import emulate
from customers_async.cli.export import export, verify
from customers_async.cli.mirror import changes, find, sync, watch
from customers_async.cli.output import (
    format_json_line,
    make_customers_table,
    make_fields_table,
    print_message,
    render,
    write,
)
from customers_async.cli.progress import OnProgress, show_live_line, show_nothing
from customers_async.converter import to_unix_seconds
from customers_async.exit_codes import INCOMPLETE
from customers_async.export import ExportProgress

__all__ = ["app"]

_CONNECTION = Connection()

app: App = App(name="customers-async", help="Read and export the customers of the customers API.", version=__version__)
app.command(export)
app.command(verify)
app.command(diff)
app.command(sync)
app.command(changes)
app.command(find)
app.command(watch)
app.command(demo)
app.command(doctor)
app.command(emulate, name="emulator")
add_completion(app)


@app.command
async def get(uuid: str, /, *, json: Flag = False, connection: Connection = _CONNECTION) -> None:
    """Show one customer.

    Args:
        uuid: The customer's uuid: 8-4-4-4-12 letters and digits.
        json: Print one JSON document, in the service's form.
        connection: How to connect to the service.
    """
    with translate_usage_errors():
        check_uuid(uuid)
    async with connection.client() as client:
        customer = await client.get_customer(uuid)
    if json:
        await write(format_json_line(customer_to_dict(customer)))
    else:
        fields = attrs.asdict(customer, recurse=False)
        await write(render(make_fields_table(fields)))


@app.command(name="list")
async def list_customers(
    *,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    per_page: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 100,
    json: Flag = False,
    connection: Connection = _CONNECTION,
) -> int:
    """Show the customers.

    Args:
        limit: Show at most this many, and request only the pages needed.
        per_page: Customers a page, up to 100.
        json: Print JSON Lines: one customer a line, in the service's form.
        connection: How to connect to the service.
    """
    display = show_live_line if sys.stderr.isatty() and not sys.stdout.isatty() else show_nothing
    async with (
        connection.client() as client,
        display(client) as on_progress,
        client.list_customers(limit=limit, per_page=per_page, on_incomplete="ignore") as pager,
    ):
        shown = await _print_list(pager, on_progress, json=json)
    if shown == limit or pager.completeness.verdict is Verdict.COMPLETE:
        return 0
    print_message(f"the list is not complete: {pager.completeness.describe()}")
    return INCOMPLETE


async def _print_list(pager: CustomerPager, on_progress: OnProgress, *, json: bool) -> int:
    """Print the customers, page by page; return their number."""
    shown = 0
    async for page in pager.pages():
        if json:
            await write("".join(format_json_line(customer_to_dict(customer)) for customer in page.customers))
        else:
            await write(render(make_customers_table(page.customers, header=page.number == 1)))
        shown += len(page.customers)
        on_progress(
            ExportProgress(stage="walk", walk=1, pages=page.number, customers=shown, total=page.total, resumed=0)
        )
    return shown


@app.command
async def count(*, json: Flag = False, connection: Connection = _CONNECTION) -> None:
    """Show the number of customers.

    Args:
        json: Print one JSON document.
        connection: How to connect to the service.
    """
    async with connection.client() as client:
        total = await client.count_customers()
    await write(format_json_line({"count": total}) if json else f"{total}\n")


@app.command
async def whoami(*, json: Flag = False, connection: Connection = _CONNECTION) -> None:
    """Show the token's owner.

    Args:
        json: Print one JSON document, in the service's form.
        connection: How to connect to the service.
    """
    async with connection.client() as client:
        owner = await client.whoami()
    if json:
        await write(format_json_line(attrs.asdict(owner, value_serializer=_serialize)))
    else:
        await write(render(make_fields_table(attrs.asdict(owner))))


def _serialize(_: object, __: object, value: Any) -> Any:
    return to_unix_seconds(value) if isinstance(value, datetime) else value
