"""Jobs on the wire."""

import uuid
from typing import Annotated, Any

from fastapi import Path
from pydantic import Field

from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, Moment, WireOut, with_example
from app.vocabulary import JobState, JobType, ResourceKind

JobId = Annotated[uuid.UUID, Path(description="Id of the job.", examples=[EXAMPLE_ID])]


class JobResource(WireOut):
    """What the job works on."""

    kind: ResourceKind
    name: str
    id: uuid.UUID


class JobError(WireOut):
    """Why a job failed: a stable code and a sentence with the values."""

    code: str
    detail: str


class JobView(WireOut):
    """A long-running operation: who asked for it, how far it is, how it ended."""

    model_config = with_example(
        {
            "id": EXAMPLE_ID,
            "type": "decommission",
            "state": "Queued",
            "progressPercentage": 0,
            "resource": {"kind": "process-server", "name": "ps-ams-01", "id": EXAMPLE_ID},
            "target": "ps-ams-02",
            "requestedBy": "token:portal",
            "createdAt": EXAMPLE_TIME,
            "startedAt": None,
            "endedAt": None,
            "error": None,
            "details": {},
        }
    )

    id: uuid.UUID
    type: JobType
    state: JobState
    progress_percentage: int = Field(description="0 to 100.")
    resource: JobResource
    target: str | None = Field(description="Process server that source machines go to, where there is one.")
    requested_by: str
    created_at: Moment
    started_at: Moment | None
    ended_at: Moment | None
    error: JobError | None
    details: dict[str, Any]
