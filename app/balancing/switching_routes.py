"""Load balance and switch over HTTP."""

from functools import partial

from fastapi import APIRouter, Response, status

from app.access.idempotency import Idempotent
from app.access.principals import Operator
from app.access.scope import VaultRef
from app.balancing import switching
from app.balancing.switching_schemas import LoadBalanceRequest, SwitchRequest
from app.configuration_servers.schemas import ConfigurationServerRef
from app.core.clock import Now
from app.core.db import WriteSession
from app.core.documentation import errors
from app.core.errors import (
    ConfigurationServerNotFound,
    IdempotencyKeyReused,
    MachinesElsewhere,
    NameAmbiguous,
    NoMachinesToMove,
    ProcessServerNotFound,
    SourceMachineNotFound,
    TargetNotFit,
    VaultNotFound,
)
from app.jobs.schemas import JobView
from app.jobs.starting import start_once
from app.process_servers.schemas import ProcessServerRef

router = APIRouter(prefix="/api/v1/vaults/{vault}", tags=["balancing"])
_NESTED = "/configuration-servers/{cs}/process-servers/{ps}"
_ACROSS = "/process-servers/{ps}"
_SWITCH = (VaultNotFound, ProcessServerNotFound, NoMachinesToMove, TargetNotFit, IdempotencyKeyReused)
_BALANCE = (
    VaultNotFound,
    ProcessServerNotFound,
    SourceMachineNotFound,
    MachinesElsewhere,
    TargetNotFit,
    IdempotencyKeyReused,
)


@router.post(
    _NESTED + "/switch",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Switch all machines of a process server to another one",
    operation_id="switchProcessServer",
    responses=errors(*_SWITCH, ConfigurationServerNotFound, body=True),
)
async def switch_process_server(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    ps: ProcessServerRef,
    body: SwitchRequest,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
    response: Response,
) -> JobView:
    """At once and whole, also when the source is dead. The job ends when the target's agent has observed it."""
    move = partial(switching.switch, session, principal, vault, cs, ps, body, now)
    return await start_once(once, session, principal, response, vault, move)


@router.post(
    _ACROSS + "/switch",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Switch all machines of a process server of the vault to another one",
    operation_id="switchVaultProcessServer",
    responses=errors(*_SWITCH, NameAmbiguous, body=True),
)
async def switch_vault_process_server(
    vault: VaultRef,
    ps: ProcessServerRef,
    body: SwitchRequest,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
    response: Response,
) -> JobView:
    """At once and whole, also when the source is dead. The job ends when the target's agent has observed it."""
    move = partial(switching.switch, session, principal, vault, None, ps, body, now)
    return await start_once(once, session, principal, response, vault, move)


@router.post(
    _NESTED + "/load-balance",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Move chosen machines of a process server to another one",
    operation_id="loadBalanceProcessServer",
    responses=errors(*_BALANCE, ConfigurationServerNotFound, body=True),
)
async def load_balance_process_server(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    ps: ProcessServerRef,
    body: LoadBalanceRequest,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
    response: Response,
) -> JobView:
    """All of them or none. The job ends when the target's agent has observed it."""
    move = partial(switching.load_balance, session, principal, vault, cs, ps, body, now)
    return await start_once(once, session, principal, response, vault, move)


@router.post(
    _ACROSS + "/load-balance",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Move chosen machines of a process server of the vault to another one",
    operation_id="loadBalanceVaultProcessServer",
    responses=errors(*_BALANCE, NameAmbiguous, body=True),
)
async def load_balance_vault_process_server(
    vault: VaultRef,
    ps: ProcessServerRef,
    body: LoadBalanceRequest,
    principal: Operator,
    session: WriteSession,
    once: Idempotent,
    now: Now,
    response: Response,
) -> JobView:
    """All of them or none. The job ends when the target's agent has observed it."""
    move = partial(switching.load_balance, session, principal, vault, None, ps, body, now)
    return await start_once(once, session, principal, response, vault, move)
