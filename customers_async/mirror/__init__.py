"""A mirror of the list in SQLite or PostgreSQL: kept in step, with a change feed and removals that are proven."""

from customers_async.mirror.mirror import Mirror
from customers_async.mirror.models import Change, MassRemovalError, MirroredCustomer, SyncReport

__all__ = ["Change", "MassRemovalError", "Mirror", "MirroredCustomer", "SyncReport"]
