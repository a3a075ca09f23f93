"""What can be done with vaults."""

from collections import Counter
from datetime import datetime

from pydantic.alias_generators import to_camel
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal, require_all_vaults
from app.access.scope import vault_in_scope
from app.core.db import add_unique
from app.core.errors import NameTaken, VaultNotEmpty
from app.core.pagination import PageRequest
from app.core.preconditions import Precondition
from app.core.wire import Page
from app.events.service import Resource, record
from app.models import Vault
from app.vaults import queries
from app.vaults.schemas import (
    ConfigurationServerCounts,
    ProcessServerCounts,
    VaultCreate,
    VaultSummary,
    VaultUpdate,
    VaultView,
)
from app.versions import queries as version_queries
from app.versions.rules import Version, status_of
from app.vocabulary import EventType, Health, ResourceKind


def resource_of(vault: Vault) -> Resource:
    """How events name a vault."""
    return Resource(ResourceKind.VAULT, vault.id, vault.name)


async def create(session: AsyncSession, principal: Principal, body: VaultCreate, now: datetime) -> VaultView:
    """Create a vault. Raises NameTaken, or Forbidden for a token of one vault."""
    require_all_vaults(principal, "creating a vault")
    vault = Vault(
        name=body.name,
        friendly_name=body.friendly_name or body.name,
        location=body.location,
        created_at=now,
        updated_at=now,
    )
    await add_unique(session, vault, NameTaken(f"there is already a vault '{body.name}'"))
    record(
        session,
        vault.id,
        now,
        EventType.VAULT_CREATED,
        resource_of(vault),
        actor=principal.actor,
        message=f"vault {vault.name} was created",
    )
    return view_of(vault, 0, 0, Health.HEALTHY)


async def read(session: AsyncSession, principal: Principal, ref: str, now: datetime) -> VaultView:
    """The vault called `ref`."""
    vault = await vault_in_scope(session, principal, ref)
    return view_of(*await queries.read_with_counts(session, vault.id, now))


async def list_vaults(
    session: AsyncSession, principal: Principal, paging: PageRequest, order_by: str, q: str | None, now: datetime
) -> Page[VaultView]:
    """The vaults in the caller's scope."""
    rows, cursor = await queries.list_vaults(session, paging, order_by=order_by, only=principal.vault_id, q=q, now=now)
    return Page[VaultView](items=[view_of(*row) for row in rows], next_cursor=cursor)


async def update(
    session: AsyncSession,
    principal: Principal,
    ref: str,
    body: VaultUpdate,
    precondition: Precondition,
    now: datetime,
) -> VaultView:
    """Change what `body` names. Raises PreconditionFailed when the caller saw another revision."""
    vault = await vault_in_scope(session, principal, ref, for_update=True)
    precondition.check(vault)
    changes = {
        field: value
        for field, value in body.model_dump(exclude_unset=True, exclude_none=True).items()
        if getattr(vault, field) != value
    }
    if changes:
        for field, value in changes.items():
            setattr(vault, field, value)
        vault.revision += 1
        vault.updated_at = now
        record(
            session,
            vault.id,
            now,
            EventType.VAULT_UPDATED,
            resource_of(vault),
            actor=principal.actor,
            message=f"vault {vault.name} was changed",
            data={to_camel(field): value for field, value in changes.items()},
        )
    await session.flush()
    return view_of(*await queries.read_with_counts(session, vault.id, now))


async def delete(
    session: AsyncSession, principal: Principal, ref: str, precondition: Precondition, now: datetime
) -> None:
    """Delete an empty vault with its registration keys and tokens. Raises VaultNotEmpty otherwise."""
    vault = await vault_in_scope(session, principal, ref, for_update=True)
    precondition.check(vault)
    held = await queries.count_configuration_servers(session, vault.id)
    if held:
        raise VaultNotEmpty(
            f"vault '{vault.name}' still holds {held} configuration server(s); delete them first",
            blockers=[{"code": "configuration-servers", "detail": f"{held} configuration server(s)", "count": held}],
        )
    await session.delete(vault)
    record(
        session,
        vault.id,
        now,
        EventType.VAULT_DELETED,
        resource_of(vault),
        actor=principal.actor,
        message=f"vault {vault.name} was deleted",
    )


async def summarise(session: AsyncSession, principal: Principal, ref: str, now: datetime) -> VaultSummary:
    """Counts of servers by kind, state, health and version status; machines and churn."""
    vault = await vault_in_scope(session, principal, ref)
    catalogue = await version_queries.catalogue(session)
    states = await queries.configuration_server_states(session, vault.id)
    sites = await queries.configuration_server_healths(session, vault.id, now)
    of_vault = (await queries.read_with_counts(session, vault.id, now)).health
    kinds, connections, healths, statuses = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for kind, connection_state, health, version, count in await queries.process_server_counts(session, vault.id):
        kinds[kind] += count
        connections[connection_state] += count
        healths[health] += count
        statuses[status_of(Version.parse(version), catalogue).value] += count
    machines, churn = await queries.machine_totals(session, vault.id)
    return VaultSummary(
        health=of_vault,
        configuration_servers=ConfigurationServerCounts(
            total=sum(states.values()), by_connection_state=states, by_health=sites
        ),
        process_servers=ProcessServerCounts(
            total=kinds.total(),
            by_kind=dict(kinds),
            by_connection_state=dict(connections),
            by_health=dict(healths),
            by_version_status=dict(statuses),
        ),
        source_machine_count=machines,
        churn_in_bytes_per_day=churn,
    )


def view_of(vault: Vault, configuration_server_count: int, process_server_count: int, health: str) -> VaultView:
    """The wire form of a row, its counts and its health."""
    return VaultView(
        id=vault.id,
        name=vault.name,
        friendly_name=vault.friendly_name,
        location=vault.location,
        configuration_server_count=configuration_server_count,
        process_server_count=process_server_count,
        health=Health(health),
        created_at=vault.created_at,
        updated_at=vault.updated_at,
        revision=vault.revision,
    )
