"""SQL of jobs.

A job's row is locked after the host of what it works on (`core.db` has the rest of the order).
"""

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.scope import named
from app.core.pagination import PageRequest, choose_order, fetch_page
from app.models import ConfigurationServer, Host, Job, JobWait, ProcessServer
from app.vocabulary import MOVING_JOBS, OPEN_JOB_STATES, ConnectionState, JobState, JobType, ResourceKind

ORDERS: dict[str, Sequence[Any]] = {"createdAt": (Job.id,)}


async def find(session: AsyncSession, vault_id: uuid.UUID, job_id: uuid.UUID) -> Job | None:
    """A job of the vault."""
    return (await session.execute(select(Job).where(Job.vault_id == vault_id, Job.id == job_id))).scalar_one_or_none()


async def lock(session: AsyncSession, job_id: uuid.UUID) -> Job | None:
    """A job, locked and fresh."""
    statement = (
        select(Job).where(Job.id == job_id).with_for_update(key_share=True).execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def lock_open_of(session: AsyncSession, resource_id: uuid.UUID) -> Sequence[Job]:
    """The jobs on a resource that have not ended, locked and fresh, oldest first; without those that moved machines."""
    statement = (
        select(Job)
        .where(Job.resource_id == resource_id, is_open_work())
        .order_by(Job.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).scalars().all()


def is_open_work() -> ColumnElement[bool]:
    """Whether a job has not ended and keeps its resource busy: one that has moved machines does not any more."""
    return Job.state.in_([state.value for state in OPEN_JOB_STATES]) & Job.type.not_in(
        [kind.value for kind in MOVING_JOBS]
    )


async def list_jobs(
    session: AsyncSession,
    vault_id: uuid.UUID,
    paging: PageRequest,
    *,
    order_by: str,
    types: Sequence[JobType] = (),
    states: Sequence[JobState] = (),
    resource: str | None = None,
) -> tuple[Sequence[Any], str | None]:
    """One page of a vault's jobs. `resource` is the name or id of what they work on; empty sequences are no filter."""
    statement = select(Job).where(Job.vault_id == vault_id)
    if types:
        statement = statement.where(Job.type.in_([entry.value for entry in types]))
    if states:
        statement = statement.where(Job.state.in_([entry.value for entry in states]))
    if resource is not None:
        statement = statement.where(named(Job.resource_id, Job.resource_name, resource))
    return await fetch_page(session, statement, choose_order(ORDERS, order_by, within=vault_id), paging)


async def renew_desired_state(session: AsyncSession, kind: ResourceKind, resource_id: uuid.UUID) -> None:
    """Have the agent of a server fetch its desired state anew, and hold its host until commit."""
    server = ConfigurationServer if kind is ResourceKind.CONFIGURATION_SERVER else ProcessServer
    of_server = select(server.host_row_id).where(server.id == resource_id).scalar_subquery()
    await session.execute(update(Host).where(Host.id == of_server).values(generation=Host.generation + 1))


async def waits_of(session: AsyncSession, host_row_ids: Collection[uuid.UUID]) -> Sequence[Any]:
    """Who is waited for among hosts: rows of job, host and generation."""
    statement = select(JobWait.job_id, JobWait.host_row_id, JobWait.generation).where(
        JobWait.host_row_id.in_(host_row_ids)
    )
    return (await session.execute(statement)).all()


async def lock_open(session: AsyncSession, job_ids: Collection[uuid.UUID]) -> Sequence[Job]:
    """Jobs by id that have not ended, locked by rising id and fresh."""
    statement = (
        select(Job)
        .where(Job.id.in_(job_ids))
        .order_by(Job.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return [job for job in (await session.execute(statement)).scalars() if job.ended_at is None]


async def end_waits(session: AsyncSession, job_id: uuid.UUID, host_row_ids: Collection[uuid.UUID]) -> int:
    """End a job's waits for these hosts. Returns how many are left."""
    await session.execute(delete(JobWait).where(JobWait.job_id == job_id, JobWait.host_row_id.in_(host_row_ids)))
    left = await session.execute(select(func.count()).select_from(JobWait).where(JobWait.job_id == job_id))
    return int(left.scalar_one())


async def forget_waits(session: AsyncSession, job_ids: Sequence[uuid.UUID]) -> None:
    """End all waits of jobs."""
    await session.execute(delete(JobWait).where(JobWait.job_id.in_(job_ids)))


async def hand_on_waits(session: AsyncSession, old_host_row_id: uuid.UUID, new_host_row_id: uuid.UUID) -> None:
    """What was waited for of one host is waited for of another that took its place, at its first generation."""
    await session.execute(
        update(JobWait).where(JobWait.host_row_id == old_host_row_id).values(host_row_id=new_host_row_id)
    )


async def orphans(session: AsyncSession, asking: Sequence[str], job_id: uuid.UUID | None = None) -> Sequence[Any]:
    """Jobs that wait for a host that is no more, and those of the types `asking` for one that is disconnected.

    Rows of the job's id and whether the host is no more.
    """
    is_silent = Job.type.in_(asking) & (Host.connection_state == ConnectionState.DISCONNECTED.value)
    statement = (
        select(JobWait.job_id, Host.id.is_(None).label("is_removed"))
        .join(Job, Job.id == JobWait.job_id)
        .outerjoin(Host, Host.id == JobWait.host_row_id)
        .where(or_(Host.id.is_(None), is_silent))
        .order_by(JobWait.job_id)
    )
    if job_id is not None:
        statement = statement.where(JobWait.job_id == job_id)
    return (await session.execute(statement)).all()
