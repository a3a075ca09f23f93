"""SQL of jobs.

A job's row is locked after the host of what it works on (`core.db` has the rest of the order).
"""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.scope import named
from app.core.pagination import PageRequest, choose_order, fetch_page
from app.models import Host, Job, ProcessServer
from app.vocabulary import OPEN_JOB_STATES, JobState, JobType

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
    """The jobs on a resource that have not ended, locked and fresh, oldest first."""
    statement = (
        select(Job)
        .where(Job.resource_id == resource_id, Job.state.in_([state.value for state in OPEN_JOB_STATES]))
        .order_by(Job.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.execute(statement)).scalars().all()


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


async def renew_desired_state(session: AsyncSession, process_server_id: uuid.UUID) -> None:
    """Have the agent of a process server fetch its desired state anew, and hold its host until commit."""
    of_server = select(ProcessServer.host_row_id).where(ProcessServer.id == process_server_id).scalar_subquery()
    await session.execute(update(Host).where(Host.id == of_server).values(generation=Host.generation + 1))
