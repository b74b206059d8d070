"""Customers computed from a seed and a number, so that a million of them take no memory."""

from bisect import bisect_right
from hashlib import blake2b
from typing import Any

from customers_async.emulator.locales import LOCALES, Locale
from customers_async.emulator.uuids import DOCUMENTED_UUID, Uuids, hyphenate

__all__ = ["TIES", "FakeCustomers", "Record"]

Record = dict[str, Any]

TIES = 37
"""How many of the first customers share a ``created_at``; a prime, so that ties straddle page boundaries."""

_NEWEST = 1744373843
_DOCUMENTED: Record = {
    "uuid": DOCUMENTED_UUID,
    "identity_uuid": "123e4567-e89b-12d3-a456-426614174000",
    "type": "individual",
    "updated_at": _NEWEST,
    "created_at": _NEWEST,
    "name": "John Doe",
    "risk_country_code": None,
    "registration_country_code": "LT",
    "registration_address_line": "Business Street 1",
    "registration_address_index": "01109",
    "post_address_country_code": "LT",
    "post_address_line": "Main Street 123",
    "post_address_index": "90210",
    "related_persons": None,
}


class FakeCustomers:
    """Customers by number. Number 0 is the customer in the API reference.

    The first ``size`` customers are ordered from the newest to the oldest. Those that `create` adds have higher
    numbers.

    Args:
        size: Number of customers at first.
        seed: Selects the customers.

    Attributes:
        size: Number of customers at first.

    Example:
        >>> fake_customers = FakeCustomers(size=1_000_000, seed=1)
        >>> record = fake_customers.customer(999_999)
        >>> fake_customers.number(record["uuid"])
        999999
    """

    def __init__(self, size: int, seed: int | str) -> None:
        self.size = size
        self._key = blake2b(str(seed).encode(), digest_size=32).digest()
        self._uuids = Uuids(self._key)
        self.reset()

    def reset(self) -> None:
        """Forget the customers that `create` added."""
        self._total = self.size
        # The first number and the time of each run of customers created in the same second.
        self._run_starts: list[int] = []
        self._run_times: list[int] = []

    def create(self, count: int, now: int) -> range:
        """Create ``count`` customers at the Unix time ``now``; return their numbers."""
        numbers = range(self._total, self._total + count)
        self._total += count
        if not self._run_times or self._run_times[-1] != now:
            self._run_starts.append(numbers.start)
            self._run_times.append(now)
        return numbers

    def uuid(self, number: int) -> str:
        """Return the uuid of customer ``number``."""
        return self._uuids.uuid(number)

    def number(self, uuid: str) -> int | None:
        """Return the number with that uuid, created or not; None if there is none below 2^63."""
        return self._uuids.number(uuid)

    def created_at(self, number: int) -> int:
        """Return when customer ``number`` was created, in Unix seconds."""
        if number < self.size:
            return _NEWEST - number // TIES * 3607
        return self._run_times[bisect_right(self._run_starts, number) - 1]

    def customer(self, number: int) -> Record:
        """Return the record of customer ``number``, a new dict each time."""
        created_at = self.created_at(number)
        if number == 0:
            return {**_DOCUMENTED, "created_at": created_at, "updated_at": created_at}
        draw = blake2b(number.to_bytes(8, "big"), key=self._key, digest_size=40).digest()
        locale = LOCALES[draw[16] % len(LOCALES)]
        is_company = draw[17] < 64
        names = locale.company_names if is_company else locale.people_names
        was_updated = number < self.size and draw[21] % 2
        registration = _draw_address(locale, draw[24:29])
        post = _draw_post_address(registration, draw[29:36])
        return {
            "uuid": self._uuids.uuid(number),
            "identity_uuid": hyphenate(draw[:16].hex()),
            "type": "company" if is_company else "individual",
            "updated_at": created_at + (int.from_bytes(draw[18:21], "big") if was_updated else 0),
            "created_at": created_at,
            "name": names[int.from_bytes(draw[22:24], "big") % len(names)],
            "risk_country_code": None,
            "registration_country_code": registration[0],
            "registration_address_line": registration[1],
            "registration_address_index": registration[2],
            "post_address_country_code": post[0],
            "post_address_line": post[1],
            "post_address_index": post[2],
            "related_persons": None,
        }


_Address = tuple[str | None, str | None, str | None]


def _draw_address(locale: Locale, draw: bytes) -> _Address:
    """Return country, line and postal code; one in sixteen has none of them, and one in eight lacks the code."""
    if draw[0] % 16 == 0:
        return None, None, None
    line = locale.streets[draw[0] % len(locale.streets)] % (1 + draw[1] % 180)
    if draw[1] % 8 == 0:
        return locale.country, line, None
    number = locale.postal_codes[int.from_bytes(draw[2:5], "big") % len(locale.postal_codes)]
    return locale.country, line, locale.postal_code % divmod(number, 1000)


def _draw_post_address(registration: _Address, draw: bytes) -> _Address:
    """Return the registered address for half of the customers, none for a quarter, another for a quarter."""
    if draw[0] < 64:
        return None, None, None
    if draw[0] < 128:
        return _draw_address(LOCALES[draw[1] % len(LOCALES)], draw[2:7])
    return registration
