"""The calendar of expiry notices: 60 days before, weekly, daily in the last 7 days, fortnightly after."""

import itertools
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.expiry.rules import (
    HORIZON,
    calendar,
    due_notice,
    end_of_support,
    in_words,
    is_pressing,
    last_due,
)

EXPIRY = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)
DOCUMENTED = [-60, -53, -46, -39, -32, -25, -18, -11, -7, -6, -5, -4, -3, -2, -1, 0, 14, 28, 42]

moments = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def test_the_dates_are_the_documented_ones() -> None:
    dates = list(itertools.islice(calendar(EXPIRY), len(DOCUMENTED)))
    assert [(due - EXPIRY) / DAY for due in dates] == DOCUMENTED


def test_the_rule_is_azures() -> None:
    """First 60 days before; weekly for the next 53 days; daily in the last 7; fortnightly once expired."""
    first, *weekly = DOCUMENTED[:8]
    assert first == -60
    assert [later - earlier for earlier, later in itertools.pairwise([first, *weekly])] == [7] * 7
    assert weekly[-1] < -60 + 53
    assert DOCUMENTED[8:15] == list(range(-7, 0))
    assert [later - earlier for earlier, later in itertools.pairwise(DOCUMENTED[15:])] == [14] * 3


@pytest.mark.parametrize("days", DOCUMENTED)
def test_a_notice_is_due_at_its_moment_and_not_before(days: int) -> None:
    due = EXPIRY + days * DAY
    before = last_due(EXPIRY, due - INSTANT)
    assert before is None if days == -60 else before is not None and before < due
    assert due_notice(EXPIRY, before, due - INSTANT) is None
    assert due_notice(EXPIRY, before, due) == due
    assert due_notice(EXPIRY, due, due) is None


@given(moments, st.lists(st.integers(1, 40 * 86_400), max_size=60))
def test_each_date_is_told_once_however_often_one_looks(expires_at: datetime, pauses: list[int]) -> None:
    now = expires_at - HORIZON - 2 * DAY
    noticed: datetime | None = None
    told: list[datetime] = []
    for pause in pauses:
        now += timedelta(seconds=pause)
        due = due_notice(expires_at, noticed, now)
        if due is not None:
            assert due <= now
            told.append(due)
            noticed = due
        assert due_notice(expires_at, noticed, now) is None, "a second look, or another replica's"
    assert told == sorted(set(told))
    dates = set(itertools.takewhile(lambda due: due <= now, calendar(expires_at)))
    assert set(told) <= dates
    if dates:
        assert told[-1] == max(dates), "the last date is never missed, only made up for"


@given(moments)
def test_who_looks_every_hour_tells_every_date(expires_at: datetime) -> None:
    now = expires_at - HORIZON - DAY
    noticed: datetime | None = None
    told = []
    while now < expires_at + 45 * DAY:
        due = due_notice(expires_at, noticed, now)
        if due is not None:
            noticed = due
            told.append(due)
        now += timedelta(hours=1)
    assert told == list(itertools.takewhile(lambda due: due <= now - timedelta(hours=1), calendar(expires_at)))


@given(moments, st.integers(0, 4000), st.integers(0, 4000))
def test_an_outage_is_made_up_for_by_one_notice(expires_at: datetime, hours: int, outage: int) -> None:
    before = expires_at - HORIZON + timedelta(hours=hours)
    after = before + timedelta(hours=outage)
    noticed = due_notice(expires_at, None, before)
    made_up = due_notice(expires_at, noticed, after)
    assert made_up is None or (noticed is not None and noticed < made_up <= after)
    assert due_notice(expires_at, made_up or noticed, after) is None


@given(moments, moments)
def test_nothing_is_due_more_than_60_days_ahead_and_something_always_is_later(
    expires_at: datetime, now: datetime
) -> None:
    assert (last_due(expires_at, now) is None) == (now < expires_at - HORIZON)


def test_the_last_week_and_what_is_over_is_pressing() -> None:
    assert not is_pressing(EXPIRY, EXPIRY - 7 * DAY - INSTANT)
    assert is_pressing(EXPIRY, EXPIRY - 7 * DAY)
    assert is_pressing(EXPIRY, EXPIRY + DAY)


def test_support_lasts_to_the_end_of_its_last_day() -> None:
    assert end_of_support(date(2026, 11, 30)) == datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(days=60), "in 60 days"),
        (timedelta(days=1, hours=23), "in 1 day"),
        (timedelta(hours=23), "in less than a day"),
        (timedelta(0), "less than a day ago"),
        (-timedelta(hours=23), "less than a day ago"),
        (-timedelta(days=1), "1 day ago"),
        (-timedelta(days=14, hours=5), "14 days ago"),
    ],
)
def test_how_far_away_in_words(left: timedelta, words: str) -> None:
    assert in_words(EXPIRY, EXPIRY - left) == words
