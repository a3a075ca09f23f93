"""Moving machines as a job: all of it in one transaction, then a wait until each target's agent has observed it."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.events.service import Resource, record
from app.jobs import observations
from app.jobs import service as jobs
from app.models import Job
from app.source_machines import moves
from app.source_machines.moves import Move
from app.vocabulary import EventType, JobType, Severity

_EVENTS = {
    JobType.SWITCH: EventType.PROCESS_SERVER_SWITCHED,
    JobType.LOAD_BALANCE: EventType.PROCESS_SERVER_LOAD_BALANCED,
    JobType.REBALANCE: EventType.CONFIGURATION_SERVER_REBALANCED,
}
_NAMED_MACHINES = 100
"""So many machines are named in an event of the whole; each machine has its own event besides."""


async def carry_out(
    session: AsyncSession,
    *,
    vault_id: uuid.UUID,
    type: JobType,  # noqa: A002 - the column's name
    resource: Resource,
    wanted: Sequence[Move],
    actor: str,
    now: datetime,
    message: str,
    target: str | None = None,
    details: Mapping[str, Any] | None = None,
    override: Mapping[str, Any] | None = None,
) -> Job:
    """Move machines and make the job that tells of it: a switch or load balance of a process server, or a rebalance
    of a configuration server (`resource`).

    Nothing is judged. The caller has locked the configuration server, the process servers and the machines, each
    machine once and at least one. `target` is the name of the one process server that all go to, where it is one.
    `override` says how limits are exceeded by permission; it goes into job and events, which are warnings then. The
    job is in progress until the agent of every target has observed its new generation.
    """
    is_override = bool(override and override.get("overCapacity"))
    severity = Severity.WARNING if is_override else Severity.INFORMATION
    generations = await moves.move(session, wanted, actor, now, data=override, severity=severity)
    targets = {each.target.id: each.target for each in wanted}
    sources = {each.source.id: each.source for each in wanted}
    told = {
        **(details or {}),
        **(override or {}),
        "machines": len(wanted),
        "sources": sorted(server.name for server in sources.values()),
        "targets": {server.name: generations[server.host_row_id] for server in targets.values()},
    }
    job = await jobs.create(
        session,
        vault_id=vault_id,
        type=type,
        resource=resource,
        requested_by=actor,
        now=now,
        target=target,
        details=told,
    )
    jobs.advance(job, now, 50)
    await observations.wait(
        session, job, {server.host_row_id: generations[server.host_row_id] for server in targets.values()}
    )
    record(
        session,
        vault_id,
        now,
        _EVENTS[type],
        resource,
        actor=actor,
        message=message[:2000],
        severity=severity,
        data={
            **told,
            "target": target,
            "job": str(job.id),
            "machineNames": sorted(each.machine.name for each in wanted)[:_NAMED_MACHINES],
        },
    )
    return job
