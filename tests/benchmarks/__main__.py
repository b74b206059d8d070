"""Measures the client beside other ways to read the service: ``python -m tests.benchmarks``. Needs the extra ``bench``.

It takes a few minutes; ``--only``, ``--parts`` and ``--rounds`` make it shorter. ``--write`` puts the figures and their
picture into the docs.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.contest import run_contest
from tests.benchmarks.contestants import BASELINE, CONTESTANTS, PAGES
from tests.benchmarks.imports import measure_imports
from tests.benchmarks.instructions import describe_instructions
from tests.benchmarks.latency import measure_listing
from tests.benchmarks.memory import measure_collected, measure_memory
from tests.benchmarks.nginx import is_installed, run_nginx
from tests.benchmarks.service import measure_capacity, run_service

DOCS = Path(__file__).parents[2] / "docs" / "explanation"


def measure_pages(arguments: argparse.Namespace) -> str:
    """Measure a page of 100 customers with every contestant."""
    names = [name for name in CONTESTANTS if name in arguments.only]
    run, name = (run_nginx, "nginx") if is_installed() else (run_service, "a process that sends prepared bytes")
    with run(pages=PAGES) as service:
        capacity = measure_capacity(service.url)
        scores = run_contest(names, service.url, turns=arguments.turns, rounds=arguments.rounds)
    if arguments.write:
        (DOCS / "speed.svg").write_text(report.draw_pages(scores), encoding="utf-8")
    return report.describe_pages(scores, name, capacity)


def measure_look_ups(arguments: argparse.Namespace) -> str:
    """Measure look-ups of single customers, one after another."""
    with run_service(pages=1) as service:
        scores = run_contest(["get_customer"], service.url, turns=arguments.turns, rounds=arguments.rounds)
    return report.describe_look_ups(scores["get_customer"])


PARTS: dict[str, Callable[[argparse.Namespace], str]] = {
    "pages": measure_pages,
    "instructions": lambda _: describe_instructions(),
    "look-ups": measure_look_ups,
    "latency": lambda arguments: report.describe_latency(measure_listing(arguments.rounds)),
    "memory": lambda _: report.describe_memory(
        measure_memory(unique=True), measure_memory(unique=False), measure_collected()
    ),
    "import": lambda arguments: report.describe_imports(*measure_imports(4 * arguments.rounds)),
}


def write(figures: str) -> None:
    """Replace the figures between the marks in the docs."""
    page = DOCS / "speed.md"
    marked = re.compile(r"(?<=% figures begin\n).*(?=% figures end\n)", re.DOTALL)
    text = marked.sub(lambda _: f"\n{figures}\n", page.read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, print each part when it is done, and write the docs if requested."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="processes for each contestant")
    parser.add_argument("--turns", type=int, default=20, help="listings in each of them")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=CONTESTANTS, help="contestants to measure")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/explanation/speed.md")
    arguments = parser.parse_args()
    if arguments.write and (arguments.only is not CONTESTANTS or arguments.parts is not PARTS):
        parser.error("--write cannot be combined with --only or --parts, because the docs show all figures")
    if missing := BASELINE.missing:
        parser.error(f"{', '.join(missing)} is not installed: pip install '.[bench]'")
    figures = [report.describe_environment(arguments.rounds, arguments.turns)]
    print(figures[0], flush=True)
    for part in PARTS:
        if part in arguments.parts:
            figures.append(PARTS[part](arguments))
            print(f"\n{figures[-1]}", flush=True)
    if arguments.write:
        write("\n\n".join(figures))


if __name__ == "__main__":
    main()
