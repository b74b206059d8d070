"""``customers-async doctor``: what stands between this machine and the first customer."""

from collections.abc import Iterable

import attrs
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from customers_async.cli.connection import Access, Flag, translate_usage_errors
from customers_async.cli.output import escape, format_json_line, is_narrow, render, write
from customers_async.doctor.examination import examine, exit_code
from customers_async.doctor.finding import Finding
from customers_async.doctor.probe import probe

__all__ = ["doctor"]

_ACCESS = Access()
_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "not checked": "dim"}


async def doctor(*, json: Flag = False, access: Access = _ACCESS) -> int:
    """Find out what stands between this machine and the first customer, with at most three requests.

    Args:
        json: Print one JSON document.
        access: How to reach the service.
    """
    with translate_usage_errors():
        network = access.make_network()
    facts = await probe(access.make_token_source(), access.base_url, network, timeout=access.timeout)
    findings = examine(facts)
    if json:
        shown = [attrs.asdict(finding, filter=lambda field, _: field.name != "code") for finding in findings]
        await write(format_json_line({"findings": shown, "requests": len(facts.requests)}))
    else:
        await write(render(_make_list(findings) if is_narrow() else _make_table(findings)))
    return exit_code(findings)


def _make_table(findings: Iterable[Finding]) -> Table:
    """Make a table of checks; each remedy is below its message."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        message = Text("\n").join(map(Text, _sentences(finding)))
        table.add_row(finding.check, Text(finding.status, style=_STYLES[finding.status]), message)
    return table


def _make_list(findings: Iterable[Finding]) -> Table:
    """Make the same for a narrow terminal: each check, and below it what was found."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(Text(f"{finding.check}: {finding.status}", style=_STYLES[finding.status]))
        for sentence in _sentences(finding):
            table.add_row(Padding(Text(sentence), (0, 0, 0, 2)))
    return table


def _sentences(finding: Finding) -> list[str]:
    remedy = [] if finding.remedy is None else [f"-> {finding.remedy}"]
    return [escape(sentence) for sentence in (finding.message, *remedy)]
