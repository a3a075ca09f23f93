"""Placement on the wire. Sizes are binary bytes; churn is per day."""

import uuid
from typing import Annotated

from fastapi import Query
from pydantic import Field

from app.core.wire import EXAMPLE_ID, WireOut, with_example
from app.sizing.schemas import LoadView
from app.vocabulary import Health, ServerKind, ServerTier

_GB = 2**30

NewChurn = Annotated[
    int,
    Query(alias="churnInBytesPerDay", ge=0, le=2**60, description="What the new machine changes in a day."),
]


class BlockerView(WireOut):
    """Why a process server gets no machine: a stable code, and a sentence with the values."""

    code: str
    detail: str


class FitView(WireOut):
    """A process server that the machine can go to."""

    id: uuid.UUID
    name: str
    kind: ServerKind
    health: Health
    agent_version: str
    tier: ServerTier = Field(description="The row of the sizing table that it is held to.")
    used: LoadView = Field(description="What it carries now.")
    limit: LoadView
    spare_after: LoadView = Field(description="What is left with the machine there.")
    spare_percentage_after: float = Field(
        description="The smaller of what is left of machines and of churn, each as a part of the limit, 0 to 100."
    )
    reasons: list[str]


class UnfitView(WireOut):
    """A process server that the machine can't go to, with every reason."""

    id: uuid.UUID
    name: str
    kind: ServerKind
    blockers: list[BlockerView]


class PlacementView(WireOut):
    """Where a new source machine can go, best first, and where it can't, by name."""

    model_config = with_example(
        {
            "vault": "contoso-dr",
            "configurationServer": "cs-ams-01",
            "churnInBytesPerDay": 10 * _GB,
            "recommended": "ps-ams-01",
            "processServers": [
                {
                    "id": EXAMPLE_ID,
                    "name": "ps-ams-01",
                    "kind": "scaleOut",
                    "health": "Healthy",
                    "agentVersion": "9.62.7096.1",
                    "tier": "medium",
                    "used": {"sourceMachines": 60, "churnInBytesPerDay": 300 * _GB},
                    "limit": {"sourceMachines": 150, "churnInBytesPerDay": 1024 * _GB},
                    "spareAfter": {"sourceMachines": 89, "churnInBytesPerDay": 714 * _GB},
                    "sparePercentageAfter": 59.33,
                    "reasons": [
                        "Healthy, connected and not in maintenance",
                        "version 9.62.7096.1 is the same as its configuration server's 9.62.7096.1",
                        "with this machine 89 machines with 714 GB a day are left: 59.3 % of machines",
                    ],
                }
            ],
            "unfitProcessServers": [
                {
                    "id": EXAMPLE_ID,
                    "name": "ps-ams-02",
                    "kind": "scaleOut",
                    "blockers": [{"code": "disconnected", "detail": "process server ps-ams-02 is disconnected"}],
                }
            ],
            "reasons": [
                "ps-ams-01 is the best of 1 for a machine that changes 10 GB a day: Healthy, and 59.3 % are left"
            ],
        }
    )

    vault: str
    configuration_server: str
    churn_in_bytes_per_day: int
    recommended: str | None = Field(description="Name of the best one; null where none fits.")
    process_servers: list[FitView]
    unfit_process_servers: list[UnfitView]
    reasons: list[str]
