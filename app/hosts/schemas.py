"""What configuration servers and process servers have in common on the wire."""

import ipaddress
import uuid
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator

from app.core.wire import EXAMPLE_TIME, MAX_LIST_ITEMS, Bytes, Moment, Name, Port, Text, WireIn, WireOut
from app.health.schemas import HealthErrorView
from app.versions.rules import Version
from app.vocabulary import DEFAULT_DATA_TRANSFER_PORT, ConnectionState, Health, OsType, VersionStatus

MAX_FQDN_LENGTH = 255


def _address(value: str) -> str:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(f"'{value[:80]}' is not an IP address") from None
    if "%" in value:
        raise ValueError(f"'{value[:80]}' has a scope, which means nothing elsewhere; leave link-local addresses out")
    return str(address)


def _version(value: str) -> str:
    return str(Version.parse(value))


def _fqdn(value: str) -> str:
    lowered = value.lower()
    # Some capitals outside ASCII become two characters.
    if len(lowered) > MAX_FQDN_LENGTH:
        raise ValueError(f"has more than {MAX_FQDN_LENGTH} characters")
    return lowered


Fqdn = Annotated[Text, AfterValidator(_fqdn)]
IpAddress = Annotated[str, AfterValidator(_address)]
AgentVersion = Annotated[str, AfterValidator(_version), Field(description="Four numbers, e.g. 9.62.7096.1.")]

EXAMPLE_REGISTRATION: dict[str, Any] = {
    "hostId": "0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f",
    "instanceId": "4c4c4544-0042-3510-8054-b4c04f4e3432",
    "name": "ps-ams-01",
    "fqdn": "ps-ams-01.corp.example",
    "ipAddresses": ["10.150.24.120"],
    "agentVersion": "9.62.7096.1",
    "os": {"type": "Windows", "version": "10.0.14393"},
    "hardware": {
        "cpuCount": 8,
        "cpuSockets": 2,
        "totalMemoryInBytes": 12884901888,
        "cacheDiskSizeInBytes": 644245094400,
    },
    "dataTransferPort": DEFAULT_DATA_TRANSFER_PORT,
}


class OperatingSystem(WireIn):
    """The machine's operating system."""

    type: OsType
    version: Text | None = None


class Hardware(WireIn):
    """The machine's size; members that are left out are unknown."""

    cpu_count: Annotated[int, Field(ge=1, le=65_536)] | None = None
    cpu_sockets: Annotated[int, Field(ge=1, le=1_024)] | None = None
    total_memory_in_bytes: Bytes | None = None
    cache_disk_size_in_bytes: Bytes | None = None


class HostRegister(WireIn):
    """What every registering machine says of itself."""

    host_id: Annotated[Text, Field(min_length=1, max_length=64, description="Made once by the machine and kept.")]
    instance_id: Annotated[Text, Field(description="Machine id or BIOS UUID; tells clones apart.")] | None = None
    name: Name
    fqdn: Fqdn | None = None
    ip_addresses: Annotated[list[IpAddress], Field(max_length=MAX_LIST_ITEMS)] = []
    agent_version: AgentVersion
    os: OperatingSystem | None = None
    hardware: Hardware | None = None
    data_transfer_port: Annotated[Port, Field(description="Replication data's; not 443.")] = DEFAULT_DATA_TRANSFER_PORT


class HeartbeatTerms(WireOut):
    """How often heartbeats are wanted and when silence counts, in seconds."""

    interval_seconds: int | float
    timeout_seconds: int | float

    @field_validator("interval_seconds", "timeout_seconds", mode="before")
    @classmethod
    def _whole_where_possible(cls, value: float) -> float:
        return int(value) if value == int(value) else value


class Notice(WireOut):
    """Something the agent's operator should know; not an error."""

    code: str
    message: str


class Registered(WireOut):
    """The answer to a registration: the one that shows the credential."""

    id: uuid.UUID
    vault: str
    configuration_server: str
    name: str
    credential: str
    heartbeat: HeartbeatTerms
    notices: list[Notice]
    is_new: bool = Field(exclude=True, description="Whether the answer is 201 rather than 200.")


class TelemetryView(WireOut):
    """The latest telemetry; null is unknown, never zero. Space is the cache disk's, throughput bytes per second."""

    cpu_percentage: float | None
    total_memory_in_bytes: int | None
    available_memory_in_bytes: int | None
    total_space_in_bytes: int | None
    available_space_in_bytes: int | None
    throughput_in_bytes: int | None
    throughput_upload_pending_data_in_bytes: int | None


class ServerView(WireOut):
    """What configuration servers and process servers show alike."""

    host_id: str
    fqdn: str
    ip_addresses: list[str]
    os: dict[str, Any]
    hardware: dict[str, Any]
    agent_version: str
    version_status: VersionStatus
    update_available: bool
    connection_state: ConnectionState
    last_heartbeat: Moment | None
    sequence: int
    health: Health
    health_errors: list[HealthErrorView]
    telemetry: TelemetryView
    services: dict[str, str]
    generation: int
    observed_generation: int
    created_at: Moment
    updated_at: Moment
    revision: int = Field(exclude=True)


EXAMPLE_SERVER: dict[str, Any] = {
    **{
        key: value
        for key, value in EXAMPLE_REGISTRATION.items()
        if key not in {"name", "instanceId", "dataTransferPort"}
    },
    "versionStatus": "Supported",
    "updateAvailable": False,
    "connectionState": "Connected",
    "lastHeartbeat": EXAMPLE_TIME,
    "sequence": 17,
    "health": "Healthy",
    "healthErrors": [],
    "telemetry": {
        "cpuPercentage": 37.5,
        "totalMemoryInBytes": 12884901888,
        "availableMemoryInBytes": 6442450944,
        "totalSpaceInBytes": 644245094400,
        "availableSpaceInBytes": 322122547200,
        "throughputInBytes": 52428800,
        "throughputUploadPendingDataInBytes": 1073741824,
    },
    "services": {"ProcessServer": "Running"},
    "generation": 3,
    "observedGeneration": 3,
    "createdAt": EXAMPLE_TIME,
    "updatedAt": EXAMPLE_TIME,
}
