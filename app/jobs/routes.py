"""Jobs over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.access.principals import Operator, Reader
from app.access.scope import VaultRef
from app.core.clock import Now
from app.core.db import ReadSession, WriteSession
from app.core.documentation import errors
from app.core.errors import CursorUnreadable, JobNotCancellable, JobNotFound, VaultNotFound
from app.core.pagination import Paging
from app.core.wire import Page
from app.jobs import service
from app.jobs.schemas import JobId, JobView
from app.vocabulary import JobState, JobType

router = APIRouter(prefix="/api/v1/vaults/{vault}/jobs", tags=["jobs"])


@router.get(
    "", summary="List a vault's jobs", operation_id="listJobs", responses=errors(VaultNotFound, CursorUnreadable)
)
async def list_jobs(
    vault: VaultRef,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    order_by: Annotated[
        str, Query(alias="orderBy", description="`-createdAt` (newest first) or `createdAt` (oldest first).")
    ] = "-createdAt",
    types: Annotated[list[JobType], Query(alias="type", description="Only these; repeatable.")] = [],  # noqa: B006
    states: Annotated[list[JobState], Query(alias="state", description="Only these; repeatable.")] = [],  # noqa: B006
    resource: Annotated[str | None, Query(max_length=64, description="Name or id of what the job works on.")] = None,
) -> Page[JobView]:
    """Newest first. Jobs stay when what they worked on is gone."""
    return await service.list_jobs(
        session, principal, vault, paging, order_by=order_by, types=types, states=states, resource=resource
    )


@router.get("/{job}", summary="Read a job", operation_id="readJob", responses=errors(VaultNotFound, JobNotFound))
async def read_job(vault: VaultRef, job: JobId, principal: Reader, session: ReadSession) -> JobView:
    """How far it is, and how it ended."""
    return await service.read(session, principal, vault, job)


@router.post(
    "/{job}/cancel",
    summary="Cancel a job",
    operation_id="cancelJob",
    responses=errors(VaultNotFound, JobNotFound, JobNotCancellable),
)
async def cancel_job(vault: VaultRef, job: JobId, principal: Operator, session: WriteSession, now: Now) -> JobView:
    """While it is queued, and a decommission until the agent has acknowledged it. Repeating it changes nothing."""
    return await service.cancel(session, principal, vault, job, now)
