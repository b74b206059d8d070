"""Parquet, compressed with zstd."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from customers_async.export.formats.arrow_tables import BATCH, ROW_GROUP, make_schema, read_batch, write_tables
from customers_async.export.records import Record, WritePage

__all__ = ["read", "write"]


@contextmanager
def write(path: Path, fields: Sequence[str]) -> Iterator[WritePage]:
    """Open a file to write rows to."""
    from pyarrow import parquet

    schema = make_schema(fields)
    repeated = [field for field in fields if field not in ("uuid", "identity_uuid")]  # a dictionary makes these smaller
    with (
        parquet.ParquetWriter(str(path), schema, compression="zstd", use_dictionary=repeated) as writer,
        write_tables(schema, lambda table: writer.write_table(table, row_group_size=ROW_GROUP)) as write_page,
    ):
        yield write_page


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH):
            yield from read_batch(batch)
