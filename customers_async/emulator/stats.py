"""What the emulator received and sent, counted at the server."""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

__all__ = ["Stats"]


@attrs.define
class Stats:
    """Counts of all requests, except those for the description ``/openapi.yaml`` and those of the control.

    Attributes:
        requests: Requests received, whatever their outcome.
        admitted: Requests admitted by the rate limit.
        rejected: Requests rejected by the rate limit with a 429.
        in_flight: Requests being processed now.
        peak_in_flight: The most requests that were ever processed at one time.
        statuses: How many responses were sent with each status. A connection that is dropped or stalls before the
            status is not counted.
        paths: How many requests each path received, without its query.
        unexpected: Requests with a path, a method or a parameter that the service does not have, such as
            ``"GET /api/v1/customers: no parameter perpage"``.
        latest: The last 20 responses, such as ``"GET /api/v1/auth: 200"``.

    Example:
        >>> stats = Stats()
        >>> with stats.counting("/api/v1/auth"):
        ...     stats.in_flight
        1
        >>> stats.requests, stats.in_flight, stats.peak_in_flight
        (1, 0, 1)
    """

    requests: int = 0
    admitted: int = 0
    rejected: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    statuses: Counter[int] = attrs.field(factory=Counter)
    paths: Counter[str] = attrs.field(factory=Counter)
    unexpected: list[str] = attrs.field(factory=list)
    latest: deque[str] = attrs.field(factory=lambda: deque(maxlen=20))

    @contextmanager
    def counting(self, path: str) -> Iterator[None]:
        """Count a request to ``path`` that is in flight while the block runs."""
        self.requests += 1
        self.paths[path] += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    def note_status(self, method: str, path: str, status: int) -> None:
        """Count a response that is about to be sent."""
        self.statuses[status] += 1
        self.latest.append(f"{method} {path}: {status}")

    def reset(self) -> None:
        """Return to 0, except for the requests being processed now."""
        self.requests = self.admitted = self.rejected = 0
        self.peak_in_flight = self.in_flight
        for counts in (self.statuses, self.paths, self.unexpected, self.latest):
            counts.clear()
