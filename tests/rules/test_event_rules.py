"""Which events are asked for, and what a window of the newest ones has."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from app.events.frames import Entry
from app.events.rules import EVERYTHING, Selection, is_expired
from app.events.window import CAPACITY, Window

ID = uuid.UUID("0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f")


def selects(selection: Selection, event_type: str = "vault.created", severity: str = "Information") -> bool:
    return selection.matches(event_type, severity, ID, "ps-1")


def test_an_empty_selection_selects_all() -> None:
    assert selects(EVERYTHING)


def test_types_are_whole_or_prefixes_that_end_in_a_dot() -> None:
    assert selects(Selection(types=("vault.created",)))
    assert selects(Selection(types=("job.", "vault.")))
    assert not selects(Selection(types=("vault",)))
    assert not selects(Selection(types=("vault.create",)))
    assert not selects(Selection(types=("Vault.",)))
    assert not selects(Selection(types=("process-server.",)))


def test_all_members_must_agree() -> None:
    assert selects(Selection(types=("vault.",), severities=("Warning", "Information"), resource="ps-1"))
    assert not selects(Selection(types=("vault.",), severities=("Warning",), resource="ps-1"))
    assert not selects(Selection(types=("vault.",), severities=("Information",), resource="ps-2"))


def test_a_resource_is_an_id_or_a_name_in_any_case() -> None:
    assert selects(Selection(resource=str(ID)))
    assert selects(Selection(resource=str(ID).upper()))
    assert selects(Selection(resource="PS-1"))
    assert not selects(Selection(resource=str(uuid.uuid4())))
    assert not selects(Selection(resource="ps-1\x00"))


def test_a_number_is_expired_when_the_event_after_it_is_gone() -> None:
    assert not is_expired(0, 1)
    assert not is_expired(4, 5)
    assert is_expired(3, 5)


def entry(sequence: int) -> Entry:
    return Entry(sequence, "vault.created", "Information", ID, "ps-1", b"")


@given(
    head=st.integers(0, 50),
    steps=st.lists(st.one_of(st.integers(1, 300), st.just("age"), st.just("gap")), max_size=12),
    limit=st.integers(1, 150),
)
def test_a_window_gives_all_that_follows_or_says_that_it_can_not(head: int, steps: list[int | str], limit: int) -> None:
    """Whatever happened: from every position the next events come without a gap, or None."""
    window, known, last = Window(head), list[int](), head
    for step in steps:
        if step == "age":
            window.age()
        elif step == "gap":
            last += 7  # written and deleted before they were read
            window.extend([], last)
        else:
            assert isinstance(step, int)
            numbers = list(range(last + 1, last + 1 + step))
            window.extend([entry(number) for number in numbers], numbers[-1])
            known.extend(numbers)
            last = numbers[-1]
        assert window.head == last
        for position in range(max(0, last - 400), last + 3):
            found = window.after(position, limit)
            if position >= last:
                assert found == ()
            elif found is not None:
                assert [e.sequence for e in found] == list(range(position + 1, min(position + limit, last) + 1))
                assert set(range(position + 1, last + 1)) <= set(known)


def test_a_window_keeps_the_newest_and_lets_go_of_what_is_old() -> None:
    window = Window(0)
    window.extend([entry(number) for number in range(1, CAPACITY + 101)], 0)
    assert window.after(99, 10) is None
    found = window.after(100, 1_000)
    assert found is not None
    assert len(found) == CAPACITY
    window.age()
    assert window.after(100, 1) is not None, "it is new since the last look"
    window.extend([entry(CAPACITY + 101)], 0)
    window.age()
    assert window.after(CAPACITY + 99, 1) is None
    assert window.after(CAPACITY + 100, 1) is not None
    window.age()
    assert window.after(CAPACITY + 100, 1) is None
    assert window.after(CAPACITY + 101, 1) == ()


def test_a_window_does_not_bridge_a_gap() -> None:
    window = Window(10)
    window.extend([entry(11), entry(12)], 12)
    window.extend([entry(20), entry(21)], 21)
    assert [window.after(position, 5) for position in range(11, 19)] == [None] * 8
    assert window.after(19, 5) == [entry(20), entry(21)]
