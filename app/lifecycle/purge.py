"""Purge: removing a disconnected process server that can't be revived, and letting its machine back."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal, require_admin
from app.access.scope import vault_in_scope
from app.core.errors import Invalid, ProcessServerNotFound, PurgeBlocked, TargetNotFit, TombstoneNotFound
from app.core.wire import rfc3339
from app.events.service import Resource, record
from app.health import service as alerts
from app.hosts import queries as host_queries
from app.hosts.tombstones import Removal, entomb
from app.jobs import service as jobs
from app.lifecycle import queries
from app.lifecycle.rules import Blocker, Facts, blockers_of, left_after_force
from app.lifecycle.schemas import PurgePreview, PurgeRequest, TombstoneView, blocker_view
from app.models import Host, ProcessServer, SourceMachine, Tombstone
from app.process_servers.service import find, resource_of
from app.source_machines import moves
from app.vocabulary import ConnectionState, EventType, ResourceKind, ServerKind, Severity

DEFAULT_REASON = "purged: disconnected and not to be revived"


class Doomed(NamedTuple):
    """A locked process server, its locked host, and what the rules say of it."""

    server: ProcessServer
    host: Host
    facts: Facts

    @property
    def blockers(self) -> list[Blocker]:
        """What stands against purging it."""
        return blockers_of(self.facts)


async def preview(
    session: AsyncSession, principal: Principal, vault_ref: str, server_ref: str | None, ref: str, switch_to: str | None
) -> PurgePreview:
    """Whether a process server can be purged, and everything that stands against it. Changes nothing."""
    vault = await vault_in_scope(session, principal, vault_ref)
    found = await find(session, vault, server_ref, ref)
    examined = await examine(session, [(found.ProcessServer, found.Host)], has_target=switch_to is not None)
    blockers = examined[0].blockers
    return PurgePreview(purgeable=not blockers, blockers=[blocker_view(blocker) for blocker in blockers])


async def examine(
    session: AsyncSession, rows: Sequence[tuple[ProcessServer, Host]], *, has_target: bool
) -> list[Doomed]:
    """The facts of process servers, for the rules to judge."""
    ids = [server.id for server, _ in rows]
    machines = await queries.machine_counts(session, ids)
    open_jobs = await queries.open_job_counts(session, ids)
    sites = await queries.sites(session, sorted({server.configuration_server_id for server, _ in rows}))
    doomed: list[Doomed] = []
    for server, host in rows:
        site = sites[server.configuration_server_id]
        facts = Facts(
            name=server.name,
            kind=ServerKind(server.kind),
            is_connected=host.connection_state == ConnectionState.CONNECTED,
            machines=machines.get(server.id, 0),
            has_target=has_target,
            open_jobs=open_jobs.get(server.id, 0),
            other_servers=site.servers - 1,
            site_machines=site.machines,
            site_churn_bytes=site.churn_bytes,
            is_unknown=host.connection_state == ConnectionState.UNKNOWN,
        )
        doomed.append(Doomed(server, host, facts))
    return doomed


async def lock(
    session: AsyncSession, servers: Sequence[ProcessServer], also: Sequence[ProcessServer] = ()
) -> list[tuple[ProcessServer, Host]]:
    """Lock process servers with all that a purge depends on. Returns those that still exist, with their hosts.

    The site's lock keeps registrations and moves waiting; the host's lock keeps its heartbeat waiting, which
    then finds the tombstone. `also` are locked too (targets), but not returned.
    """
    everything = [*servers, *also]
    await queries.lock_configuration_servers(session, sorted({row.configuration_server_id for row in everything}))
    locked = await queries.lock_process_servers(session, sorted({row.id for row in everything}))
    hosts = await queries.lock_hosts(session, sorted({row.host_row_id for row in locked}))
    wanted = {row.id for row in servers}
    return [(row, hosts[row.host_row_id]) for row in locked if row.id in wanted]


async def purge(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str | None,
    ref: str,
    body: PurgeRequest,
    now: datetime,
) -> TombstoneView:
    """Remove a process server. Repeating it is harmless: the tombstone is answered again.

    Raises PurgeBlocked with every blocker that `force` does not name, TargetNotFit when `switchTo` can't take
    its machines, Forbidden for `force` without the admin role.
    """
    if body.force:
        require_admin(principal, "forcing a purge")
    vault = await vault_in_scope(session, principal, vault_ref)
    try:
        found = await find(session, vault, server_ref, ref)
    except ProcessServerNotFound:
        tombstone = await queries.tombstone(session, vault.id, server_ref, ref)
        if tombstone is None:
            raise
        return view_of(tombstone)
    server: ProcessServer = found.ProcessServer
    target = None
    if body.switch_to is not None:
        target = (await find(session, vault, str(server.configuration_server_id), body.switch_to)).ProcessServer
        if target.id == server.id:
            detail = f"'{body.switch_to}' is the process server to be purged; name another one"
            raise Invalid(detail, [{"pointer": "#/switchTo", "detail": detail}])
    rows = await lock(session, [server], [target] if target is not None else [])
    if not rows:
        # Somebody else purged it while this request waited for the lock.
        tombstone = await queries.tombstone(session, vault.id, None, str(server.id))
        if tombstone is None:
            raise ProcessServerNotFound(f"vault '{vault.name}' has no process server '{ref}'")
        return view_of(tombstone)
    doomed = (await examine(session, rows, has_target=target is not None))[0]
    blockers = left_after_force(doomed.blockers, body.force)
    if blockers:
        reasons = "; ".join(blocker.detail for blocker in blockers)
        raise PurgeBlocked(
            f"process server '{server.name}' can't be purged: {reasons}",
            blockers=[blocker_view(blocker).model_dump(mode="json", by_alias=True) for blocker in blockers],
        )
    removal = Removal(principal.actor, now, body.reason or DEFAULT_REASON)
    moved, lost = await _clear_machines(session, doomed, target, removal)
    await _end_jobs(session, doomed.server, removal)
    data = {
        "forced": [blocker.code.value for blocker in doomed.blockers],
        "switchedTo": None if target is None else target.name,
        "machinesMoved": moved,
        "machinesRemoved": lost,
    }
    return view_of((await remove(session, [doomed], removal, data))[0])


async def _clear_machines(
    session: AsyncSession, doomed: Doomed, target: ProcessServer | None, removal: Removal
) -> tuple[int, int]:
    """Move the machines to `target`, or drop them where that was forced. Returns how many were moved and dropped."""
    if not doomed.facts.machines:
        return 0, 0
    if target is not None:
        problems = await moves.fit_problems(session, doomed.server, target, removal.at)
        if problems:
            raise TargetNotFit(
                f"process server '{target.name}' can't take the {doomed.facts.machines} machine(s) of "
                f"'{doomed.server.name}': {'; '.join(problem['detail'] for problem in problems)}",
                blockers=problems,
            )
        moved = await moves.move_all(session, doomed.server, target, removal.actor, removal.at, reason=removal.reason)
        return moved, 0
    machines = await queries.machines_of(session, doomed.server.id)
    for machine in machines:
        _record_lost(session, machine, doomed.server, removal)
        await session.delete(machine)
    await session.flush()
    return 0, len(machines)


def _record_lost(session: AsyncSession, machine: SourceMachine, server: ProcessServer, removal: Removal) -> None:
    record(
        session,
        machine.vault_id,
        removal.at,
        EventType.SOURCE_MACHINE_DELETED,
        Resource(ResourceKind.SOURCE_MACHINE, machine.id, machine.name),
        actor=removal.actor,
        message=f"source machine {machine.name} went with process server {server.name}, which was purged by force",
        severity=Severity.WARNING,
        data={"processServer": server.name, "forced": True},
    )


async def _end_jobs(session: AsyncSession, server: ProcessServer, removal: Removal) -> None:
    for job in await jobs.open_jobs_of(session, server.id):
        jobs.fail(job, removal.at, code="purged", detail=f"process server '{server.name}' was purged by force")


async def remove(
    session: AsyncSession, doomed: Sequence[Doomed], removal: Removal, data: dict[str, object]
) -> list[Tombstone]:
    """Delete locked process servers that have no machines left; their tombstones, in order."""
    hashes = await host_queries.credential_hashes(session, [one.host.id for one in doomed])
    tombstones: list[Tombstone] = []
    for server, host, _ in doomed:
        tombstones.append(
            entomb(
                host,
                resource_of(server),
                server.configuration_server_id,
                hashes[host.id],
                removal,
                blocks_registration=True,
            )
        )
        session.add(tombstones[-1])
        last = None if host.last_heartbeat_at is None else rfc3339(host.last_heartbeat_at)
        record(
            session,
            server.vault_id,
            removal.at,
            EventType.PROCESS_SERVER_PURGED,
            resource_of(server),
            actor=removal.actor,
            message=f"process server {server.name} was purged: {removal.reason}"[:2000],
            severity=Severity.WARNING,
            data={
                **data,
                "reason": removal.reason,
                "hostId": host.host_id,
                "ipAddresses": host.ip_addresses,
                "lastHeartbeat": last,
            },
        )
    await session.flush()
    await alerts.forget(session, [one.host.id for one in doomed], removal.at)
    for server, host, _ in doomed:
        session.expunge(server)
        session.expunge(host)
    await queries.delete_servers(session, [one.server.id for one in doomed], [one.host.id for one in doomed])
    return tombstones


async def readmit(
    session: AsyncSession, principal: Principal, vault_ref: str, server_ref: str | None, ref: str, now: datetime
) -> TombstoneView:
    """Let a purged machine register again, as a new process server. Repeating it changes nothing.

    Raises TombstoneNotFound when nothing of that name or id was removed.
    """
    vault = await vault_in_scope(session, principal, vault_ref)
    tombstone = await queries.tombstone(session, vault.id, server_ref, ref, for_update=True)
    if tombstone is None:
        raise TombstoneNotFound(f"vault '{vault.name}' has no purged process server '{ref}'")
    if tombstone.blocks_registration and tombstone.readmitted_at is None:
        tombstone.readmitted_at = now
        tombstone.readmitted_by = principal.actor
        record(
            session,
            vault.id,
            now,
            EventType.PROCESS_SERVER_READMITTED,
            Resource(ResourceKind.PROCESS_SERVER, tombstone.resource_id, tombstone.name),
            actor=principal.actor,
            message=f"the machine of purged process server {tombstone.name} may register again",
            data={"hostId": tombstone.host_id},
        )
    return view_of(tombstone)


def view_of(tombstone: Tombstone) -> TombstoneView:
    """The wire form of a row."""
    return TombstoneView(
        id=tombstone.resource_id,
        name=tombstone.name,
        host_id=tombstone.host_id,
        ip_addresses=tombstone.ip_addresses,
        purged_at=tombstone.purged_at,
        purged_by=tombstone.purged_by,
        reason=tombstone.reason,
        may_register=not tombstone.blocks_registration or tombstone.readmitted_at is not None,
        readmitted_at=tombstone.readmitted_at,
        readmitted_by=tombstone.readmitted_by,
    )
