"""The formats of an export: each in a module of its own, with its writer and its reader."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path

import attrs

from customers_async.errors import ExportError
from customers_async.export.formats import arrow, csv, jsonl, parquet, sqlite
from customers_async.export.records import Record, WritePage

__all__ = ["FORMATS", "Format", "format_of"]


@attrs.frozen
class Format:
    """A kind of file that customers can be written to and read from.

    Attributes:
        name: The suffix without its dot.
        write: Opens a file to write these fields to. The context yields a function that writes a page, and completes
            the file when it ends.
        keeps_unknown: Whether records keep fields that the model does not know.
        needs_pyarrow: Whether pyarrow writes and reads it.
        is_text: Whether the file is UTF-8 text.
        keeps_empty: Whether an empty text is read back as such, not as None.
    """

    name: str
    write: Callable[[Path, Sequence[str]], AbstractContextManager[WritePage]]
    _read: Callable[[Path], Iterator[Record]]
    keeps_unknown: bool = False
    needs_pyarrow: bool = False
    is_text: bool = False
    keeps_empty: bool = True

    def read(self, path: Path) -> Iterator[Record]:
        """Yield the records of a file, in its order.

        Raises:
            ExportError: The file is of another format or damaged, or pyarrow is not installed.
            OSError: The file cannot be read.
        """
        try:
            yield from self._read(path)
        except ModuleNotFoundError:
            problem = f"to read {path} needs an extra: pip install 'customers-async[arrow]'"
        except Exception as error:  # the libraries document no common base class
            if isinstance(error, OSError) and error.errno is not None:
                raise
            problem = f"{path} is damaged or not a {self.name} export"
        else:
            return
        raise ExportError(problem)  # outside the try statement: the original error may quote a customer


FORMATS = {
    format_.name: format_
    for format_ in (
        Format("jsonl", jsonl.write, jsonl.read, keeps_unknown=True, is_text=True),
        Format("jsonl.gz", jsonl.write_gzip, jsonl.read_gzip, keeps_unknown=True),
        Format("csv", csv.write, csv.read, is_text=True, keeps_empty=False),
        Format("sqlite", sqlite.write, sqlite.read),
        Format("parquet", parquet.write, parquet.read, needs_pyarrow=True),
        Format("arrow", arrow.write, arrow.read, needs_pyarrow=True),
    )
}


def format_of(path: str | os.PathLike[str], name: str | None = None) -> Format:
    """Return the format of this name, or else of the path's suffix; for ``"-"``, which is stdout, JSON Lines.

    Raises:
        ValueError: There is no such format, or it needs pyarrow, which is not installed.
    """
    if name is None:
        name = "jsonl" if os.fspath(path) == "-" else _find_suffix(Path(path).name)
    if name is None:
        suffixes = ", ".join(f".{known}" for known in FORMATS)
        raise ValueError(f"the file's suffix names no format: use one of {suffixes}, or name the format")
    if name not in FORMATS:
        raise ValueError(f"there is no such format: use one of {', '.join(FORMATS)}")
    if FORMATS[name].needs_pyarrow:
        _import_pyarrow(name)
    return FORMATS[name]


def _find_suffix(name: str) -> str | None:
    return next((known for known in FORMATS if name.endswith(f".{known}")), None)


def _import_pyarrow(name: str) -> None:
    """Import pyarrow before the work begins: importing it takes a while, and may fail."""
    try:
        for module in ("pyarrow", "pyarrow.parquet"):
            import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
    else:
        return
    raise ValueError(f"{name} needs an extra: pip install 'customers-async[arrow]'")
