"""Who was seen, in nine bytes a customer: so that memory does not grow with the list."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, MutableSet

__all__ = ["CompactSet"]

_SHARDS = 1024
"""A power of two. Each is a sorted array, and short, so that inserting moves little."""

Key = str | bytes


class CompactSet(MutableSet[Key]):
    """A set that keeps the 64-bit hash of each key only, so it cannot be iterated.

    Among a million customers, the odds that two share a hash are one in 37 million. Such a pair would count as a
    repetition, and the list as DRIFTED: never as COMPLETE without one of them.
    """

    def __init__(self) -> None:
        self._shards = [array("q") for _ in range(_SHARDS)]

    def __contains__(self, key: object) -> bool:
        code = hash(key)
        shard = self._shards[code & (_SHARDS - 1)]
        place = bisect_left(shard, code)
        return place < len(shard) and shard[place] == code

    def __iter__(self) -> Iterator[Key]:
        raise TypeError("only the hashes of the keys are kept")

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __rand__(self, keys: Iterable[object]) -> set[Key]:
        return {key for key in keys if isinstance(key, Key) and key in self}

    def add(self, key: Key) -> None:
        """Remember it."""
        code = hash(key)
        shard = self._shards[code & (_SHARDS - 1)]
        place = bisect_left(shard, code)
        if place == len(shard) or shard[place] != code:
            shard.insert(place, code)

    def discard(self, key: Key) -> None:
        """Forget it."""
        code = hash(key)
        shard = self._shards[code & (_SHARDS - 1)]
        place = bisect_left(shard, code)
        if place < len(shard) and shard[place] == code:
            del shard[place]
