"""Mails as text: a clear subject, then what happened, then the facts. Pure but for the mail's own format.

Names and messages come from agents and other people. In the subject they are one line without control characters,
and the library refuses header values that would not be one; everything else of theirs is in the body.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from app.models import NotificationDelivery
from app.notifications.messages import TYPE_PREFIX
from app.notifications.senders import excerpt
from app.vocabulary import DeliveryKind

MAX_SUBJECT_LENGTH = 150
_INDENT = "    "


def compose(delivery: NotificationDelivery, sender: str, now: datetime) -> EmailMessage:
    """The mail for a delivery to its recipient. Its Message-ID is that of the delivery, the same at each attempt."""
    event = json.loads(delivery.body or "{}")
    data = event["data"]
    vault = str(event["source"]).rpartition("/")[2]
    mail = EmailMessage(policy=SMTP)
    mail["From"] = Address("Muster", addr_spec=sender)
    mail["To"] = Address(addr_spec=delivery.recipient)
    mail["Subject"] = _subject(DeliveryKind(delivery.kind), delivery.severity, vault, event)
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{delivery.id}@{sender.rpartition('@')[2]}>"
    # So that out-of-office replies and other machines stay silent (RFC 3834).
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Muster-Message"] = delivery.message_id
    lines = _digest(event, data) if delivery.kind == DeliveryKind.DIGEST.value else _event(event, data)
    mail.set_content("\n".join([*lines, "", f"Message {delivery.message_id}"]) + "\n", cte="quoted-printable")
    return mail


def _subject(kind: DeliveryKind, severity: str, vault: str, event: Mapping[str, Any]) -> str:
    about = str(event["subject"]).partition("/")[2]
    what = str(event["type"]).removeprefix(TYPE_PREFIX)
    if kind is DeliveryKind.TEST:
        told = "Test"
    elif kind is DeliveryKind.DIGEST:
        told = f"{severity}: {event['data']['count']} events on the site of {about}"
    else:
        told = f"{severity}: {what} {about}"
    return excerpt(f"[Muster {vault}] {told}", MAX_SUBJECT_LENGTH)


def _event(event: Mapping[str, Any], data: Mapping[str, Any]) -> Iterable[str]:
    resource = data.get("resource") or {}
    facts = {
        "Severity": data.get("severity"),
        "Time": data.get("time") or event["time"],
        "Type": str(event["type"]).removeprefix(TYPE_PREFIX),
        "Resource": f"{resource['kind']} {resource['name']} ({resource['id']})" if resource else None,
        "Actor": data.get("actor"),
        "Number": data.get("sequence"),
        "Vault": event["source"],
    }
    yield from _told(data, facts)
    if data.get("data"):
        yield ""
        yield "Details"
        yield from (f"{_INDENT}{_shown(key)}: {_shown(value)}" for key, value in data["data"].items())


def _digest(event: Mapping[str, Any], data: Mapping[str, Any]) -> Iterable[str]:
    facts = {
        "Severity": data["severity"],
        "From": data["firstTime"],
        "To": data["lastTime"],
        "Numbers": f"{data['firstSequence']} to {data['lastSequence']}",
        "Vault": event["source"],
        "Events": data["events"],
    }
    yield from _told(data, facts)
    yield ""
    yield "By type"
    yield from (f"{_INDENT}{count} {kind}" for kind, count in data["countByType"].items())
    yield ""
    yield f"Names ({data['nameCount']})"
    yield from (f"{_INDENT}{_shown(name)}" for name in data["names"])
    if data["nameCount"] > len(data["names"]):
        yield f"{_INDENT}and {data['nameCount'] - len(data['names'])} more"


def _told(data: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterable[str]:
    yield _shown(data["message"])
    yield ""
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        if value is not None:
            yield f"{name + ':':<{width}}{_shown(value)}"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return excerpt(text, 2_500)
