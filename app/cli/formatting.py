"""Values as people read them: sizes, ages, states. Pure: the present moment is an argument."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from app.cli.failures import UsageError
from app.vocabulary import BYTES_PER_GB

NOTHING = "-"

_DURATION = re.compile(r"(\d{1,6})\s*(s|m|min|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}

_GOOD, _DOUBTFUL, _BAD = "green", "yellow", "red"
_STYLES = {
    "Connected": _GOOD,
    "Disconnected": _BAD,
    "Unknown": _DOUBTFUL,
    "Holding": _BAD,
    "LettingGo": _DOUBTFUL,
    "Healthy": _GOOD,
    "Warning": _DOUBTFUL,
    "Critical": _BAD,
    "Supported": _GOOD,
    "Deprecated": _DOUBTFUL,
    "UpdateRequired": _BAD,
    "SecurityUpdateRequired": _BAD,
    "NotSupported": _BAD,
    "Running": _GOOD,
    "Stopped": _BAD,
    "NotInstalled": _BAD,
    "StartPending": _DOUBTFUL,
    "StopPending": _DOUBTFUL,
    "Paused": _DOUBTFUL,
    "Succeeded": _GOOD,
    "InProgress": _DOUBTFUL,
    "Failed": _BAD,
    "active": _GOOD,
    "expired": _DOUBTFUL,
    "revoked": _BAD,
    "disabled": _BAD,
    "failing": _DOUBTFUL,
    "Delivered": _GOOD,
    "Pending": _DOUBTFUL,
}


def style_of(state: str) -> str:
    """The colour of a state, a health or a severity; empty for a word without a judgement."""
    return _STYLES.get(state, "")


def plain(value: Any) -> str:
    """A value of the API as one safe piece of text.

    Names and messages come from agents and other people: control characters in them would drive the terminal.
    """
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(plain(entry) for entry in value) or NOTHING
    if isinstance(value, dict):
        return ", ".join(f"{plain(key)} {plain(entry)}" for key, entry in value.items()) or NOTHING
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(value)
    )


def number(value: Any) -> float | None:
    """A JSON number; None for anything else, which is then unknown and not zero."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def size(value: Any) -> str:
    """Bytes in binary units: 1 GB is 2^30 bytes."""
    amount = number(value)
    if amount is None:
        return NOTHING
    scaled, unit = amount, "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if scaled < 1024:
            break
        scaled, unit = scaled / 1024, larger
    return f"{_short(scaled)} {unit}"


def rate(value: Any) -> str:
    """Bytes per second."""
    text = size(value)
    return text if text == NOTHING else f"{text}/s"


def percentage(value: Any) -> str:
    """A percentage, 0 to 100."""
    amount = number(value)
    return NOTHING if amount is None else f"{_short(amount)} %"


def share(part: Any, whole: Any) -> str:
    """`part` of `whole` in percent; unknown where either is, or where there is no whole."""
    of_it, all_of_it = number(part), number(whole)
    if of_it is None or not all_of_it:
        return NOTHING
    return percentage(100 * of_it / all_of_it)


def gigabytes(value: Any) -> str:
    """Bytes in GB whatever their size, for values that are compared with each other."""
    amount = number(value)
    return NOTHING if amount is None else f"{_short(amount / BYTES_PER_GB)} GB"


def moment(value: Any) -> datetime | None:
    """A time of the API; None where there is none that can be read."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def timestamp(value: Any) -> str:
    """A time to the second in UTC."""
    parsed = moment(value)
    return plain(value) if parsed is None else f"{parsed:%Y-%m-%d %H:%M:%S}Z"


def relative(value: Any, now: datetime | None) -> str:
    """How long ago, or in how long; the time itself where the present is not known."""
    parsed = moment(value)
    if parsed is None or now is None:
        return timestamp(value)
    seconds = (now - parsed).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    span = _span(abs(seconds))
    return f"{span} ago" if seconds > 0 else f"in {span}"


def age(value: Any, now: datetime | None) -> str:
    """A time with how long ago it was, for a detailed view."""
    parsed = moment(value)
    if parsed is None or now is None:
        return timestamp(value)
    return f"{timestamp(value)} ({relative(value, now)})"


def time_given(text: str, option: str, now: Callable[[], datetime], *, ahead: bool) -> str:
    """A time as an operator types it, for the API: RFC 3339, local time without an offset, or a duration.

    A duration such as 90m, 2h or 7d counts from the control plane's present, ahead of it or back.
    Raises UsageError, naming `option`, for anything else.
    """
    duration = _DURATION.fullmatch(text.strip().lower())
    if duration:
        span = timedelta(seconds=int(duration[1]) * _SECONDS[duration[2]])
        try:
            return _rfc3339(now() + span if ahead else now() - span)
        except OverflowError:
            raise UsageError(f"{option} {text} is too far away") from None
    try:
        return _rfc3339(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} '{text}' is neither a time nor a duration",
            remedy="write 2026-11-24T18:00:00Z, 2026-11-24 18:00 (local time), or 30m, 2h, 7d",
        ) from None


def seconds_given(text: str, option: str) -> int:
    """A duration as an operator types it, in seconds. Raises UsageError, naming `option`, for anything else."""
    duration = _DURATION.fullmatch(text.strip().lower())
    if duration is None:
        raise UsageError(f"{option} '{text}' is not a duration", remedy="write 5m, 1h, 1d")
    return int(duration[1]) * _SECONDS[duration[2]]


def _rfc3339(when: datetime) -> str:
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _short(amount: float) -> str:
    if amount >= 100 or amount == int(amount):
        return f"{amount:.0f}"
    return f"{amount:.1f}".removesuffix(".0")


def _span(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or (unit != "day" and seconds >= length):
            count = int(seconds // length)
            return f"{count} days" if unit == "day" else f"{count} {unit}"
    return f"{int(seconds)} s"
