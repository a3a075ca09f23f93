"""Registration keys over HTTP."""

import uuid
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status

from app.access.idempotency import Idempotent
from app.access.principals import Operator, Reader
from app.access.scope import VaultRef
from app.core.clock import Now
from app.core.db import ReadSession, WriteSession
from app.core.documentation import errors
from app.core.errors import CursorUnreadable, IdempotencyKeyReused, RegistrationKeyNotFound, VaultNotFound
from app.core.pagination import Paging
from app.core.public_url import public_url
from app.core.wire import Page
from app.registration_keys import service
from app.registration_keys.schemas import RegistrationKeyIssued, RegistrationKeyView, VaultCredentials

router = APIRouter(prefix="/api/v1/vaults/{vault}/registration-keys", tags=["registration keys"])


class KeyFormat(StrEnum):
    """How a new key is handed out."""

    JSON = "json"
    FILE = "file"


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=RegistrationKeyIssued | VaultCredentials,
    summary="Create a registration key",
    operation_id="createRegistrationKey",
    responses=errors(VaultNotFound, IdempotencyKeyReused),
)
async def create_registration_key(
    vault: VaultRef,
    request: Request,
    response: Response,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
    key_format: Annotated[
        KeyFormat, Query(alias="format", description="`file` downloads `<vault>.vaultcredentials`.")
    ] = KeyFormat.JSON,
) -> RegistrationKeyIssued | VaultCredentials:
    """Valid for five days and good for several configuration servers. The key is in this answer alone."""
    url = public_url(request) if key_format is KeyFormat.FILE else None

    async def issue() -> RegistrationKeyIssued | VaultCredentials:
        issued = await service.create(session, principal, vault, now, file_url=url)
        if isinstance(issued, VaultCredentials):
            response.headers["Content-Disposition"] = f'attachment; filename="{issued.vault}.vaultcredentials"'
        return issued

    return await once(session, principal.actor, principal.secret, issue)


@router.get(
    "",
    summary="List registration keys",
    operation_id="listRegistrationKeys",
    responses=errors(VaultNotFound, CursorUnreadable),
)
async def list_registration_keys(
    vault: VaultRef, principal: Reader, session: ReadSession, paging: Paging
) -> Page[RegistrationKeyView]:
    """Without their secrets; expired and revoked ones too."""
    return await service.list_keys(session, principal, vault, paging)


@router.delete(
    "/{key}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Revoke a registration key",
    operation_id="revokeRegistrationKey",
    responses=errors(VaultNotFound, RegistrationKeyNotFound),
)
async def revoke_registration_key(
    vault: VaultRef, key: uuid.UUID, principal: Operator, session: WriteSession, now: Now
) -> None:
    """No configuration server can register with it from now on; those that did stay."""
    await service.revoke(session, principal, vault, key, now)
