"""The emulator keeps to its own description, whatever is sent to it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, settings

import customers_async.emulator
from customers_async.emulator import Emulator
from tests.test_emulator import AUTH, CUSTOMERS, DOCUMENTED, Caller, serving

DESCRIPTION: dict[str, Any] = yaml.safe_load(
    Path(customers_async.emulator.__file__).with_name("openapi.yaml").read_text(encoding="utf-8")
)
schema = schemathesis.openapi.from_dict(DESCRIPTION)
schema.config.generation.update(allow_extra_parameters=False)  # Laravel ignores parameters it does not know.


@contextmanager
def in_a_thread(emulator: Emulator) -> Iterator[Emulator]:
    """The emulator running on a loop of its own, for clients that block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(emulator.start(), loop).result()
        yield emulator
        asyncio.run_coroutine_threadsafe(emulator.close(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module", params=["a", "b"])
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """One for each edition of the headers."""
    with in_a_thread(Emulator(120, limit=10**9, edition=request.param)) as running:
        yield running


@schema.parametrize()
@settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
def test_nothing_contradicts_the_description(case: schemathesis.Case[Any], emulator: Emulator) -> None:
    """No request, sound or not, gets an answer that the description does not foresee."""
    case.call_and_validate(base_url=emulator.url, headers={"Authorization": f"Bearer {emulator.token}"})


def errors_of(definition: str, value: Any) -> list[str]:
    """What is wrong with a value, by a definition of the description."""
    document = {"$ref": f"#/components/schemas/{definition}", "components": DESCRIPTION["components"]}
    return [error.message for error in jsonschema.Draft202012Validator(document).iter_errors(value)]


async def test_a_thousand_customers_fit_the_description() -> None:
    """Each page, each record and the owner are as described."""
    async with serving(1000) as (_, caller):
        for page in range(1, 11):
            assert errors_of("CustomerPage", (await caller.page(page, per_page=100)).json) == []
        assert errors_of("Customer", (await caller.get(DOCUMENTED)).json) == []
        assert errors_of("Profile", (await caller.get(AUTH)).json) == []


async def test_every_error_fits_the_description() -> None:
    """Whatever goes wrong, the envelope is as described."""

    async def check(caller: Caller, path: str, status: int, **options: Any) -> None:
        answer = await caller.get(path, **options)
        assert (answer.status, errors_of("Error", answer.json)) == (status, [])

    async with serving(limit=5) as (emulator, caller):
        await check(caller, AUTH, 401, headers={"Authorization": ""})
        await check(caller, CUSTOMERS + "?page=0", 422)
        await check(caller, CUSTOMERS + "/nobody", 404)
        emulator.fail_next(500)
        await check(caller, AUTH, 500)
        emulator.whitelisted = False
        await check(caller, AUTH, 403)
        await check(caller, AUTH, 429)
        await check(caller, "/nowhere", 404)
        await check(caller, AUTH, 405, method="DELETE")
