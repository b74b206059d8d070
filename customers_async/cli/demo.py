"""``customers-async demo``: the whole list from the emulator, under the quota of the real service."""

import asyncio
import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, TextIO

from cyclopts import Parameter
from cyclopts.validators import Number

from customers_async import Completeness, CustomersClient, Verdict, customer_to_dict
from customers_async.cli.output import fields_table, json_line, render, write
from customers_async.cli.progress import OnPage, live_bar, plain_lines
from customers_async.emulator import Emulator

__all__ = ["demo"]


async def demo(
    *,
    customers: Annotated[int, Parameter(validator=Number(gte=0))] = 10_000,
    output: Path = Path("customers.jsonl"),
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Pull a whole list from an emulator, under the real quota of 500 requests a minute.

    Args:
        customers: Customers on the list.
        output: The file to write them to, as JSON Lines.
        json: Print the report as one JSON document.
    """
    watch = live_bar if sys.stderr.isatty() else plain_lines
    async with (
        Emulator(customers=customers) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
        watch(client) as on_page,
    ):
        started = time.perf_counter()
        with _replacing(output) as file:
            found = await _pull(client, file, on_page)
        seconds = time.perf_counter() - started
    report = {
        "customers": found.distinct,
        "requests": emulator.stats.requests,
        "seconds": round(seconds, 3),
        "customers_a_second": round(found.distinct / seconds),
        "answers_429": emulator.stats.statuses[429],
        "verdict": found.verdict,
        "path": str(output),
    }
    await write(json_line(report) if json else render(fields_table(report)))
    return 0 if found.verdict is Verdict.COMPLETE else 5


async def _pull(client: CustomersClient, file: TextIO, on_page: OnPage) -> Completeness:
    async with client.list_customers(on_incomplete="ignore") as pager:
        async for page in pager.pages():
            lines = [json_line(customer_to_dict(customer)) for customer in page.customers]
            await asyncio.to_thread(file.writelines, lines)
            on_page(page)
    return pager.completeness


@contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """A file that takes the place of ``path`` when the block ends well; until then the old one stays."""
    try:
        if path.exists() and not path.is_file():
            raise FileExistsError(errno.EEXIST, "it is there, and no file")
        with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
            new = Path(scratch, path.name)
            with new.open("x", encoding="utf-8", newline="\n") as file:
                yield file
            new.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
