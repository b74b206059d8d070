"""Who was seen, in nine bytes a customer: so that memory does not grow with the list."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable

__all__ = ["CompactSet"]

_LAST = 1023
"""Of the shards; all its bits are set. Each is a sorted array, and short, so that inserting moves little."""


class CompactSet:
    """A set that keeps the 64-bit hash of each key only, as a walk needs it.

    Among a million customers, the odds that two share a hash are one in 37 million. Such a pair would count as a
    repetition, and the list as DRIFTED: never as COMPLETE without one of them. (Python gives a text and the same
    text as bytes one hash; a walk never has both.)
    """

    def __init__(self) -> None:
        self._shards = [array("q") for _ in range(_LAST + 1)]
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: object) -> bool:
        code = hash(key)
        shard = self._shards[code & _LAST]
        place = bisect_left(shard, code)
        return place < len(shard) and shard[place] == code

    def isdisjoint(self, keys: Iterable[str | bytes]) -> bool:
        """Whether none of the keys is known."""
        return not any(map(self.__contains__, keys))

    def update(self, keys: Iterable[str | bytes]) -> None:
        """Remember the keys."""
        for key in keys:
            code = hash(key)
            shard = self._shards[code & _LAST]
            place = bisect_left(shard, code)
            if place == len(shard) or shard[place] != code:
                shard.insert(place, code)
                self._size += 1
