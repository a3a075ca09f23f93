"""Keyset pages: a cursor holds the last row's sort values, so a walk neither repeats nor skips what stays."""

import base64
import binascii
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Query
from sqlalchemy import ColumnElement, Select, TypeDecorator, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import CursorUnreadable, Invalid

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
CHECKSUM_LENGTH = 6


class PageRequest(NamedTuple):
    """What a client asked for: at most `limit` items after `cursor`."""

    limit: int
    cursor: str | None


async def page_request(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items on a page.")] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=2000, description="`nextCursor` of the page before.")] = None,
) -> PageRequest:
    """The query parameters every list takes."""
    return PageRequest(limit, cursor)


Paging = Annotated[PageRequest, Depends(page_request)]


class Order(NamedTuple):
    """A list's order: its columns (the last one unique and immutable) and its direction.

    `position_of` tells its cursors from those of other lists and orders.
    """

    position_of: str
    columns: Sequence[Any]
    is_descending: bool


def choose_order(orders: Mapping[str, Sequence[Any]], wanted: str, *, within: uuid.UUID | None = None) -> Order:
    """The order called `wanted`, descending with a leading `-`, of all rows or of those `within` a vault.

    Raises Invalid naming the orders there are.
    """
    name = wanted.removeprefix("-")
    if name not in orders:
        offered = ", ".join(sorted(orders))
        detail = f"'{wanted}' is not an order; use {offered}, with a leading - for descending"
        raise Invalid(detail, [{"pointer": "#/query/orderBy", "detail": detail}])
    columns = orders[name]
    return Order(f"{columns[0].class_.__tablename__} {within} {wanted}", columns, wanted.startswith("-"))


def encode_cursor(position_of: str, values: Sequence[Any]) -> str:
    """An opaque text for the position after `values`; it is good for the list and order `position_of` alone."""
    content = json.dumps([_plain(value) for value in values], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_checksum(position_of, content) + content).decode().rstrip("=")


def decode_cursor(position_of: str, cursor: str, types: Sequence[type]) -> list[Any]:
    """The values of a cursor made by `encode_cursor`. Raises CursorUnreadable for anything else."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        whole = base64.b64decode(padded, altchars=b"-_", validate=True)
        checksum, content = whole[:CHECKSUM_LENGTH], whole[CHECKSUM_LENGTH:]
        if checksum != _checksum(position_of, content) or cursor != base64.urlsafe_b64encode(whole).decode().rstrip(
            "="
        ):
            raise CursorUnreadable(
                f"the cursor '{cursor[:80]}' was altered, or belongs to another list or order; start without one"
            )
        return [_typed(kind, value) for kind, value in zip(types, json.loads(content), strict=True)]
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, binascii.Error):
        raise CursorUnreadable(f"the cursor '{cursor[:80]}' can't be read; start without one") from None


def _checksum(position_of: str, content: bytes) -> bytes:
    # Against accidents, not against forgery: a cursor gives access to nothing that a list does not show.
    return hashlib.sha256(position_of.encode() + b"\n" + content).digest()[:CHECKSUM_LENGTH]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value


def _typed(kind: type, value: Any) -> Any:
    if kind is uuid.UUID and isinstance(value, str):
        return uuid.UUID(value)
    if kind is datetime and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("naive time")
        return moment
    if kind is int and type(value) is int and 0 <= value < 2**63:
        return value
    if kind is str and isinstance(value, str) and "\x00" not in value:
        return value
    raise TypeError("a cursor's value has another type")


async def fetch_page(
    session: AsyncSession, statement: Select[*tuple[Any, ...]], order: Order, paging: PageRequest
) -> tuple[Sequence[Any], str | None]:
    """Run `statement` for one page. Returns the rows and the next page's cursor.

    The statement's columns must include the order's columns by their keys.
    """
    columns = list(order.columns)
    rows = (await session.execute(positioned(statement, order, paging))).all()
    if len(rows) <= paging.limit:
        return rows, None
    rows = rows[: paging.limit]
    last = rows[-1]
    values = [_value_of(last, column) for column in columns]
    return rows, encode_cursor(order.position_of, values)


def positioned(statement: Select[*tuple[Any, ...]], order: Order, paging: PageRequest) -> Select[*tuple[Any, ...]]:
    """`statement` for the rows of one page in their order. Raises CursorUnreadable."""
    columns = list(order.columns)
    if paging.cursor is not None:
        types = [_python_type(column.type) for column in columns]
        after = decode_cursor(order.position_of, paging.cursor, types)
        statement = statement.where(_beyond(columns, after, order.is_descending))
    for column in columns:
        statement = statement.order_by(column.desc() if order.is_descending else column.asc())
    # One row more than asked for tells whether there is a next page.
    return statement.limit(paging.limit + 1)


def _python_type(kind: Any) -> type:
    found: type = (kind.impl_instance if isinstance(kind, TypeDecorator) else kind).python_type
    return found


def _value_of(row: Any, column: Any) -> Any:
    if column.key in row._fields:
        return getattr(row, column.key)
    return getattr(row[0], column.key)


def _beyond(columns: list[Any], after: list[Any], is_descending: bool) -> ColumnElement[bool]:
    left = tuple_(*columns)
    right = tuple_(*after, types=[column.type for column in columns])
    return left < right if is_descending else left > right
