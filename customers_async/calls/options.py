"""The settings that may differ between views of one client."""

from collections.abc import Callable
from typing import Any, TypedDict

import attrs

from customers_async.calls.retry import RetryPolicy
from customers_async.checks import check_count, check_seconds, is_plain_function
from customers_async.events import Event

__all__ = ["OptionOverrides", "Options"]


def _check_listener(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None and not is_plain_function(value, 1):
        raise TypeError(f"{attribute.name} must be a plain function of an event, or None")


def _check_type(kind: type) -> Callable[[object, "attrs.Attribute[Any]", object], None]:
    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, kind):
            raise TypeError(f"{attribute.name} must be a {kind.__name__}, not {type(value).__name__}")

    return check


@attrs.frozen(kw_only=True)
class Options:
    """The settings of one view of a client; see `CustomersClient` for their meaning.

    Look-ups with equal options may share a request. What cannot change the result of a look-up is not compared.
    """

    concurrency: int = attrs.field(default=8, validator=check_count, eq=False)
    timeout: float = attrs.field(default=30.0, validator=[check_seconds, attrs.validators.gt(0)])
    retry: RetryPolicy = attrs.field(factory=RetryPolicy, validator=_check_type(RetryPolicy))
    max_rate_limit_wait: float = attrs.field(default=120.0, validator=check_seconds)
    max_body: int = attrs.field(default=4 * 2**20, validator=check_count)
    keep_unknown: bool = attrs.field(default=False, validator=_check_type(bool))
    on_event: Callable[[Event], None] | None = attrs.field(default=None, validator=_check_listener, eq=False)


class OptionOverrides(TypedDict, total=False):
    """The names and types of `Options`, for type checkers."""

    concurrency: int
    timeout: float
    retry: RetryPolicy
    max_rate_limit_wait: float
    max_body: int
    keep_unknown: bool
    on_event: Callable[[Event], None] | None
