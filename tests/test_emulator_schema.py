"""The emulator's responses match its OpenAPI description."""

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
from tests.test_emulator import AUTH, CUSTOMERS, DOCUMENTED, Caller, run_emulator

DESCRIPTION: dict[str, Any] = yaml.safe_load(
    Path(customers_async.emulator.__file__).with_name("openapi.yaml").read_text(encoding="utf-8")
)
schema = schemathesis.openapi.from_dict(DESCRIPTION)
schema.config.generation.update(allow_extra_parameters=False)  # Laravel ignores unknown parameters.


@contextmanager
def run_in_thread(emulator: Emulator) -> Iterator[Emulator]:
    """Run the emulator in an event loop of its own, for blocking clients."""
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
    """An emulator for each edition of the headers."""
    with run_in_thread(Emulator(120, limit=10**9, edition=request.param)) as running:
        yield running


@schema.parametrize()
@settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
def test_responses_match_the_description(case: schemathesis.Case[Any], emulator: Emulator) -> None:
    """Every request, valid or not, gets a response that the description allows."""
    case.call_and_validate(base_url=emulator.url, headers={"Authorization": f"Bearer {emulator.token}"})


def find_errors(definition: str, value: Any) -> list[str]:
    """Validate a value against a schema of the description; return the errors."""
    document = {"$ref": f"#/components/schemas/{definition}", "components": DESCRIPTION["components"]}
    return [error.message for error in jsonschema.Draft202012Validator(document).iter_errors(value)]


async def test_thousand_customers_match_the_description() -> None:
    """Each page, each record and the owner match their schemas."""
    async with run_emulator(1000) as (_, caller):
        for page in range(1, 11):
            assert find_errors("CustomerPage", (await caller.page(page, per_page=100)).json) == []
        assert find_errors("Customer", (await caller.get(DOCUMENTED)).json) == []
        assert find_errors("Profile", (await caller.get(AUTH)).json) == []


async def test_errors_match_the_description() -> None:
    """Every error body matches its schema."""

    async def check(caller: Caller, path: str, status: int, **options: Any) -> None:
        response = await caller.get(path, **options)
        assert (response.status, find_errors("Error", response.json)) == (status, [])

    async with run_emulator(limit=5) as (emulator, caller):
        await check(caller, AUTH, 401, headers={"Authorization": ""})
        await check(caller, CUSTOMERS + "?page=0", 422)
        await check(caller, CUSTOMERS + "/unknown", 404)
        emulator.fail_next(500)
        await check(caller, AUTH, 500)
        emulator.whitelisted = False
        await check(caller, AUTH, 403)
        await check(caller, AUTH, 429)
        await check(caller, "/unknown", 404)
        await check(caller, AUTH, 405, method="DELETE")
