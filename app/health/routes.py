"""Health policies over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.access.principals import Operator, Reader
from app.access.scope import VaultRef
from app.core.clock import Now
from app.core.db import ReadSession, WriteSession
from app.core.documentation import errors
from app.core.errors import PreconditionFailed, VaultNotFound
from app.core.preconditions import IfMatch, tagged
from app.core.settings import settings_of
from app.health import policies
from app.health.schemas import HealthPolicyUpdate, HealthPolicyView

router = APIRouter(prefix="/api/v1/vaults/{vault}/health-policy", tags=["alerts"])


async def _window(request: Request) -> float:
    return settings_of(request).alert_window_seconds


Window = Annotated[float, Depends(_window)]
"""Seconds that a condition must hold where no policy says otherwise."""


@router.get(
    "",
    summary="Read a vault's health policy",
    operation_id="readHealthPolicy",
    responses=errors(VaultNotFound),
)
async def read_health_policy(
    vault: VaultRef, principal: Reader, session: ReadSession, window: Window, response: Response
) -> HealthPolicyView:
    """Every rule with its window, thresholds and hysteresis as they hold, and what the vault has changed of them."""
    return tagged(response, await policies.read(session, principal, vault, window))


@router.patch(
    "",
    summary="Change a vault's health policy",
    operation_id="updateHealthPolicy",
    responses=errors(VaultNotFound, PreconditionFailed, body=True),
)
async def update_health_policy(
    vault: VaultRef,
    body: HealthPolicyUpdate,
    principal: Operator,
    session: WriteSession,
    precondition: IfMatch,
    now: Now,
    window: Window,
    response: Response,
) -> HealthPolicyView:
    """Members left out stay, null goes back to the default. It holds from each server's next heartbeat on, and the time
    that a condition has held already counts. Alerts of a disabled rule end at once."""
    return tagged(response, await policies.change(session, principal, vault, body, precondition, now, window))
