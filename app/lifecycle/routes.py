"""Purge and readmission over HTTP."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.access.idempotency import Idempotent
from app.access.principals import Operator, Reader
from app.access.scope import VaultRef
from app.configuration_servers.schemas import ConfigurationServerRef
from app.core.clock import Now
from app.core.db import ReadSession, WriteSession
from app.core.documentation import errors
from app.core.errors import (
    ConfigurationServerNotFound,
    Conflict,
    IdempotencyKeyReused,
    NameAmbiguous,
    ProcessServerNotFound,
    PurgeBlocked,
    TargetNotFit,
    TombstoneNotFound,
    VaultNotFound,
)
from app.jobs.schemas import JobView
from app.jobs.starting import start_once
from app.lifecycle import bulk, purge
from app.lifecycle.schemas import BulkPurgePreview, BulkPurgeRequest, PurgePreview, PurgeRequest, TombstoneView
from app.process_servers.schemas import ProcessServerRef

router = APIRouter(prefix="/api/v1/vaults/{vault}", tags=["purge"])
_NESTED = "/configuration-servers/{cs}/process-servers/{ps}"
_ACROSS = "/process-servers/{ps}"
SwitchTo = Annotated[
    str | None, Query(alias="switchTo", max_length=64, description="Judge as if this one took the machines.")
]
_FOUND = (VaultNotFound, ProcessServerNotFound)


@router.get(
    _NESTED + "/purge-preview",
    summary="Can this process server be purged",
    operation_id="previewPurge",
    responses=errors(*_FOUND, ConfigurationServerNotFound),
)
async def preview_purge(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    ps: ProcessServerRef,
    principal: Reader,
    session: ReadSession,
    switch_to: SwitchTo = None,
) -> PurgePreview:
    """Every blocker as a code. Changes nothing."""
    return await purge.preview(session, principal, vault, cs, ps, switch_to)


@router.get(
    _ACROSS + "/purge-preview",
    summary="Can this process server of the vault be purged",
    operation_id="previewVaultPurge",
    responses=errors(*_FOUND, NameAmbiguous),
)
async def preview_vault_purge(
    vault: VaultRef, ps: ProcessServerRef, principal: Reader, session: ReadSession, switch_to: SwitchTo = None
) -> PurgePreview:
    """Every blocker as a code. Changes nothing."""
    return await purge.preview(session, principal, vault, None, ps, switch_to)


@router.post(
    "/purges",
    summary="Purge disconnected process servers in bulk",
    operation_id="purgeInBulk",
    response_model=BulkPurgePreview | JobView,
    responses={
        202: {"model": JobView, "description": "Queued; `Location` leads to the job."},
        **errors(VaultNotFound, Conflict, IdempotencyKeyReused, body=True),
    },
)
async def purge_in_bulk(
    vault: VaultRef,
    body: BulkPurgeRequest,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
    response: Response,
) -> BulkPurgePreview | JobView:
    """200 with what would be purged while `dryRun` is true (the default), else 202 with a job."""
    if body.dry_run:
        return await bulk.dry_run(session, principal, vault, body, now)
    start = partial(bulk.start, session, principal, vault, body, now)
    return await start_once(once, session, principal, response, vault, start)


@router.post(
    _NESTED + "/purge",
    summary="Purge a process server",
    operation_id="purgeProcessServer",
    responses=errors(*_FOUND, ConfigurationServerNotFound, PurgeBlocked, TargetNotFit, body=True),
)
async def purge_process_server(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    ps: ProcessServerRef,
    principal: Operator,
    session: WriteSession,
    now: Now,
    body: PurgeRequest | None = None,
) -> TombstoneView:
    """The tombstone; again the same one when it was purged before. 409 lists the blockers of the preview."""
    return await purge.purge(session, principal, vault, cs, ps, body or PurgeRequest(), now)


@router.post(
    _ACROSS + "/purge",
    summary="Purge a process server of the vault",
    operation_id="purgeVaultProcessServer",
    responses=errors(*_FOUND, NameAmbiguous, PurgeBlocked, TargetNotFit, body=True),
)
async def purge_vault_process_server(
    vault: VaultRef,
    ps: ProcessServerRef,
    principal: Operator,
    session: WriteSession,
    now: Now,
    body: PurgeRequest | None = None,
) -> TombstoneView:
    """The tombstone; again the same one when it was purged before. 409 lists the blockers of the preview."""
    return await purge.purge(session, principal, vault, None, ps, body or PurgeRequest(), now)


@router.post(
    _NESTED + "/readmit",
    summary="Readmit a purged machine",
    operation_id="readmitProcessServer",
    responses=errors(VaultNotFound, TombstoneNotFound),
)
async def readmit_process_server(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    ps: ProcessServerRef,
    principal: Operator,
    session: WriteSession,
    now: Now,
) -> TombstoneView:
    """It may register again, as a new process server."""
    return await purge.readmit(session, principal, vault, cs, ps, now)


@router.post(
    _ACROSS + "/readmit",
    summary="Readmit a purged machine of the vault",
    operation_id="readmitVaultProcessServer",
    responses=errors(VaultNotFound, TombstoneNotFound),
)
async def readmit_vault_process_server(
    vault: VaultRef, ps: ProcessServerRef, principal: Operator, session: WriteSession, now: Now
) -> TombstoneView:
    """It may register again, as a new process server."""
    return await purge.readmit(session, principal, vault, None, ps, now)
