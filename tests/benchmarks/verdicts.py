"""How often a verdict is right: ``python -m tests.benchmarks.verdicts`` prints a table.

Lists of 390 customers are read 10 a page, 20 requests a minute, so that each listing spans two rate-limit windows. The
list begins with the oldest; meanwhile customers join at its end and leave anywhere.
"""

import sys

import attrs

from customers_async import Verdict
from tests.drifting import Drift, Reading, read

__all__ = ["main"]

LISTINGS = 150


@attrs.frozen
class Scenario:
    """A kind of drift, and how often the reader leaves for an hour."""

    name: str
    drift: Drift
    stops: int = 0


SCENARIOS = (
    Scenario("nothing changes", Drift()),
    Scenario("5 customers a minute join", Drift(5 / 60, 0)),
    Scenario("1 a minute joins, 1 leaves", Drift(1 / 60, 1 / 60)),
    Scenario("5 a minute join, 5 leave", Drift(5 / 60, 5 / 60)),
    Scenario("resumed after an hour in which 10 joined and 10 left", Drift(10 / 3600, 10 / 3600), stops=1),
    Scenario("1 a minute joins with an old created_at, 1 leaves", Drift(1 / 60, 1 / 60, honest=False)),
)


def row(scenario: Scenario, listings: int = LISTINGS) -> str:
    """One line of the table."""

    def readings(*, rereads: bool) -> list[Reading]:
        return [read(390, scenario.drift, seed, rereads=rereads, stops=scenario.stops) for seed in range(listings)]

    before = [reading for reading in readings(rereads=False) if reading.balanced]
    now = readings(rereads=True)
    complete = [reading for reading in now if reading.completeness.verdict is Verdict.COMPLETE]
    cells = [scenario.name, *map(count, (before, complete)), f"{sum(reading.missed > 0 for reading in now)}"]
    return f"| {' | '.join(cells)} |"


def count(readings: list[Reading]) -> str:
    """How many listings, and how many of them missed a customer."""
    return f"{len(readings)}, wrong: {sum(reading.missed > 0 for reading in readings)}"


def main(listings: int = LISTINGS) -> None:
    """Print the table."""
    print(f"| of {listings} listings | equal totals and as many customers | COMPLETE | missed a customer |")
    print("|---|---|---|---|")
    for scenario in SCENARIOS:
        print(row(scenario, listings))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
