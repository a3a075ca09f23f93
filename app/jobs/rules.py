"""Rules of jobs: pure, no database, no clock."""

from collections.abc import Mapping
from typing import Any

from app.vocabulary import OPEN_JOB_STATES, JobState, JobType

ACKNOWLEDGED_AT = "acknowledgedAt"
"""Member of a job's details: when the agent said that it has begun. Absent or null until then."""


def progress_of_waits(agents: int, left: int) -> int:
    """Percent done of a job that has done its part, which is half, and waits for `left` of `agents` to observe it."""
    return 50 + 50 * (agents - left) // max(agents, 1)


def obstacle_to_cancelling(job_type: JobType, state: JobState, details: Mapping[str, Any]) -> str | None:
    """Why a job can't be cancelled; None where it can.

    A job ends early only while nothing has happened that can't be undone (api.md, jobs): while it is queued, and
    a decommission until the agent has acknowledged it. What an agent is asked to do is queued until it has observed
    that; machines move at once.
    """
    if state not in OPEN_JOB_STATES:
        return f"it has ended already: {state.value}"
    if state is JobState.QUEUED:
        return None
    if job_type is JobType.DECOMMISSION:
        return "the agent has begun to uninstall" if details.get(ACKNOWLEDGED_AT) else None
    return "it is in progress, and what it has done can't be undone"
