"""Placement and rebalance plans over HTTP, under their configuration server."""

from fastapi import APIRouter, Request, Response, status

from app.access.idempotency import Idempotent
from app.access.principals import Operator, Reader
from app.access.scope import VaultRef
from app.balancing import placement, rebalance
from app.balancing.placement_schemas import NewChurn, PlacementView
from app.balancing.rebalance import Asked
from app.balancing.rebalance_schemas import Goal, GoalServer, MostMoves, RebalanceApply, RebalancePlan
from app.configuration_servers.schemas import ConfigurationServerRef
from app.core.clock import Now
from app.core.db import ReadSession, database_of
from app.core.documentation import errors
from app.core.errors import (
    ConfigurationServerNotFound,
    IdempotencyKeyReused,
    NoMachinesToMove,
    ProcessServerNotFound,
    StalePlan,
    TargetNotFit,
    VaultNotFound,
)
from app.jobs.schemas import JobView
from app.vocabulary import RebalanceGoal

router = APIRouter(prefix="/api/v1/vaults/{vault}/configuration-servers/{cs}", tags=["balancing"])
_PLAN = (VaultNotFound, ConfigurationServerNotFound, ProcessServerNotFound, TargetNotFit)


@router.get(
    "/placement",
    summary="Choose a process server for a new source machine",
    operation_id="readPlacement",
    responses=errors(VaultNotFound, ConfigurationServerNotFound),
)
async def read_placement(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    principal: Reader,
    session: ReadSession,
    now: Now,
    churn_in_bytes_per_day: NewChurn = 0,
) -> PlacementView:
    """The process servers that fit, best first, with their reasons; the others with every reason against them.

    Fit is one that is connected, not in maintenance, not being decommissioned, not above its configuration server's
    version, not critical, not for failback, and within its published limits with the machine. Healthy ones come
    before those with a warning, then the most spare capacity.
    """
    return await placement.read(session, principal, vault, cs, churn_in_bytes_per_day, now)


@router.get(
    "/rebalance-plan",
    summary="Plan which source machines should move",
    operation_id="readRebalancePlan",
    responses=errors(*_PLAN),
)
async def read_rebalance_plan(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    request: Request,
    principal: Reader,
    now: Now,
    goal: Goal = RebalanceGoal.BALANCE,
    process_server: GoalServer = None,
    max_moves: MostMoves = None,
) -> RebalancePlan:
    """A dry run, never above the published limits: each move with its reason, each process server before and after.

    Machines of a process server that is disconnected, drained or leaving stay with `balance` and `useNew`, but for
    what is beyond its limits; `empty` moves them, whether it is alive or dead.
    """
    asked = Asked(goal, process_server, max_moves, "#/query")
    return await rebalance.read(database_of(request), principal, vault, cs, asked, now)


@router.post(
    "/rebalance-plan/apply",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Apply a rebalance plan",
    operation_id="applyRebalancePlan",
    responses=errors(*_PLAN, StalePlan, NoMachinesToMove, IdempotencyKeyReused, body=True),
)
async def apply_rebalance_plan(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    body: RebalanceApply,
    request: Request,
    principal: Operator,
    once: Idempotent,
    now: Now,
    response: Response,
) -> JobView:
    """The plan with this token, all of it at once. The job ends when every target's agent has observed it.

    409 `stale-plan` where anything that decides has changed since the plan was read; nothing is moved then.
    """
    return await rebalance.apply(database_of(request), response, principal, vault, cs, body, once, now)
