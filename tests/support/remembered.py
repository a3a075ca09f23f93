"""What tests begin with, built over the API once per test process and then put back as rows.

Registering two servers and hearing of them takes longer than most tests that begin with it. A beginning is remembered
only of a database without a vault that no monitor has looked at, at the clock's first moment, for the same settings and
arguments; anything else is built as ever.
"""

import copy
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar, cast

from sqlalchemy import JSON, Table, exists, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.clock import ManualClock
from app.models import Base, MonitorWatermark, Vault
from tests.support.muster import Site

P = ParamSpec("P")
T = TypeVar("T")
Build = Callable[Concatenate[Site, P], Awaitable[T]]

_FIRST_MOMENT = ManualClock().now()
_OF_ONE_TEST = {"database_url", "data_dir"}
"""Settings that no answer and no row depends on."""
_KEPT = {"api_tokens", "releases"}
"""Tables that an application without a vault has rows in already."""
_NOT_NEW = (Vault, MonitorWatermark)
"""What of a row says that somebody was here before."""


class _Beginning(NamedTuple):
    """What was answered, and the rows that were left."""

    answer: Any
    rows: list[tuple[Table, list[dict[str, Any]]]]


_beginnings: dict[Any, _Beginning] = {}


def remembered(build: Build[P, T]) -> Build[P, T]:
    """Decorate what builds a beginning, moves no clock, and leaves nothing but rows and its answer."""

    @functools.wraps(build)
    async def begin(site: Site, /, *args: P.args, **kwargs: P.kwargs) -> T:
        engine = site.app.state.database.engine
        async with engine.connect() as connection:
            is_new = not await connection.scalar(select(or_(*(exists(select(table)) for table in _NOT_NEW))))
        if not is_new or site.clock.now() != _FIRST_MOMENT:
            return await build(site, *args, **kwargs)
        settings = site.app.state.settings.model_dump_json(exclude=_OF_ONE_TEST)
        key = (build.__module__, build.__qualname__, engine.dialect.name, settings, repr(args), repr(kwargs))
        if key not in _beginnings:
            answer = await build(site, *args, **kwargs)
            async with engine.connect() as connection:
                _beginnings[key] = _Beginning(copy.deepcopy(answer), await _rows(connection))
            return answer
        beginning = _beginnings[key]
        async with engine.begin() as connection:
            for table, rows in beginning.rows:
                await connection.execute(insert(table), rows)
        answer = copy.deepcopy(beginning.answer)
        return cast("T", answer)

    return begin


async def _rows(connection: AsyncConnection) -> list[tuple[Table, list[dict[str, Any]]]]:
    """All rows, in an order in which they can be written; those written at once have the same columns."""
    found: dict[tuple[Table, frozenset[str]], list[dict[str, Any]]] = {}
    for table in Base.metadata.sorted_tables:
        if table.name in _KEPT:
            continue
        documents = {column.name for column in table.columns if isinstance(column.type, JSON)}
        for row in (await connection.execute(select(table))).mappings():
            # A document that is not there is left out: written as None it would be the JSON value null.
            values = {name: value for name, value in row.items() if value is not None or name not in documents}
            found.setdefault((table, frozenset(values)), []).append(values)
    return [(table, rows) for (table, _), rows in found.items()]
