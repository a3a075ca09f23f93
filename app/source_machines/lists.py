"""Lists of source machines: of a vault, of a configuration server, of a process server."""

from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.core.errors import Invalid, NameAmbiguous
from app.core.pagination import PageRequest
from app.core.wire import Page
from app.models import SourceMachine, Vault
from app.source_machines import list_queries, queries
from app.source_machines.list_queries import Filters, Scope
from app.source_machines.schemas import SourceMachineView
from app.source_machines.service import find_server
from app.source_machines.views import view_of
from app.versions import queries as version_queries
from app.versions.rules import CatalogueEntry, Version, status_of
from app.vocabulary import VersionStatus


class Wanted(NamedTuple):
    """What a list is asked for; None is no filter."""

    filters: Filters
    process_server: str | None
    version_status: VersionStatus | None
    order_by: str


async def of_configuration_server(
    session: AsyncSession, principal: Principal, vault_ref: str, server_ref: str, paging: PageRequest, wanted: Wanted
) -> Page[SourceMachineView]:
    """A configuration server's machines. Raises ConfigurationServerNotFound."""
    vault = await vault_in_scope(session, principal, vault_ref)
    server = await find_server(session, vault, server_ref)
    scope = await _narrowed(session, vault, Scope(SourceMachine.configuration_server_id, server.id), wanted)
    return await _page(session, vault, scope, paging, wanted)


async def of_vault(
    session: AsyncSession,
    principal: Principal,
    vault_ref: str,
    server_ref: str | None,
    paging: PageRequest,
    wanted: Wanted,
) -> Page[SourceMachineView]:
    """A vault's machines, or those of one configuration server; one that is not there has none.

    Raises NameAmbiguous for the name of process servers of several configuration servers.
    """
    vault = await vault_in_scope(session, principal, vault_ref)
    scope: Scope | None = Scope(SourceMachine.vault_id, vault.id)
    if server_ref is not None:
        server = await queries.configuration_server(session, vault.id, server_ref)
        scope = None if server is None else Scope(SourceMachine.configuration_server_id, server.id)
    scope = await _narrowed(session, vault, scope, wanted)
    return await _page(session, vault, scope, paging, wanted)


async def _narrowed(session: AsyncSession, vault: Vault, scope: Scope | None, wanted: Wanted) -> Scope | None:
    """The scope, or the process server in it that is wanted; None where there is none."""
    if scope is None or wanted.process_server is None:
        return scope
    server_id = None if scope.is_vault else scope.id
    found = await list_queries.process_servers(session, vault.id, server_id, wanted.process_server)
    if len(found) > 1:
        raise NameAmbiguous(
            f"several configuration servers of vault '{vault.name}' have a process server '{wanted.process_server}'; "
            "name its configuration server too, or give its id",
            candidates=[
                {"configurationServer": row.configuration_server, "id": str(row.ProcessServer.id)} for row in found
            ],
        )
    return Scope(SourceMachine.process_server_id, found[0].ProcessServer.id) if found else None


async def _page(
    session: AsyncSession, vault: Vault, scope: Scope | None, paging: PageRequest, wanted: Wanted
) -> Page[SourceMachineView]:
    catalogue = await version_queries.catalogue(session)
    if scope is None:
        return Page[SourceMachineView](items=[], next_cursor=None)
    filters = wanted.filters
    if wanted.version_status is not None:
        filters = filters._replace(versions=await _versions(session, vault, wanted.version_status, catalogue))
    machines, cursor = await list_queries.list_machines(
        session, scope, paging, order_by=wanted.order_by, filters=filters
    )
    servers, carriers = await list_queries.names(session, machines)
    items = [
        view_of(
            vault,
            servers[machine.configuration_server_id],
            machine,
            carriers[machine.process_server_id],
            catalogue=catalogue,
        )
        for machine in machines
    ]
    return Page[SourceMachineView](items=items, next_cursor=cursor)


async def _versions(
    session: AsyncSession, vault: Vault, wanted: VersionStatus, catalogue: list[CatalogueEntry]
) -> list[str]:
    in_use = await list_queries.versions_in_use(session, vault.id)
    found = [version for version in in_use if status_of(Version.parse(version), catalogue) is wanted]
    if len(found) > list_queries.MOST_VERSIONS:
        detail = (
            f"the vault's machines report {len(found):,} versions with this status, and {list_queries.MOST_VERSIONS:,} "
            "are looked for at the most; correct the machines' agentVersion"
        )
        raise Invalid(detail, [{"pointer": "#/query/versionStatus", "detail": detail}])
    return found
