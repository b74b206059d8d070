"""Maps customer numbers to uuids and back, without a table."""

from hashlib import blake2b

__all__ = ["DOCUMENTED_UUID", "Uuids", "hyphenate"]

DOCUMENTED_UUID = "e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g"

_MASK = (1 << 128) - 1
_HEX = "0123456789abcdef"
_MIXED = "2WqZ3xk9PhT4vNmR"
_LOWER_LAST = "ghijklmnopqrstuv"
_UPPER_LAST = "GHIJKLMNOPQRSTUV"
_TO_MIXED = str.maketrans(_HEX, _MIXED)
_FROM_MIXED = str.maketrans(_MIXED, _HEX)
_DOCUMENTED = int(DOCUMENTED_UUID.replace("-", "")[:-1] + "0", 16)


def hyphenate(digits: str) -> str:
    """Return 32 characters in the groups of a uuid."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Uuids:
    """A keyed one-to-one map of numbers below 2^63 to uuids.

    Most uuids are hex. One in eight ends in a letter beyond ``f``, like the one in the API reference, and one in
    eight has letters of both cases. The last character shows which kind it is, so no two numbers share a uuid.
    Number 0 has the uuid of the API reference, whatever the key.

    Example:
        >>> uuids = Uuids(b"key")
        >>> uuids.number(uuids.uuid(123456))
        123456
        >>> uuids.uuid(0)
        'e1f8a3b1-7d6c-4e9a-9b2e-3f8d1a9c5f2g'
    """

    def __init__(self, key: bytes) -> None:
        digest = blake2b(b"uuids", key=key, digest_size=32).digest()
        self._first = int.from_bytes(digest[:16], "big") | 1
        self._second = int.from_bytes(digest[16:], "big") | 1
        self._first_inverse = pow(self._first, -1, 1 << 128)
        self._second_inverse = pow(self._second, -1, 1 << 128)

    def uuid(self, number: int) -> str:
        """Return the uuid of customer ``number``."""
        digits = f"{self._scatter(number):032x}"
        style = number % 8
        if style == 0:
            digits = digits[:-1] + _LOWER_LAST[int(digits[-1], 16)]
        elif style == 4:
            digits = digits[:-1].translate(_TO_MIXED) + _UPPER_LAST[int(digits[-1], 16)]
        return hyphenate(digits)

    def number(self, uuid: str) -> int | None:
        """Return the number whose uuid this is; None for any other text."""
        digits = uuid.replace("-", "")
        body, last = digits[:-1], digits[-1:]
        if last and last in _LOWER_LAST:
            last = _HEX[_LOWER_LAST.index(last)]
        elif last and last in _UPPER_LAST:
            body, last = body.translate(_FROM_MIXED), _HEX[_UPPER_LAST.index(last)]
        try:
            number = self._gather(int(body + last, 16))
        except ValueError:
            return None
        # Another spelling of the same value, such as capital hex digits, is another uuid.
        return number if number < 1 << 63 and self.uuid(number) == uuid else None

    def _scatter(self, number: int) -> int:
        value = number * self._first & _MASK
        value = (value ^ value >> 64) * self._second & _MASK
        return value ^ value >> 64 ^ _DOCUMENTED

    def _gather(self, value: int) -> int:
        value ^= _DOCUMENTED
        value = (value ^ value >> 64) * self._second_inverse & _MASK
        return (value ^ value >> 64) * self._first_inverse & _MASK
