"""What answers of the control plane mean to people: notices, and the end of a server."""

from .state import Json, Purge
from .wire import printable


def read_notice(notice: object) -> tuple[str, str]:
    """Return the code of a notice and its text in one line; both empty if it is no notice."""
    if isinstance(notice, str):
        return printable(notice), printable(notice)
    if not isinstance(notice, dict):
        return "", ""
    texts = [printable(notice.get(key)) for key in ("title", "detail", "message", "reason")]
    code = printable(notice.get("code"))
    text = ": ".join(text for text in texts if text)
    return code or text, f"{text} [{code}]" if text and code else text or code


def read_purge(members: Json, told_at: str) -> Purge:
    """Return what a 410 answer tells about the end of this server."""
    return Purge(
        told_at=told_at,
        purged_at=printable(members.get("purgedAt")) or None,
        purged_by=printable(members.get("purgedBy")) or None,
        reason=printable(members.get("reason")) or None,
    )


def describe_purge(purge: Purge) -> str:
    """Return when, by whom and why the server was purged, and what to do."""
    return (
        f"this server was purged from the control plane at {purge.purged_at or 'an unknown time'} "
        f"by {purge.purged_by or 'an unknown user'}, reason: {purge.reason or 'none given'}. "
        "To bring it back, have it readmitted there and register it again"
    )
