"""What operators can do with configuration servers."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.idempotency import Once
from app.access.principals import Principal, require_admin
from app.access.scope import vault_in_scope
from app.configuration_servers import queries
from app.configuration_servers.schemas import (
    ConfigurationServerUpdate,
    ConfigurationServerView,
    PassphraseIssued,
)
from app.core import secrets
from app.core.db import Database
from app.core.errors import ConfigurationServerNotFound, DeletionBlocked
from app.core.pagination import PageRequest
from app.core.preconditions import Precondition
from app.core.wire import Page
from app.events.service import Resource, record
from app.health import queries as health_queries
from app.health import service as alerts
from app.health.views import configuration_server_errors
from app.hosts import queries as host_queries
from app.hosts.views import Judgement, host_members
from app.models import ConfigurationServer, Host, ProcessServer, Tombstone, Vault
from app.telemetry import service as telemetry
from app.telemetry.schemas import HistoryRequest, TelemetryHistoryView
from app.versions import queries as version_queries
from app.vocabulary import ConnectionState, EventType, Health, ResourceKind, Severity, VersionStatus


def resource_of(server: ConfigurationServer) -> Resource:
    """How events name a configuration server."""
    return Resource(ResourceKind.CONFIGURATION_SERVER, server.id, server.name)


def _missing(vault: Vault, ref: str) -> ConfigurationServerNotFound:
    return ConfigurationServerNotFound(f"vault '{vault.name}' has no configuration server '{ref}'")


async def judgement(session: AsyncSession, now: datetime) -> Judgement:
    """What server views are judged by."""
    return Judgement(now, await version_queries.catalogue(session))


async def find(session: AsyncSession, vault: Vault, ref: str) -> ConfigurationServer:
    """The configuration server called `ref`. Raises ConfigurationServerNotFound."""
    row = await queries.read(session, vault.id, ref)
    if row is None:
        raise _missing(vault, ref)
    found: ConfigurationServer = row.ConfigurationServer
    return found


async def read(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    ref: str,
    now: datetime,
) -> ConfigurationServerView:
    """One configuration server. Raises VaultNotFound or ConfigurationServerNotFound."""
    vault = await vault_in_scope(session, principal, vault_ref)
    row = await queries.read_with_health(session, vault.id, ref, now)
    if row is None:
        raise _missing(vault, ref)
    firing = await health_queries.firing_on(session, [row.Host.id], now)
    return view_of(vault, *row, judgement=await judgement(session, now), firing=firing)


async def history(
    session: AsyncSession, principal: Principal, vault_ref: str, ref: str, asked: HistoryRequest, now: datetime
) -> TelemetryHistoryView:
    """What one configuration server sent over time. Raises VaultNotFound or ConfigurationServerNotFound."""
    vault = await vault_in_scope(session, principal, vault_ref)
    row = await queries.read(session, vault.id, ref)
    if row is None:
        raise _missing(vault, ref)
    return await telemetry.history(session, row.Host.id, asked, now)


async def list_servers(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    paging: PageRequest,
    *,
    order_by: str,
    connection_state: ConnectionState | None,
    health: Health | None,
    version_status: VersionStatus | None,
    q: str | None,
    now: datetime,
) -> Page[ConfigurationServerView]:
    """A vault's configuration servers."""
    vault = await vault_in_scope(session, principal, vault_ref)
    judged = await judgement(session, now)
    rows, cursor = await queries.list_servers(
        session,
        vault.id,
        paging,
        order_by=order_by,
        connection_state=connection_state,
        health=health,
        versions=await versions_with_status(session, vault.id, judged, version_status),
        q=q,
        now=now,
    )
    firing = await health_queries.firing_on(session, [row.Host.id for row in rows], now)
    items = [view_of(vault, *row, judgement=judged, firing=firing) for row in rows]
    return Page[ConfigurationServerView](items=items, next_cursor=cursor)


async def versions_with_status(
    session: AsyncSession, vault_id: uuid.UUID, judged: Judgement, status: VersionStatus | None
) -> Sequence[str] | None:
    """The versions in use that have `status`; None for no filter.

    Status is judged when it is asked for, never stored, so a new release can't leave it stale.
    """
    if status is None:
        return None
    in_use = await version_queries.versions_in_use(session, vault_id)
    return [version for version in in_use if judged.version_status(version) is status]


async def update(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    ref: str,
    body: ConfigurationServerUpdate,
    precondition: Precondition,
    now: datetime,
) -> ConfigurationServerView:
    """Change what `body` names. Raises PreconditionFailed when the caller saw another revision."""
    vault = await vault_in_scope(session, principal, vault_ref)
    server = await queries.lock(session, vault.id, ref)
    if server is None:
        raise _missing(vault, ref)
    precondition.check(server)
    if body.friendly_name is not None and body.friendly_name != server.friendly_name:
        server.friendly_name = body.friendly_name
        server.revision += 1
        server.updated_at = now
        record(
            session,
            vault.id,
            now,
            EventType.CONFIGURATION_SERVER_UPDATED,
            resource_of(server),
            actor=principal.actor,
            message=f"configuration server {server.name} was changed",
            data={"friendlyName": body.friendly_name},
        )
        await session.flush()
    return await read(session, principal, vault.name, server.name, now)


async def replace_passphrase(
    database: Database,
    hasher: secrets.PassphraseHasher,
    principal: Principal,
    vault_ref: str,
    ref: str,
    once: Once,
    now: datetime,
) -> PassphraseIssued:
    """A new passphrase, shown once; the old one stops working for new registrations at once."""
    passphrase = secrets.new_passphrase()
    hashed = await hasher.hash(passphrase)

    async def replace() -> PassphraseIssued:
        vault = await vault_in_scope(session, principal, vault_ref)
        server = await queries.lock(session, vault.id, ref)
        if server is None:
            raise _missing(vault, ref)
        server.passphrase_hash = hashed
        server.passphrase_tag = secrets.passphrase_tag(passphrase)
        server.updated_at = now
        record(
            session,
            vault.id,
            now,
            EventType.CONFIGURATION_SERVER_PASSPHRASE_CHANGED,
            resource_of(server),
            actor=principal.actor,
            message=f"the passphrase of configuration server {server.name} was replaced",
        )
        return PassphraseIssued(configuration_server=server.name, passphrase=passphrase)

    async with database.write() as session:
        return await once(session, principal.actor, principal.secret, replace)


async def delete(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    ref: str,
    precondition: Precondition,
    now: datetime,
    *,
    is_forced: bool,
) -> None:
    """Remove a configuration server and its inbuilt process server.

    Raises DeletionBlocked with every blocker while source machines or other process servers depend on it.
    Forced (admin role) they go with it, and the event says so. The agents learn of it by 410.
    """
    if is_forced:
        require_admin(principal, "forced deletion")
    vault = await vault_in_scope(session, principal, vault_ref, for_update=True)
    server = await queries.lock(session, vault.id, ref)
    if server is None:
        raise _missing(vault, ref)
    precondition.check(server)
    machines, others = await queries.dependants(session, server.id)
    blockers = _blockers(machines, others)
    if blockers and not is_forced:
        reasons = " and ".join(blocker["detail"] for blocker in blockers)
        raise DeletionBlocked(
            f"configuration server '{server.name}' can't be deleted: {reasons}; remove them first, or force it",
            blockers=blockers,
        )
    how = "deleted by force" if is_forced else "deleted"
    reason = f"configuration server {server.name} was {how}"
    record(
        session,
        vault.id,
        now,
        EventType.CONFIGURATION_SERVER_DELETED,
        resource_of(server),
        actor=principal.actor,
        message=reason,
        severity=Severity.WARNING if is_forced else Severity.INFORMATION,
        data={
            "forced": is_forced,
            "blockers": blockers,
            "sourceMachines": machines,
            "processServers": others,
        },
    )
    await _remove(session, server, principal.actor, reason, now)


def _blockers(machines: int, others: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if machines:
        found.append({"code": "machines-assigned", "detail": f"{machines} source machine(s) use it", "count": machines})
    if others:
        detail = f"{others} process server(s) are registered with it"
        found.append({"code": "process-servers-registered", "detail": detail, "count": others})
    return found


async def _remove(session: AsyncSession, server: ConfigurationServer, actor: str, reason: str, now: datetime) -> None:
    process_servers = await queries.process_servers(session, server.id)
    hosts = {host.id: host for host in await queries.lock_hosts(session, [row.host_row_id for row in process_servers])}
    hashes = await host_queries.credential_hashes(session, list(hosts))
    for process_server in process_servers:
        host = hosts[process_server.host_row_id]
        is_server = host.id == server.host_row_id
        session.add(_tombstone(server, process_server, host, hashes[host.id], is_server, actor, reason, now))
        record(
            session,
            server.vault_id,
            now,
            EventType.PROCESS_SERVER_DELETED,
            Resource(ResourceKind.PROCESS_SERVER, process_server.id, process_server.name),
            actor=actor,
            message=f"process server {process_server.name} went with it: {reason}",
        )
    names = {process_server.id: process_server.name for process_server in process_servers}
    for machine in await queries.machines_of(session, server.id):
        record(
            session,
            server.vault_id,
            now,
            EventType.SOURCE_MACHINE_DELETED,
            Resource(ResourceKind.SOURCE_MACHINE, machine.id, machine.name),
            actor=actor,
            message=f"source machine {machine.name} went with configuration server {server.name}: {reason}"[:2000],
            severity=Severity.WARNING,
            data={"processServer": names[machine.process_server_id], "forced": True},
        )
        await session.delete(machine)
    await session.flush()
    for process_server in process_servers:
        await session.delete(process_server)
    await session.flush()
    await session.delete(server)
    await session.flush()
    await alerts.forget(session, list(hosts), now)
    for host in hosts.values():
        await host_queries.forget_unused_credentials(session, host.id)
        await session.delete(host)


def _tombstone(
    server: ConfigurationServer,
    process_server: ProcessServer,
    host: Host,
    hashes: list[str],
    is_server: bool,
    actor: str,
    reason: str,
    now: datetime,
) -> Tombstone:
    return Tombstone(
        host_row_id=host.id,
        vault_id=server.vault_id,
        configuration_server_id=server.id,
        resource_kind=(ResourceKind.CONFIGURATION_SERVER if is_server else ResourceKind.PROCESS_SERVER).value,
        resource_id=server.id if is_server else process_server.id,
        name=server.name if is_server else process_server.name,
        host_id=host.host_id,
        credential_hashes=hashes,
        purged_at=now,
        purged_by=actor,
        reason=reason,
    )


def view_of(
    vault: Vault,
    server: ConfigurationServer,
    host: Host,
    process_server_count: int,
    source_machine_count: int,
    health: str,
    *,
    judgement: Judgement,
    firing: health_queries.Firing,
) -> ConfigurationServerView:
    """The wire form of the rows. `health` is that of the whole site, `firing` what fires on each host."""
    health_errors = configuration_server_errors(firing.get(host.id, []), host, judgement.now)
    return ConfigurationServerView(
        id=server.id,
        name=server.name,
        friendly_name=server.friendly_name,
        vault=vault.name,
        process_server_count=process_server_count,
        source_machine_count=source_machine_count,
        ssl_cert_expiry_date=server.certificate_expires_at,
        created_at=server.created_at,
        updated_at=server.updated_at,
        revision=server.revision,
        **host_members(host, judgement, health, health_errors),
    )
