"""Argument checks, so that a mistake raises where it is made."""

import math
import sys

__all__ = ["MOST_CUSTOMERS", "check_duration", "check_secret", "check_whole_number"]

MOST_CUSTOMERS = 10**12
"""On a list at first, or inserted at once. Uuids and positions end at nine million times as many."""


def check_whole_number(name: str, value: object, minimum: int, maximum: int = sys.maxsize) -> None:
    """Raise TypeError or ValueError unless ``value`` is an int (not a bool) from ``minimum`` to ``maximum``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, not {value}")
    if value > maximum:
        raise ValueError(f"{name} must be at most {maximum}")


def check_duration(name: str, value: object, *, positive: bool = True) -> None:
    """Raise TypeError or ValueError unless ``value`` is a finite number above 0, or 0 if not ``positive``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise ValueError(f"{name} must be {'above' if positive else 'at least'} 0, not {value}")


def check_secret(name: str, value: object) -> None:
    """Raise TypeError or ValueError unless ``value`` can be a token. The errors do not repeat it."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not (value and value.isascii() and value.isprintable()) or " " in value:
        raise ValueError(f"{name} must be of visible ASCII characters only")
