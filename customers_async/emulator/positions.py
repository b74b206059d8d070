"""The order of the list, in memory that grows with the changes made, not with the list."""

from collections.abc import Iterator

__all__ = ["Positions"]


class Positions:
    """Customer numbers in list order, kept as runs of consecutive numbers.

    Args:
        size: The list begins as the numbers from 0 up to ``size``.

    Example:
        >>> positions = Positions(1_000_000)
        >>> positions.insert(range(1_000_000, 1_000_002), at=0)
        >>> positions.delete(1, at=3)
        >>> list(positions.numbers(0, 5)), len(positions)
        ([1000000, 1000001, 0, 2, 3], 1000001)
        >>> 1 in positions
        False
    """

    def __init__(self, size: int) -> None:
        self._runs = [range(size)]

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def __contains__(self, number: int) -> bool:
        return any(number in run for run in self._runs)

    def numbers(self, start: int, stop: int) -> Iterator[int]:
        """Yield the numbers at the positions from ``start`` up to, not including, ``stop``."""
        for run in self._runs:
            if stop <= 0:
                return
            yield from run[max(start, 0) : stop]
            start -= len(run)
            stop -= len(run)

    def insert(self, numbers: range, at: int) -> None:
        """Insert ``numbers`` before position ``at``; beyond the end means at the end."""
        self._runs.insert(self._split(at), numbers)

    def delete(self, count: int, at: int) -> None:
        """Delete ``count`` numbers from position ``at`` on, or as many as there are."""
        first = self._split(at)
        del self._runs[first : self._split(at + count)]

    def swap(self, first: int, second: int) -> None:
        """Let the numbers at two positions change places."""
        for position in (first, second):
            self._split(position + 1)
            self._split(position)
        one, other = self._split(first), self._split(second)
        self._runs[one], self._runs[other] = self._runs[other], self._runs[one]

    def _split(self, position: int) -> int:
        """Make a run begin at ``position``; return its index."""
        for index, run in enumerate(self._runs):
            if position == 0:
                return index
            if position < len(run):
                self._runs[index : index + 1] = [run[:position], run[position:]]
                return index + 1
            position -= len(run)
        return len(self._runs)
