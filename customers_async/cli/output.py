"""What the command prints: data on stdout, messages on stderr, nothing that could steer a terminal."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from customers_async import Customer

__all__ = ["abandon", "customers_table", "fields_table", "json_line", "message", "render", "safe", "write"]

_steering = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, changes of writing direction, halves of surrogate pairs."""


def safe(text: str) -> str:
    """The text with all that could steer a terminal escaped as JSON does it."""
    return _steering.sub(lambda character: f"\\u{ord(character[0]):04x}", text)


def json_line(document: object) -> str:
    """One JSON document on one line; names stay readable."""
    return safe(json.dumps(document, ensure_ascii=False)) + "\n"


def message(sentence: str) -> None:
    """One line on stderr. That nobody reads it is no reason to stop."""
    try:
        sys.stderr.write(f"customers-async: {safe(sentence)}\n")
        sys.stderr.flush()
    except OSError:
        abandon(sys.stderr)


def abandon(stream: TextIO) -> None:
    """Let what is still to be written go nowhere; else the interpreter would try again at its end, and complain."""
    with suppress(OSError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


async def write(text: str) -> None:
    """Data on stdout. Whoever reads it may be slow, so the event loop does not wait."""
    await asyncio.to_thread(_write, text)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def render(table: RenderableType) -> str:
    """The table as the terminal shows it; where there is no terminal, as wide as it needs, without colours."""
    console = Console() if sys.stdout.isatty() else Console(width=1000)
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def customers_table(customers: Iterable[Customer], *, header: bool) -> Table:
    """A line for each customer. All columns but the last are fixed, so that the tables of several pages align."""
    table = Table(box=None, pad_edge=False, expand=True, show_header=header, header_style="bold")
    for title, width in {"UUID": 36, "Type": 10, "Country": 7}.items():
        table.add_column(title, width=width, no_wrap=True)
    table.add_column("Name", ratio=1, no_wrap=True)
    for customer in customers:
        country = customer.registration_country_code or customer.post_address_country_code
        table.add_row(*map(_cell, (customer.uuid, customer.type, country, customer.name)))
    return table


def fields_table(fields: Mapping[str, Any]) -> Table:
    """A line for each field."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name.replace("_", " "), _cell(value))
    return table


def _cell(value: Any) -> Text:
    match value:
        case None:
            return Text("-", style="dim")
        case datetime():
            return Text(f"{value:%Y-%m-%d %H:%M:%S} UTC")
        case str():
            return Text(safe(value))
        case int() | float() if not isinstance(value, bool):
            return Text(f"{value:,}")
        case _:
            return Text(safe(json.dumps(value, ensure_ascii=False)))
