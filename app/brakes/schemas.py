"""Brakes on the wire."""

import uuid
from typing import Annotated

from fastapi import Path
from pydantic import Field

from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, Moment, WireOut, with_example
from app.vocabulary import BrakeRelease, BrakeState, ResourceKind

BrakeId = Annotated[uuid.UUID, Path(description="Id of the brake.", examples=[EXAMPLE_ID])]


class BrakeScope(WireOut):
    """What fell silent: a vault, or one configuration server's site."""

    kind: ResourceKind
    name: str
    id: uuid.UUID


class BrakeView(WireOut):
    """Servers that fell silent at once, are `Unknown` while the brake holds, and `Disconnected` as it lets go.

    `Holding` lasts until `until` or an acknowledgement, `LettingGo` until no server is left, `Over` for good.
    """

    model_config = with_example(
        {
            "id": EXAMPLE_ID,
            "scope": {"kind": "configuration-server", "name": "cs-ams-01", "id": EXAMPLE_ID},
            "state": "LettingGo",
            "silentCount": 118,
            "connectedCount": 120,
            "heldCount": 118,
            "stillHeldCount": 31,
            "releasedCount": 12,
            "engagedAt": EXAMPLE_TIME,
            "until": "2026-11-24T12:15:00.000Z",
            "letGoAt": "2026-11-24T12:06:30.000Z",
            "reason": "acknowledged",
            "acknowledgedBy": "token:alice",
            "endedAt": None,
        }
    )

    id: uuid.UUID
    scope: BrakeScope
    state: BrakeState
    silent_count: int = Field(description="Servers that were silent when it engaged; some of them not yet overdue.")
    connected_count: int = Field(description="Servers that had been connected then, the silent ones included.")
    held_count: int = Field(description="Servers that became Unknown by it, so far.")
    still_held_count: int = Field(description="Servers that are Unknown by it now.")
    released_count: int = Field(description="Servers that it let go to Disconnected, so far.")
    engaged_at: Moment
    until: Moment = Field(description="When it lets go by itself. An outage of Muster moves it by its own length.")
    let_go_at: Moment | None
    reason: BrakeRelease | None = Field(description="Why it let go.")
    acknowledged_by: str | None
    ended_at: Moment | None
