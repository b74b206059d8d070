"""A local emulator of the customers service: same responses, rate limit and quirks, on loopback only."""

from customers_async.emulator.faults import Exchange, Fault
from customers_async.emulator.server import Emulator
from customers_async.emulator.stats import Stats

__all__ = ["Emulator", "Exchange", "Fault", "Stats"]
