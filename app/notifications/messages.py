"""What receivers get: CloudEvents 1.0 in structured JSON. Mails are written from the same."""

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from cloudevents.core.bindings.http import to_structured_event
from cloudevents.core.v1.event import CloudEvent

from app.core.wire import new_id, rfc3339
from app.events.schemas import view_of
from app.models import Event
from app.vocabulary import DeliveryKind, ResourceKind, Severity

TYPE_PREFIX = "dev.muster."
"""CloudEvents types are prefixed with a reverse DNS name; behind it stands the event's own type."""

CONTENT_TYPE = "application/cloudevents+json"
DIGEST_TYPE = "configuration-server.digest"
TEST_SUFFIX = ".test"
MAX_NAMES = 100
"""Of servers in a digest; `nameCount` says how many there are."""

_SEVERITIES = list(Severity)


class Message(NamedTuple):
    """A message before it has receivers. `id` never changes, so that receivers can drop repeats."""

    id: str
    kind: DeliveryKind
    event_type: str
    severity: Severity
    first_sequence: int | None
    last_sequence: int | None
    body: str


class Origin(NamedTuple):
    """The vault that messages speak of, and the URL that Muster is reached under ('' where none is set)."""

    vault_id: uuid.UUID
    vault: str
    public_url: str

    @property
    def source(self) -> str:
        """CloudEvents' `source`: the vault's address in the API."""
        return f"{self.public_url}/api/v1/vaults/{self.vault}"


class Site(NamedTuple):
    """The configuration server whose site a digest speaks of."""

    id: uuid.UUID
    name: str


def of_event(origin: Origin, event: Event) -> Message:
    """One event as one message; its data is the event as the API shows it."""
    return _message(
        origin,
        DeliveryKind.EVENT,
        event.type,
        Severity(event.severity),
        message_id=f"{origin.vault_id}/{event.sequence}",
        subject=f"{event.resource_kind}/{event.resource_name}",
        time=event.time,
        span=(event.sequence, event.sequence),
        data=view_of(event).model_dump(mode="json", by_alias=True),
    )


def of_storm(origin: Origin, site: Site, events: Sequence[Event]) -> Message:
    """Many events of one site, in the order of the record, as one message."""
    first, last = events[0], events[-1]
    counts = Counter(event.type for event in events)
    names = list(dict.fromkeys(event.resource_name for event in events))
    severity = max((Severity(event.severity) for event in events), key=_SEVERITIES.index)
    told = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    query = [("type", kind) for kind in counts] + [("since", rfc3339(min(event.time for event in events)))]
    data = {
        "message": f"{len(events)} events on the site of configuration server {site.name}: {told}",
        "severity": severity.value,
        "configurationServer": {"id": str(site.id), "name": site.name},
        "count": len(events),
        "countByType": dict(counts),
        "firstSequence": first.sequence,
        "lastSequence": last.sequence,
        "firstTime": rfc3339(first.time),
        "lastTime": rfc3339(last.time),
        "names": names[:MAX_NAMES],
        "nameCount": len(names),
        "events": f"{origin.source}/events?{urlencode(query)}",
    }
    return _message(
        origin,
        DeliveryKind.DIGEST,
        DIGEST_TYPE,
        severity,
        message_id=f"{origin.vault_id}/{first.sequence}-{last.sequence}",
        subject=f"{ResourceKind.CONFIGURATION_SERVER.value}/{site.name}",
        time=last.time,
        span=(first.sequence, last.sequence),
        data=data,
    )


def of_test(origin: Origin, kind: ResourceKind, channel_id: uuid.UUID, actor: str, now: datetime) -> Message:
    """What an operator sends to see whether it arrives."""
    data = {
        "message": f"a test, asked for by {actor}; nothing has happened",
        "severity": Severity.INFORMATION.value,
        "actor": actor,
    }
    return _message(
        origin,
        DeliveryKind.TEST,
        f"{kind.value}{TEST_SUFFIX}",
        Severity.INFORMATION,
        message_id=f"{origin.vault_id}/test-{new_id()}",
        subject=f"{kind.value}/{channel_id}",
        time=now,
        span=(None, None),
        data=data,
    )


def _message(
    origin: Origin,
    kind: DeliveryKind,
    event_type: str,
    severity: Severity,
    *,
    message_id: str,
    subject: str,
    time: datetime,
    span: tuple[int | None, int | None],
    data: dict[str, Any],
) -> Message:
    event = CloudEvent(
        {
            "id": message_id,
            "source": origin.source,
            "type": f"{TYPE_PREFIX}{event_type}",
            "subject": subject,
            "time": time,
            "datacontenttype": "application/json",
        },
        data,
    )
    body = to_structured_event(event).body.decode()
    return Message(message_id, kind, event_type, severity, *span, body)
