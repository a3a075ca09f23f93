"""Filters and deliveries on the wire."""

import uuid
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, Field

from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, Moment, Storable, WireOut, with_example
from app.models import NotificationDelivery
from app.vocabulary import DeliveryKind, DeliveryState, EventType, ResourceKind, Severity

MAX_EVENT_TYPES = 50


def _known_type(value: str) -> str:
    if value in {kind.value for kind in EventType} or value in {f"{kind.value}." for kind in ResourceKind}:
        return value
    raise ValueError(
        f"'{value[:80]}' is no event type; write one of the documented types, or a kind such as 'process-server.' "
        "for all of its types"
    )


def _without_repeats(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


EventTypes = Annotated[
    list[Annotated[str, Storable, AfterValidator(_known_type)]],
    Field(
        max_length=MAX_EVENT_TYPES,
        description="Event types, or kinds such as `process-server.` for all of theirs; empty for every event.",
    ),
    AfterValidator(_without_repeats),
]
DeliveryStates = Annotated[list[DeliveryState], Query(alias="state", description="Only these; repeatable.")]
DeliveryOrder = Annotated[
    str, Query(alias="orderBy", description="`-createdAt` (newest first) or `createdAt` (oldest first).")
]


_EXAMPLE = {
    "id": EXAMPLE_ID,
    "messageId": f"{EXAMPLE_ID}/812",
    "kind": "event",
    "eventType": "process-server.disconnected",
    "severity": "Critical",
    "firstSequence": 812,
    "lastSequence": 812,
    "recipient": None,
    "state": "Pending",
    "attempts": 1,
    "createdAt": EXAMPLE_TIME,
    "deadlineAt": "2026-11-25T12:00:00.000Z",
    "nextAttemptAt": "2026-11-24T12:00:10.000Z",
    "lastAttemptAt": EXAMPLE_TIME,
    "lastStatus": 503,
    "lastError": "HTTP 503: try later",
    "endedAt": None,
}


class DeliveryView(WireOut):
    """An entry of the delivery log."""

    model_config = with_example(_EXAMPLE)

    id: uuid.UUID
    message_id: str = Field(description="`webhook-id` and the CloudEvent's id: the same at each attempt.")
    kind: DeliveryKind
    event_type: str
    severity: Severity
    first_sequence: int | None = Field(description="Number of the first event it carries; null for a test.")
    last_sequence: int | None
    recipient: str | None = Field(description="Mail address; null for webhooks.")
    state: DeliveryState
    attempts: int
    created_at: Moment
    deadline_at: Moment = Field(description="After this it is not tried again.")
    next_attempt_at: Moment | None
    last_attempt_at: Moment | None
    last_status: int | None = Field(description="HTTP status or SMTP reply code; null when there was no answer.")
    last_error: str | None
    ended_at: Moment | None


class TestQueued(WireOut):
    """The test deliveries that wait to be sent."""

    model_config = with_example({"deliveries": [_EXAMPLE]})

    deliveries: list[DeliveryView]


def view_of(delivery: NotificationDelivery) -> DeliveryView:
    """The wire form of a row."""
    return DeliveryView(
        id=delivery.id,
        message_id=delivery.message_id,
        kind=DeliveryKind(delivery.kind),
        event_type=delivery.event_type,
        severity=Severity(delivery.severity),
        first_sequence=delivery.first_sequence,
        last_sequence=delivery.last_sequence,
        recipient=delivery.recipient or None,
        state=DeliveryState(delivery.state),
        attempts=delivery.attempts,
        created_at=delivery.created_at,
        deadline_at=delivery.deadline_at,
        next_attempt_at=delivery.next_attempt_at,
        last_attempt_at=delivery.last_attempt_at,
        last_status=delivery.last_status,
        last_error=delivery.last_error,
        ended_at=delivery.ended_at,
    )
