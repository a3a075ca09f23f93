"""Imports of source machines on the wire: the rows of a file, and the report."""

import json
from typing import Annotated, Any

from pydantic import Field

from app.core.wire import Name, Text, WireOut, with_example
from app.source_machines.imports.rules import Outcome
from app.source_machines.schemas import SourceMachinePut

MAX_ROWS = 20_000
MAX_SHOWN = 1_000
JSON_LINES = "application/x-ndjson"
CSV = "text/csv"
_EXAMPLE_ROW: dict[str, Any] = {
    "name": "sql-ams-01",
    "processServer": "ps-ams-01",
    "churnInBytesPerDay": 10737418240,
    "disks": [{"sizeInBytes": 107374182400}],
    "osType": "Windows",
}
_EXAMPLE_CSV = (
    "name,processServer,churnInBytesPerDay,disks,osType\nsql-ams-01,ps-ams-01,10737418240,107374182400,Windows\n"
)


class ImportRow(SourceMachinePut):
    """A row: the body of a PUT, and the machine's name.

    A row without a process server can be read, so that its refusal can say more than that a member is missing.
    """

    name: Name
    process_server: Annotated[Text, Field(min_length=1)] | None = None  # type: ignore[assignment]


class RowErrorView(WireOut):
    """One thing that is wrong with a row; `pointer` leads to the member, where it is one."""

    code: str
    detail: str
    pointer: str | None


class RowView(WireOut):
    """What became of a row; `line` is its line in the file, from 1."""

    line: int
    name: str | None = Field(description="As far as it can be read.")
    outcome: Outcome
    errors: list[RowErrorView]


class LoadView(WireOut):
    """Machines and their churn; `added` may be below zero in one of them."""

    source_machines: int
    churn_in_bytes_per_day: int


class ServerExcessView(WireOut):
    """A process server that the file brings over its limits: why, and the lines that add to it, the first 1,000."""

    process_server: str
    detail: str
    is_permitted: bool
    present: LoadView
    added: LoadView
    limit: LoadView
    line_count: int
    lines: list[int]


class ImportReport(WireOut):
    """What an import did: how many rows had which outcome, and each row."""

    model_config = with_example(
        {
            "imported": True,
            "dryRun": False,
            "created": 1,
            "updated": 0,
            "moved": 0,
            "unchanged": 0,
            "refused": 0,
            "overCapacity": [],
            "rows": [{"line": 1, "name": "sql-ams-01", "outcome": "created", "errors": []}],
        }
    )

    imported: bool
    dry_run: bool
    created: int
    updated: int
    moved: int
    unchanged: int
    refused: int
    over_capacity: list[ServerExcessView]
    rows: list[RowView]


REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON_LINES: {
            "schema": {"type": "string", "description": "A JSON object a line."},
            "examples": {"rows": {"summary": "One machine", "value": json.dumps(_EXAMPLE_ROW) + "\n"}},
        },
        CSV: {
            "schema": {"type": "string", "description": "A header, then a machine a line."},
            "examples": {"rows": {"summary": "One machine", "value": _EXAMPLE_CSV}},
        },
    },
}
"""The file, as OpenAPI describes it."""
