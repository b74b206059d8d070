"""An iteration that an error does not finish: the next step begins a new generator, which goes on."""

from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

__all__ = ["ResumableIterator"]

Item = TypeVar("Item")


class ResumableIterator(Generic[Item]):
    """What one generator after another yields, item by item, for one consumer at a time.

    A generator that has raised is finished: asked again, it ends *normally*, and part would be taken for the whole.
    So another one is begun, and what they have in common must know where to go on.

    Args:
        begin: Begins a generator that goes on where the last one stopped.
        is_finished: Whether everything was yielded.
        owner: What its user calls the thing that is iterated over.
    """

    def __init__(
        self, begin: Callable[[], AsyncGenerator[Item, None]], is_finished: Callable[[], bool], *, owner: str
    ) -> None:
        self._begin = begin
        self._is_finished = is_finished
        self._owner = owner
        self._generator: AsyncGenerator[Item, None] | None = None
        self._busy = False

    async def next(self) -> Item | None:
        """The next item, or None at the end. An error ends the generator; the next call begins another."""
        self._check_idle()
        self._busy = True
        generator, self._generator = self._generator or self._begin(), None
        try:
            item = await anext(generator, None)
            if item is None and not self._is_finished():  # its event loop had closed it
                generator = self._begin()
                item = await anext(generator, None)
        finally:
            self._busy = False
        self._generator = generator if item is not None else None
        return item

    async def close(self) -> None:
        """End the generator; the next item comes from another.

        Raises:
            RuntimeError: Another task is waiting for an item.
        """
        self._check_idle()
        generator, self._generator = self._generator, None
        if generator is not None:
            await generator.aclose()

    def _check_idle(self) -> None:
        if self._busy:
            owner = self._owner
            raise RuntimeError(f"another task is waiting for this {owner}'s next item: a {owner} serves one at a time")
