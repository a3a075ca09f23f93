"""What placement and plans are computed on, read from the database."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.balancing import queries
from app.balancing.placement_rules import Candidate, failback_only
from app.balancing.world import Machine, Server, World
from app.models import ConfigurationServer
from app.process_servers.rules import Refusal
from app.sizing.tiers import Load
from app.source_machines import queries as machine_queries
from app.source_machines.capacity import advice_of
from app.source_machines.rules import tier_of
from app.vocabulary import Health, ServerKind


def candidate(row: Any, now: datetime) -> Candidate:
    """A process server as placement judges it, of a row of `source_machines.queries.carriers`."""
    kind = ServerKind(row.ProcessServer.kind)
    return Candidate(
        id=row.ProcessServer.id,
        name=row.ProcessServer.name,
        kind=kind,
        health=Health(row.Host.health),
        version=row.Host.agent_version,
        configuration_server_version=row.configuration_server_version,
        tier=tier_of(kind, row.Host.hardware or {}),
        used=Load(int(row.machines), int(row.churn)),
        advice=tuple(advice_of(row, now)),
    )


async def world(session: AsyncSession, server: ConfigurationServer, now: datetime) -> World:
    """A configuration server's process servers and machines."""
    candidates = [candidate(row, now) for row in await machine_queries.carriers(session, server.id)]
    at = {one.id: index for index, one in enumerate(candidates)}
    machines = await queries.assignments(session, server.id)
    return World(
        tuple(Server(one.id, one.name, one.kind, one.tier.limit, _refusals(one)) for one in candidates),
        # Between the two reads a server may have come; a plan made without its machines is stale then.
        tuple(_machine(row, at) for row in machines if row.process_server_id in at),
    )


def _refusals(one: Candidate) -> tuple[Refusal, ...]:
    """Why a plan gives it no machines."""
    return (*one.advice, failback_only(one.name)) if one.kind is ServerKind.FAILBACK else one.advice


def _machine(row: Any, at: dict[uuid.UUID, int]) -> Machine:
    return Machine(row.id, row.name, row.churn_bytes_per_day, at[row.process_server_id])
