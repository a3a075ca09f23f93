"""What a test process has of a PostgreSQL server, kept from test to test: a migrated database and connections to it.

Copying a database, connecting to it, and parsing and planning each statement anew on connections that know nothing
of its catalogue would be a third of a service test's time. So an application's connections are parked when it closes
them, and the next application is lent them, reset and with their prepared statements; the database is emptied between
tests. Whatever is not as it was (a connection that wasn't given back, a changed schema) ends the use of a database.
"""

import asyncio
import uuid
from typing import Any, NamedTuple, cast

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi

from tests.support.postgres import PostgresServer

PREFIX = "lent_"
USUAL_NAMES = ("muster", "muster heartbeats")
"""The `application_name`s of connections that are lent."""
USES = 100
"""Tests that a database serves: what is deleted stays in its files until it is vacuumed."""

_SCHEMA = """
SELECT (SELECT (count(*), max(xmin::text::bigint))::text FROM pg_attribute)
    || (SELECT (count(*), max(xmin::text::bigint))::text FROM pg_constraint)
    || (SELECT (count(*), max(xmin::text::bigint))::text FROM pg_index)
"""
_CONNECTED = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class LentConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection whose `close` parks it for the next who asks for one like it."""

    lender: "Lender"
    key: str
    statements: Any = None

    async def close(self, *, timeout: float | None = None) -> None:
        """Park the connection; close it if it is in the middle of something, or belongs to another loop."""
        if self.is_closed():
            return
        lender = self.lender
        if self.is_in_transaction() or lender.loop is not asyncio.get_running_loop():
            await super().close(timeout=timeout)
            lender.out -= 1
            return
        await self.reset(timeout=timeout or 5)
        lender.out -= 1
        lender.parked.setdefault(self.key, []).append(self)

    async def end(self) -> None:
        """Close it in earnest."""
        await super().close(timeout=5)


class Lender:
    """The connections to one database."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop = asyncio.get_running_loop()
        self.parked: dict[str, list[LentConnection]] = {}
        self.out = 0
        """Connections that were lent and neither given back nor closed. One that was lost counts to the end."""

    async def lend(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> LentConnection:
        """A connection made with these options, parked or new."""
        key = repr((arguments, sorted(options.items())))
        waiting = self.parked.get(key, [])
        while waiting:
            parked = waiting.pop()
            if not parked.is_closed():
                self.out += 1
                return parked
        made = cast("LentConnection", await asyncpg.connect(*arguments, connection_class=LentConnection, **options))
        made.lender, made.key = self, key
        self.out += 1
        return made

    async def end(self) -> None:
        """Close what is parked."""
        for parked in self.parked.values():
            for connection in parked:
                await connection.end()
        self.parked.clear()


_lenders: dict[str, Lender] = {}


async def _connect(*arguments: Any, **options: Any) -> Any:
    lender = _lenders.get(str(options.get("database")))
    # A leader's and a listener's connection have names of their own: tests look for these and cut them off.
    is_usual = options.get("server_settings", {}).get("application_name") in USUAL_NAMES
    if lender is None or not is_usual or lender.loop is not asyncio.get_running_loop():
        return await asyncpg.connect(*arguments, **options)
    return await lender.lend(arguments, options)


def lend_connections() -> None:
    """Have SQLAlchemy's engines in this process lent their connections to databases that are kept."""
    connect = AsyncAdapt_asyncpg_dbapi.connect

    def lent(self: Any, *arguments: Any, **options: Any) -> Any:
        options.setdefault("async_creator_fn", _connect)
        adapted: Any = connect(self, *arguments, **options)  # type: ignore[no-untyped-call]
        connection: Any = adapted._connection
        # type(): asyncpg's isinstance() is true of any connection.
        if type(connection) is LentConnection:
            if connection.statements is None:
                connection.statements = adapted._prepared_statement_cache
            adapted._prepared_statement_cache = connection.statements
        return adapted

    AsyncAdapt_asyncpg_dbapi.connect = lent  # type: ignore[method-assign]


class _Rows(NamedTuple):
    """What a table of the template holds."""

    state: Any
    as_json: str


class KeptDatabase:
    """A copy of the migrated template that is emptied, not dropped, after a test."""

    def __init__(self, server: PostgresServer, name: str, connection: Any) -> None:
        self._server = server
        self._connection = connection
        self._lender = _lenders[name] = Lender(name)
        self._schema = ""
        self._emptying = ""
        self._rows: dict[str, _Rows] = {}
        self._uses = 0
        self.name = name

    @classmethod
    async def create(cls, server: PostgresServer, template: str) -> "KeptDatabase":
        """A new copy of `template`."""
        name = f"{PREFIX}{uuid.uuid4().hex[:12]}"
        await server.create_database_async(name, template)
        connection = await asyncpg.connect(server.dsn(name), timeout=30)
        kept = cls(server, name, connection)
        await kept._look()
        return kept

    @property
    def url(self) -> str:
        """Its address for SQLAlchemy."""
        return self._server.url(self.name)

    async def _look(self) -> None:
        connection = self._connection
        # Foreign keys are not asked: all rows go.
        await connection.execute("SET session_replication_role = replica")
        self._schema = await connection.fetchval(_SCHEMA)
        emptying = []
        for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            as_json = await connection.fetchval(f'SELECT json_agg(t) FROM "{table}" t')
            if as_json is None:
                emptying.append(f'DELETE FROM "{table}"')
            else:
                self._rows[table] = _Rows(await self._state(table), as_json)
        for (sequence,) in await connection.fetch("SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'"):
            emptying.append(f"SELECT setval('\"{sequence}\"', 1, false)")
        self._emptying = ";".join(emptying)

    async def _state(self, table: str) -> Any:
        """Changes with every change of the table: the number of its rows and the last transaction that wrote one."""
        return await self._connection.fetchrow(f'SELECT count(*), max(xmin::text::bigint) FROM "{table}"')

    async def give_back(self) -> bool:
        """Make it as it was. False, and the database is gone, when that can't be had."""
        self._uses += 1
        if self._uses < USES and await self._is_left_alone():
            await self._connection.execute(self._emptying)
            for table, rows in self._rows.items():
                if await self._state(table) != rows.state:
                    await self._connection.execute(f'DELETE FROM "{table}"')
                    statement = f'INSERT INTO "{table}" SELECT * FROM json_populate_recordset(NULL::"{table}", $1)'
                    await self._connection.execute(statement, rows.as_json)
                    self._rows[table] = _Rows(await self._state(table), rows.as_json)
            return True
        await self.drop()
        return False

    async def _is_left_alone(self) -> bool:
        """Say whether only parked connections are there, and the tables are what they were."""
        parked = sum(len(connections) for connections in self._lender.parked.values())
        if self._lender.out != 0 or await self._connection.fetchval(_CONNECTED) > parked:
            return False
        return bool(await self._connection.fetchval(_SCHEMA) == self._schema)

    async def drop(self) -> None:
        """Remove it, cutting off whoever is connected."""
        del _lenders[self.name]
        await self._lender.end()
        await self._connection.close()
        await self._server.drop_database_async(self.name)
