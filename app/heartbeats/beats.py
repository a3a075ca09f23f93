"""A heartbeat on its way through the committer, and what comes of it."""

import uuid
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from pydantic_core import to_json

from app.core import secrets
from app.core.errors import MusterError
from app.heartbeats.schemas import Heartbeat
from app.hosts.schemas import Notice
from app.models import METRICS

NUMBERS = (*METRICS, "agent_time")
"""The members of a beat that change with every heartbeat, beside its sequence."""


class Beat(NamedTuple):
    """A validated heartbeat and the credential it came with. Members that were not sent are None."""

    host: str
    """The host row's id as 32 hex digits: cheaper to hash, sort and send than a UUID, and in the same order."""
    key: bytes
    """Digest of everything that is no number, and of the credential's."""
    sequence: int
    cpu_percentage: float | None
    total_memory_bytes: int | None
    available_memory_bytes: int | None
    total_space_bytes: int | None
    available_space_bytes: int | None
    throughput_bytes: int | None
    pending_bytes: int | None
    agent_time: float | None
    """The agent's clock as Unix time."""
    digest: bytes
    boot_id: str
    agent_version: str
    ip_addresses: list[str] | None
    services: dict[str, str] | None
    observed_generation: int

    @property
    def host_row_id(self) -> uuid.UUID:
        """The host row's id."""
        return uuid.UUID(hex=self.host)

    def clock_skew_seconds(self, now: datetime) -> float | None:
        """How far the agent's clock is from `now`; None when it did not say."""
        return None if self.agent_time is None else abs(now.timestamp() - self.agent_time)


class Accepted(NamedTuple):
    """The heartbeat is in the database."""

    generation: int
    notices: tuple[Notice, ...] = ()


Outcome = Accepted | MusterError


def beat_of(credential: secrets.Presented, heartbeat: Heartbeat) -> Beat:
    """What the database needs of a heartbeat."""
    boot_id, version = heartbeat.boot_id, heartbeat.agent_version
    addresses, services = heartbeat.ip_addresses, heartbeat.services
    generation = heartbeat.observed_generation
    key = sha256(credential.digest + to_json((boot_id, version, generation, addresses, services))).digest()
    telemetry, time = heartbeat.telemetry, heartbeat.agent_time
    numbers = _NOTHING if telemetry is None else telemetry.numbers
    return Beat._make(
        (
            credential.hex,
            key,
            heartbeat.sequence,
            *numbers,
            None if time is None else time.timestamp(),
            credential.digest,
            boot_id,
            version,
            addresses,
            services,
            generation,
        )
    )


_NOTHING = (None,) * len(METRICS)


def newest_of(left: Beat, right: Beat) -> Beat:
    """Of two heartbeats of one host and credential in one batch, `right` having arrived later, the one to keep."""
    if left.boot_id == right.boot_id and left.sequence > right.sequence:
        return left
    return right
