"""Decommission on the wire."""

import uuid
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, LongText, Moment, Text, WireIn, WireOut, with_example

MAX_STEPS = 16


class DecommissionRequest(WireIn):
    """An operator asks a process server to leave; without `switchTo` it must have no source machines."""

    model_config = with_example({"switchTo": "ps-ams-02", "reason": "replaced by a larger server"})

    switch_to: Annotated[Text, Field(min_length=1, description="Process server that takes its machines.")] | None = None
    reason: LongText | None = None


class StepStatus(StrEnum):
    """What became of one step of uninstalling."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


class UninstallStep(WireIn):
    """One component that was to be uninstalled."""

    name: Annotated[Text, Field(min_length=1)]
    status: StepStatus
    detail: LongText | None = None


class Goodbye(WireIn):
    """An agent says that its server was uninstalled, or asks with `dryRun` whether it may be."""

    model_config = with_example(
        {
            "steps": [
                {
                    "name": "Microsoft Azure Site Recovery Configuration Server/Process Server",
                    "status": "done",
                    "detail": "uninstalled",
                },
                {
                    "name": "Microsoft Azure Site Recovery Configuration Server Dependencies",
                    "status": "skipped",
                    "detail": "not installed",
                },
                {"name": "Microsoft Azure Recovery Services Agent", "status": "done", "detail": "uninstalled"},
            ],
            "switchTo": "ps-ams-02",
        }
    )

    steps: Annotated[
        list[UninstallStep], Field(max_length=MAX_STEPS, description="In the order in which they were done.")
    ] = []
    switch_to: Annotated[Text, Field(min_length=1, description="Process server that takes its machines.")] | None = None
    job: Annotated[
        uuid.UUID | None,
        Field(description="The job that asked for it. With `dryRun` the agent takes it up: no cancelling after that."),
    ] = None
    dry_run: Annotated[bool, Field(strict=True, description="Only check, so that nothing is uninstalled in vain.")] = (
        False
    )


class GoodbyeView(WireOut):
    """What became of a goodbye: the server is gone, or it is still there (`dryRun`, or a step that failed)."""

    model_config = with_example(
        {"id": EXAMPLE_ID, "name": "ps-ams-01", "decommissioned": True, "decommissionedAt": EXAMPLE_TIME}
    )

    id: uuid.UUID
    name: str
    decommissioned: bool
    decommissioned_at: Moment | None
