"""Which part of a file is asked for: the forms of RFC 9110, its edges, and what is ignored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.onboarding.ranges import Span, UnsatisfiableError, is_known, read_range, still_holds

SIZE = 1000


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=0-999", Span(0, 1000)),
        ("bytes=0-", Span(0, 1000)),
        ("bytes=999-", Span(999, 1000)),
        ("bytes=10-5000", Span(10, 1000)),
        ("bytes=-1", Span(999, 1000)),
        ("bytes=-5000", Span(0, 1000)),
        ("BYTES = 1 - 2", Span(1, 3)),
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=a-b", None),
        ("lines=0-1", None),
        ("bytes=0-1,5-6", None),
        ("bytes=0-99999999999999999999999999", None),
    ],
)
def test_ranges(header: str | None, span: Span | None) -> None:
    assert read_range(header, SIZE) == span


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-1001", "bytes=-0"])
def test_ranges_behind_the_end(header: str) -> None:
    with pytest.raises(UnsatisfiableError):
        read_range(header, SIZE)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 50))
def test_a_range_is_never_outside_of_the_file(first: int, last: int, size: int) -> None:
    try:
        span = read_range(f"bytes={first}-{last}", size)
    except UnsatisfiableError:
        assert first >= size
        return
    assert (span is None) == (last < first)
    if span is not None:
        assert list(range(size))[first : last + 1] == list(range(span.start, span.stop))


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, False), ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("a", False)],
)
def test_if_none_match(header: str | None, expected: bool) -> None:
    assert is_known(header, '"a"') is expected


@pytest.mark.parametrize(("header", "expected"), [(None, True), ('"a"', True), ('"b"', False), ('W/"a"', False)])
def test_if_range(header: str | None, expected: bool) -> None:
    assert still_holds(header, '"a"') is expected
