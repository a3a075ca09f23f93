"""Ranges and steps of telemetry history: pure, no database, no clock."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.connection.rules import bucket_of
from app.telemetry.rules import MAX_RANGE, Misfit, Window, default_step_seconds, mean, window_of

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_without_a_word_it_is_the_last_day_in_buckets() -> None:
    assert window_of(None, None, None, NOW) == Window(NOW - timedelta(hours=24), NOW, 300)


def test_what_is_asked_for_is_taken() -> None:
    assert window_of(NOW - HOUR, NOW + HOUR, 900, NOW) == Window(NOW - HOUR, NOW + HOUR, 900)
    assert window_of(NOW - HOUR, None, None, NOW) == Window(NOW - HOUR, NOW, 300)
    assert window_of(None, NOW - HOUR, None, NOW) == Window(NOW - 25 * HOUR, NOW - HOUR, 300)


@pytest.mark.parametrize(
    ("length", "step_seconds"),
    [
        (timedelta(microseconds=1), 300),
        (25 * HOUR, 300),
        (25 * HOUR + timedelta(microseconds=1), 600),
        (50 * HOUR, 600),
        (75 * HOUR, 900),
        (76 * HOUR, 1_800),
        (150 * HOUR, 1_800),
        (151 * HOUR, 3_600),
        (MAX_RANGE, 3_600),
    ],
)
def test_a_step_that_nobody_chose_gives_at_most_300_points(length: timedelta, step_seconds: int) -> None:
    assert default_step_seconds(length) == step_seconds
    assert length <= timedelta(seconds=300 * step_seconds)


@pytest.mark.parametrize(
    ("start", "end", "parameter", "said"),
    [
        (NOW, NOW, "from", "is not before"),
        (NOW + HOUR, None, "from", "is not before"),
        (NOW, NOW - HOUR, "from", "is not before"),
        (NOW - MAX_RANGE - timedelta(microseconds=1), NOW, "from", "at most 7 days"),
        (NOW - timedelta(days=30), None, "from", "30.0 days before"),
        (None, datetime(1970, 1, 1, tzinfo=UTC), "to", "before 1970"),
        (None, datetime(1, 1, 1, tzinfo=UTC), "to", "before 1970"),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC), "to", "before 1970"),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), "from", "at most 7 days"),
    ],
)
def test_ranges_that_can_not_be_asked_for(
    start: datetime | None, end: datetime | None, parameter: str, said: str
) -> None:
    found = window_of(start, end, None, NOW)
    assert isinstance(found, Misfit)
    assert found.parameter == parameter
    assert said in found.detail


def test_a_week_is_the_longest_range_and_reads_a_bounded_number_of_buckets() -> None:
    window = window_of(NOW - MAX_RANGE, NOW, None, NOW)
    assert isinstance(window, Window)
    assert window.last_bucket - window.first_bucket + 1 == 2_016
    unaligned = Window(NOW - MAX_RANGE + timedelta(seconds=1), NOW + timedelta(seconds=1), 300)
    assert unaligned.last_bucket - unaligned.first_bucket + 1 == 2_017


@given(
    start=st.timedeltas(timedelta(0), timedelta(days=40_000)).map(
        lambda since: datetime(1990, 1, 1, tzinfo=UTC) + since
    ),
    length=st.timedeltas(timedelta(microseconds=1), MAX_RANGE),
    share=st.floats(0, 1),
)
def test_every_moment_of_the_range_is_in_its_buckets_and_only_touched_buckets_are(
    start: datetime, length: timedelta, share: float
) -> None:
    window = Window(start, start + length, 300)
    within = min(start + length * share, window.end - timedelta(microseconds=1))
    assert window.first_bucket <= bucket_of(within) <= window.last_bucket
    assert window.first_bucket == bucket_of(start)
    assert window.last_bucket == bucket_of(window.end - timedelta(microseconds=1))


@given(step_seconds=st.integers(1, 288).map(lambda buckets: buckets * 300), number=st.integers(0, 10**6))
def test_steps_begin_at_multiples_of_their_length(step_seconds: int, number: int) -> None:
    window = Window(NOW, NOW + HOUR, step_seconds)
    start = window.start_of(number)
    assert start.timestamp() == number * step_seconds
    assert bucket_of(start) // window.buckets_per_step == number


@given(st.lists(st.floats(0, 1e18), min_size=1, max_size=50))
def test_the_mean_lies_between_the_least_and_the_greatest(values: list[float]) -> None:
    found = mean(len(values), sum(values), min(values), max(values))
    assert min(values) <= found <= max(values)


def test_a_rounded_sum_does_not_lift_the_mean_above_the_greatest() -> None:
    assert (0.1 + 0.1 + 0.1) / 3 > 0.1
    assert mean(3, 0.1 + 0.1 + 0.1, 0.1, 0.1) == 0.1
