"""What an operator and an agent do so that a process server leaves in good order."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.core.errors import DecommissionBlocked, Invalid, ProcessServerNotFound, TargetNotFit
from app.core.wire import rfc3339
from app.decommission import queries
from app.decommission.rules import Blocker, BlockerCode, Facts, blockers_of
from app.decommission.schemas import DecommissionRequest, Goodbye, GoodbyeView, StepStatus, UninstallStep
from app.events.service import record
from app.health import service as alerts
from app.hosts import queries as host_queries
from app.hosts.identity import identify
from app.hosts.tombstones import Removal, entomb, purged
from app.jobs import service as jobs
from app.jobs.rules import ACKNOWLEDGED_AT
from app.jobs.schemas import JobView
from app.models import Host, Job, ProcessServer, Tombstone, Vault
from app.process_servers import queries as server_queries
from app.process_servers.service import find, resource_of
from app.source_machines import moves
from app.vocabulary import ConnectionState, EventType, JobType, ServerKind, Severity

DECOMMISSIONED = "decommissioned"
"""The reason on the tombstone of a server that left in good order."""


class _Leaving(NamedTuple):
    """A locked process server, its locked host, where its machines go, and its open jobs, locked."""

    server: ProcessServer
    host: Host
    target: ProcessServer | None
    machines: int
    own_jobs: Sequence[Job]
    """Decommissions of it that have not ended; there is one at most."""
    facts: Facts


async def ask(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str | None,
    ref: str,
    body: DecommissionRequest,
    now: datetime,
) -> JobView:
    """Ask a process server's agent to uninstall it. While that job is open, asking again returns it.

    Raises DecommissionBlocked with every blocker, TargetNotFit when `switchTo` can't take its machines, which
    otherwise move in this transaction.
    """
    vault = await vault_in_scope(session, principal, vault_ref)
    found = await find(session, vault, server_ref, ref)
    leaving = await _examine(session, found.ProcessServer, body.switch_to, is_proved_alive=False)
    if leaving is None:
        raise ProcessServerNotFound(f"process server '{ref}' was removed meanwhile")
    if leaving.own_jobs:
        return jobs.view_of(leaving.own_jobs[0])
    await _refuse_blocked(session, leaving, blockers_of(leaving.facts), now)
    reason = body.reason or "asked to leave in good order"
    moved = await _move_machines(session, leaving, principal.actor, now, reason)
    # Moving machines has changed the desired state too: read again before it is counted on.
    host = await host_queries.lock(session, leaving.server.host_row_id)
    host.generation += 1
    job = await jobs.create(
        session,
        vault_id=vault.id,
        type=JobType.DECOMMISSION,
        resource=resource_of(leaving.server),
        requested_by=principal.actor,
        now=now,
        target=leaving.target.name if leaving.target is not None else None,
        details={"generation": host.generation, "reason": body.reason, "machinesMoved": moved},
    )
    record(
        session,
        vault.id,
        now,
        EventType.PROCESS_SERVER_DECOMMISSION_REQUESTED,
        resource_of(leaving.server),
        actor=principal.actor,
        message=f"process server {leaving.server.name} was asked to leave: {reason}",
        data={"job": str(job.id), "reason": body.reason, "switchedTo": job.target, "machinesMoved": moved},
    )
    return jobs.view_of(job)


async def leave(session: AsyncSession, credential: str | None, body: Goodbye, now: datetime) -> GoodbyeView:
    """Remove the server whose agent shows `credential`. A repetition, after a lost answer, gets the same answer.

    With `dryRun` nothing is removed: it is judged, and the job that the agent names is taken up. A step that
    failed keeps the server and fails the job.

    Raises Unauthenticated or CredentialRefused, Purged for a server that was removed otherwise, DecommissionBlocked
    with every blocker, TargetNotFit when the target can't take the machines.
    """
    known = await identify(session, credential)
    if isinstance(known, Tombstone):
        return _left_before(known)
    server = await server_queries.of_host(session, known.id)
    leaving = None
    if server is not None:
        leaving = await _examine(session, server, body.switch_to, is_proved_alive=True)
    # Again under the locks: it may have been removed, or its machine replaced, while they were waited for.
    known = await identify(session, credential)
    if isinstance(known, Tombstone):
        return _left_before(known)
    if leaving is None:
        raise ProcessServerNotFound(f"no process server runs on host {known.host_id}")
    failed = [step for step in body.steps if step.status is StepStatus.FAILED]
    if failed and not body.dry_run:
        return _stay(session, leaving, body.steps, failed, now)
    blockers = blockers_of(leaving.facts)
    if body.job is not None and body.job not in {job.id for job in leaving.own_jobs}:
        detail = f"job {body.job} does not ask '{leaving.server.name}' to leave any more; it has ended or was cancelled"
        blockers.append(Blocker(BlockerCode.JOB_ENDED, detail))
    await _refuse_blocked(session, leaving, blockers, now)
    if not body.dry_run:
        return await _remove(session, leaving, body.steps, now)
    if body.job is not None:
        for job in leaving.own_jobs:
            jobs.advance(job, now, 10, {ACKNOWLEDGED_AT: rfc3339(now)})
    return GoodbyeView(id=leaving.server.id, name=leaving.server.name, decommissioned=False, decommissioned_at=None)


def _left_before(tombstone: Tombstone) -> GoodbyeView:
    if tombstone.reason != DECOMMISSIONED or tombstone.blocks_registration:
        raise purged(tombstone)
    return GoodbyeView(
        id=tombstone.resource_id,
        name=tombstone.name,
        decommissioned=True,
        decommissioned_at=tombstone.purged_at,
    )


async def _examine(
    session: AsyncSession, server: ProcessServer, switch_to: str | None, *, is_proved_alive: bool
) -> _Leaving | None:
    """Lock a process server and all that its leaving depends on; None when it was removed meanwhile.

    The site's lock keeps registrations and moves of machines waiting, the host's lock its heartbeat, which then
    finds the tombstone.
    """
    await server_queries.lock_configuration_server(session, server.configuration_server_id)
    site = await queries.site(session, server.configuration_server_id)
    if site is None:
        return None
    target = await _target(session, site.Vault, server, switch_to)
    both = [server] if target is None else sorted([server, target], key=lambda row: row.id)
    for row in both:
        if await server_queries.lock(session, row.id) is None:
            return None
    for host_row_id in sorted(row.host_row_id for row in both):
        await host_queries.lock(session, host_row_id)
    host = await host_queries.lock(session, server.host_row_id)
    open_jobs = await jobs.open_jobs_of(session, server.id)
    own_jobs = [job for job in open_jobs if job.type == JobType.DECOMMISSION]
    machines = await queries.machine_count(session, server.id)
    facts = Facts(
        name=server.name,
        kind=ServerKind(server.kind),
        configuration_server=site.name,
        is_configuration_server_connected=site.connection_state == ConnectionState.CONNECTED,
        is_connected=is_proved_alive or host.connection_state == ConnectionState.CONNECTED,
        machines=machines,
        has_target=target is not None,
        other_jobs=len(open_jobs) - len(own_jobs),
        is_configuration_server_unknown=site.connection_state == ConnectionState.UNKNOWN,
        is_unknown=not is_proved_alive and host.connection_state == ConnectionState.UNKNOWN,
    )
    return _Leaving(server, host, target, machines, own_jobs, facts)


async def _target(
    session: AsyncSession, vault: Vault, server: ProcessServer, switch_to: str | None
) -> ProcessServer | None:
    """Where the machines go: as asked now, or as the operator asked, also for machines that came after that."""
    ref = switch_to or await queries.asked_target(session, server.id)
    if ref is None:
        return None
    try:
        target: ProcessServer = (await find(session, vault, str(server.configuration_server_id), ref)).ProcessServer
    except ProcessServerNotFound:
        if switch_to is None:
            return None
        raise
    if target.id == server.id:
        detail = f"'{ref}' is the process server that is to leave; name another one"
        raise Invalid(detail, [{"pointer": "#/switchTo", "detail": detail}])
    return target


async def _refuse_blocked(session: AsyncSession, leaving: _Leaving, blockers: Sequence[Blocker], now: datetime) -> None:
    name = leaving.server.name
    if blockers:
        raise DecommissionBlocked(
            f"process server '{name}' can't be decommissioned: {'; '.join(blocker.detail for blocker in blockers)}",
            blockers=[_wire_form(blocker) for blocker in blockers],
        )
    if leaving.machines and leaving.target is not None:
        problems = await moves.fit_problems(session, leaving.server, leaving.target, now)
        if problems:
            raise TargetNotFit(
                f"process server '{leaving.target.name}' can't take the {leaving.machines} machine(s) of '{name}': "
                f"{'; '.join(problem['detail'] for problem in problems)}",
                blockers=problems,
            )


def _wire_form(blocker: Blocker) -> dict[str, object]:
    count = {} if blocker.count is None else {"count": blocker.count}
    return {"code": blocker.code.value, "detail": blocker.detail, **count}


async def _move_machines(session: AsyncSession, leaving: _Leaving, actor: str, now: datetime, reason: str) -> int:
    if not leaving.machines or leaving.target is None:
        return 0
    return await moves.move_all(session, leaving.server, leaving.target, actor, now, reason=reason)


def _stay(
    session: AsyncSession,
    leaving: _Leaving,
    steps: Sequence[UninstallStep],
    failed: Sequence[UninstallStep],
    now: datetime,
) -> GoodbyeView:
    """A step failed: the server stays, and is not asked any more."""
    server = leaving.server
    reasons = "; ".join(f"{step.name}: {step.detail or 'no detail given'}" for step in failed)
    for job in leaving.own_jobs:
        detail = f"'{server.name}' could not be uninstalled: {reasons}; mend that on the machine and ask again"
        jobs.fail(job, now, code="step-failed", detail=detail[:2000], details={"steps": _told(steps)})
    leaving.host.generation += 1
    record(
        session,
        server.vault_id,
        now,
        EventType.PROCESS_SERVER_DECOMMISSION_FAILED,
        resource_of(server),
        actor=f"agent:{server.name}",
        message=f"process server {server.name} could not be uninstalled: {reasons}",
        severity=Severity.WARNING,
        data={"steps": _told(steps)},
    )
    return GoodbyeView(id=server.id, name=server.name, decommissioned=False, decommissioned_at=None)


async def _remove(
    session: AsyncSession, leaving: _Leaving, steps: Sequence[UninstallStep], now: datetime
) -> GoodbyeView:
    """Server, host and credentials go; tombstone, event and the job's end come in the same transaction."""
    server, host = leaving.server, leaving.host
    actor = f"agent:{server.name}"
    moved = await _move_machines(session, leaving, actor, now, f"process server {server.name} left in good order")
    hashes = (await host_queries.credential_hashes(session, [host.id]))[host.id]
    asked_by = leaving.own_jobs[0].requested_by if leaving.own_jobs else actor
    removal = Removal(asked_by, now, DECOMMISSIONED)
    session.add(
        entomb(host, resource_of(server), server.configuration_server_id, hashes, removal, blocks_registration=False)
    )
    for job in leaving.own_jobs:
        jobs.finish(job, now, details={"steps": _told(steps)})
    record(
        session,
        server.vault_id,
        now,
        EventType.PROCESS_SERVER_DECOMMISSIONED,
        resource_of(server),
        actor=actor,
        message=f"process server {server.name} left in good order",
        data={
            "steps": _told(steps),
            "job": str(leaving.own_jobs[0].id) if leaving.own_jobs else None,
            "requestedBy": asked_by,
            "hostId": host.host_id,
            "switchedTo": leaving.target.name if moved and leaving.target is not None else None,
            "machinesMoved": moved,
        },
    )
    await alerts.forget(session, [host.id], now)
    await session.flush()
    await session.delete(server)
    await session.flush()
    await host_queries.forget_unused_credentials(session, host.id)
    await session.delete(host)
    return GoodbyeView(id=server.id, name=server.name, decommissioned=True, decommissioned_at=now)


def _told(steps: Sequence[UninstallStep]) -> list[dict[str, object]]:
    return [step.model_dump(mode="json", by_alias=True) for step in steps]
