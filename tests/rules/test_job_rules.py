"""When a job can still be cancelled."""

from typing import Any

import pytest

from app.jobs.rules import obstacle_to_cancelling
from app.vocabulary import JobState, JobType

SEEN = {"acknowledgedAt": "2026-11-24T12:00:00.000Z"}


@pytest.mark.parametrize(
    ("job_type", "state", "details", "obstacle"),
    [
        (JobType.PURGE, JobState.QUEUED, {}, None),
        (JobType.PURGE, JobState.IN_PROGRESS, {}, "in progress"),
        (JobType.DECOMMISSION, JobState.QUEUED, {}, None),
        (JobType.DECOMMISSION, JobState.IN_PROGRESS, {}, None),
        (JobType.DECOMMISSION, JobState.IN_PROGRESS, {"acknowledgedAt": None}, None),
        (JobType.DECOMMISSION, JobState.IN_PROGRESS, SEEN, "has begun to uninstall"),
        *((kind, JobState.SUCCEEDED, {}, "Succeeded") for kind in JobType),
        *((kind, JobState.FAILED, {}, "Failed") for kind in JobType),
        *((kind, JobState.CANCELLED, {}, "Cancelled") for kind in JobType),
    ],
)
def test_a_job_is_cancelled_while_nothing_has_happened(
    job_type: JobType, state: JobState, details: dict[str, Any], obstacle: str | None
) -> None:
    found = obstacle_to_cancelling(job_type, state, details)
    if obstacle is None:
        assert found is None
    else:
        assert found is not None
        assert obstacle in found
