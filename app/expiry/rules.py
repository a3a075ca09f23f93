"""The calendar of expiry notices. Pure.

Azure's rule: a first notice 60 days before a component expires, then weekly for the next 53 days, daily in the last
7 days, and fortnightly once it has expired.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

DAY = timedelta(days=1)
FIRST_DAYS = 60
WEEKLY_DAYS = 53
DAILY_DAYS = FIRST_DAYS - WEEKLY_DAYS
FORTNIGHT = 14 * DAY

HORIZON = FIRST_DAYS * DAY
"""No notice is due earlier than this before the expiry."""

DAYS_BEFORE = (*range(FIRST_DAYS, DAILY_DAYS, -7), *range(DAILY_DAYS, 0, -1))
"""Days before the expiry with a notice: 60, 53, 46, ... 11, then 7, 6, ... 1. The day of expiry begins the rest."""


def last_due(expires_at: datetime, now: datetime) -> datetime | None:
    """The latest date of the calendar that is not after `now`; None before the first."""
    if now >= expires_at:
        return expires_at + (now - expires_at) // FORTNIGHT * FORTNIGHT
    dates = (expires_at - days * DAY for days in DAYS_BEFORE)
    return max((due for due in dates if due <= now), default=None)


def due_notice(expires_at: datetime, noticed: datetime | None, now: datetime) -> datetime | None:
    """The date of the calendar for which a notice is to be given now; None when there is nothing to say.

    `noticed` is the date that the last notice for this expiry was given for. Dates that were missed are made up for
    by one notice, the latest's.
    """
    due = last_due(expires_at, now)
    return due if due is not None and (noticed is None or noticed < due) else None


def calendar(expires_at: datetime) -> Iterator[datetime]:
    """All dates, from the first; without end."""
    yield from (expires_at - days * DAY for days in DAYS_BEFORE)
    due = expires_at
    while True:
        yield due
        due += FORTNIGHT


def is_pressing(expires_at: datetime, now: datetime) -> bool:
    """Whether the expiry is at most a week away, or over."""
    return now >= expires_at - DAILY_DAYS * DAY


def end_of_support(last_day: date) -> datetime:
    """When support ends whose last day is `last_day`: with the end of that day in UTC."""
    return datetime.combine(last_day, time.min, tzinfo=UTC) + DAY


def in_words(expires_at: datetime, now: datetime) -> str:
    """How far away it is, in whole days: "in 12 days", "today", "3 days ago"."""
    days = (expires_at - now) // DAY if expires_at > now else -((now - expires_at) // DAY)
    if days == 0:
        return "in less than a day" if expires_at > now else "less than a day ago"
    plural = "" if abs(days) == 1 else "s"
    return f"in {days} day{plural}" if days > 0 else f"{-days} day{plural} ago"
