"""The commands. Each returns its exit code, or None for 0."""

import asyncio
import shlex
import sys
from datetime import datetime
from typing import Annotated, Any, Literal

import attrs
from cyclopts import App, Parameter
from cyclopts.validators import Number

from customers_async import CustomerPager, Verdict, __version__, customer_to_dict
from customers_async.checks import check_uuid
from customers_async.cli.connection import Connection, Flag, translate_usage_errors
from customers_async.cli.demo import demo
from customers_async.cli.diff import diff
from customers_async.cli.export import export, verify
from customers_async.cli.mirror import changes, find, sync, watch
from customers_async.cli.output import count as count_of
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
from customers_async.emulator import Emulator
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
    return 5


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


@app.command(name="emulator")
async def emulate(
    *,
    customers: int = 1000,
    host: str = "127.0.0.1",
    port: int = 0,
    limit: int = 500,
    window: float = 60.0,
    edition: Literal["a", "b"] = "a",
    seed: int = 1,
    capped: Flag = False,
    latency: float = 0.0,
    token_lifetime: float | None = None,
) -> None:
    """Run an emulator of the service on this machine until Ctrl-C.

    Args:
        customers: Customers on the list.
        host: The address to listen on.
        port: The port to listen on; 0 chooses a free one.
        limit: Requests allowed in each rate-limit window.
        window: Length of that window in seconds.
        edition: The edition of the vendor's documentation whose X-Api-* headers are sent.
        seed: The seed from which customers are generated.
        capped: Serve only the first 10,000 customers, with a total that counts all.
        latency: Seconds before each response.
        token_lifetime: Seconds until the token expires; by default it never does.
    """
    with translate_usage_errors():
        emulator = Emulator(
            customers=customers,
            host=host,
            port=port,
            limit=limit,
            window=window,
            edition=edition,
            seed=seed,
            capped=capped,
            latency=latency,
            token_lifetime=token_lifetime,
        )
    async with emulator:
        served = count_of(customers, "customer")
        print_message(f"{served} at {emulator.url}; run this line in another terminal, and stop with Ctrl-C")
        url, token = shlex.quote(emulator.url), shlex.quote(emulator.token)
        await write(f"export CUSTOMERS_BASE_URL={url} CUSTOMERS_TOKEN={token}\n")
        try:
            await asyncio.Event().wait()
        finally:
            stats = emulator.stats
            print_message(f"{count_of(stats.requests, 'request')}, {stats.statuses[429]:,} answered with 429")
