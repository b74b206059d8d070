"""What tests of your own code need: a customer out of nothing, and an event loop on which waiting takes no time."""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from itertools import count
from typing import Any

from customers_async.models import Customer, CustomerType

__all__ = ["VirtualTimeLoop", "make_customer"]

_PATIENCE = 0.0005
_STEP = 0.5
_numbers = count(1)


def make_customer(**fields: Any) -> Customer:
    """A plausible customer, for code that is given one; each has another uuid.

    Args:
        fields: What the test cares about. The other fields are made up.

    Raises:
        TypeError: There is no such field.

    Example:
        >>> customer = make_customer(name="Žygimantas", post_address_country_code=None)
        >>> customer.name, customer.type, customer.registration_country_code
        ('Žygimantas', 'individual', 'LT')
    """
    plausible = {
        "uuid": f"00000000-0000-4000-8000-{next(_numbers):012x}",
        "identity_uuid": f"00000000-0000-4000-9000-{next(_numbers):012x}",
        "type": CustomerType.INDIVIDUAL.value,
        "updated_at": datetime(2025, 4, 11, 12, 17, 23, tzinfo=UTC),
        "created_at": datetime(2025, 4, 11, 12, 17, 23, tzinfo=UTC),
        "name": "John Doe",
        "registration_country_code": "LT",
        "registration_address_line": "Business Street 1",
        "registration_address_index": "01109",
        "post_address_country_code": "LT",
        "post_address_line": "Main Street 123",
        "post_address_index": "90210",
    }
    return Customer(**{**plausible, **fields})


class _SkippingSelector(selectors.DefaultSelector):
    """Waits a moment for sockets; when none has anything to say, moves the clock instead."""

    skipped = 0.0
    threads_at_work = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0 or self.threads_at_work:
            return super().select(timeout)
        ready = super().select(min(timeout, _PATIENCE))
        if not ready:
            # Small steps: a busy kernel may need a moment to hand over what a socket was sent.
            self.skipped += min(timeout, _STEP)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock runs ahead while nothing happens, so that a minute's wait costs about 0.1 s.

    Sockets and threads work as ever, and the clock waits for both, provided the other end of each socket
    lives in the same loop (as the emulator does when a test starts it).

    Example:
        >>> import asyncio, time
        >>> from customers_async.testing import VirtualTimeLoop
        >>> started = time.monotonic()
        >>> with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        ...     runner.run(asyncio.sleep(60))
        >>> time.monotonic() - started < 10
        True
    """

    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        """The loop's clock in seconds: the monotonic clock plus all that was skipped."""
        return super().time() + self._skipping.skipped

    def run_in_executor(  # type: ignore[override]  # typeshed types the base with TypeVarTuple, in two editions
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run ``func`` in a thread; the clock keeps real time until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._skipping.threads_at_work += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._skipping.threads_at_work -= 1
