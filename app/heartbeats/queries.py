"""SQL of what heartbeats bring about when they are more than numbers; the hot path's own is in `statements`."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import ConfigurationServer, Host, Job, JobWait, ProcessServer, SourceMachine, Tombstone
from app.vocabulary import ASKING_JOBS, OPEN_JOB_STATES, JobState, JobType


async def lock_hosts(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Host]:
    """Hosts by id, locked by rising id."""
    statement = select(Host).where(Host.id.in_(host_row_ids)).order_by(Host.id).with_for_update(key_share=True)
    return {host.id: host for host in (await session.execute(statement)).scalars()}


async def configuration_server_versions(
    session: AsyncSession, host_row_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, str]:
    """The stored version of each of these hosts that is a configuration server's."""
    statement = (
        select(Host.id, Host.agent_version)
        .join(ConfigurationServer, ConfigurationServer.host_row_id == Host.id)
        .where(Host.id.in_(host_row_ids))
    )
    return {row.id: row.agent_version for row in await session.execute(statement)}


async def tombstones(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Tombstone]:
    """The tombstones of removed hosts."""
    if not host_row_ids:
        return {}
    statement = select(Tombstone).where(Tombstone.host_row_id.in_(host_row_ids))
    return {row.host_row_id: row for row in (await session.execute(statement)).scalars()}


async def desired_rows(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> Sequence[Any]:
    """Generation and process server of each host."""
    statement = (
        select(Host.id, Host.generation, ProcessServer)
        .join(ProcessServer, ProcessServer.host_row_id == Host.id)
        .where(Host.id.in_(host_row_ids))
    )
    return (await session.execute(statement)).all()


async def machine_names(session: AsyncSession, process_server_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[str]]:
    """Names of the machines that use each process server, in order."""
    statement = (
        select(SourceMachine.process_server_id, SourceMachine.name)
        .where(SourceMachine.process_server_id.in_(process_server_ids))
        .order_by(SourceMachine.name)
    )
    found: dict[uuid.UUID, list[str]] = {}
    for process_server_id, name in await session.execute(statement):
        found.setdefault(process_server_id, []).append(name)
    return found


async def wanted_decommissions(
    session: AsyncSession, process_server_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, uuid.UUID]:
    """The decommission that each process server is asked to carry out: its job, by the process server."""
    statement = select(Job.resource_id, Job.id).where(
        Job.resource_id.in_(process_server_ids),
        Job.type == JobType.DECOMMISSION.value,
        Job.state.in_([state.value for state in OPEN_JOB_STATES]),
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def wanted_requests(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> Sequence[Any]:
    """What the configuration server on each host is asked to do: rows of host, job and type, oldest first."""
    statement = (
        select(JobWait.host_row_id, Job.id, Job.type)
        .join(Job, Job.id == JobWait.job_id)
        .where(
            JobWait.host_row_id.in_(host_row_ids),
            Job.type.in_([kind.value for kind in ASKING_JOBS]),
            Job.ended_at.is_(None),
        )
        .order_by(Job.id)
    )
    return (await session.execute(statement)).all()


async def lock_queued_decommissions(session: AsyncSession, host_row_ids: Sequence[uuid.UUID]) -> Sequence[Any]:
    """The decommissions that no agent has taken up, each with its process server's host, locked by rising id."""
    statement = (
        select(Job, ProcessServer.host_row_id)
        .join(ProcessServer, ProcessServer.id == Job.resource_id)
        .where(
            ProcessServer.host_row_id.in_(host_row_ids),
            Job.type == JobType.DECOMMISSION.value,
            Job.state == JobState.QUEUED.value,
        )
        .order_by(Job.id)
        .with_for_update(key_share=True, of=Job)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).all()
