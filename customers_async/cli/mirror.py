"""``sync``, ``changes``, ``find`` and ``watch``: keep a mirror of the list in step, and read it."""

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from customers_async import Customer, Verdict, customer_to_dict
from customers_async.cli.connection import Connection, Flag, Reserve, UsageError, translate_usage_errors
from customers_async.cli.export import announce_resuming, choose_display, parse_duration
from customers_async.cli.output import (
    escape,
    format_json_line,
    format_value,
    make_customers_table,
    make_fields_table,
    print_message,
    render,
    write,
)
from customers_async.exit_codes import INCOMPLETE
from customers_async.mirror import Change, Mirror, SyncReport

__all__ = ["changes", "find", "format_change", "sync", "watch"]

_CONNECTION = Connection()
_SIGNS = {"added": "+", "changed": "~", "removed": "-", "restored": "+"}
_ROWS = 100
"""Customers that are printed at once."""

Count = Annotated[int | None, Parameter(validator=Number(gte=0, lte=sys.maxsize))]
"""An option with a number that a database holds, or None."""


async def sync(
    target: str,
    /,
    *,
    max_removals: Count = None,
    resume_within: str = "1h",
    restart: Flag = False,
    reserve: Reserve = 0,
    json: Flag = False,
    quiet: Flag = False,
    connection: Connection = _CONNECTION,
) -> int:
    """Bring a mirror of the list up to date. If it is interrupted, run it again to resume.

    Args:
        target: An SQLite file, which is created if it is missing, or a PostgreSQL URL.
        max_removals: Customers that may be removed; exit 6 if there are more. Default: 5 % of the mirror, and at least
            20.
        resume_within: Use pages of an interrupted sync up to this age: a number with the unit s, m, h or d.
        restart: Discard what an interrupted sync left.
        reserve: Requests of each minute to leave to other processes behind the same address, such as a web service.
        json: Print the report as one JSON document.
        quiet: Print failures only.
        connection: How to connect to the service.
    """
    with translate_usage_errors():
        resume = not restart and parse_duration("--resume-within", resume_within)
        mirror = open_mirror(target)
    async with connection.client(reserve=reserve) as client, mirror, choose_display(quiet=quiet)(client) as on_progress:
        progress = on_progress if quiet else announce_resuming(on_progress)
        report = await mirror.sync(client, max_removals=max_removals, resume=resume, progress=progress)
    if json:
        await write(format_json_line(report.as_dict()))
    elif not quiet:
        await write(render(make_fields_table(summarize_sync(report))))
    return 0 if report.completeness.verdict is Verdict.COMPLETE else INCOMPLETE


async def changes(
    target: str, /, *, since: Annotated[int, Parameter(validator=Number(gte=0))] = 0, json: Flag = False
) -> None:
    """Show what the syncs of a mirror found: + added or restored, ~ changed, - removed.

    Args:
        target: The mirror: an SQLite file or a PostgreSQL URL.
        since: Show the changes after this version; 0 shows all.
        json: Print JSON Lines: one change a line, with the customer before and after in the service's form.
    """
    last = since
    with translate_usage_errors():
        mirror = open_mirror(target, must_exist=True)
    async with mirror, aclosing(mirror.changes(since)) as found:
        with translate_usage_errors():
            async for change in found:
                last = change.version
                await write(format_change(change, json=json))
    print_message(f"continue with --since {last}")


async def find(
    target: str,
    text: str,
    /,
    *,
    country: str | None = None,
    customer_type: Annotated[str | None, Parameter(name="--type")] = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1))] = 50,
    json: Flag = False,
) -> None:
    """Find customers of a mirror by a part of their names; case and accents do not matter.

    Args:
        target: The mirror: an SQLite file or a PostgreSQL URL.
        text: The part of the name.
        country: Two letters: the country of registration.
        customer_type: individual or company.
        limit: Show at most this many.
        json: Print JSON Lines: one customer a line, in the service's form.
    """
    with translate_usage_errors():
        mirror = open_mirror(target, must_exist=True)
    async with mirror, aclosing(mirror.find(text, country=country, type=customer_type, limit=limit)) as found:
        first = True
        with translate_usage_errors():
            async for customers in _batches(found):
                if json:
                    await write("".join(format_json_line(customer_to_dict(customer)) for customer in customers))
                else:
                    await write(render(make_customers_table(customers, header=first)))
                first = False


async def watch(
    target: str,
    /,
    *,
    every: str = "15m",
    since: Count = None,
    max_removals: Count = None,
    reserve: Reserve = 0,
    json: Flag = False,
    connection: Connection = _CONNECTION,
) -> None:
    """Bring a mirror up to date again and again, and show the changes; Ctrl-C ends it.

    Args:
        target: An SQLite file, which is created if it is missing, or a PostgreSQL URL.
        every: The time from one sync to the next: a number with the unit s, m, h or d.
        since: Show the changes after this version. Default: those of the first sync, and all later ones.
        max_removals: Customers that one sync may remove. Default: 5 % of the mirror, and at least 20.
        reserve: Requests of each minute to leave to other processes behind the same address, such as a web service.
        json: Print JSON Lines: one change a line, with the customer before and after in the service's form.
        connection: How to connect to the service.
    """
    with translate_usage_errors():
        seconds = parse_duration("--every", every).total_seconds()
        if not seconds:
            raise ValueError("--every must be above 0")
        mirror = open_mirror(target)
    async with connection.client(reserve=reserve) as client, mirror:
        watching = mirror.watch(client, every=seconds, since=since, max_removals=max_removals, on_sync=_print_sync)
        async with aclosing(watching):
            async for change in watching:
                await write(format_change(change, json=json))


def open_mirror(target: str, *, must_exist: bool = False) -> Mirror:
    """Return the mirror.

    Raises:
        UsageError: The extra for PostgreSQL is missing.
        OSError: There is no such file, although it must exist.
    """
    if must_exist and "://" not in target and not Path(target).stat().st_size:
        raise UsageError(f"{target} is empty: sync makes a mirror of it")
    try:
        return Mirror.open(target)
    except ModuleNotFoundError as error:
        raise UsageError(f"{error}") from None


def summarize_sync(report: SyncReport) -> dict[str, Any]:
    """Return the figures of a report that are shown."""
    names = ("version", "added", "changed", "removed", "restored", "missed", "rejected", "suspects", "requests")
    always = ("version", "added", "changed", "removed", "requests")
    figures = {name: value for name in names if (value := getattr(report, name)) or name in always}
    return {**figures, "seconds": round(report.seconds, 3), "verdict": report.completeness.verdict}


def format_change(change: Change, *, json: bool) -> str:
    """Return a change as one line."""
    before, after = (None if side is None else customer_to_dict(side) for side in (change.before, change.after))
    if json:
        document = {"version": change.version, "kind": change.kind, "uuid": change.uuid, "before": before}
        return format_json_line({**document, "after": after, "seen_at": change.seen_at.timestamp()})
    if before is not None and after is not None:
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        fields = [f"{name}: {format_value(before.get(name))} -> {format_value(after.get(name))}" for name in names]
        return f"~ {escape(change.uuid)} {', '.join(fields)}\n"
    name = (before or after or {}).get("name") or ""
    return f"{_SIGNS[change.kind]} {escape(change.uuid)} {escape(name)}".rstrip() + "\n"


def _print_sync(report: SyncReport) -> None:
    print_message(report.describe())


async def _batches(customers: AsyncIterator[Customer]) -> AsyncIterator[list[Customer]]:
    batch: list[Customer] = []
    async for customer in customers:
        batch.append(customer)
        if len(batch) == _ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
