"""What the emulator saw, counted where the client cannot embellish it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

__all__ = ["Stats"]


@attrs.define
class Stats:
    """Counts of everything that arrived, except requests for the description ``/openapi.yaml``.

    Attributes:
        requests: All requests, whatever became of them.
        admitted: Those the quota let through.
        rejected: Those the quota answered with a 429.
        in_flight: Being answered right now.
        peak_in_flight: The most that were ever being answered at one time.
        statuses: How often each status was answered; a connection dropped or stalled before a status counts nowhere.
        paths: How often each path was asked for, without its query.
        unexpected: Requests for a path, with a method or with a parameter that the service does not have, such as
            ``"GET /api/v1/customers: no parameter perpage"``.

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

    @contextmanager
    def counting(self, path: str) -> Iterator[None]:
        """Count a request to ``path``, which is in flight for as long as the block runs."""
        self.requests += 1
        self.paths[path] += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1
