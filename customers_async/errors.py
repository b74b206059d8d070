"""The exceptions, in one tree.

::

    CustomersError
    ├── ConfigurationError             no token, or a file or proxy that cannot be used
    ├── APIConnectionError             no usable response: DNS, TLS, refused, reset, body cut short
    │   └── APITimeoutError            also a TimeoutError
    ├── APIResponseError               a response this API does not send: HTML, a redirect, not JSON, too large
    │   └── RecordError                one record does not fit: .page .index .field
    ├── APIStatusError                 the documented error envelope: .status .code .errors .url_path .attempts
    │   ├── BadRequestError            400
    │   ├── AuthenticationError        401
    │   │   └── TokenExpiredError      401, and the token's own ``exp`` has passed
    │   ├── PermissionDeniedError      403
    │   ├── NotFoundError              404
    │   ├── UnprocessableEntityError   422
    │   ├── RateLimitError             429, or the client's own limiter refused: .retry_after .sent
    │   └── ServerError                5xx
    ├── IncompleteListError            .completeness .next_page
    └── ExportError                    an export's files are in use, damaged, or of another export

Each error has ``retryable``, ``retry_after``, ``http_status`` and ``request_id``. Many have notes (``__notes__``)
that say what to do next. Bad arguments are plain ``ValueError`` or ``TypeError``. Each error pickles, and none holds a
token or a customer's data, except its uuid.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from customers_async.models import Completeness

__all__ = [
    "APIConnectionError",
    "APIResponseError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "CustomersError",
    "ExportError",
    "IncompleteListError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "RecordError",
    "ServerError",
    "TokenExpiredError",
    "UnprocessableEntityError",
]


Failure = TypeVar("Failure", bound=Exception)


def may_pass(status: int) -> bool:
    """Whether a request that failed with this status may succeed later; a 429 has rules of its own."""
    return status in (408, 425) or (500 <= status < 600 and status not in (501, 505))


class CustomersError(Exception):
    """The base class of this package's errors.

    Attributes:
        next_page: For errors that end a listing, the page to continue with; else None.
        retry_after: Seconds after which a retry may succeed, if the service or the rate limit says so; else None.
        request_id: What the service, or a proxy before it, calls the request in its own log; None if no response
            arrived, or none that names the request.
    """

    next_page: int | None = None
    retry_after: float | None = None
    request_id: str | None = None

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later, without a change of the program or its settings."""
        match self:
            case RateLimitError():
                return True
            case APIStatusError(status=status):
                return may_pass(status)
            case APIConnectionError(transient=transient) | APIResponseError(transient=transient):
                return transient
            case IncompleteListError(completeness=completeness):
                return completeness.verdict != "CAPPED"
        return False

    @property
    def http_status(self) -> int:
        """The status that a web service sends to its own caller if this error ends the request.

        404, 429 and 504 have their usual meaning. 503: it may pass, see `retryable`. 502: the service, or something
        before it, sends what the program cannot use. 500: the cause is local.
        """
        match self:
            case NotFoundError():
                return 404
            case RateLimitError():
                return 429
            case APITimeoutError():
                return 504
            case APIConnectionError() | APIResponseError() | APIStatusError() | IncompleteListError():
                return 503 if self.retryable else 502
        return 500

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy by message, attributes and notes, whatever arguments the constructor takes."""
        state = dict(self.__dict__)
        if "__notes__" in state:
            state["__notes__"] = [*state["__notes__"]]  # a copy gets further notes of its own
        return _restore, (type(self), self.args), state


def _restore(kind: type[CustomersError], args: tuple[Any, ...]) -> CustomersError:
    error = kind.__new__(kind)
    error.args = args
    return error


class ConfigurationError(CustomersError):
    """Something local is missing or cannot be used: the token, its source, a certificate file, a proxy variable."""


class APIConnectionError(CustomersError):
    """No usable response arrived: DNS, TLS, refused, reset, or a body cut short.

    Attributes:
        attempts: How many attempts were made; 0 if the call failed before the first.
        transient: Whether a retry may help; False for most TLS failures, and if a proxy refuses.
        sent: False if nothing reached the service: no connection was made, or a proxy refused.
    """

    def __init__(self, message: str, *, attempts: int = 1, transient: bool = True, sent: bool = True) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.transient = transient
        self.sent = sent


class APITimeoutError(APIConnectionError, TimeoutError):
    """The last attempt took longer than ``timeout`` seconds; or what precedes the first attempt took too long.

    That is reading the files of a `Network`, and the first responses, without which the rate limit is not known.
    """


class APIResponseError(CustomersError):
    """A response that this API does not send: HTML, a redirect, not JSON, the wrong shape, too large.

    Attributes:
        status: The HTTP status, or None if the data did not come from a response.
        content_type: The ``Content-Type`` header, or None.
        transient: Whether a retry may help; True if the response belongs to another request.
    """

    def __init__(
        self, message: str, *, status: int | None = None, content_type: str | None = None, transient: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.content_type = content_type
        self.transient = transient


class RecordError(APIResponseError):
    """One record does not fit the model. The message names its position, never a value.

    Attributes:
        page: The page number, or None for a single customer.
        index: The record's position on the page, from 0, or None for a single customer.
        field: The field that does not fit, or None when the record is not an object.
    """

    def __init__(
        self,
        message: str,
        *,
        page: int | None = None,
        index: int | None = None,
        field: str | None = None,
        status: int | None = None,
        content_type: str | None = None,
    ) -> None:
        super().__init__(message, status=status, content_type=content_type)
        self.page = page
        self.index = index
        self.field = field


class APIStatusError(CustomersError):
    """The service responded with a status of 400 or above.

    Attributes:
        status: The HTTP status.
        code: The envelope's ``message``, such as ``"VALIDATION_ERROR"``, or None.
        errors: The envelope's ``errors``: field to messages, or a list of messages; empty when absent.
        url_path: The requested path, without host and query.
        attempts: How many times the request was sent.
        retry_after: Seconds after which the service allows a retry, or None if it does not say.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        errors: Mapping[str, Sequence[str]] | Sequence[str] = (),
        url_path: str = "",
        attempts: int = 1,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.errors = errors
        self.url_path = url_path
        self.attempts = attempts
        self.retry_after = retry_after


class BadRequestError(APIStatusError):
    """400: the service calls it an unexpected server-side or integration error."""


class AuthenticationError(APIStatusError):
    """401: the token is missing, malformed, revoked or expired."""


class TokenExpiredError(AuthenticationError):
    """401, and the token's own ``exp`` claim lies in the past."""


class PermissionDeniedError(APIStatusError):
    """403: no permission. Production also sends it to addresses that are not on the IP whitelist."""


ACCESS_ERRORS = (ConfigurationError, AuthenticationError, PermissionDeniedError)
"""Errors that end all work: something local is missing, or the service refuses the token or the address."""


class NotFoundError(APIStatusError):
    """404: no such customer."""


class UnprocessableEntityError(APIStatusError):
    """422: a parameter was refused; see ``errors``."""


class RateLimitError(APIStatusError):
    """The rate limit is used up: a 429, or a refusal by the client's own limiter.

    Attributes:
        retry_after: Seconds until a retry may succeed.
        sent: False when the client's own limiter refused and nothing was sent.
    """

    retry_after: float

    def __init__(
        self,
        message: str,
        *,
        retry_after: float,
        sent: bool = True,
        status: int = 429,
        code: str | None = None,
        errors: Mapping[str, Sequence[str]] | Sequence[str] = (),
        url_path: str = "",
        attempts: int = 1,
    ) -> None:
        super().__init__(
            message,
            status=status,
            code=code,
            errors=errors,
            url_path=url_path,
            attempts=attempts,
            retry_after=retry_after,
        )
        self.sent = sent


class ServerError(APIStatusError):
    """5xx, after the retries."""


_LIST_ADVICE = {
    "DRIFTED": "The list changed while it was read. List again, or with on_incomplete='reconcile'.",
    "CAPPED": "The service returns no more customers than these. Listing again does not help: ask the vendor.",
    "INCONSISTENT": "List again. If the verdict stays, something on the way to the service changes responses.",
}


class IncompleteListError(CustomersError):
    """A listing ended that is not COMPLETE, or not proven to be where that was required.

    Attributes:
        completeness: The verdict and its figures.
        next_page: None after a finished listing.
    """

    def __init__(self, completeness: "Completeness", *, next_page: int | None = None) -> None:
        problem = "not proven complete" if completeness.verdict == "COMPLETE" else "not complete"
        super().__init__(f"the list is {problem}: {completeness.describe()}")
        self.completeness = completeness
        self.next_page = next_page
        if advice := _LIST_ADVICE.get(completeness.verdict):
            self.add_note(advice)


class ExportError(CustomersError):
    """A problem with an export's files: a journal in use or of another export, or a file that cannot be read."""


def stripped(error: Failure) -> Failure:
    """Remove the traceback, the context and the cause of an error: their frames hold customer data."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error
