"""The Arrow IPC file format, compressed with zstd."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from customers_async.export.formats.arrow_tables import BATCH, make_schema, read_batch, write_tables
from customers_async.export.records import Record, WritePage

__all__ = ["read", "write"]


@contextmanager
def write(path: Path, fields: Sequence[str]) -> Iterator[WritePage]:
    """Open a file to write rows to."""
    import pyarrow

    schema = make_schema(fields)
    options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
    with (
        pyarrow.OSFile(str(path), "wb") as file,
        pyarrow.ipc.new_file(file, schema, options=options) as writer,
        write_tables(schema, lambda table: writer.write_table(table.combine_chunks())) as write_page,
    ):
        yield write_page


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_file(file) as reader:
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            for start in range(0, batch.num_rows, BATCH):
                yield from read_batch(batch.slice(start, BATCH))
