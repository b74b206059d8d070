"""An asyncio client for the customers API: typed, fast within the rate limit, and never silently incomplete.

Public names are imported on first use, because pytest imports this package at the start of every run for its plugin.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from customers_async._version import __version__

if TYPE_CHECKING:
    from customers_async.cache import TTLCache
    from customers_async.calls.network import Network
    from customers_async.calls.rate_limiter import RateLimiter
    from customers_async.calls.raw import RawResponse
    from customers_async.calls.retry import RetryPolicy
    from customers_async.calls.tokens import CallableToken, EnvToken, FileToken, StaticToken, TokenSource
    from customers_async.checks import PRODUCTION_URL, VENDOR_SANDBOX_URL
    from customers_async.client import CustomersClient
    from customers_async.converter import customer_from_dict, customer_to_dict
    from customers_async.errors import (
        APIConnectionError,
        APIResponseError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ConfigurationError,
        CustomersError,
        ExportError,
        IncompleteListError,
        NotFoundError,
        PermissionDeniedError,
        RateLimitError,
        RecordError,
        ServerError,
        TokenExpiredError,
        UnprocessableEntityError,
    )
    from customers_async.events import (
        CallEvent,
        CallFinished,
        CallStarted,
        Event,
        PageFetched,
        QuotaWait,
        RequestAnswered,
        RequestSent,
        RetryScheduled,
        TokenReloaded,
        WalkFinished,
    )
    from customers_async.export import export_customers
    from customers_async.listing.batch import CustomerBatch
    from customers_async.listing.batch_plan import BatchPlan
    from customers_async.listing.customer_list import CustomerList
    from customers_async.listing.pager import CustomerPager
    from customers_async.models import (
        Completeness,
        Customer,
        CustomerType,
        Health,
        Page,
        RateLimit,
        TokenOwner,
        Verdict,
    )
    from customers_async.results import BatchResult, Failed, Found

__all__ = [
    "PRODUCTION_URL",
    "VENDOR_SANDBOX_URL",
    "APIConnectionError",
    "APIResponseError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "BatchPlan",
    "BatchResult",
    "CallEvent",
    "CallFinished",
    "CallStarted",
    "CallableToken",
    "Completeness",
    "ConfigurationError",
    "Customer",
    "CustomerBatch",
    "CustomerList",
    "CustomerPager",
    "CustomerType",
    "CustomersClient",
    "CustomersError",
    "EnvToken",
    "Event",
    "ExportError",
    "Failed",
    "FileToken",
    "Found",
    "Health",
    "IncompleteListError",
    "Network",
    "NotFoundError",
    "Page",
    "PageFetched",
    "PermissionDeniedError",
    "QuotaWait",
    "RateLimit",
    "RateLimitError",
    "RateLimiter",
    "RawResponse",
    "RecordError",
    "RequestAnswered",
    "RequestSent",
    "RetryPolicy",
    "RetryScheduled",
    "ServerError",
    "StaticToken",
    "TTLCache",
    "TokenExpiredError",
    "TokenOwner",
    "TokenReloaded",
    "TokenSource",
    "UnprocessableEntityError",
    "Verdict",
    "WalkFinished",
    "__version__",
    "customer_from_dict",
    "customer_to_dict",
    "export_customers",
]

_MODULES = {
    "PRODUCTION_URL": "checks",
    "VENDOR_SANDBOX_URL": "checks",
    "APIConnectionError": "errors",
    "APIResponseError": "errors",
    "APIStatusError": "errors",
    "APITimeoutError": "errors",
    "AuthenticationError": "errors",
    "BadRequestError": "errors",
    "BatchPlan": "listing.batch_plan",
    "BatchResult": "results",
    "CallEvent": "events",
    "CallFinished": "events",
    "CallStarted": "events",
    "CallableToken": "calls.tokens",
    "Completeness": "models",
    "ConfigurationError": "errors",
    "Customer": "models",
    "CustomerBatch": "listing.batch",
    "CustomerList": "listing.customer_list",
    "CustomerPager": "listing.pager",
    "CustomerType": "models",
    "CustomersClient": "client",
    "CustomersError": "errors",
    "EnvToken": "calls.tokens",
    "Event": "events",
    "ExportError": "errors",
    "Failed": "results",
    "FileToken": "calls.tokens",
    "Found": "results",
    "Health": "models",
    "IncompleteListError": "errors",
    "Network": "calls.network",
    "NotFoundError": "errors",
    "Page": "models",
    "PageFetched": "events",
    "PermissionDeniedError": "errors",
    "QuotaWait": "events",
    "RateLimit": "models",
    "RateLimitError": "errors",
    "RateLimiter": "calls.rate_limiter",
    "RawResponse": "calls.raw",
    "RecordError": "errors",
    "RequestAnswered": "events",
    "RequestSent": "events",
    "RetryPolicy": "calls.retry",
    "RetryScheduled": "events",
    "ServerError": "errors",
    "StaticToken": "calls.tokens",
    "TTLCache": "cache",
    "TokenExpiredError": "errors",
    "TokenOwner": "models",
    "TokenReloaded": "events",
    "TokenSource": "calls.tokens",
    "UnprocessableEntityError": "errors",
    "Verdict": "models",
    "WalkFinished": "events",
    "customer_from_dict": "converter",
    "customer_to_dict": "converter",
    "export_customers": "export",
}

if not TYPE_CHECKING:  # else a type checker would accept any name

    def __getattr__(name: str) -> object:
        """Import a public name on first use."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
