"""Customers computed from a seed and a number, so that a million of them take no memory."""

from hashlib import blake2b
from typing import Any

from customers_async.emulator.locales import REGIONS, Locale
from customers_async.emulator.uuids import DOCUMENTED_UUID, Uuids, hyphenated

__all__ = ["TIES", "Customer", "FakeCustomers"]

Customer = dict[str, Any]

TIES = 37
"""So many customers in a row have the same ``created_at``; a prime, so that ties straddle page borders."""

_NEWEST = 1744373843
_DOCUMENTED: Customer = {
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
    """Every customer there is or may yet be, numbered from 0, which is the one the API reference documents.

    The first ``size`` customers are ordered from the newest to the oldest; those with higher numbers join later
    and are newer still.

    Args:
        size: How many customers there are at first.
        seed: Another seed, other people.

    Example:
        >>> population = FakeCustomers(size=1_000_000, seed=1)
        >>> customer = population.customer(999_999)
        >>> population.number(customer["uuid"])
        999999
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._key = blake2b(str(seed).encode(), digest_size=32).digest()
        self._uuids = Uuids(self._key)

    def uuid(self, number: int) -> str:
        """The uuid of customer ``number``."""
        return self._uuids.uuid(number)

    def number(self, uuid: str) -> int | None:
        """Whose uuid this is, among all numbers below 2^63; None if nobody's."""
        return self._uuids.number(uuid)

    def created_at(self, number: int) -> int:
        """When customer ``number`` was entered, in Unix seconds."""
        if number < self._size:
            return _NEWEST - number // TIES * 3607
        return _NEWEST + (number - self._size + 1) * 61

    def customer(self, number: int) -> Customer:
        """The record of customer ``number``, a new dict each time."""
        if number == 0:
            return dict(_DOCUMENTED)
        draw = blake2b(number.to_bytes(8, "big"), key=self._key, digest_size=40).digest()
        region = REGIONS[draw[16] % len(REGIONS)]
        is_company = draw[17] < 64
        names = region.company_names if is_company else region.people_names
        created_at = self.created_at(number)
        registration = _address(region, draw[24:29])
        post = _post_address(registration, draw[29:36])
        return {
            "uuid": self._uuids.uuid(number),
            "identity_uuid": hyphenated(draw[:16].hex()),
            "type": "company" if is_company else "individual",
            "updated_at": created_at + (int.from_bytes(draw[18:21], "big") if draw[21] % 2 else 0),
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


def _address(region: Locale, draw: bytes) -> _Address:
    """Country, line and postal code; one in sixteen is unknown altogether, and one in eight lacks the code."""
    if draw[0] % 16 == 0:
        return None, None, None
    line = region.streets[draw[0] % len(region.streets)] % (1 + draw[1] % 180)
    if draw[1] % 8 == 0:
        return region.country, line, None
    number = region.postal_codes[int.from_bytes(draw[2:5], "big") % len(region.postal_codes)]
    return region.country, line, region.postal_code % divmod(number, 1000)


def _post_address(registration: _Address, draw: bytes) -> _Address:
    """Half have their post sent to the registered address, a quarter nowhere, a quarter elsewhere."""
    if draw[0] < 64:
        return None, None, None
    if draw[0] < 128:
        return _address(REGIONS[draw[1] % len(REGIONS)], draw[2:7])
    return registration
