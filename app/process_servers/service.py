"""What operators can do with process servers."""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.configuration_servers.service import judgement, versions_with_status
from app.core.errors import ConfigurationServerNotFound, Invalid, NameAmbiguous, ProcessServerNotFound
from app.core.pagination import PageRequest
from app.core.preconditions import Precondition
from app.core.wire import Page, rfc3339
from app.events.service import Resource, record
from app.health import queries as health_queries
from app.health.views import process_server_errors
from app.hosts import queries as host_queries
from app.hosts.views import Judgement, host_members
from app.models import Host, ProcessServer, Vault
from app.process_servers import queries
from app.process_servers.queries import Filters
from app.process_servers.rules import is_in_maintenance
from app.process_servers.schemas import (
    MaintenanceUpdate,
    MaintenanceView,
    ProcessServerUpdate,
    ProcessServerView,
)
from app.telemetry import service as telemetry
from app.telemetry.schemas import HistoryRequest, TelemetryHistoryView
from app.vocabulary import EventType, ResourceKind, ServerKind, VersionStatus


def resource_of(server: ProcessServer) -> Resource:
    """How events name a process server."""
    return Resource(ResourceKind.PROCESS_SERVER, server.id, server.name)


async def find(session: AsyncSession, vault: Vault, server_ref: str | None, ref: str) -> Any:
    """The row of one process server, under a configuration server or anywhere in the vault.

    Raises ConfigurationServerNotFound, ProcessServerNotFound, or NameAmbiguous with the candidates.
    """
    rows = await queries.read(session, vault.id, server_ref, ref)
    if len(rows) == 1:
        return rows[0]
    if rows:
        candidates = [
            {"id": str(row.ProcessServer.id), "configurationServer": row.configuration_server} for row in rows
        ]
        raise NameAmbiguous(
            f"several process servers of vault '{vault.name}' are called '{ref}'; "
            "name the configuration server or use an id",
            candidates=candidates,
        )
    if server_ref is not None and not await queries.configuration_server_exists(session, vault.id, server_ref):
        raise ConfigurationServerNotFound(f"vault '{vault.name}' has no configuration server '{server_ref}'")
    where = f"configuration server '{server_ref}'" if server_ref else f"vault '{vault.name}'"
    raise ProcessServerNotFound(f"{where} has no process server '{ref}'")


async def read(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str | None,
    ref: str,
    now: datetime,
) -> ProcessServerView:
    """One process server."""
    vault = await vault_in_scope(session, principal, vault_ref)
    row = await find(session, vault, server_ref, ref)
    firing = await health_queries.firing_on(session, [row.Host.id], now)
    return view_of(vault, *row, judgement=await judgement(session, now), firing=firing)


async def history(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str | None,
    ref: str,
    asked: HistoryRequest,
    now: datetime,
) -> TelemetryHistoryView:
    """What one process server sent over time; an inbuilt one's is its configuration server's."""
    vault = await vault_in_scope(session, principal, vault_ref)
    row = await find(session, vault, server_ref, ref)
    return await telemetry.history(session, row.Host.id, asked, now)


async def list_servers(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    paging: PageRequest,
    *,
    order_by: str,
    filters: Filters,
    version_status: VersionStatus | None,
    is_nested: bool,
    now: datetime,
) -> Page[ProcessServerView]:
    """A vault's process servers, or those of one configuration server.

    `is_nested` says that the configuration server stands in the path, so that an unknown one is not an empty list.
    """
    vault = await vault_in_scope(session, principal, vault_ref)
    server_ref = filters.configuration_server
    if (
        is_nested
        and server_ref is not None
        and not await queries.configuration_server_exists(session, vault.id, server_ref)
    ):
        raise ConfigurationServerNotFound(f"vault '{vault.name}' has no configuration server '{server_ref}'")
    judged = await judgement(session, now)
    versions = await versions_with_status(session, vault.id, judged, version_status)
    rows, cursor = await queries.list_servers(
        session, vault.id, paging, order_by=order_by, filters=filters._replace(versions=versions)
    )
    firing = await health_queries.firing_on(session, [row.Host.id for row in rows], now)
    items = [view_of(vault, *row, judgement=judged, firing=firing) for row in rows]
    return Page[ProcessServerView](items=items, next_cursor=cursor)


async def update(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str | None,
    ref: str,
    body: ProcessServerUpdate,
    precondition: Precondition,
    now: datetime,
) -> ProcessServerView:
    """Change what `body` names. The agent learns of maintenance in its next heartbeat answer.

    Raises PreconditionFailed when the caller saw another revision, Invalid for a maintenance that is over.
    """
    vault = await vault_in_scope(session, principal, vault_ref)
    found = await find(session, vault, server_ref, ref)
    # Parent before child, as a registration locks them.
    await queries.lock_site_of(session, found.ProcessServer.id)
    server = await queries.lock(session, found.ProcessServer.id)
    if server is None:
        raise ProcessServerNotFound(f"process server '{ref}' was removed meanwhile")
    precondition.check(server)
    changes: dict[str, Any] = {}
    if body.friendly_name is not None and body.friendly_name != server.friendly_name:
        server.friendly_name = body.friendly_name
        changes["friendlyName"] = body.friendly_name
    if "maintenance" in body.model_fields_set:
        changes |= _apply_maintenance(server, body.maintenance, now)
    if "maintenance" in changes:
        host = await host_queries.lock(session, server.host_row_id)
        host.generation += 1
    if changes:
        server.revision += 1
        server.updated_at = now
        record(
            session,
            vault.id,
            now,
            EventType.PROCESS_SERVER_UPDATED,
            resource_of(server),
            actor=principal.actor,
            message=f"process server {server.name} was changed",
            data=changes,
        )
        await session.flush()
    return await read(session, principal, vault.name, None, str(server.id), now)


def _apply_maintenance(server: ProcessServer, wanted: MaintenanceUpdate | None, now: datetime) -> dict[str, Any]:
    is_enabled = wanted is not None and wanted.is_enabled
    until = wanted.until if wanted is not None and is_enabled else None
    reason = wanted.reason if wanted is not None and is_enabled else None
    if until is not None and until <= now:
        detail = f"{rfc3339(until)} is over; name a time after {rfc3339(now)}"
        raise Invalid(detail, [{"pointer": "#/maintenance/until", "detail": detail}])
    if (server.is_drained, server.maintenance_until, server.maintenance_reason) == (
        is_enabled,
        until,
        reason,
    ):
        return {}
    server.is_drained, server.maintenance_until, server.maintenance_reason = is_enabled, until, reason
    shown = {"isEnabled": is_enabled, "until": until and rfc3339(until), "reason": reason}
    return {"maintenance": shown}


def view_of(
    vault: Vault,
    server: ProcessServer,
    host: Host,
    configuration_server: str,
    source_machine_count: int,
    *,
    judgement: Judgement,
    firing: health_queries.Firing,
) -> ProcessServerView:
    """The wire form of the rows; `firing` is what fires on each host."""
    health_errors = process_server_errors(firing.get(host.id, []), host, judgement.now)
    return ProcessServerView(
        id=server.id,
        name=server.name,
        friendly_name=server.friendly_name,
        kind=ServerKind(server.kind),
        vault=vault.name,
        configuration_server=configuration_server,
        data_transfer_port=server.data_transfer_port,
        source_machine_count=source_machine_count,
        maintenance=maintenance_of(server, judgement.now),
        created_at=server.created_at,
        updated_at=server.updated_at,
        revision=server.revision,
        **host_members(host, judgement, host.health, health_errors),
    )


def maintenance_of(server: ProcessServer, now: datetime) -> MaintenanceView:
    """Maintenance as it is at `now`: it ends by itself."""
    is_enabled = is_in_maintenance(server.is_drained, server.maintenance_until, now)
    return MaintenanceView(
        is_enabled=is_enabled,
        until=server.maintenance_until if is_enabled else None,
        reason=server.maintenance_reason if is_enabled else None,
    )
