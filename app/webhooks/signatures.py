"""Secrets of webhooks and what is signed with them, as Standard Webhooks wants it."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from standardwebhooks.webhooks import Webhook

from app.core.wire import rfc3339

SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32
"""Standard Webhooks takes 24 to 64."""

MAX_PREVIOUS_SECRETS = 3
"""Rotations in a row keep so many old secrets signing; a further one drops the oldest."""


def new_secret() -> str:
    """A secret to hand out once."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def headers(keys: Sequence[str], message_id: str, body: str, now: datetime) -> dict[str, str]:
    """The three headers of a signed message; one signature for each secret, the newest first."""
    signatures = [Webhook(key).sign(message_id, now, body) for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def with_previous(
    previous: Sequence[dict[str, Any]], sealed: str, until: datetime, now: datetime
) -> list[dict[str, Any]]:
    """The old secrets after a rotation: `sealed`, good until then, and those whose time is not over, newest first."""
    kept = [{"secret": sealed, "until": rfc3339(until)}] if until > now else []
    return [*kept, *still_good(previous, now)][:MAX_PREVIOUS_SECRETS]


def still_good(previous: Sequence[dict[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """The old secrets that still sign."""
    return [entry for entry in previous if datetime.fromisoformat(entry["until"]) > now]


def previous_valid_until(previous: Sequence[dict[str, Any]], now: datetime) -> datetime | None:
    """Until when the last of the old secrets signs; None when none does."""
    return max((datetime.fromisoformat(entry["until"]) for entry in still_good(previous, now)), default=None)
