"""The parts of a server's view that come from its host."""

from datetime import datetime
from typing import Any, NamedTuple

from app.health.schemas import HealthErrorView
from app.hosts.schemas import TelemetryView
from app.models import Host
from app.versions.rules import CatalogueEntry, Version, newest, status_of
from app.vocabulary import VersionStatus


class Judgement(NamedTuple):
    """What a view needs beside rows: the moment and the catalogue."""

    now: datetime
    catalogue: list[CatalogueEntry]

    def version_status(self, version: str) -> VersionStatus:
        """The status word of a version."""
        return status_of(Version.parse(version), self.catalogue)

    def update_available(self, version: str) -> bool:
        """Whether a newer release than `version` is in the catalogue."""
        latest = newest(self.catalogue)
        return latest is not None and Version.parse(version) < latest


def telemetry_of(host: Host) -> TelemetryView:
    """The latest telemetry of a host; what it never sent is null."""
    return TelemetryView(
        cpu_percentage=host.cpu_percentage,
        total_memory_in_bytes=host.total_memory_bytes,
        available_memory_in_bytes=host.available_memory_bytes,
        total_space_in_bytes=host.total_space_bytes,
        available_space_in_bytes=host.available_space_bytes,
        throughput_in_bytes=host.throughput_bytes,
        throughput_upload_pending_data_in_bytes=host.pending_bytes,
    )


def host_members(host: Host, judgement: Judgement, health: str, health_errors: list[HealthErrorView]) -> dict[str, Any]:
    """The members that configuration servers and process servers share."""
    return {
        "host_id": host.host_id,
        "fqdn": host.fqdn,
        "ip_addresses": host.ip_addresses,
        "os": host.os,
        "hardware": host.hardware,
        "agent_version": host.agent_version,
        "version_status": judgement.version_status(host.agent_version),
        "update_available": judgement.update_available(host.agent_version),
        "connection_state": host.connection_state,
        "last_heartbeat": host.last_heartbeat_at,
        "sequence": host.sequence,
        "health": health,
        "health_errors": health_errors,
        "telemetry": telemetry_of(host),
        "services": host.services or {},
        "generation": host.generation,
        "observed_generation": host.observed_generation,
    }
