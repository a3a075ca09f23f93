"""Server-sent events as a client reads them: whole frames, whatever the pieces they come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.event_stream import Frame, frames


def read(*chunks: bytes) -> list[Frame]:
    return list(frames(chunks))


def test_a_frame_has_its_members() -> None:
    assert read(b"id: 7\nevent: vault.created\ndata: {}\nretry: 250\n\n") == [Frame("vault.created", "{}", "7", 250)]


def test_an_id_alone_is_a_frame_and_a_comment_has_no_say() -> None:
    assert read(b"id: 7\n\n: keep-alive\n\n") == [Frame("", "", "7", None), Frame("", "", None, None)]


def test_what_is_cut_off_is_no_frame() -> None:
    assert read(b"data: 1\n\ndata: 2\n") == [Frame("", "1", None, None)]


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("data:1\ndata: 2\ndata\ndata:  3\n\n", Frame("", "1\n2\n\n 3", None, None)),
        ("\ufeffdata: 1\n\n", Frame("", "1", None, None)),
        ("data: 1\rid: 2\r\nevent: 3\n\n", Frame("3", "1", "2", None)),
        ("data: a\u2028b\x85c\x0bd\n\n", Frame("", "a\u2028b\x85c\x0bd", None, None)),
        ("id: 1\x002\ndata: x\n\n", Frame("", "x", None, None)),
        ("retry: soon\nretry: -1\nunknown: 1\ndata: x\n\n", Frame("", "x", None, None)),
    ],
)
def test_lines_are_read_as_the_standard_has_it(text: str, frame: Frame) -> None:
    assert read(text.encode()) == [frame]


TEXTS = st.text(st.sampled_from("ab: \u2028é\x85\U0001f600"), max_size=8)


@given(
    sent=st.lists(st.tuples(st.lists(TEXTS, min_size=1, max_size=3), st.integers(0, 99)), max_size=5),
    end=st.sampled_from(["\n", "\r", "\r\n"]),
    data=st.data(),
)
def test_frames_come_whole_from_pieces_of_any_size(
    sent: list[tuple[list[str], int]], end: str, data: st.DataObject
) -> None:
    whole = "".join(
        "".join(f"data: {line}{end}" for line in lines) + f"id: {number}{end}{end}" for lines, number in sent
    ).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    found = read(*pieces)
    expected = [Frame("", "\n".join(lines), str(number), None) for lines, number in sent]
    if end == "\r" and expected:
        # The last carriage return might be half of a line's end: the frame waits for what follows.
        assert found in (expected, expected[:-1])
    else:
        assert found == expected
