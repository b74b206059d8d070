"""Checks an installed wheel without extras: it works, and names the extra that a feature needs. Run by .ci/run."""

import asyncio
import subprocess
import sys
from importlib import import_module

import customers_async
from customers_async import APIResponseError, CustomersClient, RecordError
from customers_async.emulator import Emulator


async def use_client() -> None:
    async with Emulator(customers=250) as emulator, CustomersClient(emulator.token, base_url=emulator.url) as client:
        pager = client.list_customers()
        names = [customer.name async for customer in pager]
        pager.completeness.raise_if_incomplete()
        assert len(names) == 250
        emulator.fail_next("bad_json")
        emulator.touch(0, name=5)
        for expected in (APIResponseError, RecordError):
            try:
                await client.get_page(1)
            except expected:
                continue
            raise AssertionError(f"no {expected.__name__}")


def main(command: str) -> None:
    assert "site-packages" in customers_async.__file__, "the source tree is imported, not the wheel"
    asyncio.run(use_client())
    hint = subprocess.run([command, "count"], capture_output=True, text=True, check=False)  # noqa: S603  # our own
    assert hint.returncode == 1, hint
    assert "customers-async[cli]" in hint.stderr, hint
    assert "Traceback" not in hint.stderr, hint
    for module, extra in (("telemetry", "otel"), ("prometheus", "prometheus")):
        try:
            import_module(f"customers_async.{module}")
        except ModuleNotFoundError as error:
            assert f"customers-async[{extra}]" in str(error), error
        else:
            raise AssertionError(f"the extra {extra} is installed")
    print("the wheel works:", customers_async.__version__)  # noqa: T201  # a script


if __name__ == "__main__":
    main(sys.argv[1])
