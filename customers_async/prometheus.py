"""Metrics for Prometheus.

Needs the extra: ``pip install 'customers-async[prometheus]'``. It is an event listener, so it costs nothing unless it
is used. No uuid, token or customer data is exported.
"""

from collections.abc import Callable
from weakref import WeakKeyDictionary

from customers_async.events import (
    DURATION_BUCKETS,
    WAIT_BUCKETS,
    CallFinished,
    CallStarted,
    Event,
    QuotaWait,
    RequestAnswered,
    RetryScheduled,
    TokenReloaded,
    WalkFinished,
)

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ModuleNotFoundError as _missing:
    if _missing.name != "prometheus_client":
        raise
    raise ModuleNotFoundError(
        "metrics for Prometheus need their extra: pip install 'customers-async[prometheus]'", name="prometheus_client"
    ) from None

__all__ = ["listener"]


def listener(registry: CollectorRegistry | None = None) -> Callable[[Event], None]:
    """Return a listener that counts calls for Prometheus. Pass it as ``on_event`` to one client or to several.

    All listeners of a registry use the same metrics. With several worker processes, set ``PROMETHEUS_MULTIPROC_DIR`` to
    an empty directory before they start, and serve the metrics of all workers with ``MultiProcessCollector``. When a
    worker has died, call ``mark_process_dead`` of prometheus-client, or its calls stay in progress.

    Args:
        registry: Where the metrics are registered. None means the default registry of prometheus-client.

    Raises:
        TypeError: It is no registry.
        ValueError: The registry has other metrics of these names.

    Example:
        >>> from customers_async import prometheus
        >>> client = CustomersClient(on_event=prometheus.listener())
    """
    registry = REGISTRY if registry is None else registry
    if not isinstance(registry, CollectorRegistry):
        raise TypeError(f"registry must be a CollectorRegistry, not {type(registry).__name__}")
    metrics = _registered.get(registry)
    if metrics is None:
        metrics = _registered[registry] = _Metrics(registry)
    return metrics.handle


class _Metrics:
    """The metrics, and how each event changes them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._in_progress = Gauge(
            "customers_calls_in_progress", "Calls in progress.", registry=registry, multiprocess_mode="livesum"
        )
        self._calls = Counter(
            "customers_calls", "Calls that ended, by route and error.", ["route", "error"], registry=registry
        )
        self._requests = Histogram(
            "customers_request_duration_seconds",
            "Duration of requests, by route and status.",
            ["route", "status"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._waits = Histogram(
            "customers_rate_limit_wait_seconds",
            "Time that calls waited for the rate limit.",
            ["route"],
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self._retries = Counter(
            "customers_retries", "Attempts that failed and are retried.", ["route", "error"], registry=registry
        )
        self._listings = Counter(
            "customers_listings", "Listings that ended, by verdict.", ["verdict"], registry=registry
        )
        self._reloads = Counter("customers_token_reloads", "Tokens that replaced another one.", registry=registry)

    def handle(self, event: Event) -> None:
        """Count an event."""
        match event:
            case CallStarted():
                self._in_progress.inc()
            case RequestAnswered(route=route, status=status, seconds=seconds):
                self._requests.labels(route, status or "none").observe(seconds)
            case QuotaWait(route=route, seconds=seconds):
                self._waits.labels(route).observe(seconds)
            case RetryScheduled(route=route, reason=reason):
                self._retries.labels(route, reason).inc()
            case CallFinished(route=route, error=error):
                self._in_progress.dec()
                self._calls.labels(route, error or "").inc()
            case WalkFinished(completeness=completeness):
                self._listings.labels(completeness.verdict).inc()
            case TokenReloaded():
                self._reloads.inc()


_registered: WeakKeyDictionary[CollectorRegistry, _Metrics] = WeakKeyDictionary()
