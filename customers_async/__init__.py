"""An asyncio client for the customers API: typed, quota-optimal, and never silently incomplete."""

from customers_async._version import __version__
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
    "CallEvent",
    "CallFinished",
    "CallStarted",
    "CallableToken",
    "Completeness",
    "ConfigurationError",
    "Customer",
    "CustomerPager",
    "CustomerType",
    "CustomersClient",
    "CustomersError",
    "EnvToken",
    "Event",
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
]
