"""Source machines as the wire shows them."""

from app.events.service import Resource
from app.models import ConfigurationServer, SourceMachine, Vault
from app.source_machines.schemas import DiskView, SourceMachineView
from app.versions.rules import CatalogueEntry, Version, status_of
from app.vocabulary import OsType, ResourceKind


def resource_of(machine: SourceMachine) -> Resource:
    """How events name a source machine."""
    return Resource(ResourceKind.SOURCE_MACHINE, machine.id, machine.name)


def view_of(
    vault: Vault,
    server: ConfigurationServer,
    machine: SourceMachine,
    process_server: str,
    *,
    catalogue: list[CatalogueEntry],
) -> SourceMachineView:
    """The wire form of the rows."""
    version = machine.agent_version
    return SourceMachineView(
        id=machine.id,
        name=machine.name,
        friendly_name=machine.friendly_name,
        vault=vault.name,
        configuration_server=server.name,
        process_server=process_server,
        churn_in_bytes_per_day=machine.churn_bytes_per_day,
        disks=[DiskView.model_validate(disk) for disk in machine.disks],
        os_type=None if machine.os_type is None else OsType(machine.os_type),
        agent_version=version,
        version_status=None if version is None else status_of(Version.parse(version), catalogue),
        last_reboot_agent_version=machine.last_reboot_agent_version,
        created_at=machine.created_at,
        updated_at=machine.updated_at,
        revision=machine.revision,
    )
