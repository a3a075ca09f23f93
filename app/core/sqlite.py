"""SQLite's connections: how each is set up, and one visit to its thread per statement.

aiosqlite gives each connection a thread. SQLAlchemy's adapter goes there for the cursor, for the statement, for its
rows and to close the cursor, and each visit costs more than what most statements do. Here the first visit does all.
"""

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import aiosqlite
from sqlalchemy.engine.interfaces import DBAPIConnection

BUSY_SECONDS = 10
_ROWS_PER_VISIT = 64
"""Of iterated cursors; no code here has one."""


def pragmas() -> list[str]:
    """How every SQLite connection is set up. `synchronous = FULL` makes an acknowledged write survive power loss."""
    return [
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
        f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}",
        "PRAGMA temp_store = MEMORY",
    ]


def prepare(connection: DBAPIConnection, _record: Any) -> None:
    """Set up a new connection (SQLAlchemy's `connect` event)."""
    # The driver must not begin transactions by itself; the engine's `begin` event does.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in pragmas():
        cursor.execute(pragma)
    cursor.close()


class Cursor:
    """What SQLAlchemy asks of an aiosqlite cursor. Its rows are here as soon as the statement has run."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> Self:
        """Run a statement and fetch what it returns. Raises sqlite3's errors."""
        return await self._visit(lambda cursor: cursor.execute(sql, parameters))  # type: ignore[arg-type]

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Self:
        """Run a statement once for each of `parameters`."""
        return await self._visit(lambda cursor: cursor.executemany(sql, parameters))  # type: ignore[arg-type]

    async def fetchall(self) -> list[Any]:
        """The rows, once."""
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """There is nothing to close any more."""

    async def _visit(self, run: Callable[[sqlite3.Cursor], object]) -> Self:
        await self._connection.in_thread(self._run, run)
        return self

    def _run(self, connection: sqlite3.Connection, run: Callable[[sqlite3.Cursor], object]) -> None:
        cursor = connection.cursor()
        try:
            run(cursor)
            self.description = cursor.description
            self._rows = cursor.fetchall() if cursor.description else []
            # In this order: of a statement that returns rows sqlite3 has counted them all only now.
            self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        finally:
            cursor.close()


class Connection(aiosqlite.Connection):
    """A connection whose cursors need one visit to its thread."""

    def cursor(self) -> Cursor:  # type: ignore[override]
        """A cursor, without a visit."""
        return Cursor(self)

    async def in_thread(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run `function` with sqlite3's connection in this connection's thread."""
        await self._execute(function, self._conn, *arguments)  # type: ignore[no-untyped-call]


def connect(database: str | Path, **options: Any) -> Connection:
    """A connection to be awaited (SQLAlchemy's `async_creator_fn`)."""
    connection = Connection(lambda: sqlite3.connect(database, **options), _ROWS_PER_VISIT)
    # As the dialect does with its own: a connection that is never closed must not keep the process from ending.
    connection._thread.daemon = True  # noqa: SLF001
    return connection
