"""An asyncio client for the customers API: typed, quota-optimal, and never silently incomplete.

Names are loaded when they are first asked for: pytest imports this package at the start of each run, for its plugin.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from customers_async._version import __version__

if TYPE_CHECKING:
    from customers_async.batch import BatchPlan, BatchResult, CustomerBatch
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
    from customers_async.models import Completeness, Customer, CustomerType, Page, RateLimit, TokenOwner, Verdict
    from customers_async.pager import CustomerPager
    from customers_async.rate_limiter import RateLimiter
    from customers_async.request import PRODUCTION_URL, VENDOR_SANDBOX_URL
    from customers_async.retry import RetryPolicy
    from customers_async.sharing import TTLCache
    from customers_async.tokens import CallableToken, EnvToken, FileToken, StaticToken, TokenSource

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
    "CustomerPager",
    "CustomerType",
    "CustomersClient",
    "CustomersError",
    "EnvToken",
    "Event",
    "ExportError",
    "FileToken",
    "IncompleteListError",
    "NotFoundError",
    "Page",
    "PageFetched",
    "PermissionDeniedError",
    "QuotaWait",
    "RateLimit",
    "RateLimitError",
    "RateLimiter",
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


_ROOMS = (
    *("errors", "models", "converter", "request", "events", "retry", "tokens", "rate_limiter", "sharing", "pager"),
    *("batch", "client", "export"),
)


def __getattr__(name: str) -> Any:
    """Look a public name up in the rooms, from bottom to top; only the topmost brings SQLite along."""
    for room in _ROOMS if name in __all__ else ():
        module = import_module(f"{__name__}.{room}")
        if name in module.__all__:
            globals()[name] = found = getattr(module, name)
            return found
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
