"""Tables of pyarrow, for Parquet and Arrow files. pyarrow is optional, so functions import it when they are called."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from customers_async.export.records import TIMES, Record, WritePage, restore_record, to_columns

__all__ = ["BATCH", "ROW_GROUP", "make_schema", "read_batch", "write_tables"]

BATCH = 1_000
"""Rows that are converted at once."""
ROW_GROUP = 20_000
"""Rows of a Parquet row group, and of an Arrow record batch."""


def make_schema(fields: Sequence[str]) -> Any:
    """Return the schema of these fields: UTC timestamps for times, strings for the rest."""
    import pyarrow

    kinds = {field: pyarrow.timestamp("us", "UTC") if field in TIMES else pyarrow.string() for field in fields}
    return pyarrow.schema([pyarrow.field(field, kinds[field], nullable=field != "uuid") for field in fields])


@contextmanager
def write_tables(schema: Any, write_table: Callable[[Any], None]) -> Iterator[WritePage]:
    """Collect pages into tables of a row group each. Rows are converted a batch at a time, so no step takes long."""
    import pyarrow

    pending: list[list[Any]] = [[] for _ in schema]
    batches: list[Any] = []

    def convert() -> None:
        arrays = [_make_array(values, field.type) for values, field in zip(pending, schema, strict=True)]
        batches.append(pyarrow.RecordBatch.from_arrays(arrays, schema=schema))
        for values in pending:
            values.clear()

    def flush() -> None:
        write_table(pyarrow.Table.from_batches(batches, schema))
        batches.clear()

    def write_page(body: bytes) -> int:
        columns = to_columns(body, schema.names)
        for values, more in zip(pending, columns, strict=True):
            values.extend(more)
        if len(pending[0]) >= BATCH:
            convert()
        if sum(map(len, batches)) >= ROW_GROUP:
            flush()
        return len(columns[0])

    yield write_page
    if pending[0]:
        convert()
    if batches:
        flush()


def read_batch(batch: Any) -> Iterator[Record]:
    """Yield the records of a pyarrow.RecordBatch."""
    return map(restore_record, batch.to_pylist())


def _make_array(values: list[Any], kind: Any) -> Any:
    import pyarrow

    if not pyarrow.types.is_timestamp(kind):
        return pyarrow.array(values, kind)
    return pyarrow.array([None if value is None else round(value * 1_000_000) for value in values], kind)
