"""``customers-async demo``: exports a list from the emulator, at the real service's rate limit."""

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from customers_async import CustomersClient, CustomersError, ExportError, Verdict
from customers_async.cli.connection import Flag, translate_usage_errors
from customers_async.cli.export import check_path, choose_display, summarize_report
from customers_async.cli.output import format_json_line, make_fields_table, render, write
from customers_async.emulator import Emulator
from customers_async.export import export_customers
from customers_async.export.journal import remove_journal
from customers_async.export.options import ExportOptions
from customers_async.export.target import follow_link

__all__ = ["demo"]


async def demo(
    *,
    customers: Annotated[int, Parameter(validator=Number(gte=0))] = 10_000,
    output: Path | None = None,
    json: Flag = False,
) -> int:
    """Export a list from an emulator, at the real rate limit of 500 requests a minute.

    Args:
        customers: Customers on the list.
        output: The file to write, in the format that its suffix names. Default: customers.parquet, or customers.jsonl
            if pyarrow is not installed.
        json: Print the report as one JSON document.
    """
    if output is None:
        output = Path("customers.jsonl" if find_spec("pyarrow") is None else "customers.parquet")
    with translate_usage_errors():
        options = ExportOptions.check(output, format=None if output.suffix else "jsonl", fields=None)
        check_path(str(output), options)
        emulator = Emulator(customers=customers)
    async with (
        emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
        choose_display()(client) as on_progress,
    ):
        try:
            report = await export_customers(
                client, output, format=options.format.name, on_incomplete="ignore", resume=False, progress=on_progress
            )
        except ExportError:  # the journal is not the demo's
            raise
        except (asyncio.CancelledError, CustomersError):
            remove_journal(follow_link(output))  # it is of no use without this emulator
            raise
    fields = summarize_report(report)
    await write(format_json_line(fields) if json else render(make_fields_table(fields)))
    return 0 if report.completeness.verdict is Verdict.COMPLETE else 5
