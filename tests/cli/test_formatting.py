"""Values as people read them."""

from datetime import UTC, datetime

import pytest

from app.cli.formatting import percentage, plain, rate, relative, share, size, timestamp

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KB"),
        (1536, "1.5 KB"),
        (2**30, "1 GB"),
        (600 * 2**30, "600 GB"),
        (1024 * 2**30, "1 TB"),
        (2 * 2**50, "2048 TB"),
        (None, "-"),
        ("12", "-"),
        (True, "-"),
        (float("nan"), "-"),
    ],
)
def test_sizes_are_binary(amount: object, text: str) -> None:
    assert size(amount) == text


def test_unknown_is_never_zero() -> None:
    assert (rate(None), percentage(None), share(None, 10), share(5, None), share(5, 0)) == ("-",) * 5
    assert (rate(0), percentage(0), share(0, 10)) == ("0 B/s", "0 %", "0 %")
    assert (percentage(37.46), percentage(100.0)) == ("37.5 %", "100 %")


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("2026-11-24T12:00:00Z", "just now"),
        ("2026-11-24T11:59:48Z", "12 s ago"),
        ("2026-11-24T11:59:00Z", "1 min ago"),
        ("2026-11-24T11:00:01Z", "59 min ago"),
        ("2026-11-24T11:00:00Z", "1 h ago"),
        ("2026-11-22T12:00:01Z", "47 h ago"),
        ("2026-11-22T12:00:00Z", "2 days ago"),
        ("2026-11-29T12:00:00Z", "in 5 days"),
        ("2026-11-24T12:30:00+00:00", "in 30 min"),
        (None, "-"),
        ("nonsense", "nonsense"),
    ],
)
def test_relative_times(moment: object, text: str) -> None:
    assert relative(moment, NOW) == text


def test_without_a_present_the_time_itself_is_shown() -> None:
    assert relative("2026-11-24T13:00:00.123+02:00", None) == "2026-11-24 11:00:00Z"
    assert timestamp(None) == "-"


def test_plain_text_has_no_control_characters() -> None:
    assert plain("a\x1b[2J\r\n\x9b\u202eb ü") == "a\\x1b[2J\\r\\n\\x9b\\u202eb ü"
    assert plain([]) == plain({}) == plain("") == plain(None) == "-"
    assert plain({"a": [True, 1.5]}) == "a yes, 1.5"
