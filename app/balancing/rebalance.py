"""Rebalance plans as use cases: a dry run, and its application.

A plan is searched outside of transactions and off the event loop, as it may take a second. What is applied is compared
with the world again under the locks, which are held for the moves alone. No plan is kept: a token is enough.
"""

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import NamedTuple

from fastapi import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.idempotency import Once
from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.balancing import facts, queries
from app.balancing.moves import carry_out
from app.balancing.plans import Plan, plan
from app.balancing.rebalance_schemas import RebalanceApply, RebalancePlan
from app.balancing.rebalance_views import view_of
from app.balancing.world import Wish, World, digest_of
from app.configuration_servers import queries as server_queries
from app.configuration_servers.service import resource_of
from app.core.db import Database
from app.core.errors import (
    ConfigurationServerNotFound,
    Invalid,
    NoMachinesToMove,
    ProcessServerNotFound,
    StalePlan,
    TargetNotFit,
)
from app.jobs import service as jobs
from app.jobs.schemas import JobView
from app.jobs.starting import start_once
from app.models import ConfigurationServer, Vault
from app.source_machines import queries as machine_queries
from app.source_machines.moves import Move
from app.vocabulary import JobType, RebalanceGoal

_PLANNER = ThreadPoolExecutor(1, "planner")
"""One plan at a time in a process: it takes the time of whoever answers heartbeats, and no thread from others."""


class Asked(NamedTuple):
    """What a plan is asked with; `pointer` is where its members are in the request."""

    goal: RebalanceGoal
    process_server: str | None
    max_moves: int | None
    pointer: str


class _Planned(NamedTuple):
    vault: str
    server_id: uuid.UUID
    server: str
    world: World
    plan: Plan


async def read(
    database: Database, principal: Principal, vault_ref: str, server_ref: str, asked: Asked, now: datetime
) -> RebalancePlan:
    """The plan for a goal. Changes nothing.

    Raises ConfigurationServerNotFound, ProcessServerNotFound, Invalid where the goal and the process server don't go
    together, TargetNotFit where the one to use takes no machines.
    """
    found = await _planned(database, principal, vault_ref, server_ref, asked, now)
    return view_of(found.vault, found.server, found.world, found.plan)


async def apply(
    database: Database,
    response: Response,
    principal: Principal,
    vault_ref: str,
    server_ref: str,
    body: RebalanceApply,
    once: Once,
    now: datetime,
) -> JobView:
    """Carry out the plan with this token: all of it in one transaction.

    Raises what `read` raises, StalePlan where the plan is another one now, NoMachinesToMove where it has no moves.
    """
    asked = Asked(body.goal, body.process_server, body.max_moves, "#")
    async with database.read() as session:
        # Before the world is looked at: it may refuse by now what was done the first time.
        await once.replay(session, principal.actor, principal.secret)
    found = await _planned(database, principal, vault_ref, server_ref, asked, now)

    async def carry() -> JobView:
        _require_current(found, body.token)
        return await _carry_out(session, principal, vault_ref, found, now)

    async with database.write() as session:
        return await start_once(once, session, principal, response, vault_ref, carry)


async def _planned(
    database: Database, principal: Principal, vault_ref: str, server_ref: str, asked: Asked, now: datetime
) -> _Planned:
    async with database.read() as session:
        vault = await vault_in_scope(session, principal, vault_ref)
        server = await machine_queries.configuration_server(session, vault.id, server_ref)
        if server is None:
            raise _missing(vault, server_ref)
        world = await facts.world(session, server, now)
    wish = _wish(server, world, asked)
    made = await asyncio.get_running_loop().run_in_executor(_PLANNER, plan, str(server.id), world, wish)
    return _Planned(vault.name, server.id, server.name, world, made)


def _wish(server: ConfigurationServer, world: World, asked: Asked) -> Wish:
    ref = asked.process_server
    if (ref is None) is not (asked.goal is RebalanceGoal.BALANCE):
        detail = (
            "is needed: the goals empty and useNew are about one process server; name it"
            if ref is None
            else "does not go with the goal balance, which is about all of them; leave it out, or choose another goal"
        )
        raise Invalid(f"processServer {detail}", [{"pointer": f"{asked.pointer}/processServer", "detail": detail}])
    if ref is None:
        return Wish(asked.goal, None, asked.max_moves)
    index = next((at for at, one in enumerate(world.servers) if ref.lower() in {one.name, str(one.id)}), None)
    if index is None:
        raise ProcessServerNotFound(f"configuration server '{server.name}' has no process server '{ref}'")
    chosen = world.servers[index]
    if asked.goal is RebalanceGoal.USE_NEW and chosen.refusals:
        raise TargetNotFit(
            f"process server '{chosen.name}' takes no machines: "
            f"{'; '.join(refusal.detail for refusal in chosen.refusals)}; name another one",
            blockers=[refusal._asdict() for refusal in chosen.refusals],
        )
    return Wish(asked.goal, index, asked.max_moves)


def _require_current(found: _Planned, token: str) -> None:
    if found.plan.token != token:
        raise StalePlan(
            f"the plan of this token is not the one for configuration server '{found.server}' now: a process server, a "
            "machine or what was asked for has changed since it was made; nothing was moved; read the plan again and "
            "apply its token"
        )
    if not found.plan.moves:
        raise NoMachinesToMove(
            f"the plan for configuration server '{found.server}' has no moves, so there is nothing to apply: "
            f"{found.plan.reasons[0]}"
        )


async def _carry_out(
    session: AsyncSession, principal: Principal, vault_ref: str, found: _Planned, now: datetime
) -> JobView:
    vault = await vault_in_scope(session, principal, vault_ref)
    server = await server_queries.lock(session, vault.id, str(found.server_id))
    if server is None:
        raise _missing(vault, found.server)
    rows = await queries.process_servers_of(session, server.id)
    servers = await machine_queries.lock_process_servers(session, [row.id for row in rows])
    world, wish, moves = found.world, found.plan.wish, found.plan.moves
    if digest_of(str(server.id), await facts.world(session, server, now), wish) != found.plan.digest:
        raise StalePlan(
            f"a process server or a machine of configuration server '{server.name}' changed just now; nothing was "
            "moved; read the plan again and apply its token"
        )
    machines = await queries.lock_machines_by_id(session, [world.machines[move.machine].id for move in moves])
    targets = sorted({world.servers[move.target].name for move in moves})
    chosen = None if wish.server is None else world.servers[wish.server].name
    job = await carry_out(
        session,
        vault_id=vault.id,
        type=JobType.REBALANCE,
        resource=resource_of(server),
        wanted=[
            Move(
                machines[world.machines[move.machine].id],
                servers[world.servers[move.source].id],
                servers[world.servers[move.target].id],
                move.reason,
            )
            for move in moves
        ],
        actor=principal.actor,
        now=now,
        message=f"{len(moves)} source machine(s) of configuration server {server.name} went to {', '.join(targets)}: "
        f"{found.plan.reasons[0]}",
        target=targets[0] if len(targets) == 1 else None,
        details={"goal": wish.goal.value, "processServer": chosen, "token": found.plan.token},
    )
    return jobs.view_of(job)


def _missing(vault: Vault, ref: str) -> ConfigurationServerNotFound:
    return ConfigurationServerNotFound(f"vault '{vault.name}' has no configuration server '{ref}'")
