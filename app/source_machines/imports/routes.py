"""Imports of source machines over HTTP."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from app.access.idempotency import Idempotent
from app.access.principals import Operator
from app.access.scope import VaultRef
from app.configuration_servers.schemas import ConfigurationServerRef
from app.core.clock import Now
from app.core.db import WriteSession
from app.core.documentation import errors
from app.core.errors import (
    ConfigurationServerNotFound,
    FileTypeUnsupported,
    IdempotencyKeyReused,
    ImportInvalid,
    ImportRefused,
    VaultNotFound,
)
from app.source_machines.imports import service
from app.source_machines.imports.reading import media_type_of, rows_of
from app.source_machines.imports.rules import Row
from app.source_machines.imports.schemas import REQUEST_BODY, ImportReport

SEGMENT = "source-machine-imports"
"""The last one of the path, by which the limit of the body is told."""
router = APIRouter(prefix="/api/v1/vaults/{vault}/configuration-servers/{cs}/" + SEGMENT, tags=["source machines"])


async def _rows(request: Request, _: Operator) -> list[Row]:
    """The file's rows: read for operators alone, in a thread, and before anything is locked."""
    media_type = media_type_of(request.headers.get("content-type", ""))
    return await asyncio.to_thread(rows_of, media_type, await request.body())


@router.post(
    "",
    summary="Import source machines",
    operation_id="importSourceMachines",
    openapi_extra={"requestBody": REQUEST_BODY},
    responses=errors(
        VaultNotFound,
        ConfigurationServerNotFound,
        FileTypeUnsupported,
        ImportInvalid,
        ImportRefused,
        IdempotencyKeyReused,
        body=True,
    ),
)
async def import_source_machines(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    principal: Operator,
    rows: Annotated[list[Row], Depends(_rows)],
    session: WriteSession,
    once: Idempotent,
    now: Now,
    dry_run: Annotated[
        bool, Query(alias="dryRun", description="Answer as the import would, and import nothing.")
    ] = False,
    allow_over_capacity: Annotated[
        bool,
        Query(alias="allowOverCapacity", description="Go beyond the process servers' limits; a row's word counts."),
    ] = False,
) -> ImportReport:
    """Every row is done as its PUT would be, in one transaction; where a row is refused, nothing is.

    The body has one machine a line, up to 20,000: as JSON lines the body of a PUT and `name`, or as CSV with a header
    of these names, disks as sizes with `;` in between, and an empty cell for what is left out. Sizes are in bytes.
    `processServer` is needed in each. What is left out is unknown from then on. Limits are held against the whole
    file, so that machines that leave a process server make room for those that come.

    200 lists every row. 422 `import-invalid` (rows that are wrong in themselves) and 409 `import-refused` (the present
    state is against it) carry the same members, with the first 1,000 of the refused rows and exact counts. The codes
    of a row: `malformed-row`, `malformed-header`, `validation-failed`, `duplicate-name`, `process-server-missing` lead
    to 422; `process-server-not-found`, `not-protectable`, `over-capacity` and the reasons of a process server that
    takes no new machines lead to 409.
    """

    async def act() -> ImportReport:
        return await service.run(
            session, principal, vault, cs, rows, now, allow_over_capacity=allow_over_capacity, dry_run=dry_run
        )

    return await once(session, principal.actor, principal.secret, act)
