"""OpenTelemetry's own SDK, its exporters in memory, and what they were told of calls."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from customers_async import CustomersClient, Event, NotFoundError, telemetry
from customers_async.emulator import Emulator

EXAMPLE = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"
ROUTE = "/api/v1/customers/{uuid}"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracers(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def listener(tracers: TracerProvider, reader: InMemoryMetricReader) -> Iterator[Callable[[Event], None]]:
    meters = MeterProvider([reader], shutdown_on_exit=False)
    yield telemetry.listener(tracers, meters)
    meters.shutdown()


@pytest.fixture
def traced(client: CustomersClient, listener: Callable[[Event], None]) -> CustomersClient:
    return client.with_options(on_event=listener)


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """The data points of each metric."""
    data = reader.get_metrics_data()
    assert data is not None
    metrics = [
        metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
    ]
    return {metric.name: list(metric.data.data_points) for metric in metrics}


def parent_id(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


async def test_a_call_is_a_span_with_a_child_for_each_attempt(
    emulator: Emulator, traced: CustomersClient, exporter: InMemorySpanExporter
) -> None:
    """Names and attributes are those of the semantic conventions; the uuid is masked."""
    emulator.fail_next(503)
    await traced.get_customer(EXAMPLE)
    first, second, call = exporter.get_finished_spans()
    port = int(emulator.url.rpartition(":")[2])
    assert (call.name, call.kind, call.status.status_code) == (
        *(f"customers_async {ROUTE}", SpanKind.INTERNAL, StatusCode.UNSET),
    )
    assert [parent_id(span) for span in (call, first, second)] == [None, call.context.span_id, call.context.span_id]
    assert {(span.name, span.kind) for span in (first, second)} == {(f"GET {ROUTE}", SpanKind.CLIENT)}
    common = {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.full": f"{emulator.url}{ROUTE}",
        "url.template": ROUTE,
    }
    assert first.attributes == {**common, "http.response.status_code": 503, "error.type": "503"}
    assert second.attributes == {**common, "http.response.status_code": 200, "http.request.resend_count": 1}
    assert [span.status.status_code for span in (first, second)] == [StatusCode.ERROR, StatusCode.UNSET]


async def test_spans_hang_below_the_callers(
    emulator: Emulator, traced: CustomersClient, tracers: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """What is current where a call is made is its parent, for calls that run at once and for pages of a walk, too."""
    tracer = tracers.get_tracer("app")

    async def look_up(name: str, uuid: str) -> None:
        with tracer.start_as_current_span(name):
            await traced.get_customer(uuid)

    await asyncio.gather(*map(look_up, ("one", "two"), emulator.uuids()))
    with tracer.start_as_current_span("walk"):
        async for _ in traced.list_customers():
            pass
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans}
    calls = [span for span in spans if span.name.startswith("customers_async ")]
    parents = [names[parent] for span in calls if (parent := parent_id(span)) is not None]
    assert sorted(parents) == ["one", "two", *["walk"] * 3]
    assert trace.get_current_span() is trace.INVALID_SPAN


@pytest.mark.parametrize(
    ("fault", "error"), [("stall", "APITimeoutError"), ("html", "APIResponseError"), ("reset", "APIConnectionError")]
)
async def test_what_fails_without_a_status_is_told_by_its_name(
    fault: str, error: str, emulator: Emulator, traced: CustomersClient, exporter: InMemorySpanExporter
) -> None:
    """``error.type`` is the class of the error, of the attempts and of the call."""
    emulator.fail_next(fault, times=None)
    with pytest.raises(Exception, match=r"."):
        await traced.with_options(timeout=1).whoami()
    spans = exporter.get_finished_spans()
    assert {(span.attributes or {}).get("error.type") for span in spans} == {error}
    assert {span.status.status_code for span in spans} == {StatusCode.ERROR}


async def test_a_cancelled_call_ends_its_spans(
    emulator: Emulator,
    traced: CustomersClient,
    exporter: InMemorySpanExporter,
    listener: Callable[[Event], None],
) -> None:
    """Nothing stays open: the attempt in flight ends before the call, which is then forgotten."""
    emulator.fail_next("stall")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await traced.whoami()
    attempt, call = exporter.get_finished_spans()
    assert (attempt.attributes or {})["error.type"] == (call.attributes or {})["error.type"] == "CancelledError"
    assert listener.__self__._calls == {}  # type: ignore[attr-defined]  # of bound methods


async def test_metrics_measure_requests_waits_retries_and_rejections(
    emulator: Emulator, traced: CustomersClient, reader: InMemoryMetricReader
) -> None:
    """Durations by status, waits for the quota, retries by reason, and answers of 429."""
    emulator.rate_limit(3, window=30)
    emulator.fail_next(503)
    emulator.fail_next(429, after=1)
    await traced.count_customers()
    await traced.get_customer(EXAMPLE)
    found = points(reader)
    durations: list[HistogramDataPoint] = found["http.client.request.duration"]
    told = [({**(point.attributes or {})}, point.count) for point in durations]
    assert [(seen["http.response.status_code"], seen.get("error.type"), count) for seen, count in told] == [
        *((503, "503", 1), (200, None, 1), (429, "429", 1), (200, None, 1))
    ]
    required = {"http.request.method", "http.response.status_code", "server.address", "server.port", "url.template"}
    assert all(set(seen) - {"error.type"} == required for seen, _ in told)
    assert durations[0].explicit_bounds[0] == 0.005
    waits: list[HistogramDataPoint] = found["customers_async.quota.wait"]
    assert sum(point.sum for point in waits) > 29
    retries: list[NumberDataPoint] = found["customers_async.retries"]
    assert [(point.value, point.attributes) for point in retries] == [
        (1, {"url.template": "/api/v1/customers", "error.type": "ServerError"})
    ]
    assert [point.value for point in found["customers_async.rejected"]] == [1]


async def test_it_goes_together_with_a_listener_of_ones_own(
    traced: CustomersClient, listener: Callable[[Event], None], exporter: InMemorySpanExporter
) -> None:
    """One function calls both; if one's own fails, the spans are whole all the same."""
    heard = []

    def both(event: Event) -> None:
        listener(event)
        heard.append(event)
        raise LookupError

    await traced.with_options(on_event=both).whoami()
    assert len(heard) == 4
    assert len(exporter.get_finished_spans()) == 2


async def test_no_secret_and_no_customer_goes_out(
    emulator: Emulator, traced: CustomersClient, exporter: InMemorySpanExporter, reader: InMemoryMetricReader
) -> None:
    """Neither token nor uuid nor name in any span or metric, whatever the service says."""
    emulator.fail_next("echo")
    with pytest.raises(Exception, match="400"):
        await traced.whoami()
    customer = await traced.get_customer(EXAMPLE)
    with pytest.raises(NotFoundError):
        await traced.get_customer("00000000-0000-0000-0000-000000000000")
    told = "".join(span.to_json() for span in exporter.get_finished_spans()) + str(points(reader))
    for secret in (emulator.token, EXAMPLE, str(customer.name), "00000000-0000"):
        assert secret not in told


async def test_without_providers_the_global_ones_are_used(client: CustomersClient) -> None:
    """Nothing is configured here, so the API's own no-ops take it all."""
    assert await client.with_options(on_event=telemetry.listener()).count_customers() == 250


def test_without_the_extra_the_import_says_what_to_install() -> None:
    """A sentence rather than a riddle."""
    script = "import sys; sys.modules['opentelemetry'] = None; import customers_async.telemetry"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # noqa: S603  # ours
    assert run.returncode == 1
    assert run.stderr.rstrip().endswith("telemetry needs its extra: pip install 'customers-async[otel]'")
