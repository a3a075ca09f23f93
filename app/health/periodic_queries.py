"""SQL that finds what the periodic look may have to put right."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, literal, not_, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Alert, ConfigurationServer, Host, ProcessServer
from app.vocabulary import AlertCode, ConnectionState, ServerKind

_SILENT = {
    ConnectionState.DISCONNECTED: AlertCode.HEARTBEAT_MISSING,
    ConnectionState.UNKNOWN: AlertCode.CONNECTION_UNKNOWN,
}


def _fires(code: AlertCode, server_id: Any) -> ColumnElement[bool]:
    return exists(
        select(literal(1)).where(Alert.resource_id == server_id, Alert.code == code.value, Alert.cleared_at.is_(None))
    )


async def versions_in_use(session: AsyncSession) -> Sequence[str]:
    """The distinct versions that servers report."""
    return (await session.execute(select(Host.agent_version).distinct())).scalars().all()


async def unsupported_with_alert(session: AsyncSession) -> Sequence[Any]:
    """Every alert of an unsupported version: its host, vault and details, and the version that the host has now."""
    statement = (
        select(Alert.host_row_id, Alert.vault_id, Alert.details, Host.agent_version)
        .join(Host, Host.id == Alert.host_row_id)
        .where(Alert.code == AlertCode.VERSION_NOT_SUPPORTED.value, Alert.cleared_at.is_(None))
    )
    return (await session.execute(statement)).all()


async def certificates(session: AsyncSession, until: datetime) -> Sequence[Any]:
    """Configuration servers whose certificate ends by a moment or is an alert, and that alert's severity."""
    statement = (
        select(
            ConfigurationServer.host_row_id,
            ConfigurationServer.vault_id,
            ConfigurationServer.certificate_expires_at,
            Alert.severity,
        )
        .outerjoin(
            Alert,
            and_(
                Alert.resource_id == ConfigurationServer.id,
                Alert.code == AlertCode.CERTIFICATE_EXPIRING.value,
                Alert.cleared_at.is_(None),
            ),
        )
        .where(or_(ConfigurationServer.certificate_expires_at <= until, Alert.id.is_not(None)))
    )
    return (await session.execute(statement)).all()


def _silent_without_alert() -> list[Select[Any]]:
    """Silent hosts on one of whose servers that is no alert: left so by a version of Muster without alerts."""
    return [
        select(Host.id)
        .join(server, server.host_row_id == Host.id)
        .where(Host.connection_state == state.value, not_(_fires(code, server.id)))
        for state, code in _SILENT.items()
        for server in (ConfigurationServer, ProcessServer)
    ]


def _heard_with_alert() -> Select[Any]:
    """Hosts with an alert of silence that is not that of their connection state."""
    return (
        select(Alert.host_row_id)
        .join(Host, Host.id == Alert.host_row_id)
        .where(
            Alert.cleared_at.is_(None),
            or_(
                *(
                    and_(Alert.code == code.value, Host.connection_state != state.value)
                    for state, code in _SILENT.items()
                )
            ),
        )
    )


def _mark_and_alert_differ() -> list[Select[Any]]:
    """Hosts that are marked as above their configuration server's version without an alert, or the other way round."""
    code = AlertCode.VERSION_ABOVE_CONFIGURATION_SERVER
    marked = (
        select(Host.id)
        .join(ProcessServer, ProcessServer.host_row_id == Host.id)
        .where(Host.version_above_since.is_not(None), not_(_fires(code, ProcessServer.id)))
    )
    unmarked = (
        select(Alert.host_row_id)
        .join(Host, Host.id == Alert.host_row_id)
        .where(Alert.code == code.value, Alert.cleared_at.is_(None), Host.version_above_since.is_(None))
    )
    return [marked, unmarked]


def _unsupported_without_alert(versions: Collection[str], but_not_in: Collection[uuid.UUID]) -> list[Select[Any]]:
    """Hosts with one of these versions on which that is no alert yet; inbuilt process servers are left out."""
    code = AlertCode.VERSION_NOT_SUPPORTED
    is_old = and_(Host.agent_version.in_(versions), Host.vault_id.not_in(but_not_in))
    of_site = (
        select(Host.id)
        .join(ConfigurationServer, ConfigurationServer.host_row_id == Host.id)
        .where(is_old, not_(_fires(code, ConfigurationServer.id)))
    )
    of_server = (
        select(Host.id)
        .join(ProcessServer, ProcessServer.host_row_id == Host.id)
        .where(is_old, ProcessServer.kind != ServerKind.INBUILT.value, not_(_fires(code, ProcessServer.id)))
    )
    return [of_site, of_server]


_ASTRAY = (*_silent_without_alert(), _heard_with_alert(), *_mark_and_alert_differ())


async def astray(
    session: AsyncSession, unsupported: Collection[str], but_not_in: Collection[uuid.UUID]
) -> Sequence[uuid.UUID]:
    """Hosts whose alerts are not what their rows say, some of them more than once.

    Looked at are alerts of silence, of a version above the configuration server's, and missing ones of versions that
    are out of support, `unsupported`, which are no alert in the vaults `but_not_in`. One statement, because each of
    its parts comes back empty on a healthy site, and it is asked every minute.
    """
    parts = [*_ASTRAY, *(_unsupported_without_alert(unsupported, but_not_in) if unsupported else ())]
    return (await session.execute(union_all(*parts))).scalars().all()


async def sites_of(session: AsyncSession, host_row_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Any]:
    """Of each server on hosts, by its id: its configuration server's name, version and end of certificate."""
    columns = (ConfigurationServer.name, ConfigurationServer.certificate_expires_at, Host.agent_version)
    servers = (
        select(ProcessServer.id, *columns)
        .join(ConfigurationServer, ConfigurationServer.id == ProcessServer.configuration_server_id)
        .join(Host, Host.id == ConfigurationServer.host_row_id)
        .where(ProcessServer.host_row_id.in_(host_row_ids))
    )
    sites = (
        select(ConfigurationServer.id, *columns)
        .join(Host, Host.id == ConfigurationServer.host_row_id)
        .where(ConfigurationServer.host_row_id.in_(host_row_ids))
    )
    rows = [*(await session.execute(servers)).all(), *(await session.execute(sites)).all()]
    return {row.id: row for row in rows}
