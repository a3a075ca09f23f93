"""`silent_since` against a model that counts observed time second by second."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.connection.rules import BUCKET_SECONDS, Gap, bucket_of, gap_between, silent_since

START = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = 600
seconds = st.integers(0, SPAN)
gaps = st.lists(st.tuples(seconds, st.integers(0, 120)), max_size=8)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def gaps_of(spans: list[tuple[int, int]]) -> list[Gap]:
    return [Gap(at(start), at(start + length)) for start, length in spans]


def observed_seconds(heard: int, now: int, spans: list[tuple[int, int]]) -> int:
    """Whole seconds between `heard` and `now` that lie in no gap."""
    observed = set(range(heard, now))
    for start, length in spans:
        observed.difference_update(range(start, start + length))
    return len(observed)


@given(heard=seconds, later=seconds, timeout=st.integers(1, 300), spans=gaps)
def test_whoever_is_silent_for_the_timeout_of_observed_time_is_found_and_nobody_else(
    heard: int, later: int, timeout: int, spans: list[tuple[int, int]]
) -> None:
    now = heard + later
    since = silent_since(at(now), timedelta(seconds=timeout), gaps_of(spans))
    assert (at(heard) <= since) == (observed_seconds(heard, now, spans) >= timeout)


@given(now=seconds, timeout=st.integers(1, 300), spans=gaps)
def test_the_order_of_gaps_and_repeated_gaps_change_nothing(
    now: int, timeout: int, spans: list[tuple[int, int]]
) -> None:
    limit = timedelta(seconds=timeout)
    expected = silent_since(at(now), limit, gaps_of(spans))
    assert silent_since(at(now), limit, gaps_of(spans[::-1])) == expected
    assert silent_since(at(now), limit, gaps_of(spans + spans)) == expected


@given(now=seconds, timeout=st.integers(1, 300), spans=gaps)
def test_gaps_that_ended_before_the_moment_may_be_forgotten(
    now: int, timeout: int, spans: list[tuple[int, int]]
) -> None:
    """What the monitor deletes after each look is of no use later either."""
    limit = timedelta(seconds=timeout)
    known = [gap for gap in gaps_of(spans) if gap.ended_at <= at(now)]
    since = silent_since(at(now), limit, known)
    kept = [gap for gap in known if gap.ended_at >= since]
    for later in (0, 1, 7, 60, 400):
        assert silent_since(at(now + later), limit, kept) == silent_since(at(now + later), limit, known)


@given(
    ticks=st.lists(st.sampled_from([5, 5, 5, 5, 6, 10, 11, 60, 1200]), min_size=1, max_size=60),
    beats=st.sets(st.integers(0, 60), max_size=20),
    timeout=st.sampled_from([30, 60, 900]),
)
def test_a_monitor_that_looks_now_and_then_follows_the_model_of_observed_time(
    ticks: list[int], beats: set[int], timeout: int
) -> None:
    """Random looks and heartbeats: at each look, silent means a full timeout of time between close looks."""
    limit = timedelta(seconds=timeout)
    now, watermark = 0, 0
    known: list[Gap] = []
    spans: list[tuple[int, int]] = []
    heard = 0
    for number, step in enumerate(ticks):
        now += step
        gap = gap_between(at(watermark), at(now), 5)
        assert (gap is not None) == (step > 10)
        if gap is not None:
            known.append(gap)
            spans.append((watermark, step))
        watermark = now
        since = silent_since(at(now), limit, known)
        known = [gap for gap in known if gap.ended_at >= since]
        assert (at(heard) <= since) == (observed_seconds(heard, now, spans) >= timeout)
        if number in beats:
            heard = now


def test_without_gaps_it_is_the_timeout_exactly() -> None:
    assert silent_since(at(900), timedelta(seconds=900), []) == START
    assert silent_since(at(899.999), timedelta(seconds=900), []) < START


def test_two_missed_ticks_are_no_gap_and_a_third_is() -> None:
    assert gap_between(at(0), at(10), 5) is None
    assert gap_between(at(0), at(10.001), 5) == Gap(at(0), at(10.001))


def test_time_that_ran_backwards_is_no_gap() -> None:
    assert gap_between(at(100), at(40), 5) is None


@given(left=st.integers(0, 10**6), right=st.integers(0, 10**6))
def test_buckets_rise_with_time(left: int, right: int) -> None:
    """The index on buckets never hides an overdue host: an earlier moment is in no later bucket."""
    if left <= right:
        assert bucket_of(at(left)) <= bucket_of(at(right))
    assert bucket_of(at(left + BUCKET_SECONDS)) == bucket_of(at(left)) + 1
