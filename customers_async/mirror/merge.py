"""What a table, a listing and look-ups add up to. No SQL and no I/O.

Absence proves nothing: a customer that a listing does not show is a suspect. Only a look-up that is answered with a 404
removes it.
"""

import attrs

from customers_async.mirror.models import Kind, MassRemovalError

__all__ = ["Known", "Merge", "check_removals", "default_max_removals"]

_MIN_REMOVALS = 20
_MAX_REMOVED_SHARE = 0.05


@attrs.frozen
class Known:
    """The contents of a mirror before a sync.

    Attributes:
        digests: The digest of each customer's record, by uuid.
        removed: Customers that earlier syncs removed.
        written_at: When the tables were last written, by a sync or by `Mirror.forget`, Unix seconds.
    """

    digests: dict[str, bytes]
    removed: frozenset[str] = frozenset()
    written_at: float = 0.0


class Merge:
    """Compares what a sync sees with what the mirror holds.

    Args:
        known: The mirror's contents.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._unseen = set(known.digests)

    def see(self, uuid: str, digest: bytes) -> Kind | None:
        """Note a customer that the service has shown; return what may have happened to it.

        Another digest does not prove a change, because the service may spell the same record differently: the stores
        compare the values of both records before they write (`records.is_same`).
        """
        self._unseen.discard(uuid)
        held = self._known.digests.get(uuid)
        if held is not None:
            return None if held == digest else "changed"
        return "restored" if uuid in self._known.removed else "added"

    def keep(self, uuid: str) -> None:
        """Note a customer that the service has shown, with a record that does not fit."""
        self._unseen.discard(uuid)

    @property
    def suspects(self) -> list[str]:
        """The customers that the mirror holds and the service has not shown, in order."""
        return sorted(self._unseen)


def default_max_removals(size: int) -> int:
    """How many customers one sync may remove from a mirror of this size: 5 %, and at least 20."""
    return max(_MIN_REMOVALS, int(size * _MAX_REMOVED_SHARE))


def check_removals(removals: int, max_removals: int) -> None:
    """Check the number of customers that a sync would remove.

    Raises:
        MassRemovalError: It is larger than ``max_removals``.
    """
    if removals > max_removals:
        raise MassRemovalError(
            f"the sync would remove {removals:,} customers or more, and max_removals is {max_removals:,}; "
            "nothing was written",
            removals=removals,
            max_removals=max_removals,
        )
