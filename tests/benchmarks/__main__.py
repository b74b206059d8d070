"""What the client costs, beside its peers: ``python -m tests.benchmarks``. Needs the extra ``bench``.

It takes a few minutes; ``--only``, ``--parts`` and ``--rounds`` make it shorter. ``--write`` puts the figures and their
picture into the docs.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.contest import hold
from tests.benchmarks.contestants import CONTESTANTS, FLOOR, PAGES
from tests.benchmarks.imports import import_costs
from tests.benchmarks.latency import walk_far
from tests.benchmarks.memory import grow
from tests.benchmarks.service import pages_a_second, serving

DOCS = Path(__file__).parents[2] / "docs" / "explanation"


def measure_pages(arguments: argparse.Namespace) -> str:
    """A page of 100 customers, by everybody."""
    names = [name for name in CONTESTANTS if name in arguments.only]
    with serving(pages=PAGES) as service:
        capacity = pages_a_second(service)
        spent, given = service.usage()
        scores = hold(names, service, turns=arguments.turns, rounds=arguments.rounds)
        spent_now, given_now = service.usage()
    if arguments.write:
        (DOCS / "speed.svg").write_text(report.picture(scores), encoding="utf-8")
    return report.of_pages(scores, (spent_now - spent) / (given_now - given), capacity)


def measure_look_ups(arguments: argparse.Namespace) -> str:
    """One customer after another."""
    with serving(pages=1) as service:
        scores = hold(["get_customer"], service, turns=arguments.turns, rounds=arguments.rounds)
    return report.of_look_ups(scores["get_customer"])


PARTS: dict[str, Callable[[argparse.Namespace], str]] = {
    "pages": measure_pages,
    "look-ups": measure_look_ups,
    "latency": lambda arguments: report.of_latency(walk_far(arguments.rounds)),
    "memory": lambda _: report.of_memory(grow(unique=True), grow(unique=False)),
    "import": lambda arguments: report.of_imports(*import_costs(4 * arguments.rounds)),
}


def write(figures: str) -> None:
    """Put the figures between their marks in the docs."""
    page = DOCS / "speed.md"
    marked = re.compile(r"(?<=% figures begin\n).*(?=% figures end\n)", re.DOTALL)
    text = marked.sub(lambda _: f"\n{figures}\n", page.read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, print each part as it is done, and write if asked to."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="processes that each contestant runs in")
    parser.add_argument("--turns", type=int, default=20, help="walks of the list in each of them")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=CONTESTANTS, help="who is measured")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/explanation/speed.md")
    arguments = parser.parse_args()
    if arguments.write and (arguments.only is not CONTESTANTS or arguments.parts is not PARTS):
        parser.error("the docs show everything: --write goes with neither --only nor --parts")
    if missing := FLOOR.missing:
        parser.error(f"{', '.join(missing)} is not installed: pip install '.[bench]'")
    figures = [report.of_surroundings(arguments.rounds, arguments.turns)]
    print(figures[0], flush=True)
    for part in PARTS:
        if part in arguments.parts:
            figures.append(PARTS[part](arguments))
            print(f"\n{figures[-1]}", flush=True)
    if arguments.write:
        write("\n\n".join(figures))


if __name__ == "__main__":
    main()
