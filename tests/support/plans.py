"""How the database carries out what product code asks it."""

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Database


async def plans_of(
    database: Database, about: str, action: Callable[[AsyncSession], Awaitable[object]]
) -> dict[str, str]:
    """Run `action` in a transaction; return its statements that name the table `about`, each with its plan."""
    seen: dict[str, Any] = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if about in statement:
            seen[statement] = parameters[0] if many else parameters

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    async with database.write() as session:
        await action(session)
    event.remove(engine, "before_cursor_execute", note)
    prefix = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    plans: dict[str, str] = {}
    async with database.write() as session:
        connection = await session.connection()
        for statement, parameters in seen.items():
            rows = await connection.exec_driver_sql(prefix + statement, parameters)
            plans[statement] = "\n".join(str(row[-1]) for row in rows)
    return plans


def scanned(plan: str, table: str) -> bool:
    """Whether a plan reads a table from one end to the other."""
    return f"Seq Scan on {table}" in plan or f"SCAN {table}" in plan
