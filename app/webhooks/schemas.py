"""Webhooks on the wire."""

import uuid
from typing import Annotated

from fastapi import Path
from pydantic import Field, StringConstraints

from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, Moment, Storable, Text, WireIn, WireOut, with_example
from app.models.notifications import MAX_URL_LENGTH
from app.notifications.schemas import EventTypes
from app.vocabulary import Severity

DEFAULT_GRACE_SECONDS = 86_400
MAX_GRACE_SECONDS = 7 * 86_400

WebhookId = Annotated[uuid.UUID, Path(description="Id of the webhook.", examples=[EXAMPLE_ID])]
Url = Annotated[
    str,
    Storable,
    StringConstraints(min_length=1, max_length=MAX_URL_LENGTH),
    Field(description="Where messages are sent by POST: https, a public host, no user name in it."),
]

_EXAMPLE = {
    "id": EXAMPLE_ID,
    "vault": "contoso-dr",
    "url": "https://hooks.example.com/muster",
    "description": "on-call",
    "eventTypes": ["process-server.", "configuration-server.disconnected"],
    "minimumSeverity": "Warning",
    "enabled": True,
    "disabledAt": None,
    "disabledReason": None,
    "failingSince": None,
    "previousSecretValidUntil": None,
    "lastSequence": 812,
    "createdAt": EXAMPLE_TIME,
    "createdBy": "token:alice",
    "updatedAt": EXAMPLE_TIME,
}
_SECRET_EXAMPLE = "whsec_<44 characters>"


class WebhookCreate(WireIn):
    """A new webhook. Without filters it is told of every event."""

    model_config = with_example(
        {
            "url": "https://hooks.example.com/muster",
            "description": "on-call",
            "eventTypes": ["process-server.", "configuration-server.disconnected"],
            "minimumSeverity": "Warning",
        }
    )

    url: Url
    description: Text = ""
    event_types: EventTypes = []
    minimum_severity: Severity = Severity.INFORMATION


class WebhookUpdate(WireIn):
    """What can be changed of a webhook; fields left out stay."""

    model_config = with_example({"enabled": False})

    url: Url | None = None
    description: Text | None = None
    event_types: EventTypes | None = None
    minimum_severity: Severity | None = None
    enabled: bool | None = Field(default=None, strict=True)


class WebhookView(WireOut):
    """A webhook without its secret."""

    model_config = with_example(_EXAMPLE)

    id: uuid.UUID
    vault: str
    url: str
    description: str
    event_types: list[str]
    minimum_severity: Severity
    enabled: bool
    disabled_at: Moment | None
    disabled_reason: str | None
    failing_since: Moment | None = Field(
        description="The first failed attempt since the last that succeeded; null while all is well."
    )
    previous_secret_valid_until: Moment | None = Field(
        description="Until when messages are signed with a replaced secret beside the present one."
    )
    last_sequence: int = Field(description="Events up to this number have been told or passed over.")
    created_at: Moment
    created_by: str
    updated_at: Moment
    revision: int = Field(exclude=True)


class WebhookIssued(WebhookView):
    """A webhook with a new secret: the one answer that shows it."""

    model_config = with_example({**_EXAMPLE, "secret": _SECRET_EXAMPLE})

    secret: str


class SecretRotation(WireIn):
    """How long the replaced secret goes on signing beside the new one."""

    model_config = with_example({"graceSeconds": DEFAULT_GRACE_SECONDS})

    grace_seconds: int = Field(
        default=DEFAULT_GRACE_SECONDS,
        strict=True,
        ge=0,
        le=MAX_GRACE_SECONDS,
        description="0 when the old secret has leaked.",
    )
