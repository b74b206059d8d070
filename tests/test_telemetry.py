"""The spans and metrics that OpenTelemetry's SDK receives in memory."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any

import aiohttp
import pytest
from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, Span, SpanKind, StatusCode

from customers_async import CustomersClient, CustomersError, Event, telemetry
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


def read_points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """Return the data points of each metric."""
    data = reader.get_metrics_data()
    assert data is not None
    metrics = [
        metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
    ]
    return {metric.name: list(metric.data.data_points) for metric in metrics}


def parent_id(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


async def test_call_is_a_span_with_a_child_for_each_attempt(
    emulator: Emulator, traced: CustomersClient, exporter: InMemorySpanExporter
) -> None:
    """Names and attributes follow the semantic conventions; the uuid is masked."""
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


async def test_spans_are_children_of_the_current_span(
    emulator: Emulator, traced: CustomersClient, tracers: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """The span that is current where a call is made is its parent, for concurrent calls and listings too."""
    tracer = tracers.get_tracer("app")

    async def look_up(name: str, uuid: str) -> None:
        with tracer.start_as_current_span(name):
            await traced.get_customer(uuid)

    await asyncio.gather(*map(look_up, ("one", "two"), emulator.uuids()))
    with tracer.start_as_current_span("listing"):
        async for _ in traced.list_customers():
            pass
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans}
    calls = [span for span in spans if span.name.startswith("customers_async ")]
    parents = [names[parent] for span in calls if (parent := parent_id(span)) is not None]
    assert sorted(parents) == [*["listing"] * 3, "one", "two"]
    assert trace.get_current_span() is trace.INVALID_SPAN


@asynccontextmanager
async def open_instrumented(
    emulator: Emulator, listener: Callable[[Event], None], tracers: TracerProvider
) -> AsyncIterator[CustomersClient]:
    """Open a client whose borrowed session starts a span in each request, as aiohttp's instrumentation does."""
    tracer = tracers.get_tracer("aiohttp")
    config = aiohttp.TraceConfig()

    async def on_request_start(*_: object) -> None:
        tracer.start_span("from aiohttp").end()

    config.on_request_start.append(on_request_start)
    async with (
        aiohttp.ClientSession(trace_configs=[config]) as session,
        CustomersClient(emulator.token, base_url=emulator.url, session=session, on_event=listener) as client,
    ):
        yield client


def check_nesting(spans: Sequence[ReadableSpan], requests: int) -> None:
    """Check that each span of aiohttp has an attempt of its own as parent, in the same trace."""
    by_id = {span.context.span_id: span for span in spans}
    inner = [span for span in spans if span.name == "from aiohttp"]
    attempts = [by_id[parent_id(span) or 0] for span in inner]
    assert len({span.context.span_id for span in attempts}) == len(inner) == requests
    for span, attempt in zip(inner, attempts, strict=True):
        assert attempt.name.startswith("GET ")
        assert by_id[parent_id(attempt) or 0].name.startswith("customers_async ")
        assert span.context.trace_id == attempt.context.trace_id


async def test_attempt_is_the_current_span_while_it_runs(
    emulator: Emulator, listener: Callable[[Event], None], tracers: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """Spans of aiohttp are children of the attempt, also in retries, concurrent calls and listings of two clients."""
    async with (
        open_instrumented(emulator, listener, tracers) as one,
        open_instrumented(emulator, listener, tracers) as two,
    ):
        emulator.fail_next(503)
        await one.get_customer(EXAMPLE)
        await asyncio.gather(*(client.whoami() for client in (one, two) for _ in range(5)))
        async for _ in two.list_customers():
            assert trace.get_current_span() is trace.INVALID_SPAN
    check_nesting(exporter.get_finished_spans(), emulator.stats.requests)
    assert get_current() == {}


@pytest.mark.parametrize("fault", ["stall", "reset", "html", 404, 429])
async def test_nothing_stays_attached_after_a_failure(
    fault: str | int, emulator: Emulator, traced: CustomersClient, tracers: TracerProvider
) -> None:
    """The caller's span is the current one again after a failed or cancelled call."""
    emulator.fail_next(fault, times=None)
    with tracers.get_tracer("app").start_as_current_span("caller") as caller:
        before = get_current()
        with pytest.raises((TimeoutError, CustomersError)):
            async with asyncio.timeout(5):
                await traced.with_options(max_rate_limit_wait=1).whoami()
        assert trace.get_current_span() is caller
        assert get_current() is before


async def test_call_that_is_closed_elsewhere_detaches_nothing(
    traced: CustomersClient, tracers: TracerProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """A coroutine that is closed from another context leaves that context alone, and no error is logged."""
    call = traced.whoami()
    elsewhere = copy_context()
    elsewhere.run(call.send, None)
    assert elsewhere.run(trace.get_current_span) is not trace.INVALID_SPAN
    with tracers.get_tracer("app").start_as_current_span("closer") as closer:
        call.close()
        assert trace.get_current_span() is closer
    assert not caplog.records


class FailingSpan(NonRecordingSpan):
    """A span that cannot be changed or ended."""

    def set_attribute(self, key: str, value: Any) -> None:
        raise LookupError

    def end(self, end_time: int | None = None) -> None:
        raise LookupError


class FailingTracer(NoOpTracer):
    """A tracer whose spans fail, or which fails from the first or the second span on."""

    def __init__(self, working: int) -> None:
        self.working = working

    def start_span(self, *_: Any, **__: Any) -> Span:
        if not self.working:
            raise LookupError
        self.working -= 1
        return FailingSpan(trace.INVALID_SPAN_CONTEXT)


@pytest.mark.parametrize(("working", "logged"), [(0, 1), (1, 2), (2, 2)])
async def test_nothing_stays_attached_if_the_provider_raises(
    working: int, logged: int, client: CustomersClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A provider that raises is logged; the call succeeds, and no span stays current."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.get_tracer = lambda *_, **__: FailingTracer(working)  # type: ignore[method-assign]
    assert await client.with_options(on_event=telemetry.listener(provider)).count_customers() == 250
    assert get_current() == {}
    assert len(caplog.records) == logged


@pytest.mark.parametrize(
    ("fault", "error"), [("stall", "APITimeoutError"), ("html", "APIResponseError"), ("reset", "APIConnectionError")]
)
async def test_error_without_a_status_has_its_class_name(
    fault: str, error: str, emulator: Emulator, traced: CustomersClient, exporter: InMemorySpanExporter
) -> None:
    """``error.type`` is the class of the error, for the attempts and for the call."""
    emulator.fail_next(fault, times=None)
    with pytest.raises(Exception, match=r"."):
        await traced.with_options(timeout=1).whoami()
    spans = exporter.get_finished_spans()
    assert {(span.attributes or {}).get("error.type") for span in spans} == {error}
    assert {span.status.status_code for span in spans} == {StatusCode.ERROR}


async def test_cancelled_call_ends_its_spans(
    emulator: Emulator,
    traced: CustomersClient,
    exporter: InMemorySpanExporter,
    listener: Callable[[Event], None],
) -> None:
    """The attempt in flight ends before the call, and nothing is kept of either."""
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
    """The metrics are durations by status, waits for the rate limit, retries by reason, and 429s."""
    emulator.rate_limit(3, window=30)
    emulator.fail_next(503)
    emulator.fail_next(429, after=1)
    await traced.count_customers()
    await traced.get_customer(EXAMPLE)
    found = read_points(reader)
    durations: list[HistogramDataPoint] = found["http.client.request.duration"]
    counts = [({**(point.attributes or {})}, point.count) for point in durations]
    assert [(seen["http.response.status_code"], seen.get("error.type"), count) for seen, count in counts] == [
        *((503, "503", 1), (200, None, 1), (429, "429", 1), (200, None, 1))
    ]
    required = {"http.request.method", "http.response.status_code", "server.address", "server.port", "url.template"}
    assert all(set(seen) - {"error.type"} == required for seen, _ in counts)
    assert durations[0].explicit_bounds[0] == 0.005
    waits: list[HistogramDataPoint] = found["customers_async.quota.wait"]
    assert sum(point.sum for point in waits) > 29
    retries: list[NumberDataPoint] = found["customers_async.retries"]
    assert [(point.value, point.attributes) for point in retries] == [
        (1, {"url.template": "/api/v1/customers", "error.type": "ServerError"})
    ]
    assert [point.value for point in found["customers_async.rejected"]] == [1]


async def test_listener_can_be_combined_with_another(
    traced: CustomersClient, listener: Callable[[Event], None], exporter: InMemorySpanExporter
) -> None:
    """One function calls both; if the other listener fails, the spans are still complete."""
    received = []

    def both(event: Event) -> None:
        listener(event)
        received.append(event)
        raise LookupError

    await traced.with_options(on_event=both).whoami()
    assert len(received) == 4
    assert len(exporter.get_finished_spans()) == 2


async def test_no_secret_and_no_customer_data_is_exported(
    emulator: Emulator, traced: CustomersClient, exporter: InMemorySpanExporter, reader: InMemoryMetricReader
) -> None:
    """No span or metric holds the token, a uuid or a name, whatever the service responds."""
    emulator.fail_next("echo")
    with pytest.raises(Exception, match="400"):
        await traced.whoami()
    customer = await traced.get_customer(EXAMPLE)
    for fault in (404, 422, 503, "html", "reset", "cut"):
        emulator.fail_next(fault, times=None)
        with pytest.raises(CustomersError):
            await traced.get_customer("00000000-0000-0000-0000-000000000000")
        emulator.recover()
    exported = "".join(span.to_json() for span in exporter.get_finished_spans()) + str(read_points(reader))
    for secret in (emulator.token, EXAMPLE, str(customer.name), "00000000-0000"):
        assert secret not in exported


async def test_global_providers_are_the_default(client: CustomersClient) -> None:
    """Without configuration the API's no-op providers receive everything."""
    assert await client.with_options(on_event=telemetry.listener()).count_customers() == 250


def test_import_without_the_extra_says_what_to_install() -> None:
    """The error of the import is one sentence."""
    script = "import sys; sys.modules['opentelemetry'] = None; import customers_async.telemetry"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # noqa: S603  # a fixed command
    assert run.returncode == 1
    assert run.stderr.rstrip().endswith("telemetry needs its extra: pip install 'customers-async[otel]'")
