"""A set of keys in nine bytes each, for lists of any length."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable

__all__ = ["CompactSet"]

_SHARDS = 1024
"""A power of two, so that `_MASK` selects a shard. Each shard is a sorted array, and short: insertions move little."""
_MASK = _SHARDS - 1


class CompactSet:
    """A set that keeps only the 64-bit hash of each key.

    Among a million customers, the odds that two share a hash are one in 37 million. Such a pair would count as a
    duplicate and make the verdict DRIFTED; it cannot make an incomplete list COMPLETE.
    """

    def __init__(self) -> None:
        self._shards = [array("q") for _ in range(_SHARDS)]
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: object) -> bool:
        code = hash(key)
        shard = self._shards[code & _MASK]
        index = bisect_left(shard, code)
        return index < len(shard) and shard[index] == code

    def isdisjoint(self, keys: Iterable[str | bytes]) -> bool:
        """Return whether none of the keys is in the set."""
        return not any(map(self.__contains__, keys))

    def update(self, keys: Iterable[str | bytes]) -> None:
        """Add the keys."""
        for key in keys:
            code = hash(key)
            shard = self._shards[code & _MASK]
            index = bisect_left(shard, code)
            if index == len(shard) or shard[index] != code:
                shard.insert(index, code)
                self._size += 1
