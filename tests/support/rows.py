"""What is in the database, read beside the application."""

import uuid
from typing import Any

from sqlalchemy import func, select

from app.core.db import Database
from app.models import Base, Host


def host_row_id(registered: dict[str, Any] | str) -> uuid.UUID:
    """The host that a credential speaks for."""
    credential = registered if isinstance(registered, str) else registered["credential"]
    return uuid.UUID(credential.partition(".")[0])


async def host_row(database: Database, registered: dict[str, Any] | str) -> Host:
    """The host's row as another connection sees it now."""
    async with database.read() as session:
        return (await session.execute(select(Host).where(Host.id == host_row_id(registered)))).scalar_one()


async def count(database: Database, model: type[Base]) -> int:
    """How many rows a table has."""
    async with database.read() as session:
        return int((await session.execute(select(func.count()).select_from(model))).scalar_one())
