"""A heartbeat on its way through the committer, and what comes of it."""

import json
import uuid
from typing import Any, NamedTuple

from pydantic_core import to_json

from app.core import secrets
from app.core.errors import MusterError
from app.heartbeats.schemas import Heartbeat
from app.hosts.schemas import Notice


class Beat(NamedTuple):
    """A validated heartbeat and the credential it came with. JSON members are texts, as the database takes them."""

    host: str
    """The host row's id as 32 hex digits: cheaper to hash, sort and send than a UUID, and in the same order."""
    digest: bytes
    boot_id: str
    sequence: int
    agent_version: str
    ip_addresses: str | None
    telemetry: str | None
    services: str | None
    observed_generation: int

    @property
    def host_row_id(self) -> uuid.UUID:
        """The host row's id."""
        return uuid.UUID(hex=self.host)


class Accepted(NamedTuple):
    """The heartbeat is in the database."""

    generation: int
    notices: tuple[Notice, ...] = ()


Outcome = Accepted | MusterError


def beat_of(credential: secrets.Presented, heartbeat: Heartbeat) -> Beat:
    """What the database needs of a heartbeat."""
    telemetry = heartbeat.telemetry
    return Beat(
        host=credential.hex,
        digest=credential.digest,
        boot_id=heartbeat.boot_id,
        sequence=heartbeat.sequence,
        agent_version=heartbeat.agent_version,
        ip_addresses=None if heartbeat.ip_addresses is None else to_json(heartbeat.ip_addresses).decode(),
        telemetry=None if telemetry is None else telemetry.model_dump_json(by_alias=True, exclude_none=True),
        services=None if heartbeat.services is None else to_json(heartbeat.services).decode(),
        observed_generation=heartbeat.observed_generation,
    )


def newest_of(left: Beat, right: Beat) -> Beat:
    """Of two heartbeats of one host and credential in one batch, `right` having arrived later, the one to keep."""
    if left.boot_id == right.boot_id and left.sequence > right.sequence:
        return left
    return right


def parsed(text: str | None) -> Any:
    """A JSON member as a value."""
    return None if text is None else json.loads(text)
