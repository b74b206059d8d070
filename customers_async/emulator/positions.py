"""Which customer stands where in the list, at a cost that depends on the changes made to it only."""

from collections.abc import Iterator

__all__ = ["Positions"]


class Positions:
    """The numbers 0, 1, 2 ... in order, with insertions and deletions, kept as runs of consecutive numbers.

    Args:
        size: How many numbers there are at first.

    Example:
        >>> roster = Positions(1_000_000)
        >>> roster.insert(2, at=0)
        >>> roster.delete(1, at=3)
        >>> list(roster.numbers(0, 5)), len(roster)
        ([1000000, 1000001, 0, 2, 3], 1000001)
        >>> 1 in roster
        False
    """

    def __init__(self, size: int) -> None:
        self._runs = [range(size)]
        self._next = size

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def __contains__(self, number: int) -> bool:
        return any(number in run for run in self._runs)

    def numbers(self, start: int, stop: int) -> Iterator[int]:
        """The numbers at the positions from ``start`` up to, not including, ``stop``."""
        for run in self._runs:
            if stop <= 0:
                return
            yield from run[max(start, 0) : stop]
            start -= len(run)
            stop -= len(run)

    def insert(self, count: int, at: int) -> None:
        """Put ``count`` new numbers before position ``at``; beyond the end means at the end."""
        self._runs.insert(self._split(at), range(self._next, self._next + count))
        self._next += count

    def delete(self, count: int, at: int) -> None:
        """Take away ``count`` numbers from position ``at`` on, or as many as there are."""
        first = self._split(at)
        del self._runs[first : self._split(at + count)]

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
