"""What a sender of a channel is: it makes one attempt and says how it went."""

from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from app.core.log import without_secrets
from app.models import NotificationChannel, NotificationDelivery

MAX_ERROR_LENGTH = 500


class Outcome(NamedTuple):
    """How an attempt went."""

    is_delivered: bool
    status: int | None = None
    """HTTP status or SMTP reply code; None where no answer came."""
    error: str | None = None
    """What went wrong, without secrets; None when delivered."""
    retry_after: timedelta | None = None
    is_final: bool = False
    """A failure that no further attempt would change."""
    is_gone: bool = False
    """The receiver says that it is gone for good: the channel is disabled."""


def failed(
    error: str,
    *,
    status: int | None = None,
    retry_after: timedelta | None = None,
    is_final: bool = False,
    is_gone: bool = False,
) -> Outcome:
    """The outcome of a failed attempt; `error` is made printable and short, and nothing like a secret is in it."""
    return Outcome(
        is_delivered=False,
        status=status,
        error=excerpt(without_secrets(error), MAX_ERROR_LENGTH),
        retry_after=retry_after,
        is_final=is_final,
        is_gone=is_gone,
    )


def excerpt(text: str, length: int) -> str:
    """`text` on one line, without control characters, at most `length` characters."""
    shown = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


class Sender(Protocol):
    """Delivers over one kind of channel. `send` raises nothing but when cancelled; whatever fails is an outcome."""

    async def send(self, channel: NotificationChannel, delivery: NotificationDelivery, now: datetime) -> Outcome:
        """Make one attempt within a bounded time."""

    async def close(self) -> None:
        """Let go of connections."""
