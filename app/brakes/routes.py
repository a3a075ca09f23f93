"""Brakes over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.access.principals import Operator, Reader
from app.access.scope import VaultRef
from app.brakes import service
from app.brakes.schemas import BrakeId, BrakeView
from app.core.clock import Now
from app.core.db import ReadSession, WriteSession
from app.core.documentation import errors
from app.core.errors import BrakeNotFound, CursorUnreadable, VaultNotFound
from app.core.pagination import Paging
from app.core.wire import Page
from app.vocabulary import BrakeState

router = APIRouter(prefix="/api/v1/vaults/{vault}/brakes", tags=["brakes"])


@router.get(
    "", summary="List a vault's brakes", operation_id="listBrakes", responses=errors(VaultNotFound, CursorUnreadable)
)
async def list_brakes(
    vault: VaultRef,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    order_by: Annotated[
        str, Query(alias="orderBy", description="`-engagedAt` (newest first) or `engagedAt` (oldest first).")
    ] = "-engagedAt",
    states: Annotated[list[BrakeState], Query(alias="state", description="Only these; repeatable.")] = [],  # noqa: B006
) -> Page[BrakeView]:
    """Active and past ones, of the vault and of its configuration servers. Newest first."""
    return await service.list_brakes(session, principal, vault, paging, order_by=order_by, states=states)


@router.get(
    "/{brake}", summary="Read a brake", operation_id="readBrake", responses=errors(VaultNotFound, BrakeNotFound)
)
async def read_brake(vault: VaultRef, brake: BrakeId, principal: Reader, session: ReadSession) -> BrakeView:
    """How many servers it holds, until when, and how it let go."""
    return await service.read(session, principal, vault, brake)


@router.post(
    "/{brake}/acknowledge",
    summary="Acknowledge a brake",
    operation_id="acknowledgeBrake",
    responses=errors(VaultNotFound, BrakeNotFound),
)
async def acknowledge_brake(
    vault: VaultRef, brake: BrakeId, principal: Operator, session: WriteSession, now: Now
) -> BrakeView:
    """It lets go now: servers that stay silent become Disconnected at the limited rate. Repeating changes nothing."""
    return await service.acknowledge(session, principal, vault, brake, now)
