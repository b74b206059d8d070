"""``customers-async demo``: the whole list from the emulator, under the quota of the real service."""

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from customers_async import CustomersClient, CustomersError, ExportError, Verdict
from customers_async.cli.connection import checking
from customers_async.cli.export import choose_watch, report_fields
from customers_async.cli.output import fields_table, json_line, render, write
from customers_async.emulator import Emulator
from customers_async.export import export_customers
from customers_async.export.journal import remove_journal
from customers_async.export.options import ExportOptions

__all__ = ["demo"]


async def demo(
    *,
    customers: Annotated[int, Parameter(validator=Number(gte=0))] = 10_000,
    output: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Pull a whole list from an emulator, under the real quota of 500 requests a minute.

    Args:
        customers: Customers on the list.
        output: The file to write them to; its suffix tells the format. By default customers.parquet, or
            customers.jsonl where pyarrow is not installed.
        json: Print the report as one JSON document.
    """
    if output is None:
        output = Path("customers.jsonl" if find_spec("pyarrow") is None else "customers.parquet")
    with checking():
        order = ExportOptions.check(output, format=None if output.suffix else "jsonl", fields=None)
    async with (
        Emulator(customers=customers) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
        choose_watch()(client) as on_progress,
    ):
        try:
            report = await export_customers(
                client, output, format=order.format.name, on_incomplete="ignore", resume=False, progress=on_progress
            )
        except ExportError:  # what lies in the way is not the demo's
            raise
        except (asyncio.CancelledError, CustomersError):
            remove_journal(output)  # nobody can go on with it: the emulator is gone
            raise
    fields = report_fields(report)
    await write(json_line(fields) if json else render(fields_table(fields)))
    return 0 if report.completeness.verdict is Verdict.COMPLETE else 5
