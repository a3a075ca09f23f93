"""What adding a process server needs: the plan to show, the package to serve."""

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.core.db import Database
from app.core.errors import AgentPackageNotFound, ConfigurationServerNotFound
from app.onboarding import queries, rules
from app.onboarding.bundle import Package
from app.onboarding.depot import Depot
from app.onboarding.schemas import CommandLines, CommandLinesByOs, Onboarding
from app.versions import queries as version_queries
from app.versions.rules import Version, status_of
from app.vocabulary import Placement

DOWNLOADS = "/downloads/agent"


async def read(
    database: Database,
    depot: Depot,
    principal: Principal,
    vault_ref: str,
    ref: str,
    placement: Placement,
    url: str,
) -> Onboarding:
    """How to add a process server to a configuration server, whose own version is what to install.

    Raises VaultNotFound or ConfigurationServerNotFound. The package is built after the session has ended.
    """
    async with database.read() as session:
        vault = await vault_in_scope(session, principal, vault_ref)
        found = await queries.configuration_server(session, vault.id, ref)
        if found is None:
            raise ConfigurationServerNotFound(f"vault '{vault.name}' has no configuration server '{ref}'")
        catalogue = await version_queries.catalogue(session)
    name, version, ip_addresses = found
    package = await depot.package(version)
    plan = rules.Plan(
        configuration_server=name,
        address=rules.address_of(ip_addresses, name),
        kind=rules.kind_at(placement),
        url=url,
        download_url=f"{url}{DOWNLOADS}/{version}",
        file_name=package.file_name,
        sha256=package.sha256,
    )
    return Onboarding(
        configuration_server=name,
        placement=placement,
        kind=plan.kind,
        version=version,
        version_status=status_of(Version.parse(version), catalogue),
        file_name=package.file_name,
        download_url=plan.download_url,
        sha256=package.sha256,
        size_in_bytes=len(package.content),
        command_lines=CommandLinesByOs(
            linux=CommandLines(**rules.linux_commands(plan)._asdict()),
            windows=CommandLines(**rules.windows_commands(plan)._asdict()),
        ),
        steps=rules.steps(plan, version),
        prerequisites=list(rules.PREREQUISITES),
    )


async def package(database: Database, depot: Depot, text: str) -> Package:
    """The package of a version. Raises AgentPackageNotFound for one that is not offered."""
    try:
        version = str(Version.parse(text))
    except ValueError as error:
        raise AgentPackageNotFound(str(error)) from None
    async with database.read() as session:
        if not await queries.is_offered(session, version):
            raise AgentPackageNotFound(
                f"there is no agent package {version}: it is neither a release that is offered nor a configuration "
                "server's version"
            )
    return await depot.package(version)
