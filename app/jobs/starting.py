"""Answering a request that makes a job: 202, `Location`, and the same answer to a repetition."""

from collections.abc import Awaitable, Callable

from fastapi import Response, status
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.idempotency import Once
from app.access.principals import Principal
from app.jobs.schemas import JobView


async def start_once(
    once: Once,
    session: AsyncSession,
    principal: Principal,
    response: Response,
    vault: str,
    start: Callable[[], Awaitable[JobView]],
) -> JobView:
    """The job that `start` makes, once for an `Idempotency-Key`. Raises what `start` and `once` raise."""

    async def act() -> JobView:
        job = await start()
        # Before the answer is kept for repetitions, which get the header too.
        response.status_code = status.HTTP_202_ACCEPTED
        response.headers["Location"] = f"/api/v1/vaults/{vault}/jobs/{job.id}"
        return job

    return await once(session, principal.actor, principal.secret, act)
