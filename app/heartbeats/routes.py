"""Heartbeats and desired state over HTTP."""

from fastapi import APIRouter, Depends, Request

from app.access.principals import agent_scheme, bearer
from app.core.clock import Now
from app.core.db import ReadSession
from app.core.documentation import errors
from app.core.errors import CredentialRefused, Overloaded, Purged, Unauthenticated
from app.heartbeats import lane, service
from app.heartbeats.schemas import DesiredState, Heartbeat, HeartbeatAnswer

router = APIRouter(tags=["agents"], dependencies=[Depends(agent_scheme)])


@router.post(
    lane.PATH,
    summary="Send a heartbeat",
    operation_id="sendHeartbeat",
    response_model=HeartbeatAnswer,
    responses=errors(Unauthenticated, CredentialRefused, Purged, Overloaded, body=True, token=False),
)
async def send_heartbeat(_body: Heartbeat) -> None:
    """200 only after commit. `desired` comes only when `observedGeneration` is behind `generation`."""
    raise LookupError(
        "the heartbeat lane stands before this route and serves it; the application was put together without"
    )


@router.get(
    "/agent/v1/desired-state",
    summary="Read the desired state",
    operation_id="readDesiredState",
    responses=errors(Unauthenticated, CredentialRefused, Purged, token=False),
)
async def read_desired_state(request: Request, session: ReadSession, now: Now) -> DesiredState:
    """Assignments and maintenance at the present generation."""
    return await service.desired_state(session, bearer(request), now)
