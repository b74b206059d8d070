"""OpenTelemetry: a span for each call with a child for each request, and metrics.

Needs the extra: ``pip install 'customers-async[otel]'``. It is an event listener, so it costs nothing unless it is
used. A request's span is the current span while it is sent and received, so spans and log records of aiohttp
belong to it. Names follow the semantic conventions for HTTP clients. No uuid, token or customer data is exported.
"""

from collections.abc import Callable
from contextvars import Token
from typing import Final
from urllib.parse import urlsplit

import attrs

from customers_async._version import __version__
from customers_async.events import (
    DURATION_BUCKETS,
    WAIT_BUCKETS,
    CallEvent,
    CallFinished,
    CallStarted,
    Event,
    QuotaWait,
    RequestAnswered,
    RequestSent,
    RetryScheduled,
)

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode
except ModuleNotFoundError as _missing:
    if _missing.name != "opentelemetry":
        raise
    raise ModuleNotFoundError(
        "telemetry needs its extra: pip install 'customers-async[otel]'", name="opentelemetry"
    ) from None

__all__ = ["listener"]


_REQUEST: Final = context.create_key("customers_async.request")

_Attributes = dict[str, str | int]


def listener(
    tracer_provider: trace.TracerProvider | None = None, meter_provider: metrics.MeterProvider | None = None
) -> Callable[[Event], None]:
    """Return a listener that reports calls to OpenTelemetry. Pass it as ``on_event`` to one client or to several.

    A call's span is a child of the span that is current where the call is made.

    Args:
        tracer_provider: Receives the spans. None means the global provider.
        meter_provider: Receives the metrics. None means the global provider.

    Example:
        >>> from customers_async import telemetry
        >>> client = CustomersClient(on_event=telemetry.listener())
    """
    tracer = trace.get_tracer("customers_async", __version__, tracer_provider)
    meter = metrics.get_meter("customers_async", __version__, meter_provider)
    return _Telemetry(tracer, meter).handle


@attrs.define
class _CallInProgress:
    """A call's span and attributes, the number of requests sent, and the current request's span and context token."""

    span: Span
    attributes: _Attributes
    url: str
    sent: int = 0
    request: Span = INVALID_SPAN
    attached: Token[Context] | None = None

    def attach(self, span: Span, parent: Context) -> None:
        """Make the span of a request the current span."""
        self.request = span
        request_context = trace.set_span_in_context(span, parent)
        self.attached = context.attach(context.set_value(_REQUEST, self, request_context))

    def detach(self) -> Span:
        """Restore the context before the request, and return the request's span."""
        span, token = self.request, self.attached
        self.request, self.attached = INVALID_SPAN, None
        # A coroutine that is closed instead of cancelled ends elsewhere: there the request is not attached.
        if token is not None and context.get_value(_REQUEST) is self:
            context.detach(token)
        return span


class _Telemetry:
    """Turns events into spans and metrics."""

    def __init__(self, tracer: trace.Tracer, meter: metrics.Meter) -> None:
        self._tracer = tracer
        self._calls: dict[int, _CallInProgress] = {}
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )
        self._quota_wait = meter.create_histogram(
            "customers_async.quota.wait",
            "s",
            "Time that calls waited for the rate limit.",
            explicit_bucket_boundaries_advisory=WAIT_BUCKETS,
        )
        self._retries = meter.create_counter(
            "customers_async.retries", "{retry}", "Attempts that failed and are retried."
        )
        self._rejected = meter.create_counter("customers_async.rejected", "{request}", "Requests that got a 429.")

    def handle(self, event: Event) -> None:
        """Record an event. Events that do not belong to a single call are ignored."""
        match event:
            case CallStarted():
                self._start_call(event)
            case RetryScheduled():
                self._retries.add(1, {"url.template": event.route, "error.type": event.reason})
            case QuotaWait():
                self._quota_wait.record(event.seconds, {"url.template": event.route})
            case CallEvent() if call := self._calls.get(event.call):  # none if its span could not be started
                self._continue_call(call, event)

    def _continue_call(self, call: _CallInProgress, event: CallEvent) -> None:
        match event:
            case RequestSent():
                self._start_request(call, event.route)
            case RequestAnswered():
                self._end_request(call, event)
            case CallFinished():
                del self._calls[event.call]
                _end(call.span, event.error)

    def _start_call(self, event: CallStarted) -> None:
        url = urlsplit(event.url)
        attributes: _Attributes = {
            "http.request.method": "GET",
            "server.address": url.hostname or "",
            "server.port": url.port or (443 if url.scheme == "https" else 80),
            "url.template": event.route,
        }
        span = self._tracer.start_span(f"customers_async {event.route}", attributes={"url.template": event.route})
        self._calls[event.call] = _CallInProgress(span, attributes, event.url)

    def _start_request(self, call: _CallInProgress, route: str) -> None:
        attributes = {**call.attributes, "url.full": call.url}
        if call.sent:
            attributes["http.request.resend_count"] = call.sent
        call.sent += 1
        parent = trace.set_span_in_context(call.span)
        call.attach(self._tracer.start_span(f"GET {route}", parent, SpanKind.CLIENT, attributes), parent)

    def _end_request(self, call: _CallInProgress, event: RequestAnswered) -> None:
        span = call.detach()
        attributes, error = call.attributes, event.error
        if event.status is not None:
            span.set_attribute("http.response.status_code", event.status)
            attributes = {**attributes, "http.response.status_code": event.status}
            if event.status >= 400:
                error = str(event.status)
        if error is not None:
            attributes = {**attributes, "error.type": error}
        _end(span, error)
        self._duration.record(event.seconds, attributes)
        if event.status == 429:
            self._rejected.add(1, {"url.template": event.route})


def _end(span: Span, error: str | None) -> None:
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR)
    span.end()
