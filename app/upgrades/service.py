"""Planning the upgrade of a site."""

import uuid
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.configuration_servers import queries as server_queries
from app.core.errors import ConfigurationServerNotFound, Invalid
from app.core.pagination import PageRequest
from app.models import ConfigurationServer, Host, ProcessServer
from app.upgrades import queries
from app.upgrades.queries import Pair
from app.upgrades.rules import (
    RebootNeed,
    Site,
    mobility_agent_route,
    process_server_route,
    reboot_need,
    site_of,
)
from app.upgrades.schemas import (
    MachineReboot,
    MobilityAgentUpgrade,
    ProcessServerUpgrade,
    Reboots,
    ServerUpgrade,
    UpgradePlan,
)
from app.versions import queries as version_queries
from app.versions.rules import CatalogueEntry, Version, newest, status_of
from app.versions.upgrades import Route
from app.vocabulary import ConnectionState, ServerKind, UpgradeComponent

Catalogue = Sequence[CatalogueEntry]


async def plan(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str,
    wanted: str | None,
    paging: PageRequest,
) -> UpgradePlan:
    """How to bring a configuration server and all that depends on it to `wanted`, or to the newest release.

    Raises VaultNotFound, ConfigurationServerNotFound, or Invalid for a target that can't be installed.
    """
    vault = await vault_in_scope(session, principal, vault_ref)
    row = await server_queries.read(session, vault.id, server_ref)
    if row is None:
        raise ConfigurationServerNotFound(f"vault '{vault.name}' has no configuration server '{server_ref}'")
    server: ConfigurationServer = row.ConfigurationServer
    catalogue = await version_queries.catalogue(session)
    target = _target(wanted, catalogue)
    site = site_of(server.name, Version.parse(row.Host.agent_version), target, catalogue)
    first = _server(server, row.Host, site.route, catalogue)
    second = [
        _process_server(entry.ProcessServer, entry.Host, site, catalogue)
        for entry in await queries.process_servers(session, server.id)
    ]
    counts = await queries.machine_counts(session, server.id)
    third = _mobility_agents(counts, site, catalogue)
    stages: dict[UpgradeComponent, Sequence[ServerUpgrade | MobilityAgentUpgrade]] = {
        UpgradeComponent.CONFIGURATION_SERVER: [first],
        UpgradeComponent.PROCESS_SERVER: second,
        UpgradeComponent.MOBILITY_AGENT: third,
    }
    return UpgradePlan(
        vault=vault.name,
        target=None if target is None else str(target),
        up_to_date=not any(step.upgrade_path or step.reason for steps in stages.values() for step in steps),
        upgrade_order=[part for part, steps in stages.items() if any(step.upgrade_path for step in steps)],
        configuration_server=first,
        process_servers=second,
        mobility_agents=third,
        reboots=await _reboots(session, server.id, counts, site, catalogue, paging),
    )


def _target(wanted: str | None, catalogue: Catalogue) -> Version | None:
    if wanted is None:
        return newest(catalogue)
    target = Version.parse(wanted)
    entry = next((entry for entry in catalogue if entry.version == target), None)
    if entry is None or entry.is_withdrawn:
        detail = f"release {target} {'is not in the catalogue' if entry is None else 'was withdrawn'}"
        raise Invalid(detail, [{"pointer": "#/query/target", "detail": detail}])
    return target


def _path(route: Route) -> list[str] | None:
    return [str(step) for step in route.path] if route.is_open else None


def _server(server: ConfigurationServer, host: Host, route: Route, catalogue: Catalogue) -> ServerUpgrade:
    return ServerUpgrade(
        id=server.id,
        name=server.name,
        version=host.agent_version,
        version_status=status_of(Version.parse(host.agent_version), catalogue),
        connection_state=ConnectionState(host.connection_state),
        upgrade_path=_path(route),
        reason=route.reason,
    )


def _process_server(server: ProcessServer, host: Host, site: Site, catalogue: Catalogue) -> ProcessServerUpgrade:
    version = Version.parse(host.agent_version)
    route = process_server_route(site, version, catalogue)
    return ProcessServerUpgrade(
        id=server.id,
        name=server.name,
        kind=ServerKind(server.kind),
        version=host.agent_version,
        version_status=status_of(version, catalogue),
        connection_state=ConnectionState(host.connection_state),
        upgrade_path=_path(route),
        reason=route.reason,
    )


def _mobility_agents(counts: dict[Pair, int], site: Site, catalogue: Catalogue) -> list[MobilityAgentUpgrade]:
    """One entry for each version, oldest first, and last those whose version is unknown."""
    by_version: dict[Version, int] = {}
    for (agent, _), count in counts.items():
        if agent is not None:
            by_version[Version.parse(agent)] = by_version.get(Version.parse(agent), 0) + count
    found = []
    for version, count in sorted(by_version.items()):
        route = mobility_agent_route(site, version, catalogue)
        found.append(
            MobilityAgentUpgrade(
                version=str(version),
                version_status=status_of(version, catalogue),
                machine_count=count,
                upgrade_path=_path(route),
                reason=route.reason,
            )
        )
    unknown = sum(count for (agent, _), count in counts.items() if agent is None)
    if unknown:
        reason = "the version of the mobility agent on these machines is unknown"
        found.append(
            MobilityAgentUpgrade(
                version=None, version_status=None, machine_count=unknown, upgrade_path=None, reason=reason
            )
        )
    return found


async def _reboots(
    session: AsyncSession,
    server_id: uuid.UUID,
    counts: dict[Pair, int],
    site: Site,
    catalogue: Catalogue,
    paging: PageRequest,
) -> Reboots:
    needs = {pair: _need(pair, site, catalogue) for pair in counts}
    due = [pair for pair, need in needs.items() if need.after]
    rows, cursor = await queries.machines_with(session, server_id, due, paging)
    items = [
        MachineReboot(
            name=machine.name,
            process_server=process_server,
            agent_version=machine.agent_version,
            last_reboot_agent_version=machine.last_reboot_agent_version,
            reboot_after=[
                str(version) for version in needs[machine.agent_version, machine.last_reboot_agent_version].after
            ],
        )
        for machine, process_server in rows
    ]
    return Reboots(
        machine_count=sum(counts[pair] for pair in due),
        unknown_count=sum(counts[pair] for pair, need in needs.items() if not need.is_known),
        items=items,
        next_cursor=cursor,
    )


def _need(pair: Pair, site: Site, catalogue: Catalogue) -> RebootNeed:
    agent, at_last_reboot = pair
    if agent is None:
        return RebootNeed([], is_known=False)
    version = Version.parse(agent)
    path = mobility_agent_route(site, version, catalogue).path
    return reboot_need(version, path, None if at_last_reboot is None else Version.parse(at_last_reboot))
