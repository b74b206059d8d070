"""An iteration that continues after an error, in a new generator."""

from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

__all__ = ["ResumableIterator"]

Item = TypeVar("Item")


class ResumableIterator(Generic[Item]):
    """Yields items from one generator after another, for one consumer at a time.

    A generator that has raised is finished: iterated again, it ends *normally*, and the consumer would take a part for
    the whole. So after an error a new generator is created, and what the generators share must store the progress.

    Args:
        create: Returns a generator that continues where the last one stopped.
        is_finished: Whether everything was yielded.
        owner: What the user calls the object that is iterated over, for error messages.
    """

    def __init__(
        self, create: Callable[[], AsyncGenerator[Item, None]], is_finished: Callable[[], bool], *, owner: str
    ) -> None:
        self._create = create
        self._is_finished = is_finished
        self._owner = owner
        self._generator: AsyncGenerator[Item, None] | None = None
        self._busy = False

    async def next(self) -> Item | None:
        """Return the next item, or None at the end. After an error, the next call creates a new generator."""
        self._check_idle()
        self._busy = True
        generator, self._generator = self._generator or self._create(), None
        try:
            item = await anext(generator, None)
            if item is None and not self._is_finished():  # the generator was closed together with its event loop
                generator = self._create()
                item = await anext(generator, None)
        finally:
            self._busy = False
        self._generator = generator if item is not None else None
        return item

    async def close(self) -> None:
        """Close the generator. The next call of `next` creates a new one.

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
            raise RuntimeError(
                f"another task is waiting for the next item of this {owner}: use a {owner} in one task at a time"
            )
