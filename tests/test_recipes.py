"""The programs in docs/recipes work, each with its own emulator."""

import ast
import asyncio
import inspect
import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiohttp.test_utils import TestClient, TestServer
from starlette.responses import JSONResponse
from starlette.testclient import TestClient as StarletteClient

from customers_async import (
    APITimeoutError,
    AuthenticationError,
    CustomerList,
    CustomerPager,
    CustomersClient,
    CustomersError,
    ServerError,
)
from customers_async.emulator import Emulator
from tests.processes import run_uvicorn
from tests.test_pytest_plugin import run_pytest

RECIPES = Path(__file__).parent.parent / "docs/recipes"
UNKNOWN = "00000000-0000-0000-0000-000000000000"

Recipe = Callable[[str], Any]


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Imports a recipe by its name."""
    monkeypatch.syspath_prepend(RECIPES)
    return import_module


def test_every_recipe_is_in_the_guides() -> None:
    """Some how-to guide includes each program."""
    pages = "".join(page.read_text(encoding="utf-8") for page in (RECIPES.parent / "howto").glob("*.md"))
    programs = {path.name for path in RECIPES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert {name for name in programs if f"../recipes/{name}" not in pages} == set()


def test_fastapi_service_is_short() -> None:
    """A service with readiness and a rule for errors fits on a screen: below 60 lines."""
    assert len((RECIPES / "fastapi_app.py").read_text(encoding="utf-8").splitlines()) < 60


def test_tests_of_fastapi_service_pass(tmp_path: Path) -> None:
    """A copy of the service and its tests works: 404, 422, 503 with Retry-After, and a replaced client."""
    for name in ("fastapi_app.py", "test_fastapi_app.py"):
        shutil.copy(RECIPES / name, tmp_path)
    outcomes, printed = run_pytest(tmp_path, "-p", "no:asyncio")
    assert outcomes
    assert set(outcomes.values()) == {"PASSED"}, printed


async def load(url: str, uuids: list[str]) -> list[tuple[int, str]]:
    """Request each customer, 32 at a time; return the status and uuid of each response."""
    queue = iter(uuids)
    received: list[tuple[int, str]] = []

    async def work(session: aiohttp.ClientSession) -> None:
        for uuid in queue:
            async with session.get(f"{url}/customers/{uuid}") as response:
                received.append((response.status, (await response.json())["uuid"]))

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        for _ in range(32):
            tasks.create_task(work(session))
    return received


@pytest.mark.slow
def test_fastapi_under_uvicorn_serves_two_thousand_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers serve 2,000 requests, and the customers service receives each once."""

    async def main() -> None:
        async with Emulator(customers=2_000, limit=100_000) as emulator:
            monkeypatch.setenv("CUSTOMERS_BASE_URL", emulator.url)
            monkeypatch.setenv("CUSTOMERS_TOKEN", emulator.token)
            uuids = list(emulator.uuids())
            with run_uvicorn("fastapi_app:app", workers=2, folder=RECIPES) as url:
                received = await load(url, uuids)
            assert sorted(received) == sorted((200, uuid) for uuid in uuids)
            assert emulator.stats.statuses == {200: 2_000}

    # Other processes are involved, so time must be real; asyncio's debug mode would double it.
    with asyncio.Runner(debug=False, loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())


@pytest.mark.parametrize("limit", [1, None])
async def test_uvicorn_that_stops_closes_the_client(
    recipe: Recipe, customers_emulator: Emulator, limit: int | None
) -> None:
    """It waits for a request in progress, or cancels it after ``--timeout-graceful-shutdown``; then nothing is left."""
    customers_emulator.fail_next("stall", times=None)
    app, clock = recipe("fastapi_app").app, asyncio.get_running_loop().time
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=limit))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    async with aiohttp.ClientSession() as session:
        request = asyncio.create_task(session.get(f"{url}/customers/{UNKNOWN}"))
        while not customers_emulator.stats.in_flight:  # noqa: ASYNC110  # nor has the emulator
            await asyncio.sleep(0.01)
        server.should_exit = True
        stopping = clock()
        await serving
        if limit is None:  # two attempts of 5 s each
            assert (await request).status == 504
            assert clock() - stopping > 9
        else:
            assert clock() - stopping < 3
            with pytest.raises(aiohttp.ClientError):
                (await request).raise_for_status()
    await asyncio.sleep(1)
    assert customers_emulator.stats.in_flight == 0


@pytest.mark.customers_emulator(limit=3)
def test_starlette_service(recipe: Recipe, customers_emulator: Emulator) -> None:
    """200, 404, 422, 502, and 429 with Retry-After."""
    uuid = next(customers_emulator.uuids())
    with StarletteClient(recipe("starlette_app").app) as http:
        assert http.get(f"/customers/{uuid}").json() == {"uuid": uuid, "name": "John Doe"}
        assert http.get(f"/customers/{UNKNOWN}").status_code == 404
        assert http.get("/customers/1234").status_code == 422
        customers_emulator.fail_next("html")
        assert http.get(f"/customers/{uuid}").status_code == 502
        busy = http.get(f"/customers/{uuid}")
        assert (busy.status_code, busy.json()) == (429, {"detail": "RateLimitError"})
        assert 50 <= int(busy.headers["Retry-After"]) <= 61


@pytest.mark.customers_emulator(limit=3)
async def test_aiohttp_service(recipe: Recipe, customers_emulator: Emulator) -> None:
    """The same, in the test's event loop."""
    uuid = next(customers_emulator.uuids())
    async with TestClient(TestServer(recipe("aiohttp_app").make_app())) as http:
        async with http.get(f"/customers/{uuid}") as response:
            assert await response.json() == {"uuid": uuid, "name": "John Doe"}
        for path, status in ((UNKNOWN, 404), ("1234", 422)):
            async with http.get(f"/customers/{path}") as response:
                assert response.status == status
        customers_emulator.fail_next("html")
        async with http.get(f"/customers/{uuid}") as response:
            assert response.status == 502
        async with http.get(f"/customers/{uuid}") as busy:
            assert (busy.status, await busy.json()) == (429, {"detail": "RateLimitError"})
            assert 50 <= int(busy.headers["Retry-After"]) <= 61


async def test_web_services_agree_on_the_status(recipe: Recipe, customers_emulator: Emulator) -> None:
    """Each passes on what the errors say."""
    starlette, aiohttp_app, fastapi_app = recipe("starlette_app"), recipe("aiohttp_app"), recipe("fastapi_app")
    errors = (ServerError("x", status=500), AuthenticationError("x", status=401), APITimeoutError("x"))
    for error, status in zip(errors, (503, 502, 504), strict=True):
        for recipe_ in (starlette, fastapi_app):
            assert (await recipe_.failed(None, error)).status_code == status
    async with TestClient(TestServer(aiohttp_app.make_app())) as http:
        for fault, expected in (("reset", 503), (401, 502)):
            customers_emulator.fail_next(fault, times=None)
            async with http.get(f"/customers/{next(customers_emulator.uuids())}") as response:
                assert response.status == expected
                assert ("Retry-After" in response.headers) is (expected == 503)
            customers_emulator.recover()


def test_requests_have_ids_deadlines_and_json_logs(recipe: Recipe, caplog: pytest.LogCaptureFixture) -> None:
    """A given id is passed on if it is harmless; a request that takes too long ends in 504."""
    operations = recipe("operations")
    logger, formatter = logging.getLogger("service"), operations.JsonFormatter()
    lines = []

    async def respond(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await asyncio.sleep(60)
        logger.error("Žinutė", exc_info=ServerError("down", status=500))
        lines.append(formatter.format(caplog.records[-1]))
        await JSONResponse({})(scope, receive, send)

    http = StarletteClient(operations.operate(respond, deadline=0.05))
    for given, kept in (("abc-1", True), ("x" * 65, False), ("a b", False)):
        response = http.get("/", headers={"X-Request-Id": given})
        assert (response.headers["X-Request-Id"] == given) is kept
        entry = json.loads(lines[-1])
        assert entry["correlation_id"] == response.headers["X-Request-Id"]
        assert (entry["message"], entry["error"]) == ("Žinutė", "ServerError")
    response = http.get("/slow")
    assert (response.status_code, len(response.headers["X-Request-Id"])) == (504, 36)


async def test_refresher(
    recipe: Recipe, customers_emulator: Emulator, customers_client: CustomersClient, caplog: pytest.LogCaptureFixture
) -> None:
    """It reads the list again in time, keeps the old list if the service is down, and leaves no task behind."""
    async with recipe("refresher").fresh_snapshot(customers_client, seconds=60) as snapshot:
        assert len(snapshot.customers) == 250
        customers_emulator.insert(5)
        await asyncio.sleep(70)
        assert len(snapshot.customers) == 255
        customers_emulator.delete(55)
        customers_emulator.fail_next(503, times=None)
        await asyncio.sleep(70)
        assert len(snapshot.customers) == 255
        assert "The customers were not refreshed: ServerError" in caplog.text
        customers_emulator.recover()
        await asyncio.sleep(70)
        assert len(snapshot.customers) == 200


def run_script(name: str, *arguments: str) -> str:
    """Run a recipe in another process; return what it prints."""
    command = [sys.executable, "-W", "error", str(RECIPES / name), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603  # ours


def test_workers_read_each_page_once(customers_emulator: Emulator) -> None:
    """Two processes, three pages, one request for the total."""
    assert re.fullmatch(r"250 customers in \d+ countries\n", run_script("several_workers.py"))
    assert customers_emulator.stats.statuses == {200: 1 + 3}


async def test_hundreds_of_accounts_share_connections_and_rate_limit(recipe: Recipe, monkeypatch: Any) -> None:
    """No 429, 40 connections at most, and small accounts do not wait for large ones; a revoked token is alone."""
    sizes = {f"token-of-account-{number}": 3_000 if number < 5 else 60 + number % 90 for number in range(300)}
    ended: dict[str, float] = {}
    clock = asyncio.get_running_loop().time
    async with Emulator(tokens=sizes, latency=0.02) as emulator:
        monkeypatch.setenv("CUSTOMERS_BASE_URL", emulator.url)
        emulator.revoke("token-of-account-7")
        module = recipe("many_tokens")
        collect = CustomerPager.collect

        async def note_the_end(pager: CustomerPager) -> CustomerList:
            customers = await collect(pager)
            ended[f"{len(ended)}"] = clock()
            return customers

        monkeypatch.setattr(CustomerPager, "collect", note_the_end)
        started = clock()
        results = await module.read_all({name: name for name in sizes})
        whole = clock() - started
        assert emulator.stats.rejected == 0
        assert emulator.stats.peak_in_flight <= module.CONNECTIONS
    failed = {name for name, result in results.items() if isinstance(result, CustomersError)}
    assert failed == {"token-of-account-7"}
    assert all(len(result) == sizes[name] for name, result in results.items() if name not in failed)
    assert sorted(ended.values())[len(ended) // 2] - started <= whole / 10


def test_script_without_async(recipe: Recipe, customers_emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the customers named, or the first three."""
    main, uuids = recipe("sync_script").main, list(customers_emulator.uuids(0, 3))
    main([uuids[0], UNKNOWN])
    assert capsys.readouterr().out == f"{uuids[0]} John Doe\n{UNKNOWN} is unknown\n"
    main([])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == uuids


async def test_notebook_runs_from_top_to_bottom(customers_emulator: Emulator) -> None:
    """Its cells, with ``await`` at the top level as Jupyter allows it."""
    notebook = json.loads((RECIPES / "notebook.ipynb").read_text(encoding="utf-8"))
    namespace: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            code = compile("".join(cell["source"]), cell["id"], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, namespace)  # noqa: S307  # our own notebook
            if inspect.iscoroutine(result):
                await result
    assert len(namespace["customers"]) == 250
    assert customers_emulator.stats.statuses == {200: 1 + 3}
