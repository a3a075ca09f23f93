"""Cursors: what was encoded comes back, and nothing else is taken."""

import base64
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import CursorUnreadable, Invalid
from app.core.pagination import choose_order, decode_cursor, encode_cursor
from app.models import ApiToken, Vault

POSITION = "vaults None name"
MOMENTS = st.datetimes(timezones=st.just(timezone(timedelta(hours=2))) | st.just(UTC))
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
NUMBERS = st.integers(min_value=0, max_value=2**63 - 1)
VALUES = st.lists(st.one_of(TEXTS, NUMBERS, st.uuids(), MOMENTS), min_size=1, max_size=4)


@given(TEXTS, VALUES)
def test_what_was_encoded_comes_back(position: str, values: list[object]) -> None:
    cursor = encode_cursor(position, values)
    assert cursor.isascii()
    assert decode_cursor(position, cursor, [type(value) for value in values]) == values


@given(TEXTS, TEXTS, VALUES)
def test_a_cursor_is_good_for_its_list_and_order_alone(position: str, other: str, values: list[object]) -> None:
    if position == other:
        return
    with pytest.raises(CursorUnreadable):
        decode_cursor(other, encode_cursor(position, values), [type(value) for value in values])


@given(VALUES, st.data())
def test_any_altered_cursor_is_unreadable(values: list[object], data: st.DataObject) -> None:
    cursor = encode_cursor(POSITION, values)
    at = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.characters().filter(lambda character: character != cursor[at]))
    with pytest.raises(CursorUnreadable):
        decode_cursor(POSITION, cursor[:at] + other + cursor[at + 1 :], [type(value) for value in values])


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(CursorUnreadable):
        decode_cursor(POSITION, text, [str, uuid.UUID])


@given(st.binary())
def test_no_bytes_break_the_reader(content: bytes) -> None:
    with pytest.raises(CursorUnreadable):
        decode_cursor(POSITION, base64.urlsafe_b64encode(content).decode().rstrip("="), [int])


@given(VALUES, st.lists(st.sampled_from([str, int, uuid.UUID, datetime, float, bytes]), max_size=4))
def test_values_of_another_type_are_unreadable(values: list[object], types: list[type]) -> None:
    cursor = encode_cursor(POSITION, values)
    if [type(value) for value in values] == types:
        return
    try:
        decoded = decode_cursor(POSITION, cursor, types)
    except CursorUnreadable:
        return
    # A text may happen to spell an identifier or a time; it is taken as what the column holds.
    assert [type(value) for value in decoded] == types


@pytest.mark.parametrize(
    ("kind", "value"), [(int, -1), (int, 2**63), (int, True), (int, "1"), (str, "a\x00"), (str, 1)]
)
def test_values_that_no_column_takes_are_unreadable(kind: type, value: object) -> None:
    with pytest.raises(CursorUnreadable):
        decode_cursor(POSITION, encode_cursor(POSITION, [value]), [kind])


def test_orders_have_positions_of_their_own() -> None:
    orders = {"name": (Vault.name,), "createdAt": (Vault.id,)}
    within = uuid.uuid4()
    positions = {
        choose_order(orders, "name").position_of,
        choose_order(orders, "-name").position_of,
        choose_order(orders, "createdAt").position_of,
        choose_order(orders, "name", within=within).position_of,
        choose_order({"name": (ApiToken.name,)}, "name").position_of,
    }
    assert len(positions) == 5
    assert choose_order(orders, "-name").is_descending
    assert not choose_order(orders, "name").is_descending


@given(st.text())
def test_an_unknown_order_names_those_there_are(wanted: str) -> None:
    if wanted.removeprefix("-") in {"name", "createdAt"}:
        return
    with pytest.raises(Invalid, match="createdAt, name"):
        choose_order({"name": (Vault.name,), "createdAt": (Vault.id,)}, wanted)
