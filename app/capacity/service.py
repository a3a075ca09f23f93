"""Capacity as a use case."""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.capacity import queries
from app.capacity.rules import Judged, Server, verdict
from app.capacity.schemas import CapacityView, LoadSource, ProcessServerCapacityView
from app.configuration_servers import queries as configuration_server_queries
from app.core.errors import ConfigurationServerNotFound
from app.sizing.demand import Machine, refused
from app.sizing.tiers import MAX_MACHINE_CHURN, NO_LOAD, Load
from app.sizing.views import load_view, process_servers_view, refused_view
from app.source_machines import queries as machine_queries
from app.source_machines.capacity import advice_of
from app.source_machines.rules import refusals_of_target
from app.vocabulary import ConnectionState, ServerKind

NAMED_MACHINES = 100
"""So many of the machines that can't be protected are named."""


async def read(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    ref: str,
    now: datetime,
    stated_machines: int | None,
    stated_churn: int | None,
) -> CapacityView:
    """A configuration server's load, registered or stated, against what its process servers carry.

    Raises VaultNotFound or ConfigurationServerNotFound.
    """
    vault = await vault_in_scope(session, principal, vault_ref)
    row = await configuration_server_queries.read(session, vault.id, ref)
    if row is None:
        raise ConfigurationServerNotFound(f"vault '{vault.name}' has no configuration server '{ref}'")
    server = row.ConfigurationServer
    rows = await machine_queries.carriers(session, server.id)
    above = await queries.machines_above(session, server.id, MAX_MACHINE_CHURN, NAMED_MACHINES)
    servers = [_server(found, now) for found in rows]
    registered = sum((entry.used for entry in servers), NO_LOAD)
    used = Load(
        registered.machines if stated_machines is None else stated_machines,
        registered.churn if stated_churn is None else stated_churn,
    )
    found = verdict(used, servers)
    states = {row.ProcessServer.id: ConnectionState(row.Host.connection_state) for row in rows}
    is_registered = stated_machines is None and stated_churn is None
    return CapacityView(
        vault=vault.name,
        configuration_server=server.name,
        source=LoadSource.REGISTERED if is_registered else LoadSource.STATED,
        used=load_view(found.used),
        limit=load_view(found.limit),
        spare=load_view(found.spare),
        additional_process_servers_needed=found.is_additional_needed,
        process_servers_missing=bool(found.missing),
        missing_process_servers=[process_servers_view(tier, count) for tier, count in found.missing],
        missing_configuration_servers=found.missing_configuration_servers,
        not_protectable=[refused_view(refused(Machine(name, churn))) for name, churn in above],
        process_servers=[_view(entry, states[entry.server.id]) for entry in found.servers],
        reasons=found.reasons,
    )


def _server(row: Any, now: datetime) -> Server:
    hardware = row.Host.hardware or {}
    return Server(
        id=row.ProcessServer.id,
        name=row.ProcessServer.name,
        kind=ServerKind(row.ProcessServer.kind),
        cpu_count=hardware.get("cpuCount"),
        memory=hardware.get("totalMemoryInBytes"),
        takes_machines=not refusals_of_target(advice_of(row, now)),
        used=Load(int(row.machines), int(row.churn)),
    )


def _view(entry: Judged, state: ConnectionState) -> ProcessServerCapacityView:
    return ProcessServerCapacityView(
        id=entry.server.id,
        name=entry.server.name,
        kind=entry.server.kind,
        connection_state=state,
        takes_machines=entry.server.takes_machines,
        tier=None if entry.tier is None else entry.tier.name,
        used=load_view(entry.server.used),
        limit=load_view(entry.limit),
        spare=load_view(entry.spare),
        note=entry.note,
    )
