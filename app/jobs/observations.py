"""Jobs that wait until agents have observed what they did, or what they ask.

`wait` makes a job wait for agents, each at a generation of its desired state. `observed` is called with each heartbeat
that tells of another generation, and ends the jobs that waited for that. `fail_orphans` ends those that wait in vain.

A job's row is locked before its waits are counted, so of two agents that observe at once the later one sees that it
is the last.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.wire import rfc3339
from app.events.service import Resource, record
from app.jobs import queries, service
from app.jobs.rules import progress_of_waits
from app.models import Job, JobWait
from app.vocabulary import ASKING_JOBS, EventType, JobType, ResourceKind, Severity

OBSERVED_AT = "observedAt"
"""Member of a job's details: when the last agent that it waited for had observed it."""
SERVER_REMOVED = "server-removed"
SERVER_DISCONNECTED = "server-disconnected"

_ASKING = {kind.value for kind in ASKING_JOBS}


async def wait(session: AsyncSession, job: Job, generations: Mapping[uuid.UUID, int]) -> None:
    """Have a job wait until the agent on each host has observed a generation of its desired state."""
    session.add_all(
        JobWait(job_id=job.id, host_row_id=host_row_id, generation=generation)
        for host_row_id, generation in generations.items()
    )
    job.details = {**job.details, "agents": len(generations)}
    await session.flush()


async def observed(session: AsyncSession, generations: Mapping[uuid.UUID, int], now: datetime) -> None:
    """The agents on these hosts have observed these generations. The caller has locked the hosts.

    A job whose last wait this was succeeds, but for the renewal of a certificate: that one is taken up, and
    `configuration_servers.requests` ends it under the locks that it needs.
    """
    seen: dict[uuid.UUID, list[uuid.UUID]] = {}
    for job_id, host_row_id, generation in await queries.waits_of(session, list(generations)):
        if generation <= generations[host_row_id]:
            seen.setdefault(job_id, []).append(host_row_id)
    if not seen:
        return
    for job in await queries.lock_open(session, list(seen)):
        left = await queries.end_waits(session, job.id, seen[job.id])
        if left:
            service.advance(job, now, progress_of_waits(job.details.get("agents", left), left))
            continue
        details = {OBSERVED_AT: rfc3339(now)}
        if job.type == JobType.RENEW_CERTIFICATE:
            service.advance(job, now, 50, details)
            continue
        service.finish(job, now, details)
        if job.type == JobType.REFRESH:
            record(
                session,
                job.vault_id,
                now,
                EventType.CONFIGURATION_SERVER_REFRESHED,
                Resource(ResourceKind(job.resource_kind), job.resource_id, job.resource_name),
                actor=f"agent:{job.resource_name}",
                message=f"configuration server {job.resource_name} has reported as it was asked to",
                data={"job": str(job.id)},
            )


async def lock(session: AsyncSession, job_id: uuid.UUID) -> Job | None:
    """A job, locked and fresh."""
    return await queries.lock(session, job_id)


async def has_orphans(session: AsyncSession) -> bool:
    """Whether `fail_orphans` would find something; needs no lock."""
    return bool(await queries.orphans(session, list(_ASKING)))


async def fail_orphans(session: AsyncSession, now: datetime) -> int:
    """End the jobs that wait for an agent that won't come; returns how many ended.

    A server that was removed never observes anything. One that is disconnected may come back, and what moved to it
    is moved: only what it was asked to do fails then.
    """
    failed = 0
    for job_id, is_removed in await queries.orphans(session, list(_ASKING)):
        job = await queries.lock(session, job_id)
        # While the lock was waited for, its agent may have come back and observed it.
        if job is None or job.ended_at is not None or not await queries.orphans(session, list(_ASKING), job_id):
            continue
        code = SERVER_REMOVED if is_removed else SERVER_DISCONNECTED
        fail(session, job, now, code=code, detail=_in_vain(job, is_removed=is_removed))
        await queries.forget_waits(session, [job.id])
        failed += 1
    return failed


def _in_vain(job: Job, *, is_removed: bool) -> str:
    if job.type in _ASKING:
        state = "was removed" if is_removed else "is disconnected"
        return f"configuration server {job.resource_name} {state} and has not done it; ask again once it is connected"
    target = f"process server {job.target}" if job.target is not None else "a process server that they went to"
    return (
        f"the machines were moved, but {target} was removed before its agent had observed it; the events of the "
        "machines tell where they are now"
    )


def fail(session: AsyncSession, job: Job, now: datetime, *, code: str, detail: str) -> None:
    """A job that waited for an agent has failed; the event tells so."""
    service.fail(job, now, code=code, detail=detail)
    record(
        session,
        job.vault_id,
        now,
        EventType.JOB_FAILED,
        Resource(ResourceKind.JOB, job.id, job.type),
        actor="monitor",
        message=f"the {job.type} of {job.resource_name} failed: {detail}"[:2000],
        severity=Severity.WARNING,
        data={
            "type": job.type,
            "resource": {"kind": job.resource_kind, "name": job.resource_name, "id": str(job.resource_id)},
            "error": {"code": code, "detail": detail},
        },
    )


async def open_of_type(session: AsyncSession, resource_id: uuid.UUID, kind: JobType) -> Job | None:
    """The job of a type on a resource that has not ended, locked. Lock the resource before."""
    found: Sequence[Job] = await queries.lock_open_of(session, resource_id)
    return next((job for job in found if job.type == kind), None)
