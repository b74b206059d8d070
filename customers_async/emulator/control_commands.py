"""The commands of the control: what a request may contain, and the emulator's method that it calls."""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from customers_async.emulator.checks import MOST_CUSTOMERS
from customers_async.emulator.settings import Part

if TYPE_CHECKING:
    from customers_async.emulator.server import Emulator

__all__ = ["COMMANDS", "Command"]

_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_CUSTOMERS)]
_Path = Annotated[str, msgspec.Meta(max_length=2000)]
"""Matching a pattern takes time that grows faster than its length."""


class Command(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a request, checked as they are decoded."""

    def run(self, emulator: "Emulator") -> dict[str, Any]:
        """Call the emulator; return what the response contains besides the state.

        Raises:
            TypeError: A field has the wrong type.
            ValueError: A field is out of its range.
        """
        raise NotImplementedError


class _FailNext(Command):
    fault: int | str
    times: int | None = 1
    path: _Path | None = None
    page: int | None = None
    after: int = 0

    def run(self, emulator: "Emulator") -> dict[str, Any]:
        emulator.fail_next(self.fault, times=self.times, path=self.path, page=self.page, after=self.after)
        return {}


class _Mutate(Command):
    insert: _Count = 0
    delete: _Count = 0
    at: _Count = 0
    page: int | None = None
    touch: _Count | None = None
    fields: dict[str, Any] = {}
    swap: tuple[_Count, _Count] | None = None
    token: str | None = None

    def run(self, emulator: "Emulator") -> dict[str, Any]:
        changes = [bool(self.insert or self.delete), self.touch is not None, self.swap is not None]
        if sum(changes) != 1:
            raise ValueError("one change at a time: insert and delete, or touch, or swap")
        if not changes[0] and (self.page is not None or self.at):
            raise ValueError("page and at are for insert and delete")
        if self.touch is None and self.fields:
            raise ValueError("fields are for touch")
        if self.page is not None:
            emulator.on_page(self.page, insert=self.insert, delete=self.delete, at=self.at, token=self.token)
        elif changes[0]:
            emulator.delete(self.delete, self.at, token=self.token)
            emulator.insert(self.insert, self.at, token=self.token)
        elif self.swap is not None:
            emulator.swap(*self.swap, token=self.token)
        elif self.touch is not None:
            if reserved := self.fields.keys() & {"self", "position", "token"}:
                raise ValueError(f"customers have no field {min(reserved)}")
            emulator.touch(self.touch, token=self.token, **self.fields)
        return {}


class _ExpireToken(Command):
    after: int = 0

    def run(self, emulator: "Emulator") -> dict[str, Any]:
        emulator.expire_token(self.after)
        return {} if self.after else {"token": emulator.token}


class _RateLimit(Command):
    limit: int
    window: float = 60.0

    def run(self, emulator: "Emulator") -> dict[str, Any]:
        emulator.rate_limit(self.limit, self.window)
        return {}


class _Reset(Command):
    parts: list[Part] = []

    def run(self, emulator: "Emulator") -> dict[str, Any]:
        emulator.reset(*self.parts)
        return {}


COMMANDS: dict[str, type[Command]] = {
    "fail_next": _FailNext,
    "mutate": _Mutate,
    "expire_token": _ExpireToken,
    "rate_limit": _RateLimit,
    "reset": _Reset,
}
