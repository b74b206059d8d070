"""A local stand-in for the customers service: same answers, same quota, same oddities, no network beyond loopback."""

from customers_async.emulator.faults import Exchange, Fault
from customers_async.emulator.server import Emulator
from customers_async.emulator.stats import Stats

__all__ = ["Emulator", "Exchange", "Fault", "Stats"]
