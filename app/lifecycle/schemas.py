"""Purge and readmission on the wire."""

import uuid
from typing import Annotated

from pydantic import Field

from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, LongText, Moment, Text, WireIn, WireOut, with_example
from app.lifecycle.rules import Blocker, BlockerCode
from app.vocabulary import ServerKind

MAX_BULK_SAMPLE = 20


class PurgeRequest(WireIn):
    """How to purge. `force` names the blockers to skip and needs the admin role."""

    model_config = with_example({"switchTo": "ps-ams-02", "reason": "burnt down"})

    switch_to: Annotated[Text, Field(min_length=1, description="Process server that takes its machines.")] | None = None
    force: Annotated[list[BlockerCode], Field(max_length=len(BlockerCode))] = []
    reason: LongText | None = None


class BlockerView(WireOut):
    """One reason against it."""

    code: BlockerCode
    detail: str
    count: int | None = Field(exclude_if=lambda value: value is None)


class PurgePreview(WireOut):
    """Whether a process server can be purged, and everything that stands against it."""

    model_config = with_example(
        {
            "purgeable": False,
            "blockers": [
                {"code": "connected", "detail": "'ps-ams-01' is connected; decommission it instead"},
                {"code": "machines-assigned", "detail": "12 source machine(s) use 'ps-ams-01'", "count": 12},
            ],
        }
    )

    purgeable: bool
    blockers: list[BlockerView]


class TombstoneView(WireOut):
    """A removed process server: when, by whom, why, and whether its machine may register again."""

    model_config = with_example(
        {
            "id": EXAMPLE_ID,
            "name": "ps-ams-01",
            "hostId": "0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f",
            "ipAddresses": ["10.150.24.120"],
            "purgedAt": EXAMPLE_TIME,
            "purgedBy": "token:alice",
            "reason": "burnt down",
            "mayRegister": False,
            "readmittedAt": None,
            "readmittedBy": None,
        }
    )

    id: uuid.UUID = Field(description="The id that the process server had.")
    name: str
    host_id: str
    ip_addresses: list[str]
    purged_at: Moment
    purged_by: str
    reason: str
    may_register: bool
    readmitted_at: Moment | None
    readmitted_by: str | None


class BulkPurgeRequest(WireIn):
    """Which disconnected process servers of the vault to purge. The first call is a dry run."""

    model_config = with_example(
        {"configurationServer": "cs-ams-01", "disconnectedForSeconds": 86400, "dryRun": False, "expected": 412}
    )

    configuration_server: Text | None = None
    kind: ServerKind | None = None
    q: Annotated[Text, Field(description="Part of the name or FQDN.")] | None = None
    disconnected_for_seconds: Annotated[int, Field(ge=0, le=10 * 365 * 86_400, strict=True)] = 0
    dry_run: Annotated[bool, Field(strict=True)] = True
    expected: (
        Annotated[int, Field(ge=0, strict=True, description="`purgeable` of the dry run; a changed world is a 409.")]
        | None
    ) = None
    reason: LongText | None = None


class BulkPurgePreview(WireOut):
    """What a bulk purge would do; nothing was changed."""

    model_config = with_example(
        {"matched": 420, "purgeable": 412, "blocked": {"machines-assigned": 8}, "sample": ["ps-ams-01", "ps-ams-02"]}
    )

    matched: int = Field(description="Disconnected process servers that the filter finds.")
    purgeable: int
    blocked: dict[str, int] = Field(description="How many are held back by each blocker.")
    sample: list[str] = Field(description="Names of the first that would be purged.")


def blocker_view(blocker: Blocker) -> BlockerView:
    """The wire form of a blocker."""
    return BlockerView(code=blocker.code, detail=blocker.detail, count=blocker.counted)
