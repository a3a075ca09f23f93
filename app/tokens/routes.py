"""API tokens over HTTP."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, status

from app.access.idempotency import Idempotent
from app.access.principals import Admin
from app.core.clock import Now
from app.core.db import ReadSession, WriteSession
from app.core.documentation import errors
from app.core.errors import (
    CursorUnreadable,
    IdempotencyKeyReused,
    LastAdminToken,
    NameTaken,
    TokenNotFound,
    VaultNotFound,
)
from app.core.pagination import Paging
from app.core.wire import Page
from app.tokens import service
from app.tokens.schemas import TokenCreate, TokenIssued, TokenView

router = APIRouter(prefix="/api/v1/tokens", tags=["tokens"])


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Create a token",
    operation_id="createToken",
    responses=errors(NameTaken, VaultNotFound, IdempotencyKeyReused, body=True),
)
async def create_token(
    body: TokenCreate, principal: Admin, session: WriteSession, once: Idempotent, now: Now
) -> TokenIssued:
    """The token is in this answer alone."""
    return await once(session, principal.actor, principal.secret, lambda: service.create(session, principal, body, now))


@router.get("", summary="List tokens", operation_id="listTokens", responses=errors(CursorUnreadable))
async def list_tokens(
    principal: Admin,
    session: ReadSession,
    paging: Paging,
    order_by: Annotated[
        str, Query(alias="orderBy", description="`name` or `createdAt`; `-` in front reverses.")
    ] = "createdAt",
) -> Page[TokenView]:
    """Without their secrets, with their last use."""
    return await service.list_tokens(session, principal, paging, order_by)


@router.delete(
    "/{token}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a token",
    operation_id="deleteToken",
    responses=errors(TokenNotFound, LastAdminToken),
)
async def delete_token(token: uuid.UUID, principal: Admin, session: WriteSession, now: Now) -> None:
    """It stops working at once."""
    await service.delete(session, principal, token, now)
