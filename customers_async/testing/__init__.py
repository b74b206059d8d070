"""Helpers for your own tests: a made-up customer, and an event loop that does not spend time waiting."""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from itertools import count
from typing import Any

from customers_async.models import Customer, CustomerType

__all__ = ["VirtualTimeLoop", "make_customer"]

_SOCKET_WAIT = 0.0005
_LARGEST_STEP = 0.5
_numbers = count(1)


def make_customer(**fields: Any) -> Customer:
    """Return a plausible customer with a new uuid.

    Args:
        fields: The fields that matter to the test. The others have default values.

    Raises:
        TypeError: There is no such field.

    Example:
        >>> customer = make_customer(name="Žygimantas", post_address_country_code=None)
        >>> customer.name, customer.type, customer.registration_country_code
        ('Žygimantas', 'individual', 'LT')
    """
    defaults = {
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
    return Customer(**{**defaults, **fields})


class _SkippingSelector(selectors.DefaultSelector):
    """Waits a moment for sockets; if none is ready, advances the clock instead."""

    skipped = 0.0
    busy_threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0 or self.busy_threads:
            return super().select(timeout)
        ready = super().select(min(timeout, _SOCKET_WAIT))
        if not ready:
            # Small steps: a busy kernel may need a moment to deliver what was sent to a socket.
            self.skipped += min(timeout, _LARGEST_STEP)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock advances while nothing happens, so that waiting a minute takes about 0.1 s.

    Sockets and threads work as usual, and the clock waits for both, provided that the other end of each socket
    is in the same loop (as with an emulator that the test starts).

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
        """Return the loop's clock in seconds: the monotonic clock plus the time skipped."""
        return super().time() + self._skipping.skipped

    def run_in_executor(  # type: ignore[override]  # typeshed types the base with TypeVarTuple, in two editions
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run ``func`` in a thread; the clock does not skip time until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._skipping.busy_threads += 1
        future.add_done_callback(self._release_thread)
        return future

    def _release_thread(self, _: asyncio.Future[Any]) -> None:
        self._skipping.busy_threads -= 1
