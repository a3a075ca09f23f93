"""Vaults on the wire."""

import uuid
from typing import Annotated

from pydantic import Field

from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, Moment, Name, Text, WireIn, WireOut, with_example
from app.vocabulary import Health

_EXAMPLE = {
    "id": EXAMPLE_ID,
    "name": "contoso-dr",
    "friendlyName": "Contoso disaster recovery",
    "location": "westeurope",
    "configurationServerCount": 2,
    "processServerCount": 5,
    "health": "Healthy",
    "createdAt": EXAMPLE_TIME,
    "updatedAt": EXAMPLE_TIME,
}


class VaultCreate(WireIn):
    """A new vault."""

    model_config = with_example({"name": "contoso-dr", "location": "westeurope"})

    name: Name
    location: Annotated[Text, Field(min_length=1, description="Azure region or site, free text.")]
    friendly_name: Text | None = None


class VaultUpdate(WireIn):
    """What can be changed of a vault; fields left out stay. The name is immutable."""

    model_config = with_example({"friendlyName": "Contoso disaster recovery"})

    friendly_name: Annotated[Text, Field(min_length=1)] | None = None
    location: Annotated[Text, Field(min_length=1)] | None = None


class VaultView(WireOut):
    """A vault."""

    model_config = with_example(_EXAMPLE)

    id: uuid.UUID
    name: str
    friendly_name: str
    location: str
    configuration_server_count: int
    process_server_count: int
    health: Health
    created_at: Moment
    updated_at: Moment
    revision: int = Field(exclude=True)


class VaultSummary(WireOut):
    """Counts of what a vault holds. Maps name each value that occurs."""

    model_config = with_example(
        {
            "health": "Healthy",
            "configurationServers": {
                "total": 1,
                "byConnectionState": {"Connected": 1},
                "byHealth": {"Healthy": 1},
            },
            "processServers": {
                "total": 2,
                "byKind": {"inbuilt": 1, "scaleOut": 1},
                "byConnectionState": {"Connected": 2},
                "byHealth": {"Healthy": 2},
                "byVersionStatus": {"Supported": 2},
            },
            "sourceMachineCount": 120,
            "churnInBytesPerDay": 429496729600,
        }
    )

    health: Health
    configuration_servers: "ConfigurationServerCounts"
    process_servers: "ProcessServerCounts"
    source_machine_count: int
    churn_in_bytes_per_day: int


class ConfigurationServerCounts(WireOut):
    """Configuration servers of a vault, counted."""

    total: int
    by_connection_state: dict[str, int]
    by_health: dict[str, int]


class ProcessServerCounts(WireOut):
    """Process servers of a vault, counted."""

    total: int
    by_kind: dict[str, int]
    by_connection_state: dict[str, int]
    by_health: dict[str, int]
    by_version_status: dict[str, int]
