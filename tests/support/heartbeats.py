"""Heartbeats as the lane hands them to the committer."""

import asyncio
from typing import Any

from app.core import secrets
from app.heartbeats.beats import Beat, beat_of
from app.heartbeats.committer import Answer
from app.heartbeats.schemas import Heartbeat
from tests.support.muster import VERSION, Site


def beat_with(
    hex_id: str, digest: bytes, sequence: int, boot_id: str = "boot-1", *, observed_generation: int = 1
) -> Beat:
    """A heartbeat of the host row `hex_id` that says nothing but that it lives."""
    body = {
        "bootId": boot_id,
        "sequence": sequence,
        "agentVersion": VERSION,
        "observedGeneration": observed_generation,
    }
    heartbeat = Heartbeat.model_validate(body)
    return beat_of(secrets.Presented(hex_id, digest), heartbeat)


def beat_for(registered: dict[str, Any], sequence: int, **changes: Any) -> Beat:
    """A heartbeat with the credential of a registration's answer; `changes` are made after it was read."""
    presented = secrets.parse(registered["credential"])
    assert presented is not None
    return beat_with(presented.hex, presented.digest, sequence)._replace(**changes)


def submitted(site: Site, beat: Beat) -> "asyncio.Future[Answer]":
    """Queue a heartbeat. The future holds what comes of it."""
    reply: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    site.app.state.committer.submit(beat, reply)
    return reply
