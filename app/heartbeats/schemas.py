"""Heartbeats on the wire: strict, every field bounded, read once by pydantic's core."""

import uuid
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, Moment, WireIn, WireOut, with_example
from app.hosts.schemas import Notice
from app.versions.rules import MAX_VERSION_LENGTH
from app.vocabulary import JobType

MAX_SERVICES = 64
MAX_ADDRESSES = 64
MAX_BODY_BYTES = 65_536

_Count = Annotated[int, Field(ge=0, le=2**60)]
_Address = Annotated[str, Field(pattern=r"^[0-9A-Fa-f:.]{2,45}$")]
_ServiceName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
_ServiceState = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z ]*$")]


class Telemetry(WireIn):
    """What was measured; members that are left out are unknown. Space is the cache disk's."""

    model_config = ConfigDict(strict=True, alias_generator=to_camel, extra="forbid")

    cpu_percentage: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    total_memory_in_bytes: _Count | None = None
    available_memory_in_bytes: _Count | None = None
    total_space_in_bytes: _Count | None = None
    available_space_in_bytes: _Count | None = None
    throughput_in_bytes: Annotated[_Count, Field(description="Bytes per second uploaded.")] | None = None
    throughput_upload_pending_data_in_bytes: _Count | None = None

    @property
    def numbers(self) -> tuple[float | None, ...]:
        """The members in the order of `models.METRICS`."""
        return (
            self.cpu_percentage,
            self.total_memory_in_bytes,
            self.available_memory_in_bytes,
            self.total_space_in_bytes,
            self.available_space_in_bytes,
            self.throughput_in_bytes,
            self.throughput_upload_pending_data_in_bytes,
        )


class Heartbeat(WireIn):
    """One heartbeat. `sequence` starts at 1 for each `bootId` and rises by one; a retry repeats it."""

    model_config = ConfigDict(
        strict=True,
        alias_generator=to_camel,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "bootId": "0192f0c2-7b1e-7cc3-98c4-dc0c0c07398f",
                    "sequence": 17,
                    "agentVersion": "9.62.7096.1",
                    "ipAddresses": ["10.150.24.120"],
                    "observedGeneration": 3,
                    "telemetry": {
                        "cpuPercentage": 37.5,
                        "totalMemoryInBytes": 12884901888,
                        "availableMemoryInBytes": 6442450944,
                        "totalSpaceInBytes": 644245094400,
                        "availableSpaceInBytes": 322122547200,
                        "throughputInBytes": 52428800,
                        "throughputUploadPendingDataInBytes": 1073741824,
                    },
                    "services": {"ProcessServer": "Running", "tmansvc": "Stopped"},
                }
            ]
        },
    )

    boot_id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    sequence: Annotated[int, Field(ge=1, le=2**53)]
    agent_version: Annotated[str, Field(max_length=MAX_VERSION_LENGTH, pattern=r"^[0-9]{1,9}(\.[0-9]{1,9}){3}$")]
    ip_addresses: Annotated[list[_Address], Field(max_length=MAX_ADDRESSES)] | None = None
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] = 0
    agent_time: Annotated[Moment, Field(strict=False, description="The agent's clock when it sent this.")] | None = None
    telemetry: Telemetry | None = None
    services: Annotated[dict[_ServiceName, _ServiceState], Field(max_length=MAX_SERVICES)] | None = None


class MaintenanceWanted(WireOut):
    """Whether the server is to be treated as drained."""

    is_enabled: bool
    until: Moment | None


class ActionWanted(WireOut):
    """Something the agent is asked to do once."""

    type: Literal[JobType.DECOMMISSION, JobType.REFRESH, JobType.RENEW_CERTIFICATE]
    job: uuid.UUID


class DesiredState(WireOut):
    """What the control plane wants of a server, at a generation."""

    model_config = with_example(
        {
            "generation": 4,
            "maintenance": {"isEnabled": False, "until": None},
            "sourceMachines": ["web-01", "web-02"],
            "actions": [{"type": "decommission", "job": EXAMPLE_ID}],
        }
    )

    generation: int
    maintenance: MaintenanceWanted
    source_machines: list[str] = Field(description="Names of the machines that use this process server.")
    actions: list[ActionWanted] = Field(description="What the agent is asked to do, until the job has ended.")


class HeartbeatAnswer(WireOut):
    """The heartbeat is in the database. `desired` is there only when it changed, `credential` when it was rotated."""

    model_config = with_example(
        {"serverTime": EXAMPLE_TIME, "nextHeartbeatSeconds": 28.4, "generation": 3, "notices": []}
    )

    server_time: Moment
    next_heartbeat_seconds: float
    generation: int
    desired: DesiredState | None = Field(exclude_if=lambda value: value is None)
    credential: str | None = Field(exclude_if=lambda value: value is None)
    notices: list[Notice]


READ_HEARTBEAT: Callable[[bytes], Heartbeat] = Heartbeat.__pydantic_validator__.validate_json
"""Raises ValidationError; without the detour of `model_validate_json`."""
