"""SQL of alerts, conditions and policies."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, case, delete, exists, literal, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.events.service import Resource
from app.health.policy import NO_POLICY, Policy, overrides_of
from app.health.readings import Reading
from app.models import Alert, ConfigurationServer, HealthPolicy, Host, ProcessServer
from app.vocabulary import AlertCode, ConnectionState, Health, ResourceKind, ServerKind, Severity

Firing = dict[uuid.UUID, list[tuple[Alert, bool]]]
"""What fires on each host, and whether it is muted."""

_MUTING = aliased(ProcessServer)
"""The process server that an alert speaks of. Made once: an alias of so many columns takes milliseconds."""

QUIET_COLUMNS = tuple(f"quiet_{reading}_{end}" for reading in Reading for end in ("low", "high"))
"""The columns of a host's quiet ranges."""


class Subject(NamedTuple):
    """A server that alerts speak of."""

    resource: Resource
    vault_id: uuid.UUID
    configuration_server_id: uuid.UUID
    host_row_id: uuid.UUID
    kind: ServerKind | None
    """None for a configuration server."""
    is_muted: bool
    """In maintenance: its alerts are recorded, but wake nobody and count for nothing above it."""

    @property
    def name(self) -> str:
        """Kind and name, as messages have them."""
        return f"{self.resource.kind.value.replace('-', ' ')} {self.resource.name}"


def muted(server: Any, now: datetime) -> ColumnElement[bool]:
    """Whether a process server (the table or an alias of it) is in maintenance at `now`."""
    until = server.maintenance_until
    return and_(server.is_drained.is_(True), or_(until.is_(None), until > now))


def worst(within: ColumnElement[bool], outer: Any, now: datetime) -> ColumnElement[str]:
    """The health that open alerts make: the worst of those `within` a row of `outer`, muted ones left out."""

    def some(severity: Severity) -> ColumnElement[bool]:
        return exists(
            select(literal(1))
            .select_from(Alert)
            .outerjoin(_MUTING, _MUTING.id == Alert.resource_id)
            .where(
                within,
                Alert.cleared_at.is_(None),
                Alert.severity == severity.value,
                or_(_MUTING.id.is_(None), not_(muted(_MUTING, now))),
            )
            .correlate(outer)
        )

    return case(
        (some(Severity.CRITICAL), Health.CRITICAL.value),
        (some(Severity.WARNING), Health.WARNING.value),
        else_=Health.HEALTHY.value,
    )


async def servers_on(session: AsyncSession, host_row_ids: Collection[uuid.UUID], now: datetime) -> list[Subject]:
    """The servers that run on hosts, configuration servers first; each host has one process server."""
    sites = await session.execute(
        select(
            ConfigurationServer.id,
            ConfigurationServer.name,
            ConfigurationServer.vault_id,
            ConfigurationServer.host_row_id,
        )
        .where(ConfigurationServer.host_row_id.in_(host_row_ids))
        .order_by(ConfigurationServer.id)
    )
    found = [
        Subject(
            Resource(ResourceKind.CONFIGURATION_SERVER, row.id, row.name),
            row.vault_id,
            row.id,
            row.host_row_id,
            kind=None,
            is_muted=False,
        )
        for row in sites
    ]
    return [*found, *(await process_servers_on(session, host_row_ids, now)).values()]


async def process_servers_on(
    session: AsyncSession, host_row_ids: Collection[uuid.UUID], now: datetime
) -> dict[uuid.UUID, Subject]:
    """The process server on each host, by the host's row id."""
    rows = await session.execute(
        select(
            ProcessServer.id,
            ProcessServer.name,
            ProcessServer.kind,
            ProcessServer.vault_id,
            ProcessServer.configuration_server_id,
            ProcessServer.host_row_id,
            muted(ProcessServer, now).label("is_muted"),
        )
        .where(ProcessServer.host_row_id.in_(host_row_ids))
        .order_by(ProcessServer.id)
    )
    return {
        row.host_row_id: Subject(
            Resource(ResourceKind.PROCESS_SERVER, row.id, row.name),
            row.vault_id,
            row.configuration_server_id,
            row.host_row_id,
            kind=ServerKind(row.kind),
            is_muted=bool(row.is_muted),
        )
        for row in rows
    }


async def open_alerts(
    session: AsyncSession, host_row_ids: Collection[uuid.UUID]
) -> dict[tuple[uuid.UUID, AlertCode], Alert]:
    """What fires on the servers of hosts, by server and code."""
    statement = (
        select(Alert)
        .where(Alert.host_row_id.in_(host_row_ids), Alert.cleared_at.is_(None))
        .execution_options(populate_existing=True)
    )
    alerts = (await session.execute(statement)).scalars()
    return {(alert.resource_id, AlertCode(alert.code)): alert for alert in alerts}


async def hosts_with_alerts(
    session: AsyncSession, vault_id: uuid.UUID, codes: Collection[AlertCode]
) -> Sequence[uuid.UUID]:
    """The hosts of a vault on which any of these codes fires."""
    statement = (
        select(Alert.host_row_id)
        .where(Alert.vault_id == vault_id, Alert.code.in_([code.value for code in codes]), Alert.cleared_at.is_(None))
        .distinct()
    )
    return (await session.execute(statement)).scalars().all()


async def firing_on(session: AsyncSession, host_row_ids: Collection[uuid.UUID], now: datetime) -> Firing:
    """What fires on each host, the worst first, and whether it is muted; one query for a whole page of servers."""
    found: Firing = {}
    if not host_row_ids:
        return found
    rows = await session.execute(
        select(Alert, muted(ProcessServer, now).label("is_muted"))
        .outerjoin(ProcessServer, ProcessServer.id == Alert.resource_id)
        .where(Alert.host_row_id.in_(host_row_ids), Alert.cleared_at.is_(None))
        .order_by(case((Alert.severity == Severity.CRITICAL.value, 0), else_=1), Alert.id)
    )
    for alert, is_muted in rows:
        found.setdefault(alert.host_row_id, []).append((alert, bool(is_muted)))
    return found


async def process_server_severities(
    session: AsyncSession, host_row_ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, set[Severity]]:
    """The severities of what fires on the process server of each host."""
    if not host_row_ids:
        return {}
    rows = await session.execute(
        select(Alert.host_row_id, Alert.severity)
        .where(
            Alert.host_row_id.in_(host_row_ids),
            Alert.resource_kind == ResourceKind.PROCESS_SERVER.value,
            Alert.cleared_at.is_(None),
        )
        .distinct()
    )
    found: dict[uuid.UUID, set[Severity]] = {}
    for host_row_id, severity in rows:
        found.setdefault(host_row_id, set()).add(Severity(severity))
    return found


async def close_alerts(session: AsyncSession, host_row_ids: Collection[uuid.UUID], now: datetime) -> None:
    """End whatever fires on hosts that are removed."""
    await session.execute(
        update(Alert).where(Alert.host_row_id.in_(host_row_ids), Alert.cleared_at.is_(None)).values(cleared_at=now)
    )


async def move_alerts(session: AsyncSession, old: uuid.UUID, new: uuid.UUID) -> None:
    """The server of one host runs on another now."""
    await session.execute(
        update(Alert).where(Alert.host_row_id == old, Alert.cleared_at.is_(None)).values(host_row_id=new)
    )


async def delete_cleared_before(session: AsyncSession, moment: datetime, batch: int) -> int:
    """Delete up to `batch` alerts that ended before `moment`. Returns how many."""
    doomed = select(Alert.id).where(Alert.cleared_at < moment).limit(batch)
    result: Any = await session.execute(delete(Alert).where(Alert.id.in_(doomed)))
    return int(result.rowcount)


async def policies(session: AsyncSession, vault_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Policy]:
    """The policy of each of these vaults that has one."""
    rows = await session.execute(select(HealthPolicy).where(HealthPolicy.id.in_(vault_ids)))
    return {row.id: policy_of(row) for row in rows.scalars()}


async def all_policies(session: AsyncSession) -> dict[uuid.UUID, Policy]:
    """The policy of every vault that has one."""
    return {row.id: policy_of(row) for row in (await session.execute(select(HealthPolicy))).scalars()}


async def policy_row(session: AsyncSession, vault_id: uuid.UUID) -> HealthPolicy | None:
    """A vault's policy; None while the defaults hold."""
    return (await session.execute(select(HealthPolicy).where(HealthPolicy.id == vault_id))).scalar_one_or_none()


def policy_of(row: HealthPolicy | None) -> Policy:
    """A row as the rules want it."""
    return NO_POLICY if row is None else Policy(row.window_seconds, overrides_of(row.rules))


async def due_hosts(session: AsyncSession, now: datetime) -> Sequence[Any]:
    """Connected hosts with a condition that may have held for its window: id, due time, last heartbeat.

    Those whose ranges are NULL are judged by their next heartbeat.
    """
    statement = (
        select(Host.id, Host.alert_due_at, Host.last_heartbeat_at)
        .where(
            Host.alert_due_at <= now,
            Host.connection_state == ConnectionState.CONNECTED.value,
            Host.quiet_cpu_low.is_not(None),
        )
        .order_by(Host.id)
    )
    return (await session.execute(statement)).all()


async def lock_free_hosts(session: AsyncSession, host_row_ids: Collection[uuid.UUID]) -> Sequence[Host]:
    """Hosts, locked by rising id; those that another transaction holds are left for the next time."""
    statement = (
        select(Host)
        .where(Host.id.in_(host_row_ids))
        .order_by(Host.id)
        .with_for_update(key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).scalars().all()


async def lock_hosts_of_vault(session: AsyncSession, vault_id: uuid.UUID) -> None:
    """Every host of a vault, locked by rising id."""
    await session.execute(
        select(Host.id).where(Host.vault_id == vault_id).order_by(Host.id).with_for_update(key_share=True)
    )


async def hosts(session: AsyncSession, host_row_ids: Collection[uuid.UUID]) -> Sequence[Host]:
    """Hosts that the caller has locked, fresh."""
    statement = select(Host).where(Host.id.in_(host_row_ids)).execution_options(populate_existing=True)
    return (await session.execute(statement)).scalars().all()


async def forget_quiet_ranges(session: AsyncSession, vault_id: uuid.UUID) -> None:
    """Have the next heartbeat of every host of a vault judged in full."""
    await session.execute(
        update(Host)
        .where(Host.vault_id == vault_id)
        .values(dict.fromkeys(QUIET_COLUMNS))
        .execution_options(synchronize_session=False)
    )
