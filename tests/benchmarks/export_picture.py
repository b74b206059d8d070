"""Draws an export on a terminal: ``python -m tests.benchmarks.export_picture`` writes the picture into the docs.

The run is real, against the emulator at the service's rate limit, on virtual time; the picture has its live line at
three moments.
"""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
from rich.console import Console

from customers_async import CustomersClient
from customers_async.cli.export import summarize_report
from customers_async.cli.output import make_fields_table
from customers_async.cli.progress import Status
from customers_async.emulator import Emulator
from customers_async.export import ExportProgress, ExportReport, export_customers
from customers_async.testing import VirtualTimeLoop

TARGET = Path(__file__).parents[2] / "docs" / "howto" / "export.svg"
CUSTOMERS = 60_000


async def run(directory: str) -> tuple[list[str], ExportReport]:
    """Return the live line during the first window, the wait for the second, and the second; and the report."""
    lines: list[str] = []
    async with (
        Emulator(customers=CUSTOMERS, latency=0.04) as emulator,
        CustomersClient(emulator.token, base_url=emulator.url) as client,
    ):
        status = Status(client, asyncio.get_running_loop().time)

        def on_progress(progress: ExportProgress) -> None:
            status.update(progress)
            if progress.stage == "walk" and progress.pages in (250, 500, 560):
                lines.append(f"{status}")

        report = await export_customers(client, Path(directory, "customers.parquet"), progress=on_progress)
    return lines, attrs.evolve(report, path="customers.parquet")


def draw(lines: list[str], report: ExportReport) -> str:
    """Return the terminal as SVG."""
    with Path("/dev/null").open("w") as null:
        console = Console(record=True, width=88, file=null, force_terminal=True)
        console.print("[bold]$ customers-async export customers.parquet")
        for line, bar in zip(lines, ("━━━╺━━━━", "━━━━━━╺━", "━━━━━━━╺"), strict=False):
            console.print(f"[magenta]{bar}[/magenta] {line}", highlight=False)
        console.print(make_fields_table(summarize_report(report)))
        return console.export_svg(title="customers-async")


def main() -> None:
    """Write the picture."""
    with TemporaryDirectory() as directory, asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        TARGET.write_text(draw(*runner.run(run(directory))), encoding="utf-8")


if __name__ == "__main__":
    main()
