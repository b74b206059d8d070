"""Prints data on stdout and messages on stderr, without characters that control a terminal."""

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
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from customers_async import Customer

__all__ = [
    "count",
    "discard_output",
    "escape",
    "format_json_line",
    "format_time",
    "format_value",
    "is_narrow",
    "make_customers_table",
    "make_fields_table",
    "print_message",
    "render",
    "write",
    "write_now",
]

_NARROW = 80
"""Columns of a terminal that are too few for tables."""
_control = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, changes of writing direction, halves of surrogate pairs."""


def escape(text: str) -> str:
    """Return the text with characters that control a terminal escaped as in JSON."""
    return _control.sub(lambda character: f"\\u{ord(character[0]):04x}", text)


def format_json_line(document: object) -> str:
    """Return a document as JSON on one line, with non-ASCII letters unescaped."""
    return escape(json.dumps(document, ensure_ascii=False)) + "\n"


def format_value(value: object) -> str:
    """Return a value as JSON, without the end of the line."""
    return format_json_line(value).rstrip("\n")


def count(number: int, noun: str) -> str:
    """Return a number and its noun, in the plural unless there is one."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def format_time(time: datetime) -> str:
    """Return a UTC time to the second."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def print_message(sentence: str) -> None:
    """Print one line on stderr. A closed stderr is not an error."""
    try:
        sys.stderr.write(f"customers-async: {escape(sentence)}\n")
        sys.stderr.flush()
    except OSError:
        discard_output(sys.stderr)


def discard_output(stream: TextIO) -> None:
    """Redirect a broken stream to the null device, since the interpreter flushes it on exit and reports errors."""
    with suppress(OSError), Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), stream.fileno())


async def write(text: str) -> None:
    """Write to stdout in a thread, because a slow reader must not block the event loop."""
    await asyncio.to_thread(write_now, text)


def write_now(text: str) -> None:
    """Write to stdout."""
    sys.stdout.write(text)
    sys.stdout.flush()


def render(table: RenderableType) -> str:
    """Render a table for the terminal; without one, as wide as needed and without colours."""
    console = _make_console()
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _make_console() -> Console:
    if sys.stdout.isatty():
        return Console()
    return Console(width=1000, force_terminal=False, color_system=None)  # whatever FORCE_COLOR says


def is_narrow() -> bool:
    """Whether the terminal has too few columns for tables."""
    return _make_console().width < _NARROW


def make_customers_table(customers: Iterable[Customer], *, header: bool) -> Table:
    """Make a table of customers. All columns but the last have a fixed width, so that several pages align.

    On a narrow terminal each customer takes two lines or more instead: the uuid, and the whole name below it.
    """
    if is_narrow():
        return _make_list((customer.uuid, customer.name) for customer in customers)
    table = Table(box=None, pad_edge=False, expand=True, show_header=header, header_style="bold")
    for title, width in {"UUID": 36, "Type": 10, "Country": 7}.items():
        table.add_column(title, width=width, no_wrap=True)
    table.add_column("Name", ratio=1, no_wrap=True)
    for customer in customers:
        country = customer.registration_country_code or customer.post_address_country_code
        table.add_row(*map(_cell, (customer.uuid, customer.type, country, customer.name)))
    return table


def make_fields_table(fields: Mapping[str, Any]) -> Table:
    """Make a table of names and values; on a narrow terminal each value is below its name."""
    pairs = ((name.replace("_", " "), value) for name, value in fields.items())
    if is_narrow():
        return _make_list(pairs)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, _cell(value))
    return table


def _make_list(pairs: Iterable[tuple[str, Any]]) -> Table:
    """Make a table of one column: each key, and its value indented below it."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold")
    for key, value in pairs:
        table.add_row(Text(escape(key), style="bold"))
        table.add_row(Padding(_cell(value), (0, 0, 0, 2)))
    return table


def _cell(value: Any) -> Text:
    match value:
        case None:
            return Text("-", style="dim")
        case datetime():
            return Text(format_time(value))
        case str():
            return Text(escape(value))
        case int() | float() if not isinstance(value, bool):
            return Text(f"{value:,}")
        case _:
            return Text(escape(json.dumps(value, ensure_ascii=False)))
