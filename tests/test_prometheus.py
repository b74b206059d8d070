"""Metrics for Prometheus."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from customers_async import CustomersClient, CustomersError, prometheus
from customers_async.emulator import Emulator
from tests.processes import run_uvicorn

UNKNOWN = "00000000-0000-0000-0000-000000000000"
LIST = "/api/v1/customers"


def read_samples(text: str) -> dict[tuple[str, ...], float]:
    """The samples by name and label values, in the order of the labels' names, without buckets, sums and times."""
    return {
        (sample.name.removeprefix("customers_"), *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created", "_sum"))
    }


def samples(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    return read_samples(generate_latest(registry).decode())


async def test_calls_requests_retries_and_listings_are_counted(client: CustomersClient, emulator: Emulator) -> None:
    """Each by its route, with the status or the error."""
    registry = CollectorRegistry()
    counted = client.with_options(on_event=prometheus.listener(registry))
    emulator.fail_next(503)
    await counted.count_customers()
    with pytest.raises(CustomersError):
        await counted.get_customer(UNKNOWN)
    async for _ in counted.list_customers():
        pass
    found = samples(registry)
    assert found["calls_total", "", LIST] == 4
    assert found["calls_total", "NotFoundError", f"{LIST}/{{uuid}}"] == 1
    assert found["request_duration_seconds_count", LIST, "503"] == 1
    assert found["request_duration_seconds_count", LIST, "200"] == 4
    assert found["retries_total", "ServerError", LIST] == 1
    assert found["listings_total", "COMPLETE"] == 1
    assert found["calls_in_progress",] == 0


async def test_waits_for_the_rate_limit_are_measured(client: CustomersClient, emulator: Emulator) -> None:
    """The seconds that calls waited, by route."""
    registry = CollectorRegistry()
    emulator.rate_limit(1)
    counted = client.with_options(on_event=prometheus.listener(registry))
    await counted.count_customers()
    await counted.count_customers()
    found = {sample.name: sample.value for family in registry.collect() for sample in family.samples}
    assert 55 < found["customers_rate_limit_wait_seconds_sum"] < 65


async def test_clients_share_the_metrics_of_a_registry(client: CustomersClient) -> None:
    """A second listener adds to the same metrics; those of another registry stay apart."""
    shared, other = CollectorRegistry(), CollectorRegistry()
    for registry in (shared, shared, other):
        await client.with_options(on_event=prometheus.listener(registry)).count_customers()
    assert samples(shared)["calls_total", "", LIST] == 2
    assert samples(other)["calls_total", "", LIST] == 1


@pytest.mark.parametrize("registry", ["default", 5, object(), CollectorRegistry])
def test_only_a_registry_is_accepted(registry: Any) -> None:
    """Anything else is refused before a client uses it."""
    with pytest.raises(TypeError, match="registry must be a CollectorRegistry, not "):
        prometheus.listener(registry)


def test_metrics_of_others_are_not_taken() -> None:
    """A registry that has a metric of the same name is refused, as prometheus-client does."""
    registry = CollectorRegistry()
    Counter("customers_retries", "Another metric.", registry=registry)
    with pytest.raises(ValueError, match="customers_retries"):
        prometheus.listener(registry)


async def test_nothing_secret_is_exported(client: CustomersClient, emulator: Emulator) -> None:
    """Neither the token nor a uuid, whatever fails."""
    registry = CollectorRegistry()
    counted = client.with_options(on_event=prometheus.listener(registry))
    for fault in (None, "html", 500, 401, 429):
        if fault is not None:
            emulator.fail_next(fault, times=None)
        with pytest.raises(CustomersError):
            await counted.with_options(max_rate_limit_wait=0).get_customer(UNKNOWN)
        emulator.recover()
    exported = generate_latest(registry).decode()
    assert not [secret for secret in (emulator.token, "00000000-0000") if secret in exported]


@pytest.mark.slow
def test_four_workers_add_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``/metrics`` of any worker shows the calls of all."""
    (tmp_path / "service.py").write_text(SERVICE)
    (tmp_path / "metrics").mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "metrics"))

    async def main() -> dict[tuple[str, ...], float]:
        async with Emulator(customers=10, limit=100_000) as emulator, aiohttp.ClientSession() as http:
            monkeypatch.setenv("CUSTOMERS_BASE_URL", emulator.url)
            monkeypatch.setenv("CUSTOMERS_TOKEN", emulator.token)
            with run_uvicorn("service:app", workers=4, folder=tmp_path) as url:
                for _ in range(100):  # each on a connection of its own, so that all workers get some
                    async with http.get(f"{url}/count", headers={"Connection": "close"}) as response:
                        assert await response.json() == 10
                async with http.get(f"{url}/metrics") as response:
                    return read_samples(await response.text())

    with asyncio.Runner(debug=False, loop_factory=asyncio.SelectorEventLoop) as runner:
        found = runner.run(main())
    assert found["calls_total", "", LIST] == 100
    assert found["request_duration_seconds_count", LIST, "200"] == 100
    assert found["calls_in_progress",] == 0


def test_calls_of_a_killed_worker_can_be_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As gunicorn's ``child_exit`` does. Workers that are forked after the listener was made count from 0."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    run = subprocess.run([sys.executable, "-c", WORKERS], capture_output=True, text=True, check=True)  # noqa: S603  # ours
    before, after = (read_samples(text) for text in run.stdout.split("---\n"))
    assert before["calls_in_progress",] == 2
    assert after["calls_in_progress",] == 1
    assert before["calls_total", "", LIST] == after["calls_total", "", LIST] == 3


WORKERS = f"""
import os
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from customers_async import CallFinished, CallStarted, prometheus

def call():
    listener(CallStarted(1, "{LIST}", "http://localhost{LIST}"))

def finish():
    listener(CallFinished(1, "{LIST}", 0.1, None))

def show():
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry).decode()

listener = prometheus.listener()
call()
workers = []
for ending in (finish, lambda: None):
    workers.append(os.fork())
    if not workers[-1]:
        call()
        finish()
        call()
        ending()
        os._exit(0)
    os.waitpid(workers[-1], 0)
print(show(), end="---\\n")
multiprocess.mark_process_dead(workers[-1])
print(show(), end="")
"""


SERVICE = """
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry, generate_latest, multiprocess

from customers_async import CustomersClient, prometheus


@asynccontextmanager
async def lifespan(_):
    async with CustomersClient(on_event=prometheus.listener()) as client:
        yield {"client": client}


app = FastAPI(lifespan=lifespan)


@app.get("/count")
async def count(request: Request) -> int:
    return await request.state.client.count_customers()


@app.get("/metrics")
def metrics() -> Response:
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return Response(generate_latest(registry), media_type="text/plain")
"""


def test_import_without_the_extra_says_what_to_install() -> None:
    """The error of the import is one sentence."""
    script = "import sys; sys.modules['prometheus_client'] = None; import customers_async.prometheus"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # noqa: S603  # a fixed command
    assert run.returncode == 1
    assert run.stderr.rstrip().endswith(
        "metrics for Prometheus need their extra: pip install 'customers-async[prometheus]'"
    )
