"""Who was seen, in nine bytes a customer: so that memory does not grow with the list."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, MutableSet
from typing import Any, Self

__all__ = ["CompactSet"]

_LAST = 1023
"""Of the shards; all its bits are set. Each is a sorted array, and short, so that inserting moves little."""

Key = str | bytes


class CompactSet(MutableSet[Key]):
    """A set that keeps the 64-bit hash of each key only, so it cannot be iterated.

    Among a million customers, the odds that two share a hash are one in 37 million. Such a pair would count as a
    repetition, and the list as DRIFTED: never as COMPLETE without one of them. (Python gives a text and the same
    text as bytes one hash; a walk never has both.)
    """

    def __init__(self) -> None:
        self._shards = [array("q") for _ in range(_LAST + 1)]

    def __contains__(self, key: object) -> bool:
        return bool({key} & self)

    def __iter__(self) -> Iterator[Key]:
        raise TypeError("only the hashes of the keys are kept")

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __rand__(self, keys: Iterable[object]) -> set[Any]:
        shards, known = self._shards, set()
        for key in keys:
            code = hash(key)
            shard = shards[code & _LAST]
            place = bisect_left(shard, code)
            if place < len(shard) and shard[place] == code:
                known.add(key)
        return known

    def __ior__(self, keys: Iterable[Key]) -> Self:  # type: ignore[override,misc]  # of any keys
        shards = self._shards
        for key in keys:
            code = hash(key)
            shard = shards[code & _LAST]
            place = bisect_left(shard, code)
            if place == len(shard) or shard[place] != code:
                shard.insert(place, code)
        return self

    def add(self, key: Key) -> None:
        """Remember it."""
        self |= (key,)

    def discard(self, key: Key) -> None:
        """A walk forgets nobody."""
        raise TypeError("it only grows")
