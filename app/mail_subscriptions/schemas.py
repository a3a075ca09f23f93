"""Mail subscriptions on the wire."""

import uuid
from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, Field

from app.core.setting_types import is_mail_address
from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, Moment, Storable, Text, WireIn, WireOut, with_example
from app.notifications.schemas import EventTypes
from app.vocabulary import Severity

MAX_RECIPIENTS = 50

MailSubscriptionId = Annotated[uuid.UUID, Path(description="Id of the mail subscription.", examples=[EXAMPLE_ID])]


def _address(value: str) -> str:
    if not is_mail_address(value):
        raise ValueError(f"'{value[:80]}' is not a plain mail address; write ops@example.com")
    return value


def _without_repeats(values: list[str]) -> list[str]:
    return list({value.lower(): value for value in reversed(values)}.values())[::-1]


Recipients = Annotated[
    list[Annotated[str, Storable, AfterValidator(_address)]],
    Field(min_length=1, max_length=MAX_RECIPIENTS, description="Mail addresses; each gets a mail of its own."),
    AfterValidator(_without_repeats),
]

_EXAMPLE = {
    "id": EXAMPLE_ID,
    "vault": "contoso-dr",
    "recipients": ["ops@example.com"],
    "description": "operations",
    "eventTypes": [],
    "minimumSeverity": "Warning",
    "enabled": True,
    "disabledAt": None,
    "disabledReason": None,
    "failingSince": None,
    "lastSequence": 812,
    "createdAt": EXAMPLE_TIME,
    "createdBy": "token:alice",
    "updatedAt": EXAMPLE_TIME,
}


class MailSubscriptionCreate(WireIn):
    """A new mail subscription. Without other filters it is told of warnings and what is critical."""

    model_config = with_example({"recipients": ["ops@example.com"], "minimumSeverity": "Warning"})

    recipients: Recipients
    description: Text = ""
    event_types: EventTypes = []
    minimum_severity: Severity = Severity.WARNING


class MailSubscriptionUpdate(WireIn):
    """What can be changed of a mail subscription; fields left out stay."""

    model_config = with_example({"recipients": ["ops@example.com", "night@example.com"]})

    recipients: Recipients | None = None
    description: Text | None = None
    event_types: EventTypes | None = None
    minimum_severity: Severity | None = None
    enabled: bool | None = Field(default=None, strict=True)


class MailSubscriptionView(WireOut):
    """A mail subscription."""

    model_config = with_example(_EXAMPLE)

    id: uuid.UUID
    vault: str
    recipients: list[str]
    description: str
    event_types: list[str]
    minimum_severity: Severity
    enabled: bool
    disabled_at: Moment | None
    disabled_reason: str | None
    failing_since: Moment | None = Field(
        description="The first failed attempt since the last that succeeded; null while all is well."
    )
    last_sequence: int = Field(description="Events up to this number have been told or passed over.")
    created_at: Moment
    created_by: str
    updated_at: Moment
    revision: int = Field(exclude=True)
