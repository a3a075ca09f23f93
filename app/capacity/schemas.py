"""Capacity on the wire. Sizes are binary bytes; churn is per day."""

import uuid
from enum import StrEnum
from typing import Annotated

from fastapi import Query

from app.core.wire import EXAMPLE_ID, WireOut, with_example
from app.sizing.schemas import (
    MAX_TOTAL_CHURN,
    MAX_TOTAL_MACHINES,
    LoadView,
    NotProtectableView,
    ProcessServersView,
)
from app.vocabulary import ConnectionState, ServerKind, ServerTier

_GB = 2**30

StatedMachines = Annotated[
    int | None,
    Query(alias="sourceMachines", ge=0, le=MAX_TOTAL_MACHINES, description="Judge this many machines instead."),
]
StatedChurn = Annotated[
    int | None,
    Query(
        alias="churnInBytesPerDay", ge=0, le=MAX_TOTAL_CHURN, description="Judge this churn in bytes per day instead."
    ),
]


class LoadSource(StrEnum):
    """Where the load comes from that is judged."""

    REGISTERED = "registered"
    STATED = "stated"


class ProcessServerCapacityView(WireOut):
    """A process server's load against its limit. `note` says what is doubtful about the limit.

    `tier` is the row of the table that its vCPUs and memory reach (an inbuilt one's, of the configuration servers'
    table); null where they are unknown or below all. `spare` is nothing while it takes no machines:
    disconnected, drained, being decommissioned, or newer than its configuration server.
    """

    id: uuid.UUID
    name: str
    kind: ServerKind
    connection_state: ConnectionState
    takes_machines: bool
    tier: ServerTier | None
    used: LoadView
    limit: LoadView
    spare: LoadView
    note: str | None


class CapacityView(WireOut):
    """A configuration server's load against what its process servers carry.

    `limit` is what all of them carry but failback ones, within the 550 machines of one configuration server; `spare`
    is what those can take that take machines now. `missingProcessServers` are the fewest for what is left over.
    """

    model_config = with_example(
        {
            "vault": "contoso-dr",
            "configurationServer": "cs-ams-01",
            "source": "registered",
            "used": {"sourceMachines": 220, "churnInBytesPerDay": 500 * _GB},
            "limit": {"sourceMachines": 249, "churnInBytesPerDay": 1524 * _GB},
            "spare": {"sourceMachines": 29, "churnInBytesPerDay": 1024 * _GB},
            "additionalProcessServersNeeded": True,
            "processServersMissing": False,
            "missingProcessServers": [],
            "missingConfigurationServers": 0,
            "notProtectable": [],
            "processServers": [
                {
                    "id": EXAMPLE_ID,
                    "name": "ps-ams-01",
                    "kind": "scaleOut",
                    "connectionState": "Connected",
                    "takesMachines": True,
                    "tier": "medium",
                    "used": {"sourceMachines": 135, "churnInBytesPerDay": 300 * _GB},
                    "limit": {"sourceMachines": 150, "churnInBytesPerDay": 1024 * _GB},
                    "spare": {"sourceMachines": 15, "churnInBytesPerDay": 724 * _GB},
                    "note": None,
                }
            ],
            "reasons": ["the process servers carry 249 machines and 1,524 GB a day: none is missing"],
        }
    )

    vault: str
    configuration_server: str
    source: LoadSource
    used: LoadView
    limit: LoadView
    spare: LoadView
    additional_process_servers_needed: bool
    process_servers_missing: bool
    missing_process_servers: list[ProcessServersView]
    missing_configuration_servers: int
    not_protectable: list[NotProtectableView]
    process_servers: list[ProcessServerCapacityView]
    reasons: list[str]
