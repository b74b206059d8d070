"""The tables, and how a sync is written to them. The SQL is common to both databases, except for the types.

A change is stored as what was there before it. What came after it is the next change's ``before``, or the customer as
it is now: the view ``changes`` shows both.
"""

from collections.abc import Iterator

import attrs

from customers_async.models import FIELDS

__all__ = [
    "COLUMNS",
    "READ_CHANGES",
    "READ_CUSTOMER",
    "READ_FACTS",
    "READ_VERSIONS",
    "SYNC_COLUMNS",
    "VERSION",
    "Types",
    "commit_statements",
    "describe_columns",
    "migrate",
    "stage_tables",
]

VERSION = 1
"""Of the schema. A mirror of an earlier version is migrated when it is opened."""


@attrs.frozen
class Types:
    """What a database calls the types.

    Attributes:
        key: Text that is compared byte by byte.
        time: A point in time.
        blob: Bytes.
        flag: True or false.
        integer: An integer of 64 bits.
        counter: A key that the database counts up.
        real: A floating-point number of 64 bits.
    """

    key: str
    time: str
    blob: str
    flag: str
    integer: str
    counter: str
    real: str


CUSTOMER_COLUMNS = {
    "uuid": "the key",
    "updated_at": "the last change, as the service dates it",
    "created_at": "the creation, as the service dates it",
    "related_persons": "JSON text",
    "record": "the record as the service sent it, JSON text",
    "digest": "of the record",
    "search": "the first 200 characters of the name in lower case, without accents",
    "version": "the sync that last changed it",
    "suspect_since": "the first sync that did not see it; NULL if the last one did",
}
"""The columns of ``customers`` whose names do not say everything."""
COLUMNS = (*FIELDS, "record", "digest", "search")
"""The columns of ``customers`` that a sync makes from a record."""
SYNC_COLUMNS = {
    "version": "the number of the sync",
    "seen_at": "when the oldest page of the listing was received",
    "finished_at": "when it was written",
    "verdict": "of the listing: COMPLETE, DRIFTED, CAPPED or INCONSISTENT",
    "proven": "whether it is proven that the listing shows every customer",
    "total": "the length of the list, according to the service",
    "listed": "distinct customers on the list",
    "added": "customers that are new",
    "changed": "customers that differ",
    "removed": "customers whose look-up was answered with a 404",
    "restored": "customers that had been removed and are back",
    "missed": "customers that only their look-up showed",
    "rejected": "records that do not fit the model",
    "suspects": "customers that neither the listing nor a look-up showed",
    "requests": "requests sent",
    "seconds": "its duration",
}
"""The columns of ``syncs``, with their meaning."""

READ_VERSIONS = (
    "SELECT coalesce((SELECT max(version) FROM syncs), 0), "
    "coalesce((SELECT CAST(value AS BIGINT) FROM mirror_facts WHERE name = 'pruned'), 0)"
)
"""The last version, and the last one whose changes have been pruned; 0 if there is none."""
READ_FACTS = "SELECT name, value FROM mirror_facts WHERE name IN ('base_url', 'account')"
"""Which list the mirror is of."""
READ_CUSTOMER = (
    "SELECT record, (SELECT seen_at FROM syncs WHERE suspect_since IS NULL OR syncs.version < suspect_since "
    "ORDER BY syncs.version DESC LIMIT 1) AS seen_at FROM customers WHERE uuid = $1"
)
"""A customer's record, and when the service last showed it."""
READ_CHANGES = (
    "SELECT id, version, kind, uuid, before, after, seen_at FROM changes WHERE version > $1 AND id > $2 "
    "ORDER BY id LIMIT $3"
)
"""The columns of `StoredChange`, of changes after a version, from a change on."""


def migrate(version: int, types: Types) -> Iterator[str]:
    """Yield the statements that bring a schema of this version up to date; 0 is an empty database."""
    if version < 1:
        yield from _create_tables(types)
    fact = f"('schema', '{VERSION}')"
    yield f"INSERT INTO mirror_facts VALUES {fact} ON CONFLICT (name) DO UPDATE SET value = excluded.value"


def describe_columns() -> dict[str, dict[str, str]]:
    """Return the meaning of columns, by table."""
    return {"customers": CUSTOMER_COLUMNS, "syncs": SYNC_COLUMNS}


def _create_tables(types: Types) -> Iterator[str]:
    yield f"CREATE TABLE mirror_facts (name {types.key} PRIMARY KEY, value TEXT NOT NULL)"
    sync_types = {"seen_at": types.time, "finished_at": types.time, "verdict": "TEXT", "proven": types.flag}
    sync_types |= {"version": f"{types.integer} PRIMARY KEY", "seconds": types.real}
    yield _table("syncs", [(name, sync_types.get(name, types.integer), text) for name, text in SYNC_COLUMNS.items()])
    own_types = {"record": "TEXT NOT NULL", "digest": f"{types.blob} NOT NULL", "search": f"{types.key} NOT NULL"}
    own_types |= {"version": f"{types.integer} NOT NULL", "suspect_since": types.integer}
    customer_types = {**{name: _field_type(name, types) for name in FIELDS}, **own_types}
    yield _table("customers", [(name, kind, CUSTOMER_COLUMNS.get(name, "")) for name, kind in customer_types.items()])
    yield "CREATE INDEX customers_search ON customers (search, uuid)"
    yield _table(
        "history",
        [
            ("id", types.counter, "the number of the change: later syncs have higher ones"),
            ("version", f"{types.integer} NOT NULL", "the sync that found the change"),
            ("uuid", f"{types.key} NOT NULL", "the customer"),
            ("kind", "TEXT NOT NULL", "added, changed, removed or restored"),
            ("before", "TEXT", "the record before the change"),
        ],
    )
    yield "CREATE INDEX history_version ON history (version)"
    yield "CREATE INDEX history_uuid ON history (uuid, id)"
    yield (
        "CREATE VIEW changes AS "
        "SELECT change.id, change.version, sync.seen_at, change.kind, change.uuid, change.before, "
        "CASE WHEN change.kind <> 'removed' THEN COALESCE("
        "(SELECT later.before FROM history AS later WHERE later.uuid = change.uuid AND later.id > change.id "
        "ORDER BY later.id LIMIT 1), "
        "(SELECT customer.record FROM customers AS customer WHERE customer.uuid = change.uuid)) END AS after "
        "FROM history AS change JOIN syncs AS sync ON sync.version = change.version"
    )


def _field_type(name: str, types: Types) -> str:
    if name == "uuid":
        return f"{types.key} PRIMARY KEY NOT NULL"
    return types.time if name in ("updated_at", "created_at") else "TEXT"


def _table(name: str, columns: list[tuple[str, str, str]]) -> str:
    """Return the statement that creates a table, with comments, which SQLite's own schema keeps."""
    last = len(columns) - 1
    lines = [
        f"  {column} {kind}{',' if index < last else ''}{f'  -- {text}' if text else ''}"
        for index, (column, kind, text) in enumerate(columns)
    ]
    return "\n".join([f"CREATE TABLE {name} (", *lines, ")"])


def stage_tables(types: Types) -> Iterator[str]:
    """Yield the statements that create a sync's temporary tables."""
    kinds = {"uuid": types.key, "created_at": types.time, "updated_at": types.time, "digest": types.blob}
    columns = ", ".join(f"{name} {kinds.get(name, 'TEXT')}" for name in COLUMNS)
    yield f"CREATE TEMPORARY TABLE staged (kind TEXT, {columns})"
    yield f"CREATE TEMPORARY TABLE removed (uuid {types.key} PRIMARY KEY)"
    yield f"CREATE TEMPORARY TABLE suspects (uuid {types.key} PRIMARY KEY)"


_NAMES = ", ".join(COLUMNS)
_UPDATES = ", ".join(f"{name} = excluded.{name}" for name in (*COLUMNS, "version", "suspect_since"))


def commit_statements(version: int) -> Iterator[str]:
    """Yield the statements that apply the temporary tables as this version."""
    yield (
        f"INSERT INTO history (version, uuid, kind, before) SELECT {version}, staged.uuid, "
        "CASE WHEN staged.kind = 'changed' AND customers.uuid IS NULL THEN 'added' ELSE staged.kind END, "
        "customers.record FROM staged LEFT JOIN customers ON customers.uuid = staged.uuid ORDER BY staged.uuid"
    )
    yield (
        f"INSERT INTO customers ({_NAMES}, version, suspect_since) SELECT {_NAMES}, {version}, NULL FROM staged "
        f"WHERE true ORDER BY uuid ON CONFLICT (uuid) DO UPDATE SET {_UPDATES}"
    )
    yield (
        f"INSERT INTO history (version, uuid, kind, before) SELECT {version}, uuid, 'removed', record FROM customers "
        "WHERE uuid IN (SELECT uuid FROM removed) ORDER BY uuid"
    )
    yield "DELETE FROM customers WHERE uuid IN (SELECT uuid FROM removed)"
    yield (
        "UPDATE customers SET suspect_since = NULL "
        "WHERE suspect_since IS NOT NULL AND uuid NOT IN (SELECT uuid FROM suspects)"
    )
    yield (
        f"UPDATE customers SET suspect_since = {version} "
        "WHERE suspect_since IS NULL AND uuid IN (SELECT uuid FROM suspects)"
    )
