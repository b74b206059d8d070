"""The settings that may differ between views of one client."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import attrs

from customers_async.calls.retry import RetryPolicy
from customers_async.checks import check_count, check_seconds, is_plain_function
from customers_async.events import Listener

__all__ = ["OptionOverrides", "Options"]


def _as_listeners(on_event: Any) -> tuple[Any, ...]:
    """Return one listener, several, or none in a tuple. Checks nothing: an error here would leave half an object."""
    if on_event is None:
        return ()
    return tuple(on_event) if isinstance(on_event, Sequence) and not callable(on_event) else (on_event,)


def _check_listeners(_: object, attribute: "attrs.Attribute[Any]", value: tuple[Any, ...]) -> None:
    if not all(is_plain_function(listener, 1) for listener in value):
        problem = "must be a plain function of an event, a sequence of such functions, or None"
        raise TypeError(f"{attribute.name} {problem}")


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
    on_event: tuple[Listener, ...] = attrs.field(
        default=(), converter=_as_listeners, validator=_check_listeners, eq=False
    )


class OptionOverrides(TypedDict, total=False):
    """The names and types of `Options`, for type checkers."""

    concurrency: int
    timeout: float
    retry: RetryPolicy
    max_rate_limit_wait: float
    max_body: int
    keep_unknown: bool
    on_event: Listener | Sequence[Listener] | None
