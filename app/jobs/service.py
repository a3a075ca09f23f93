"""The life of a job, for those whose work it stands for, and what operators can do with jobs.

`create`, then `advance` any number of times, then one of `finish`, `fail` and `cancel`. A job changes in the
transaction of the work it tells of, under its row lock (`open_jobs_of`, or the caller's own).
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.core.errors import JobNotCancellable, JobNotFound
from app.core.pagination import PageRequest
from app.core.wire import Page
from app.events.service import Resource, record
from app.jobs import queries
from app.jobs.rules import obstacle_to_cancelling
from app.jobs.schemas import JobError, JobResource, JobView
from app.models import Job, Vault
from app.vocabulary import ASKING_JOBS, EventType, JobState, JobType, ResourceKind

_AGENTS_TASKS = (JobType.DECOMMISSION, *ASKING_JOBS)
"""What an agent is asked to do: while such a job is open, it stands in the desired state."""


async def create(
    session: AsyncSession,
    *,
    vault_id: uuid.UUID,
    type: JobType,  # noqa: A002 - the column's name
    resource: Resource,
    requested_by: str,
    now: datetime,
    target: str | None = None,
    details: dict[str, Any] | None = None,
) -> Job:
    """A queued job on `resource`. `target` is the name of the process server that machines go to, if any."""
    job = Job(
        vault_id=vault_id,
        type=type.value,
        state=JobState.QUEUED.value,
        progress_percentage=0,
        resource_kind=resource.kind.value,
        resource_id=resource.id,
        resource_name=resource.name,
        target=target,
        requested_by=requested_by,
        created_at=now,
        details=details or {},
    )
    session.add(job)
    await session.flush()
    return job


def advance(job: Job, now: datetime, progress_percentage: int, details: dict[str, Any] | None = None) -> None:
    """A job is in progress, 0 to 100 percent done. Progress never falls; `details` are added to those there are."""
    if job.started_at is None:
        job.started_at = now
    job.state = JobState.IN_PROGRESS.value
    job.progress_percentage = max(job.progress_percentage, progress_percentage)
    if details:
        job.details = {**job.details, **details}


def finish(job: Job, now: datetime, details: dict[str, Any] | None = None) -> None:
    """A job has succeeded."""
    _end(job, JobState.SUCCEEDED, now, details)
    job.started_at = job.started_at or now
    job.progress_percentage = 100


def fail(job: Job, now: datetime, *, code: str, detail: str, details: dict[str, Any] | None = None) -> None:
    """A job has failed: a stable kebab-case code, and a sentence that names the values and the remedy."""
    _end(job, JobState.FAILED, now, details)
    job.error = {"code": code, "detail": detail}


def _end(job: Job, state: JobState, now: datetime, details: dict[str, Any] | None) -> None:
    job.state = state.value
    job.ended_at = now
    if details:
        job.details = {**job.details, **details}


async def open_jobs_of(session: AsyncSession, resource_id: uuid.UUID) -> Sequence[Job]:
    """The jobs that keep a resource busy, locked, oldest first. Lock the resource's host before.

    Those that have moved its machines don't: only the agent of a target has yet to observe them.
    """
    return await queries.lock_open_of(session, resource_id)


async def list_jobs(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    paging: PageRequest,
    *,
    order_by: str,
    types: Sequence[JobType],
    states: Sequence[JobState],
    resource: str | None,
) -> Page[JobView]:
    """A vault's jobs."""
    vault = await vault_in_scope(session, principal, vault_ref)
    rows, cursor = await queries.list_jobs(
        session, vault.id, paging, order_by=order_by, types=types, states=states, resource=resource
    )
    return Page[JobView](items=[view_of(row.Job) for row in rows], next_cursor=cursor)


async def read(session: AsyncSession, principal: Principal, vault_ref: str, job_id: uuid.UUID) -> JobView:
    """One job. Raises JobNotFound."""
    vault = await vault_in_scope(session, principal, vault_ref)
    return view_of(await _find(session, vault, job_id))


async def _find(session: AsyncSession, vault: Vault, job_id: uuid.UUID) -> Job:
    job = await queries.find(session, vault.id, job_id)
    if job is None:
        raise JobNotFound(f"vault '{vault.name}' has no job {job_id}")
    return job


async def cancel(
    session: AsyncSession, principal: Principal, vault_ref: str, job_id: uuid.UUID, now: datetime
) -> JobView:
    """End a job that has done nothing yet. Repeating it changes nothing.

    Raises JobNotFound, or JobNotCancellable saying why it is too late.
    """
    vault = await vault_in_scope(session, principal, vault_ref)
    job = await _find(session, vault, job_id)
    if job.state == JobState.CANCELLED:
        return view_of(job)
    if job.type in _AGENTS_TASKS:
        await queries.renew_desired_state(session, ResourceKind(job.resource_kind), job.resource_id)
    locked = await queries.lock(session, job.id)
    if locked is None:
        raise JobNotFound(f"vault '{vault.name}' has no job {job_id}")
    obstacle = obstacle_to_cancelling(JobType(locked.type), JobState(locked.state), locked.details)
    if obstacle is not None:
        raise JobNotCancellable(
            f"job {job_id} ({locked.type} of {locked.resource_name}) can't be cancelled: {obstacle}",
            state=locked.state,
        )
    locked.state = JobState.CANCELLED.value
    locked.ended_at = now
    await queries.forget_waits(session, [locked.id])
    record(
        session,
        vault.id,
        now,
        EventType.JOB_CANCELLED,
        Resource(ResourceKind.JOB, locked.id, locked.type),
        actor=principal.actor,
        message=f"the {locked.type} of {locked.resource_name} was cancelled",
        data={
            "type": locked.type,
            "resource": {
                "kind": locked.resource_kind,
                "name": locked.resource_name,
                "id": str(locked.resource_id),
            },
        },
    )
    return view_of(locked)


def view_of(job: Job) -> JobView:
    """The wire form of a row."""
    return JobView(
        id=job.id,
        type=JobType(job.type),
        state=JobState(job.state),
        progress_percentage=job.progress_percentage,
        resource=JobResource(kind=ResourceKind(job.resource_kind), name=job.resource_name, id=job.resource_id),
        target=job.target,
        requested_by=job.requested_by,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        error=None if job.error is None else JobError.model_validate(job.error),
        details=job.details,
    )
