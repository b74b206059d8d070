"""``customers-async demo``: an export, or a mirror, of an emulator's list at the real service's rate limit."""

import asyncio
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from customers_async import CustomersClient, CustomersError, ExportError, Verdict
from customers_async.cli.connection import Flag, translate_usage_errors
from customers_async.cli.export import check_path, choose_display, summarize_report
from customers_async.cli.mirror import format_change
from customers_async.cli.output import format_json_line, make_fields_table, print_message, render, write
from customers_async.emulator import Emulator
from customers_async.exit_codes import INCOMPLETE
from customers_async.export import export_customers
from customers_async.export.journal import remove_journal
from customers_async.export.options import ExportOptions
from customers_async.export.target import follow_link
from customers_async.mirror import Mirror

__all__ = ["demo"]


async def demo(
    *,
    customers: Annotated[int, Parameter(validator=Number(gte=0))] = 10_000,
    output: Path | None = None,
    mirror: Path | None = None,
    json: Flag = False,
) -> int:
    """Export a list from an emulator, at the real rate limit of 500 requests a minute.

    With --mirror, keep a mirror of the list in step instead: sync, change three customers, and sync again.

    Args:
        customers: Customers on the list.
        output: The file to write, in the format that its suffix names. Default: customers.parquet, or customers.jsonl
            if pyarrow is not installed.
        mirror: The mirror to make, an SQLite file.
        json: Print the report as one JSON document, or the changes of the mirror as JSON Lines.
    """
    if mirror is not None:
        return await _show_mirror(customers, mirror, json=json)
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
    return 0 if report.completeness.verdict is Verdict.COMPLETE else INCOMPLETE


async def _show_mirror(customers: int, path: Path, *, json: bool) -> int:
    """Sync a mirror twice, with changes in between, and show what the second sync found."""
    async with (
        Emulator(customers=customers) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
        Mirror.open(path) as mirror,
        choose_display()(client) as on_progress,
    ):
        report = await mirror.sync(client, progress=on_progress)
        print_message(report.describe())
        emulator.insert()
        emulator.touch(customers // 2, name="Changed by the demo")
        emulator.delete(at=customers // 3)
        report = await mirror.sync(client, progress=on_progress)
        print_message(report.describe())
        async with aclosing(mirror.changes(since=report.version - 1)) as changes:
            async for change in changes:
                await write(format_change(change, json=json))
    return 0
