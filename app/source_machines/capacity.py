"""Whether a process server takes machines: what it refuses, and what would go beyond its limits.

The answers hold until commit where the caller has locked the configuration server, the process server and its host.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import OverCapacity, TargetNotFit
from app.models import ProcessServer
from app.process_servers.rules import Refusal, is_in_maintenance, refusals_of_new_machines
from app.sizing.tiers import MAX_MACHINE_CHURN, Load, amount
from app.source_machines import queries
from app.source_machines.rules import Excess, excess_of, is_protectable, refusals_of_target, tier_of
from app.versions.rules import Version
from app.vocabulary import ConnectionState, Health, ServerKind, Severity

OVER_CAPACITY = "over-capacity"
BEING_DECOMMISSIONED = "being-decommissioned"


def require_protectable(name: str, churn: int) -> None:
    """Raises OverCapacity for a machine whose churn (bytes a day) no process server can carry."""
    if not is_protectable(churn):
        raise OverCapacity(
            f"source machine '{name}' changes {amount(churn)} a day, and a process server carries at most "
            f"{amount(MAX_MACHINE_CHURN)} a day: it can't be protected, and allowOverCapacity does not help; "
            "lower its churn, or protect it by other means",
            added={"sourceMachines": 1, "churnInBytesPerDay": churn},
            limit={"churnInBytesPerDay": MAX_MACHINE_CHURN},
        )


async def require_willing(session: AsyncSession, target: ProcessServer, now: datetime) -> None:
    """Raises TargetNotFit with every reason why a process server takes no new machines; limits are not looked at."""
    found = await refusals(session, target, now)
    if found:
        raise TargetNotFit(
            f"process server '{target.name}' takes no new machines: {'; '.join(entry.detail for entry in found)}; "
            "name another one",
            blockers=[entry._asdict() for entry in found],
        )


async def require_room(session: AsyncSession, target: ProcessServer, added: Load, *, may_exceed: bool) -> Excess | None:
    """What goes beyond a process server's limits by permission. Raises OverCapacity without it."""
    found = await excess(session, target, added)
    if found is not None and not may_exceed:
        detail = f"{told(target, found)}; name another process server, or set allowOverCapacity"
        raise OverCapacity(detail, processServer=target.name, **numbers(found))
    return found


async def refusals(session: AsyncSession, target: ProcessServer, now: datetime) -> list[Refusal]:
    """Every reason why a process server takes no new machines."""
    return refusals_in(await queries.target(session, target.id), now)


def refusals_in(row: Any, now: datetime) -> list[Refusal]:
    """The same from a row of `queries.target`."""
    return refusals_of_target(advice_of(row, now))


def advice_of(row: Any, now: datetime) -> list[Refusal]:
    """Every reason why machines should not go to a process server, of a row of `queries.target` or `carriers`.

    Critical health is among them, which is no refusal where an operator names the server (`refusals_of_target`).
    """
    server: ProcessServer = row.ProcessServer
    found = refusals_of_new_machines(
        server.name,
        connection_state=ConnectionState(row.Host.connection_state),
        health=Health(row.Host.health),
        is_drained=is_in_maintenance(server.is_drained, server.maintenance_until, now),
        process_server=Version.parse(row.Host.agent_version),
        configuration_server=Version.parse(row.configuration_server_version),
    )
    if row.is_leaving:
        found.append(Refusal(BEING_DECOMMISSIONED, f"process server {server.name} is being decommissioned"))
    return found


async def excess(session: AsyncSession, target: ProcessServer, added: Load) -> Excess | None:
    """What goes beyond a process server's limits when `added` comes to what it carries."""
    row = await queries.target(session, target.id)
    present = Load(*await queries.totals(session, target.id))
    return excess_of(tier_of(ServerKind(target.kind), row.Host.hardware), present, added)


def told(target: ProcessServer, found: Excess) -> str:
    """An excess as a sentence with its numbers."""
    reasons = "; ".join(found.reasons)
    return f"process server '{target.name}' (size: {found.tier.name.value}) would be over capacity: {reasons}"


def numbers(found: Excess) -> dict[str, Any]:
    """An excess as members: present, added, limit."""
    loads = {"present": found.present, "added": found.added, "limit": found.tier.limit}
    return {name: {"sourceMachines": load.machines, "churnInBytesPerDay": load.churn} for name, load in loads.items()}


def override(found: Excess | None) -> dict[str, Any]:
    """What an event says of a permitted excess."""
    return {"overCapacity": False} if found is None else {"overCapacity": True, **numbers(found)}


def severity(found: Excess | None) -> Severity:
    """A permitted excess wants attention."""
    return Severity.INFORMATION if found is None else Severity.WARNING
