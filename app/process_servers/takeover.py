"""A rebuilt machine (same name, new host id) takes a process server's place once an operator has approved it."""

from datetime import datetime, timedelta
from typing import NoReturn

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.core.errors import Invalid, NameInUseByAnotherHost, ProcessServerNotFound, TakeoverBlocked
from app.core.wire import rfc3339
from app.events.service import record
from app.health import service as alerts
from app.hosts import compatibility
from app.hosts import queries as host_queries
from app.hosts import service as hosts
from app.hosts.tombstones import Removal, entomb
from app.jobs import queries as job_queries
from app.jobs import service as jobs
from app.models import ConfigurationServer, Host, ProcessServer
from app.process_servers import queries
from app.process_servers.rules import obstacle_to_takeover
from app.process_servers.schemas import ProcessServerRegister, TakeoverApproval, TakeoverView
from app.process_servers.service import find, resource_of
from app.telemetry import queries as telemetry_queries
from app.vocabulary import ConnectionState, EventType, ServerKind

TAKEN_OVER = "taken over by a rebuilt machine"


async def approve(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str | None,
    ref: str,
    body: TakeoverApproval,
    now: datetime,
) -> TakeoverView:
    """Let the next machine that registers with this server's name take its place. A new approval replaces the last.

    Raises TakeoverBlocked while the present machine is connected, and always for an inbuilt process server.
    """
    vault = await vault_in_scope(session, principal, vault_ref)
    found = await find(session, vault, server_ref, ref)
    await queries.lock_configuration_server(session, found.ProcessServer.configuration_server_id)
    server = await queries.lock(session, found.ProcessServer.id)
    if server is None:
        raise ProcessServerNotFound(f"process server '{ref}' was removed meanwhile")
    host = await host_queries.lock(session, server.host_row_id)
    if server.kind == ServerKind.INBUILT:
        raise TakeoverBlocked(
            f"'{server.name}' is the inbuilt process server; it is rebuilt with its configuration server"
        )
    if host.connection_state == ConnectionState.CONNECTED:
        raise TakeoverBlocked(
            f"the machine of process server '{server.name}' (host {host.host_id}, {host.fqdn}) is connected; "
            "stop its agent and wait until it is shown as Disconnected"
        )
    if host.connection_state == ConnectionState.UNKNOWN:
        raise TakeoverBlocked(
            f"the machine of process server '{server.name}' (host {host.host_id}, {host.fqdn}) fell silent together "
            "with many others and may be alive; wait until it is shown as Disconnected, or acknowledge the brake that "
            "holds it"
        )
    if body.host_id == host.host_id:
        detail = f"host {body.host_id} has the name '{server.name}' already; it registers without an approval"
        raise Invalid(detail, [{"pointer": "#/hostId", "detail": detail}])
    until = now + timedelta(hours=body.valid_hours)
    server.takeover_until, server.takeover_host_id = until, body.host_id
    server.updated_at = now
    server.revision += 1
    record(
        session,
        vault.id,
        now,
        EventType.PROCESS_SERVER_TAKEOVER_APPROVED,
        resource_of(server),
        actor=principal.actor,
        message=f"a rebuilt machine may take the place of process server {server.name} until {rfc3339(until)}",
        data={"until": rfc3339(until), "hostId": body.host_id, "presentHostId": host.host_id},
    )
    return TakeoverView(
        id=server.id,
        name=server.name,
        configuration_server=found.configuration_server,
        present_host_id=host.host_id,
        host_id=body.host_id,
        until=until,
    )


async def inherit(
    session: AsyncSession, site: ConfigurationServer, owner: ProcessServer, body: ProcessServerRegister, now: datetime
) -> tuple[Host, ProcessServer]:
    """Give the process server `owner` to the machine that registers with its name; the approval is used up.

    The site is locked, so of two machines at once the second finds the approval used. The old machine's agent gets
    410 from the tombstone of its host. Raises NameInUseByAnotherHost, saying what is missing.
    """
    server = await queries.lock(session, owner.id)
    if server is None:
        raise NameInUseByAnotherHost(f"process server '{body.name}' was removed at this moment; register again")
    old = await host_queries.lock(session, server.host_row_id)
    obstacle = obstacle_to_takeover(
        is_inbuilt=server.kind == ServerKind.INBUILT,
        connection_state=ConnectionState(old.connection_state),
        until=server.takeover_until,
        only_host_id=server.takeover_host_id,
        host_id=body.host_id,
        now=now,
    )
    if obstacle is not None:
        _refuse(site, old, body, obstacle)
    new = hosts.new_host(site.vault_id, body, now)
    new.generation = old.generation + 1
    new.version_above_since = old.version_above_since
    await hosts.add_host(session, new)
    await alerts.inherit(session, old, new)
    resource = resource_of(server)
    hashes = (await host_queries.credential_hashes(session, [old.id]))[old.id]
    actor = f"agent:{server.name}"
    removal = Removal(actor, now, f"{TAKEN_OVER} (host {new.host_id}, {new.fqdn})")
    session.add(entomb(old, resource, site.id, hashes, removal, blocks_registration=False))
    for job in await jobs.open_jobs_of(session, server.id):
        jobs.fail(job, now, code="taken-over", detail=f"a rebuilt machine took the place of '{server.name}'; ask again")
    server.host_row_id = new.id
    server.takeover_until = server.takeover_host_id = None
    server.data_transfer_port = body.data_transfer_port
    server.kind = body.kind.value
    server.updated_at = now
    server.revision += 1
    await session.flush()
    record(
        session,
        site.vault_id,
        now,
        EventType.PROCESS_SERVER_TAKEN_OVER,
        resource,
        actor=actor,
        message=f"a rebuilt machine took the place of process server {server.name}, version {body.agent_version}",
        data={
            "hostId": new.host_id,
            "previousHostId": old.host_id,
            "agentVersion": body.agent_version,
            "previousVersion": old.agent_version,
        },
    )
    hosts.record_upgrade(session, resource, EventType.PROCESS_SERVER_UPGRADED, old, body.agent_version, now)
    await host_queries.forget_unused_credentials(session, old.id)
    await telemetry_queries.hand_on(session, old.id, new.id)
    await job_queries.hand_on_waits(session, old.id, new.id)
    await session.delete(old)
    await session.flush()
    await compatibility.judge(session, [new.id], now)
    return new, server


def _refuse(site: ConfigurationServer, old: Host, body: ProcessServerRegister, obstacle: str) -> NoReturn:
    raise NameInUseByAnotherHost(
        f"process server '{body.name}' of configuration server '{site.name}' is another machine "
        f"(host {old.host_id}, {old.fqdn}): {obstacle}"
    )
