"""Vaults over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from app.access.idempotency import Idempotent
from app.access.principals import Admin, Operator, Reader
from app.access.scope import VaultRef
from app.core.clock import Now
from app.core.db import ReadSession, WriteSession
from app.core.documentation import errors
from app.core.errors import (
    CursorUnreadable,
    IdempotencyKeyReused,
    NameTaken,
    PreconditionFailed,
    VaultNotEmpty,
    VaultNotFound,
)
from app.core.pagination import Paging
from app.core.preconditions import IfMatch, tagged
from app.core.wire import Page, Storable
from app.vaults import service
from app.vaults.schemas import VaultCreate, VaultSummary, VaultUpdate, VaultView

router = APIRouter(prefix="/api/v1/vaults", tags=["vaults"])


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Create a vault",
    operation_id="createVault",
    responses=errors(NameTaken, IdempotencyKeyReused, body=True),
)
async def create_vault(
    body: VaultCreate,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
    response: Response,
) -> VaultView:
    """The name is unique among vaults, case-insensitive and immutable."""

    async def create() -> VaultView:
        response.headers["Location"] = f"/api/v1/vaults/{body.name}"
        return tagged(response, await service.create(session, principal, body, now))

    return await once(session, principal.actor, principal.secret, create)


@router.get("", summary="List vaults", operation_id="listVaults", responses=errors(CursorUnreadable))
async def list_vaults(
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    now: Now,
    order_by: Annotated[
        str, Query(alias="orderBy", description="`name` or `createdAt`; `-` in front reverses.")
    ] = "name",
    q: Annotated[str | None, Storable, Query(max_length=100, description="Part of the name or friendly name.")] = None,
) -> Page[VaultView]:
    """All vaults, or the one the token is limited to."""
    return await service.list_vaults(session, principal, paging, order_by, q, now)


@router.get("/{vault}", summary="Read a vault", operation_id="readVault", responses=errors(VaultNotFound))
async def read_vault(
    vault: VaultRef, principal: Reader, session: ReadSession, now: Now, response: Response
) -> VaultView:
    """By name or id. Its health is the worst of what fires on its servers, those in maintenance left out."""
    return tagged(response, await service.read(session, principal, vault, now))


@router.patch(
    "/{vault}",
    summary="Change a vault",
    operation_id="updateVault",
    responses=errors(VaultNotFound, PreconditionFailed, body=True),
)
async def update_vault(
    vault: VaultRef,
    body: VaultUpdate,
    principal: Operator,
    session: WriteSession,
    precondition: IfMatch,
    now: Now,
    response: Response,
) -> VaultView:
    """Fields left out stay as they are."""
    return tagged(response, await service.update(session, principal, vault, body, precondition, now))


@router.delete(
    "/{vault}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete an empty vault",
    operation_id="deleteVault",
    responses=errors(VaultNotFound, VaultNotEmpty, PreconditionFailed),
)
async def delete_vault(
    vault: VaultRef, principal: Admin, session: WriteSession, precondition: IfMatch, now: Now
) -> None:
    """Its registration keys and the tokens limited to it go with it. Needs the admin role."""
    await service.delete(session, principal, vault, precondition, now)


@router.get(
    "/{vault}/summary",
    summary="Count a vault's servers",
    operation_id="summariseVault",
    responses=errors(VaultNotFound),
)
async def summarise_vault(vault: VaultRef, principal: Reader, session: ReadSession, now: Now) -> VaultSummary:
    """Servers by kind, connection state, health and version status; machines and churn."""
    return await service.summarise(session, principal, vault, now)
