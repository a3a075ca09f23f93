"""Events on the wire."""

import uuid
from typing import Any

from pydantic import Field
from sqlalchemy import Row

from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, Moment, WireOut, with_example
from app.models import Event
from app.vocabulary import ResourceKind, Severity

EXAMPLE_EVENT = {
    "sequence": 812,
    "time": EXAMPLE_TIME,
    "type": "process-server.disconnected",
    "severity": "Critical",
    "resource": {"kind": "process-server", "name": "ps-ams-01", "id": EXAMPLE_ID},
    "actor": "monitor",
    "message": "no heartbeat from process server ps-ams-01 for 900 s",
    "data": {"lastHeartbeat": "2026-11-24T11:45:00.000Z"},
}


class EventResource(WireOut):
    """What the event speaks of."""

    kind: ResourceKind
    name: str
    id: uuid.UUID


class EventView(WireOut):
    """One fact of a vault's record."""

    model_config = with_example(EXAMPLE_EVENT)

    sequence: int = Field(description="Rises by one with each event of the vault.")
    time: Moment
    type: str
    severity: Severity
    resource: EventResource
    actor: str = Field(description="`token:<name>`, `agent:<name>`, or `monitor`.")
    message: str
    data: dict[str, Any]


def view_of(event: Event | Row[Any]) -> EventView:
    """The wire form of an event, or of a row with its columns."""
    return EventView(
        sequence=event.sequence,
        time=event.time,
        type=event.type,
        severity=Severity(event.severity),
        resource=EventResource(kind=ResourceKind(event.resource_kind), name=event.resource_name, id=event.resource_id),
        actor=event.actor,
        message=event.message,
        data=event.data,
    )
