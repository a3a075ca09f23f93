"""Decommission over HTTP: operators ask for it, agents say goodbye."""

from functools import partial

from fastapi import APIRouter, Depends, Request, Response, status

from app.access.idempotency import Idempotent
from app.access.principals import Operator, agent_scheme, bearer
from app.access.scope import VaultRef
from app.configuration_servers.schemas import ConfigurationServerRef
from app.core.clock import Now
from app.core.db import WriteSession
from app.core.documentation import errors
from app.core.errors import (
    ConfigurationServerNotFound,
    CredentialRefused,
    DecommissionBlocked,
    IdempotencyKeyReused,
    NameAmbiguous,
    ProcessServerNotFound,
    Purged,
    TargetNotFit,
    Unauthenticated,
    VaultNotFound,
)
from app.decommission import service
from app.decommission.schemas import DecommissionRequest, Goodbye, GoodbyeView
from app.jobs.schemas import JobView
from app.jobs.starting import start_once
from app.process_servers.schemas import ProcessServerRef

router = APIRouter(prefix="/api/v1/vaults/{vault}", tags=["process servers"])
agent_router = APIRouter(prefix="/agent/v1", tags=["agents"], dependencies=[Depends(agent_scheme)])
_REFUSALS = (VaultNotFound, ProcessServerNotFound, DecommissionBlocked, TargetNotFit, IdempotencyKeyReused)


@router.post(
    "/configuration-servers/{cs}/process-servers/{ps}/decommission",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Decommission a process server",
    operation_id="decommissionProcessServer",
    responses=errors(*_REFUSALS, ConfigurationServerNotFound, body=True),
)
async def decommission_process_server(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    ps: ProcessServerRef,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
    response: Response,
    body: DecommissionRequest | None = None,
) -> JobView:
    """The agent carries it out; `Location` leads to the job. Asking again while it is open returns the same job."""
    ask = partial(service.ask, session, principal, vault, cs, ps, body or DecommissionRequest(), now)
    return await start_once(once, session, principal, response, vault, ask)


@router.post(
    "/process-servers/{ps}/decommission",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Decommission a process server of the vault",
    operation_id="decommissionVaultProcessServer",
    responses=errors(*_REFUSALS, NameAmbiguous, body=True),
)
async def decommission_vault_process_server(
    vault: VaultRef,
    ps: ProcessServerRef,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
    response: Response,
    body: DecommissionRequest | None = None,
) -> JobView:
    """The agent carries it out; `Location` leads to the job. Asking again while it is open returns the same job."""
    ask = partial(service.ask, session, principal, vault, None, ps, body or DecommissionRequest(), now)
    return await start_once(once, session, principal, response, vault, ask)


@agent_router.post(
    "/decommission",
    summary="Say goodbye",
    operation_id="sayGoodbye",
    responses=errors(
        Unauthenticated,
        CredentialRefused,
        Purged,
        ProcessServerNotFound,
        DecommissionBlocked,
        TargetNotFit,
        body=True,
        token=False,
    ),
)
async def say_goodbye(request: Request, body: Goodbye, session: WriteSession, now: Now) -> GoodbyeView:
    """The server is removed at once, with the steps on record. `dryRun` checks first; a failed step keeps it."""
    return await service.leave(session, bearer(request), body, now)
