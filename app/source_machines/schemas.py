"""Source machines on the wire."""

import uuid
from typing import Annotated

from fastapi import Path
from pydantic import Field

from app.core.wire import (
    EXAMPLE_ID,
    EXAMPLE_TIME,
    MAX_LIST_ITEMS,
    Bytes,
    Moment,
    Name,
    Text,
    WireIn,
    WireOut,
    with_example,
)
from app.hosts.schemas import AgentVersion
from app.vocabulary import OsType, VersionStatus

MachineName = Annotated[Name, Path(description="Name of the source machine: its key.", examples=["sql-ams-01"])]
MachineRef = Annotated[
    str, Path(max_length=64, description="Name or id of the source machine.", examples=["sql-ams-01"])
]
_EXAMPLE = {
    "friendlyName": "SQL, Amsterdam",
    "processServer": "ps-ams-01",
    "churnInBytesPerDay": 10737418240,
    "disks": [{"sizeInBytes": 107374182400}],
    "osType": "Windows",
    "agentVersion": "9.62.7096.1",
    "lastRebootAgentVersion": "9.60.6956.1",
}


class Disk(WireIn):
    """A disk that is replicated."""

    size_in_bytes: Annotated[Bytes, Field(gt=0)]


class SourceMachinePut(WireIn):
    """The whole record of a protected machine: what is left out is unknown from then on.

    `processServer` is a name or id under the same configuration server; naming another one than before moves the
    machine. Churn is the daily data change rate.
    """

    model_config = with_example(_EXAMPLE)

    process_server: Annotated[Text, Field(min_length=1, description="Name or id of the one that carries it.")]
    churn_in_bytes_per_day: Bytes
    friendly_name: Annotated[Text, Field(min_length=1, description="Free text; the name by default.")] | None = None
    disks: Annotated[list[Disk], Field(max_length=MAX_LIST_ITEMS)] = []
    os_type: OsType | None = None
    agent_version: AgentVersion | None = None
    last_reboot_agent_version: AgentVersion | None = None
    allow_over_capacity: (
        Annotated[
            bool,
            Field(strict=True, description="Go beyond the process server's limits; the query parameter by default."),
        ]
        | None
    ) = None


class DiskView(WireOut):
    """A disk that is replicated."""

    size_in_bytes: int


class SourceMachineView(WireOut):
    """A protected machine, and the process server that carries it. Sizes are binary bytes; times UTC."""

    model_config = with_example(
        {
            "id": EXAMPLE_ID,
            "name": "sql-ams-01",
            "vault": "contoso-dr",
            "configurationServer": "cs-ams-01",
            **_EXAMPLE,
            "versionStatus": "Supported",
            "createdAt": EXAMPLE_TIME,
            "updatedAt": EXAMPLE_TIME,
        }
    )

    id: uuid.UUID
    name: str
    friendly_name: str
    vault: str
    configuration_server: str
    process_server: str
    churn_in_bytes_per_day: int
    disks: list[DiskView]
    os_type: OsType | None
    agent_version: str | None
    version_status: VersionStatus | None = Field(description="Of `agentVersion`; null while that is unknown.")
    last_reboot_agent_version: str | None
    created_at: Moment
    updated_at: Moment
    revision: int = Field(exclude=True)
