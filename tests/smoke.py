"""Run by .ci/run against the built wheel, installed without extras: does it work, and does it say what is missing?"""

import asyncio
import subprocess
import sys
from importlib import import_module

import customers_async
from customers_async import APIResponseError, CustomersClient
from customers_async.converter import decode_customers
from customers_async.emulator import Emulator


async def walk() -> None:
    async with Emulator(customers=250) as emulator, CustomersClient(emulator.token, base_url=emulator.url) as client:
        pager = client.list_customers()
        names = [customer.name async for customer in pager]
        pager.completeness.raise_if_incomplete()
        assert len(names) == 250


def main(command: str) -> None:
    assert "site-packages" in customers_async.__file__, "the source is not hidden"
    asyncio.run(walk())
    assert all(isinstance(decode_customers(body, page=1), APIResponseError) for body in (b"<html>", b"[{}]"))
    hint = subprocess.run([command, "count"], capture_output=True, text=True, check=False)  # noqa: S603  # our own
    assert hint.returncode == 1, hint
    assert "customers-async[cli]" in hint.stderr, hint
    assert "Traceback" not in hint.stderr, hint
    try:
        import_module("customers_async.telemetry")
    except ModuleNotFoundError as error:
        assert "customers-async[otel]" in str(error), error
    else:
        raise AssertionError("the extra is there")
    print("the wheel works:", customers_async.__version__)  # noqa: T201  # a script


if __name__ == "__main__":
    main(sys.argv[1])
