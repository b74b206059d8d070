"""Counts instructions: ``python -m tests.benchmarks.instructions``, where valgrind is installed.

They hardly depend on other load. Client and service run in one process without sockets, as in `guard`, and the kernel
does not count. Each figure is the difference between a long and a short run, divided by the pages.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping

import attrs
import msgspec
from orjson import loads

from customers_async import Customer
from customers_async.converter import decode_customers
from tests.benchmarks import guard
from tests.benchmarks.contestants import client, read_bodies
from tests.benchmarks.service import Responses

__all__ = ["COUNTED", "count_instructions", "describe_instructions", "is_installed"]

KINDS = (
    *("baseline, 1 in flight", "pages, 1 in flight"),
    *("baseline, 8 in flight", "pages, 8 in flight", "customers, 8 in flight"),
)
PARTS_IN_FLIGHT = "8 in flight"
BYTES, CALLS, PAGES = (f"{what}, {PARTS_IN_FLIGHT}" for what in ("bytes", "calls", "pages"))
_Struct = msgspec.defstruct("_Struct", [(field.name, field.type, None) for field in attrs.fields(Customer)])
DECODERS: dict[str, Callable[[bytes], object]] = {
    "orjson": loads,
    "msgspec, attrs": msgspec.json.Decoder(list[Customer], strict=False).decode,
    "msgspec, structs": msgspec.json.Decoder(list[_Struct], strict=False).decode,  # type: ignore[valid-type]  # made above
    "decoding": lambda body: decode_customers(body, page=1),
}
COUNTED = (*KINDS, BYTES, CALLS, *DECODERS)
"""What `main` does, and valgrind counts."""
SHORT, LONG = 2, 7
"""Listings in the two runs."""


def is_installed() -> bool:
    """Whether instructions can be counted here."""
    return shutil.which("valgrind") is not None


def count_instructions(kind: str) -> int:
    """Return the instructions for a page of 100 customers."""
    short, long = (_run(kind, listings) for listings in (SHORT, LONG))
    return (long - short) // ((LONG - SHORT) * guard.PAGES)


def _run(kind: str, listings: int) -> int:
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    command += [sys.executable, "-m", __spec__.name, kind, str(listings)]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603  # a fixed command
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1].replace(",", ""))


async def _read(kind: str, listings: int) -> None:
    what, _, in_flight = kind.removesuffix(" in flight").partition(", ")
    async with guard.make_session() as session, client(guard.URL, session) as whole:
        customers = whole.with_options(concurrency=int(in_flight))

        async def read_bytes() -> int:
            return len([None async for _ in read_bodies(session, guard.URL, guard.PAGES, in_flight=int(in_flight))])

        async def read_by_hand() -> int:
            bodies = read_bodies(session, guard.URL, guard.PAGES, in_flight=int(in_flight))
            return sum([len(loads(body)) async for body in bodies])

        async def get_pages() -> int:
            numbers = iter(range(1, guard.PAGES + 1))

            async def work() -> int:
                return sum([len((await customers.get_page(number)).customers) for number in numbers])

            return sum(await asyncio.gather(*(work() for _ in range(int(in_flight)))))

        async def read_pages() -> int:
            return sum([len(page.customers) async for page in customers.list_customers().pages()])

        async def read_customers() -> int:
            count = 0
            async for _ in customers.list_customers():
                count += 1
            return count

        readers: dict[str, Callable[[], Awaitable[int]]] = {
            "bytes": read_bytes,
            "baseline": read_by_hand,
            "calls": get_pages,
            "pages": read_pages,
            "customers": read_customers,
        }
        for _ in range(listings):
            await readers[what]()


def _decode(kind: str, listings: int) -> None:
    decode, body = DECODERS[kind], Responses(guard.PAGES).make_body(1)
    for _ in range(listings * guard.PAGES):
        decode(body)


def describe_instructions() -> str:
    """Return two tables, or a sentence if valgrind is missing."""
    if not is_installed():
        return "Instructions were not counted: valgrind is not installed."
    counts = {kind: count_instructions(kind) for kind in KINDS}
    lines = ["| a page of 100 customers, in process | thousand instructions | times the baseline |", "|---|--:|--:|"]
    for kind, count in counts.items():
        baseline = counts[f"baseline, {kind.partition(', ')[2]}"]
        lines.append(f"| {kind} | {count / 1000:,.0f} | {count / baseline:.2f} |")
    lines += ["", f"| a part of such a page, {PARTS_IN_FLIGHT} | thousand instructions |", "|---|--:|"]
    lines += [f"| {part} | {count / 1000:,.0f} |" for part, count in _count_parts(counts).items()]
    return "\n".join(lines)


def _count_parts(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the instructions of each part, as differences of runs that have it and runs that do not."""
    received, called = map(count_instructions, (BYTES, CALLS))
    decoded = {kind: count_instructions(kind) for kind in DECODERS}
    return {
        "aiohttp": received,
        "decoding: msgspec, into attrs objects": decoded["msgspec, attrs"],
        "decoding: the checks": decoded["decoding"] - decoded["msgspec, attrs"],
        "token, rate limit, retries and timeouts": called - received - decoded["decoding"],
        "the listing and its verdict": counts[PAGES] - called,
        "for comparison: msgspec, into its own structs": decoded["msgspec, structs"],
        "for comparison: `orjson`, into dicts": decoded["orjson"],
    }


def main(kind: str, listings: int) -> None:
    """Do what is counted."""
    if kind in DECODERS:
        _decode(kind, listings)
        return
    with asyncio.Runner(loop_factory=guard.InProcessLoop) as runner:
        runner.run(_read(kind, listings))


if __name__ == "__main__":
    if sys.argv[1:]:
        main(sys.argv[1], int(sys.argv[2]))
    else:
        print(describe_instructions())
