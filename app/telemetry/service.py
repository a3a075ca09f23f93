"""Reading a server's telemetry history."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import Invalid
from app.telemetry import queries
from app.telemetry.rules import Misfit, Window, mean, window_of
from app.telemetry.schemas import METRICS_ON_THE_WIRE, HistoryRequest, TelemetryHistoryView


async def history(
    session: AsyncSession, host_row_id: uuid.UUID, asked: HistoryRequest, now: datetime
) -> TelemetryHistoryView:
    """What a host sent, in steps. Raises Invalid for a range that is empty, reversed or longer than a week."""
    window = window_of(asked.start, asked.end, asked.step_seconds, now)
    if isinstance(window, Misfit):
        detail = f"'{window.parameter}' {window.detail}"
        raise Invalid(detail, [{"pointer": f"#/query/{window.parameter}", "detail": detail}])
    # In one piece: made one by one, the 14,000 models of a whole week would keep heartbeats waiting.
    return TelemetryHistoryView.model_validate(
        {
            "from": window.start,
            "to": window.end,
            "stepSeconds": window.step_seconds,
            "points": [_point(row, window) for row in await queries.steps(session, host_row_id, window)],
        }
    )


def _point(row: Row[Any], window: Window) -> dict[str, Any]:
    step, statistics = row[0], row[1:]
    metrics = {
        name: _statistics(statistics[4 * position : 4 * position + 4])
        for position, name in enumerate(METRICS_ON_THE_WIRE)
    }
    return {"start": window.start_of(step), "metrics": metrics}


def _statistics(values: Sequence[Any]) -> dict[str, Any] | None:
    """Of count, sum, least and greatest; without a count the others mean nothing."""
    count, total, least, greatest = values
    if not count:
        return None
    return {"min": least, "mean": mean(count, total, least, greatest), "max": greatest, "count": count}
