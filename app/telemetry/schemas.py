"""Telemetry history on the wire."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Query
from pydantic import Field

from app.connection.rules import BUCKET_SECONDS
from app.core.wire import Moment, WireOut, with_example
from app.telemetry.rules import MAX_STEP_SECONDS


class HistoryRequest(NamedTuple):
    """What a client asked for; None is left to `rules.window_of`."""

    start: Moment | None
    end: Moment | None
    step_seconds: int | None


async def _history_request(
    start: Annotated[
        Moment | None,
        Query(alias="from", description="Begin of the range; 24 hours before `to` by default, at most 7 days."),
    ] = None,
    end: Annotated[Moment | None, Query(alias="to", description="End of the range, exclusive; now by default.")] = None,
    step_seconds: Annotated[
        int | None,
        Query(
            alias="stepSeconds",
            ge=BUCKET_SECONDS,
            le=MAX_STEP_SECONDS,
            multiple_of=BUCKET_SECONDS,
            description="Length of a point: a multiple of 300. By default the shortest of 300, 600, 900, 1800 and 3600 "
            "with at most 300 points.",
        ),
    ] = None,
) -> HistoryRequest:
    return HistoryRequest(start, end, step_seconds)


AskedHistory = Annotated[HistoryRequest, Depends(_history_request)]


class PercentageStatistics(WireOut):
    """What a metric in percent was in a step."""

    min: float
    mean: float
    max: float
    count: int = Field(description="Heartbeats that had a value.")


class BytesStatistics(WireOut):
    """What a metric in bytes, or in bytes per second, was in a step."""

    min: int
    mean: float
    max: int
    count: int = Field(description="Heartbeats that had a value.")


class TelemetryStatistics(WireOut):
    """The metrics of a step; null where no heartbeat had a value. Space is the cache disk's."""

    cpu_percentage: PercentageStatistics | None
    total_memory_in_bytes: BytesStatistics | None
    available_memory_in_bytes: BytesStatistics | None
    total_space_in_bytes: BytesStatistics | None
    available_space_in_bytes: BytesStatistics | None
    throughput_in_bytes: BytesStatistics | None = Field(description="Bytes per second uploaded.")
    throughput_upload_pending_data_in_bytes: BytesStatistics | None


METRICS_ON_THE_WIRE = tuple(str(field.alias) for field in TelemetryStatistics.model_fields.values())
"""The names that `models.METRICS` have on the wire, in the same order."""


class TelemetryPoint(WireOut):
    """One step of a history."""

    start: Moment = Field(description="A multiple of `stepSeconds` since 1970; the step lasts `stepSeconds`.")
    metrics: TelemetryStatistics


_EXAMPLE_BYTES = {"min": 322122547200, "mean": 322659418112.0, "max": 323196289024, "count": 10}


class TelemetryHistoryView(WireOut):
    """A server's telemetry over time. A step without any value is left out: a gap is a gap, never a zero."""

    model_config = with_example(
        {
            "from": "2026-11-24T12:00:00.000Z",
            "to": "2026-11-24T12:10:00.000Z",
            "stepSeconds": 300,
            "points": [
                {
                    "start": "2026-11-24T12:00:00.000Z",
                    "metrics": {
                        "cpuPercentage": {"min": 12.5, "mean": 37.5, "max": 81.0, "count": 10},
                        "totalMemoryInBytes": None,
                        "availableMemoryInBytes": None,
                        "totalSpaceInBytes": {"min": 644245094400, "mean": 644245094400.0, "max": 644245094400}
                        | {"count": 10},
                        "availableSpaceInBytes": _EXAMPLE_BYTES,
                        "throughputInBytes": None,
                        "throughputUploadPendingDataInBytes": None,
                    },
                }
            ],
        }
    )

    from_: Moment = Field(alias="from")
    to: Moment
    step_seconds: int
    points: list[TelemetryPoint] = Field(description="In order; the first and the last hold what the range touches.")
