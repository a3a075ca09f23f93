"""The rules of waiting hold for every input."""

import email.utils
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent import schedule

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

chances = st.floats(0, 1, exclude_max=True)
timeouts = st.floats(1, 1e6)
failures = st.integers(1, 10**9)


@given(failures, chances, timeouts)
def test_backoff_stays_within_its_limit(count: int, chance: float, timeout: float) -> None:
    limit = schedule.backoff_limit_seconds(timeout)
    assert limit == min(60, timeout / 5)
    delay = schedule.retry_delay_seconds(count, chance, limit_seconds=limit)
    assert 0 <= delay <= limit
    assert delay == chance * min(limit, 2.0 ** min(count - 1, 62))


@pytest.mark.parametrize(("count", "ceiling"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (5000, 60)])
def test_the_ceiling_doubles_from_one_second_to_the_limit(count: int, ceiling: float) -> None:
    assert schedule.backoff_ceiling_seconds(count, 60) == ceiling


def test_jitter_is_full() -> None:
    delays = [schedule.retry_delay_seconds(9, chance / 10, limit_seconds=60) for chance in range(10)]
    assert delays == pytest.approx([6.0 * chance for chance in range(10)])


@given(failures, chances, timeouts, st.floats(allow_nan=False))
def test_retry_after_is_kept_but_bounded(count: int, chance: float, timeout: float, asked: float) -> None:
    longest = schedule.retry_after_limit_seconds(timeout)
    assert longest <= 300
    assert longest <= timeout / 3 + 1e-6
    limit = schedule.backoff_limit_seconds(timeout)
    delay = schedule.retry_delay_seconds(
        count, chance, limit_seconds=limit, retry_after_seconds=asked, retry_after_limit_seconds=longest
    )
    assert delay >= min(max(asked, 0), longest)
    # Even then several tries fit in before the server would be taken for dead.
    assert delay <= longest + max(limit, longest / 4) < timeout * 0.6


def test_a_fleet_told_the_same_retry_after_is_spread() -> None:
    first, last = (
        schedule.retry_delay_seconds(1, chance, limit_seconds=60, retry_after_seconds=120) for chance in (0, 0.999)
    )
    assert first == 120
    assert last - first > 29


@given(st.integers(0, 10**9 - 1))
def test_retry_after_in_seconds(seconds: int) -> None:
    assert schedule.parse_retry_after(f" {seconds} ", NOW) == seconds


@given(st.integers(-(10**6), 10**6))
def test_retry_after_as_a_date(seconds: int) -> None:
    text = email.utils.format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert schedule.parse_retry_after(text, NOW) == max(seconds, 0)


@pytest.mark.parametrize("text", [None, "", "soon", "-1", "1.5", "nan", "inf", "²", "9" * 5000, "Tue, 99 Foo"])
def test_a_retry_after_that_can_not_be_read_is_none(text: str | None) -> None:
    assert schedule.parse_retry_after(text, NOW) is None


@given(st.text())
def test_no_retry_after_breaks_the_agent(text: str) -> None:
    seconds = schedule.parse_retry_after(text, NOW)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


anything = st.one_of(
    st.none(), st.booleans(), st.text(), st.integers(), st.floats(), st.lists(st.integers()), st.just(10**400)
)


@given(anything, anything, timeouts)
def test_no_answer_makes_a_tight_loop_or_a_silent_server(asked: object, fallback: object, timeout: float) -> None:
    seconds = schedule.interval_seconds(asked, fallback, timeout)  # type: ignore[arg-type]
    assert 0.1 <= seconds <= max(timeout / 3, 0.1)


def test_the_interval_is_what_the_control_plane_asks_for() -> None:
    assert schedule.interval_seconds(47, 30, 900) == 47
    assert schedule.interval_seconds(0.5, 30, 900) == 0.5
    assert schedule.interval_seconds(None, 31, 900) == 31
    assert schedule.interval_seconds(True, 31, 900) == 31
    assert schedule.interval_seconds(0, 31, 900) == 31
