"""The commands and what they print. Each returns its exit code, or None for 0."""

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
from customers_async.cli.connection import Connection, checking
from customers_async.cli.demo import demo
from customers_async.cli.export import diff, export, verify
from customers_async.cli.output import customers_table, fields_table, json_line, message, render, write
from customers_async.cli.progress import OnProgress, live_line, silence
from customers_async.emulator import Emulator
from customers_async.export import ExportProgress

__all__ = ["app"]

Flag = Annotated[bool, Parameter(negative="")]

_SERVICE = Connection()

app: App = App(name="customers-async", help="Look into the customers API.", version=__version__)
app.command(export)
app.command(verify)
app.command(diff)
app.command(demo)


@app.command
async def get(uuid: str, /, *, json: Flag = False, service: Connection = _SERVICE) -> None:
    """Show one customer.

    Args:
        uuid: The customer's key: 8-4-4-4-12 letters and digits.
        json: Print one JSON document, as the service writes it.
        service: The service.
    """
    with checking():
        check_uuid(uuid)
    async with service.client() as client:
        customer = await client.get_customer(uuid)
    if json:
        await write(json_line(customer_to_dict(customer)))
    else:
        fields = attrs.asdict(customer, recurse=False)
        del fields["extra"]
        await write(render(fields_table(fields)))


@app.command(name="list")
async def list_customers(
    *,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    per_page: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 100,
    json: Flag = False,
    service: Connection = _SERVICE,
) -> int:
    """Show the customers.

    Args:
        limit: Show no more than so many, and ask for no more pages than they need.
        per_page: Customers a request, up to 100.
        json: Print JSON Lines: a customer a line, as the service writes it.
        service: The service.
    """
    watch = live_line if sys.stderr.isatty() and not sys.stdout.isatty() else silence
    async with service.client() as client, watch(client) as on_progress:
        if limit is not None:
            client = client.with_options(concurrency=1)  # more would fetch pages ahead of need
            per_page = min(per_page, limit)
        async with client.list_customers(per_page=per_page, on_incomplete="ignore") as pager:
            return await _print_list(pager, limit, on_progress, json=json)


async def _print_list(pager: CustomerPager, limit: int | None, on_progress: OnProgress, *, json: bool) -> int:
    left, shown = sys.maxsize if limit is None else limit, 0
    async for page in pager.pages():
        last = left <= len(page.customers)
        if last:  # closed before anything is awaited, the pager has not asked for the next page
            await pager.aclose()
        customers = page.customers[:left]
        left -= len(customers)
        if json:
            await write("".join(json_line(customer_to_dict(customer)) for customer in customers))
        else:
            await write(render(customers_table(customers, header=page.number == 1)))
        shown += len(customers)
        on_progress(ExportProgress("walk", 1, page.number, shown, page.total, 0))
        if last:
            return 0
    found = pager.completeness
    if found.verdict is Verdict.COMPLETE:
        return 0
    message(f"the list is not complete: {found.describe()}")
    return 5


@app.command
async def count(*, json: Flag = False, service: Connection = _SERVICE) -> None:
    """Tell how many customers there are.

    Args:
        json: Print one JSON document.
        service: The service.
    """
    async with service.client() as client:
        total = await client.count_customers()
    await write(json_line({"count": total}) if json else f"{total}\n")


@app.command
async def whoami(*, json: Flag = False, service: Connection = _SERVICE) -> None:
    """Tell whom the token belongs to.

    Args:
        json: Print one JSON document, as the service writes it.
        service: The service.
    """
    async with service.client() as client:
        owner = await client.whoami()
    if json:
        await write(json_line(attrs.asdict(owner, value_serializer=_wire_form)))
    else:
        await write(render(fields_table(attrs.asdict(owner))))


def _wire_form(_: object, __: object, value: Any) -> Any:
    return int(value.timestamp()) if isinstance(value, datetime) else value


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
    """Serve an imitation of the service on this machine, until Ctrl-C.

    Args:
        customers: Customers on the list.
        host: Address to listen on.
        port: Port to listen on; 0 takes any that is free.
        limit: Requests that the quota allows in a window.
        window: Seconds that a window of the quota lasts.
        edition: The edition of the vendor's pages whose X-Api-* headers are sent.
        seed: Chooses the customers.
        capped: Serve the first 10,000 customers only, while the total goes on telling of all.
        latency: Seconds that an answer takes.
        token_lifetime: Seconds that the token lives; else for ever.
    """
    with checking():
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
        message(f"{customers:,} customers at {emulator.url}; paste this into another terminal, and end with Ctrl-C")
        url, token = shlex.quote(emulator.url), shlex.quote(emulator.token)
        await write(f"export CUSTOMERS_BASE_URL={url} CUSTOMERS_TOKEN={token}\n")
        try:
            await asyncio.Event().wait()
        finally:
            stats = emulator.stats
            message(f"{stats.requests:,} requests, {stats.statuses[429]:,} of them answered 429")
