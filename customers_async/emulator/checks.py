"""Checks of arguments, so that a mistake is told where it is made."""

import math

__all__ = ["check_seconds", "check_whole_number"]


def check_whole_number(name: str, value: object, minimum: int) -> None:
    """Raise TypeError or ValueError unless ``value`` is an int, and no bool, of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, not {value}")


def check_seconds(name: str, value: object, *, positive: bool = True) -> None:
    """Raise TypeError or ValueError unless ``value`` is a finite number above (or, not ``positive``, from) 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise ValueError(f"{name} must be {'above' if positive else 'at least'} 0, not {value}")
