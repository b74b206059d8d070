"""``diff``: compare two exports, and look up customers that were not seen."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from itertools import islice
from pathlib import Path

import attrs

from customers_async import CustomersClient
from customers_async.cli.connection import Connection, Flag, translate_usage_errors
from customers_async.cli.output import escape, format_json_line, format_value, print_message, write, write_now
from customers_async.client import internals
from customers_async.exit_codes import REVIEW
from customers_async.export import Changes, diff_exports
from customers_async.export.formats import format_of
from customers_async.export.removals import RemovalStatus, look_up_suspects

__all__ = ["diff"]

_CONNECTION = Connection()
_CHUNK = 1000
"""Lines, or parts of a document, that are written at once."""


async def diff(
    old: Path,
    new: Path,
    /,
    *,
    confirm: Flag = False,
    exit_code: Flag = False,
    json: Flag = False,
    connection: Connection = _CONNECTION,
) -> int:
    """Show what changed between two exports, of any formats: + added, ~ changed, - not seen in the newer one.

    Args:
        old: The older export.
        new: The newer export.
        confirm: Look up each customer that was not seen, one request each: - removed, ! alive, ? unknown.
        exit_code: Exit 6 if there are differences.
        json: Print one JSON document.
        connection: How to connect to the service; only for --confirm.
    """
    with translate_usage_errors():
        for path in (old, new):
            format_of(path)
    if not confirm:
        difference = await asyncio.to_thread(_print_diff, old, new, json, False)
    else:
        async with connection.client() as client:
            difference = await asyncio.to_thread(_print_diff, old, new, json, True)
            await _confirm(client, difference, json)
    print_message(difference.describe())
    if difference.not_seen and not confirm and difference.unproven is not None:
        print_message(f"those not seen may still be there: {difference.unproven}; --confirm looks them up")
    return REVIEW if exit_code and difference.total else 0


@attrs.define
class _Difference:
    """What was printed of two exports: figures, and the customers that were not seen."""

    unproven: str | None
    not_seen: list[str]
    counts: dict[str, int]

    @property
    def total(self) -> int:
        """The number of differences; a customer that is alive is none."""
        return sum(number for name, number in self.counts.items() if name != "alive")

    def describe(self) -> str:
        """Return the figures as one line."""
        return ", ".join(f"{number:,} {name}" for name, number in self.counts.items())


def _print_diff(old: Path, new: Path, json: bool, confirm: bool) -> _Difference:
    """Print the differences, up to the customers that were not seen if they are to be looked up.

    One thread does all of it: else a signal would close the database while another thread reads it.
    """
    with diff_exports(old, new) as changes:
        difference = _Difference(changes.unproven, list(changes.not_seen()), {"added": 0, "changed": 0})
        pieces = _format_json(changes, difference) if json else _format_lines(changes, difference)
        while chunk := "".join(islice(pieces, _CHUNK)):
            write_now(chunk)
    if not confirm:
        difference.counts["not seen"] = len(difference.not_seen)
        write_now(_format_not_seen(difference, json))
    return difference


async def _confirm(client: CustomersClient, difference: _Difference, json: bool) -> None:
    """Look up the customers that were not seen, and print what is known of them."""
    signs = {RemovalStatus.REMOVED: "-", RemovalStatus.ALIVE: "!", RemovalStatus.UNKNOWN: "?"}
    found: dict[str, list[str]] = {f"{status}".lower(): [] for status in signs}
    async with aclosing(look_up_suspects(internals(client).api, difference.not_seen)) as removals:
        async for removal in removals:
            found[f"{removal.status}".lower()].append(removal.uuid)
            if not json:
                reason = f" {type(removal.error).__name__}" if removal.error is not None else ""
                await write(f"{signs[removal.status]} {escape(removal.uuid)}{reason}\n")
    difference.counts |= {name: len(uuids) for name, uuids in found.items()}
    if json:
        await write("".join(f', "{name}": {format_value(uuids)}' for name, uuids in found.items()) + "}\n")


def _format_not_seen(difference: _Difference, json: bool) -> str:
    if json:
        return f', "not_seen": {format_value(difference.not_seen)}, "unproven": {format_value(difference.unproven)}}}\n'
    return "".join(f"- {escape(uuid)}\n" for uuid in difference.not_seen)


def _format_lines(changes: Changes, difference: _Difference) -> Iterator[str]:
    for record in changes.added():
        difference.counts["added"] += 1
        yield f"+ {format_json_line(record)}"
    for change in changes.changed():
        difference.counts["changed"] += 1
        fields = [f"{name}: {format_value(old)} -> {format_value(new)}" for name, (old, new) in change.fields.items()]
        yield f"~ {escape(change.uuid)} {', '.join(fields)}\n"


def _format_json(changes: Changes, difference: _Difference) -> Iterator[str]:
    """Yield the parts of one document, which may be as long as the list; it is still open."""

    def count_each(name: str, values: Iterable[object]) -> Iterator[object]:
        for value in values:
            difference.counts[name] += 1
            yield value

    changed = (
        {"uuid": change.uuid, "fields": {name: {"old": old, "new": new} for name, (old, new) in change.fields.items()}}
        for change in changes.changed()
    )
    yield from _format_array('{"added": ', count_each("added", changes.added()))
    yield from _format_array(', "changed": ', count_each("changed", changed))


def _format_array(before: str, values: Iterable[object]) -> Iterator[str]:
    yield f"{before}["
    for number, value in enumerate(values):
        yield f"{', ' if number else ''}{format_value(value)}"
    yield "]"
