"""Telemetry history: five-minute buckets, and the one that each host is filling."""

import uuid

from sqlalchemy import BigInteger, Column, Double, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base
from app.models.servers import Host

METRICS = (
    "cpu_percentage",
    "total_memory_bytes",
    "available_memory_bytes",
    "total_space_bytes",
    "available_space_bytes",
    "throughput_bytes",
    "pending_bytes",
)
"""The columns of `hosts` that hold a host's latest telemetry; each has its history."""


class TelemetryBucket(Base):
    """What one host sent in five minutes: of each metric the number of values, their sum, the least, the greatest.

    `bucket` is the Unix time divided by 300. A row is written when the host's next bucket begins; the bucket that is
    being filled is in the host's own row, so that a heartbeat still updates one row alone. No foreign key: history
    outlives its host until its retention ends.
    """

    __tablename__ = "telemetry_buckets"

    host_row_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

    __table_args__ = (Index(None, "bucket"),)


def _statistics() -> list[Column[int] | Column[float]]:
    columns: list[Column[int] | Column[float]] = []
    for metric in METRICS:
        columns += [
            Column(f"{metric}_count", Integer(), nullable=False, server_default=text("0")),
            Column(f"{metric}_sum", Double(), nullable=False, server_default=text("0")),
            Column(f"{metric}_min", Double()),
            Column(f"{metric}_max", Double()),
        ]
    return columns


# Of the tables alone, not of the mapped classes: no list of servers should read 28 numbers it does not show.
for column in _statistics():
    TelemetryBucket.__table__.append_column(column)  # type: ignore[attr-defined]
for column in [Column("history_bucket", BigInteger(), nullable=False, server_default=text("0")), *_statistics()]:
    Host.__table__.append_column(column)  # type: ignore[attr-defined]
