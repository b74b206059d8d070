"""An asyncio client for the customers API: typed, quota-optimal, and never silently incomplete."""

from typing import TYPE_CHECKING, Any

from customers_async._version import __version__
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
from customers_async.models import Completeness, Customer, CustomerType, Page, RateLimit, TokenOwner, Verdict
from customers_async.pager import CustomerPager
from customers_async.rate_limiter import RateLimiter
from customers_async.request import PRODUCTION_URL, VENDOR_SANDBOX_URL
from customers_async.retry import RetryPolicy
from customers_async.sharing import TTLCache
from customers_async.tokens import CallableToken, EnvToken, FileToken, StaticToken, TokenSource

if TYPE_CHECKING:
    from customers_async.export import export_customers

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


def __getattr__(name: str) -> Any:
    """``export_customers`` is loaded when it is first asked for: it brings SQLite along."""
    if name == "export_customers":
        from customers_async.export import export_customers

        return export_customers
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
