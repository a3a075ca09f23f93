"""Placement as a use case."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.balancing import facts
from app.balancing.placement_rules import Fit, Unfit, place
from app.balancing.placement_schemas import BlockerView, FitView, PlacementView, UnfitView
from app.core.errors import ConfigurationServerNotFound
from app.sizing.views import load_view
from app.source_machines import queries as machine_queries


async def read(
    session: AsyncSession, principal: Principal, vault_ref: str, server_ref: str, churn: int, now: datetime
) -> PlacementView:
    """Where a new machine of `churn` bytes a day can go. Raises VaultNotFound or ConfigurationServerNotFound."""
    vault = await vault_in_scope(session, principal, vault_ref)
    server = await machine_queries.configuration_server(session, vault.id, server_ref)
    if server is None:
        raise ConfigurationServerNotFound(f"vault '{vault.name}' has no configuration server '{server_ref}'")
    rows = await machine_queries.carriers(session, server.id)
    found = place([facts.candidate(row, now) for row in rows], churn)
    return PlacementView(
        vault=vault.name,
        configuration_server=server.name,
        churn_in_bytes_per_day=churn,
        recommended=found.fit[0].candidate.name if found.fit else None,
        process_servers=[_fit(entry) for entry in found.fit],
        unfit_process_servers=[_unfit(entry) for entry in found.unfit],
        reasons=found.reasons,
    )


def _fit(entry: Fit) -> FitView:
    candidate = entry.candidate
    return FitView(
        id=candidate.id,
        name=candidate.name,
        kind=candidate.kind,
        health=candidate.health,
        agent_version=candidate.version,
        tier=candidate.tier.name,
        used=load_view(candidate.used),
        limit=load_view(candidate.tier.limit),
        spare_after=load_view(entry.spare),
        spare_percentage_after=entry.level / 100,
        reasons=entry.reasons,
    )


def _unfit(entry: Unfit) -> UnfitView:
    candidate = entry.candidate
    blockers = [BlockerView(code=blocker.code, detail=blocker.detail) for blocker in entry.blockers]
    return UnfitView(id=candidate.id, name=candidate.name, kind=candidate.kind, blockers=blockers)
