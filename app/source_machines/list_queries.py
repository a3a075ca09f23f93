"""SQL of lists of source machines: whatever the page, an index leads straight to its first row.

Every order of a vault's and of a configuration server's machines has an index, and so have the operating system and
the agent's version in the order of names. The machines of one process server are few (the published limits). Other
filters walk their order and pass over what does not match: a page costs what lies between its first row and its last.
"""

import uuid
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, func, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.scope import named
from app.core.pagination import Order, PageRequest, choose_order, fetch_page, positioned
from app.models import ConfigurationServer, ProcessServer, SourceMachine

Statement = Select[*tuple[Any, ...]]

MOST_BRANCHES = 100
"""So many versions are read each from its part of the index; SQLite knows no union of more than 500 queries."""
MOST_VERSIONS = 10_000
"""So many versions may be asked for at once; the databases' drivers take some 32,000 values."""


class Scope(NamedTuple):
    """Whose machines are listed: those of a vault, a configuration server or a process server."""

    column: Any
    id: uuid.UUID

    @property
    def is_vault(self) -> bool:
        """Whether names may repeat."""
        return self.column is SourceMachine.vault_id


class Filters(NamedTuple):
    """What a list can be narrowed by; None is no filter. Churn in bytes a day, both limits inclusive."""

    q: str | None = None
    os_type: str | None = None
    versions: Sequence[str] | None = None
    minimum_churn: int | None = None
    maximum_churn: int | None = None


async def process_servers(
    session: AsyncSession, vault_id: uuid.UUID, server_id: uuid.UUID | None, ref: str
) -> Sequence[Any]:
    """The process servers that `ref` may mean, with their configuration server's name; at most 11."""
    statement = (
        select(ProcessServer, ConfigurationServer.name.label("configuration_server"))
        .join(ConfigurationServer, ProcessServer.configuration_server_id == ConfigurationServer.id)
        .where(ProcessServer.vault_id == vault_id, named(ProcessServer.id, ProcessServer.name, ref))
        .order_by(ConfigurationServer.name)
    )
    if server_id is not None:
        statement = statement.where(ProcessServer.configuration_server_id == server_id)
    return (await session.execute(statement.limit(11))).all()


async def versions_in_use(session: AsyncSession, vault_id: uuid.UUID) -> Sequence[str]:
    """The agent versions of a vault's machines: a step of the index for each, however many machines have it."""
    version = SourceMachine.agent_version
    found = (
        select(func.min(version).label("version"))
        .where(SourceMachine.vault_id == vault_id)
        .cte("versions", recursive=True)
    )
    following = (
        select(func.min(version)).where(SourceMachine.vault_id == vault_id, version > found.c.version).scalar_subquery()
    )
    found = found.union_all(select(following).where(found.c.version.is_not(None)))
    return (await session.execute(select(found.c.version).where(found.c.version.is_not(None)))).scalars().all()


async def list_machines(
    session: AsyncSession, scope: Scope, paging: PageRequest, *, order_by: str, filters: Filters
) -> tuple[Sequence[SourceMachine], str | None]:
    """One page. Raises Invalid for an order that there is not, CursorUnreadable."""
    order = choose_order(_orders(scope), order_by, within=scope.id)
    is_by_name = order.columns[0] is SourceMachine.name
    dialect = session.get_bind().dialect.name
    versions = filters.versions or []
    conditions = _conditions(filters, order, is_plain=dialect != "sqlite")
    statement: Statement = select(SourceMachine).where(scope.column == scope.id, *conditions)
    if filters.versions is not None:
        if scope.is_vault and is_by_name and 0 < len(versions) <= MOST_BRANCHES:
            statement = select(SourceMachine).where(
                SourceMachine.id.in_(_of_versions(scope, conditions, versions, order, paging))
            )
        else:
            statement = statement.where(func.coalesce(SourceMachine.agent_version, "").in_(versions))
    rows, cursor = await fetch_page(session, statement, order, paging)
    return [row[0] for row in rows], cursor


def _orders(scope: Scope) -> dict[str, Sequence[Any]]:
    name, churn, machine_id = SourceMachine.name, SourceMachine.churn_bytes_per_day, SourceMachine.id
    return {
        "name": (name, machine_id) if scope.is_vault else (name,),
        "createdAt": (machine_id,),
        "churn": (churn, machine_id),
    }


def _conditions(filters: Filters, order: Order, *, is_plain: bool) -> list[ColumnElement[bool]]:
    """The filters but for the versions.

    SQLite takes the index with the most equal columns even where it has to sort all that it finds for a page. So a
    column is hidden from it unless an index has it in the wanted order; PostgreSQL weighs that by its statistics.
    """
    first = order.columns[0]
    os_type: Any = SourceMachine.os_type
    churn: Any = SourceMachine.churn_bytes_per_day
    if not is_plain and first is not SourceMachine.name:
        os_type = func.coalesce(os_type, "")
    if not is_plain and first is not SourceMachine.churn_bytes_per_day:
        churn = func.coalesce(churn, 0)
    found: list[ColumnElement[bool]] = []
    if filters.os_type is not None:
        found.append(os_type == filters.os_type)
    if filters.minimum_churn is not None:
        found.append(churn >= filters.minimum_churn)
    if filters.maximum_churn is not None:
        found.append(churn <= filters.maximum_churn)
    if filters.q:
        name, friendly_name = SourceMachine.name, SourceMachine.friendly_name
        found.append(
            or_(name.icontains(filters.q, autoescape=True), friendly_name.icontains(filters.q, autoescape=True))
        )
    return found


def _of_versions(
    scope: Scope,
    conditions: Sequence[ColumnElement[bool]],
    versions: Sequence[str],
    order: Order,
    paging: PageRequest,
) -> Any:
    """The ids of a page's worth of machines of each version, each read from its part of the index."""
    branches = []
    for version in versions:
        own: Statement = select(SourceMachine.id).where(
            scope.column == scope.id, SourceMachine.agent_version == version, *conditions
        )
        branches.append(select(positioned(own, order, paging).subquery().c.id))
    return union_all(*branches)


async def names(
    session: AsyncSession, machines: Collection[SourceMachine]
) -> tuple[dict[uuid.UUID, ConfigurationServer], dict[uuid.UUID, str]]:
    """The configuration servers of a page's machines, and the names of their process servers, by id."""
    servers = select(ConfigurationServer).where(
        ConfigurationServer.id.in_({machine.configuration_server_id for machine in machines})
    )
    carriers = select(ProcessServer.id, ProcessServer.name).where(
        ProcessServer.id.in_({machine.process_server_id for machine in machines})
    )
    return (
        {server.id: server for server in (await session.execute(servers)).scalars()},
        {row.id: row.name for row in await session.execute(carriers)},
    )
