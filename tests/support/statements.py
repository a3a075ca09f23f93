"""What SQLAlchemy has compiled is shared by all engines of one kind in a test process.

Each test has a database of its own, and so an engine, which would compile every statement anew: a fifth of a test's
time. The cache's keys hold the dialect, so dialects of one class have to be equal; here they are, having the same
options and servers.
"""

from typing import Any

from sqlalchemy import event
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.util import LRUCache

_STATEMENTS = 3_000
_shared: dict[type, LRUCache[Any, Any]] = {}


def share_compiled() -> None:
    """Have every engine share what it compiles with those of its kind."""
    for dialect in (PGDialect_asyncpg, SQLiteDialect_aiosqlite):
        dialect.__eq__ = _is_of_same_class  # type: ignore[method-assign]
        dialect.__hash__ = _hash_of_class  # type: ignore[assignment,method-assign]
    event.listen(Engine, "engine_connect", _share)


def _share(connection: Connection) -> None:
    engine = connection.engine
    if isinstance(engine.dialect, PGDialect_asyncpg | SQLiteDialect_aiosqlite):
        engine._compiled_cache = _shared.setdefault(type(engine.dialect), LRUCache(_STATEMENTS))


def _is_of_same_class(one: object, other: object) -> bool:
    return type(one) is type(other)


def _hash_of_class(one: object) -> int:
    return hash(type(one))
