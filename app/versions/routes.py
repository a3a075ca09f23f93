"""The release catalogue and version compatibility over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, status

from app.access.idempotency import Idempotent
from app.access.principals import Admin, Reader
from app.core.db import ReadSession, WriteSession
from app.core.documentation import errors
from app.core.errors import CursorUnreadable, IdempotencyKeyReused, ReleaseExists, ReleaseNotFound
from app.core.pagination import Paging
from app.core.wire import Page
from app.versions import service
from app.versions.schemas import ReleaseCreate, ReleaseView, VersionCompatibility, VersionText

router = APIRouter(prefix="/api/v1", tags=["versions"])


@router.get("/releases", summary="List releases", operation_id="listReleases", responses=errors(CursorUnreadable))
async def list_releases(_: Reader, session: ReadSession, paging: Paging) -> Page[ReleaseView]:
    """The release catalogue, newest first, withdrawn ones among them."""
    return await service.list_releases(session, paging)


@router.post(
    "/releases",
    status_code=status.HTTP_201_CREATED,
    summary="Add a release",
    operation_id="addRelease",
    responses=errors(ReleaseExists, IdempotencyKeyReused, body=True),
)
async def add_release(body: ReleaseCreate, principal: Admin, session: WriteSession, once: Idempotent) -> ReleaseView:
    """All versions are judged by it from now on. A withdrawn release comes back, as the body describes it."""
    return await once(session, principal.actor, principal.secret, lambda: service.add(session, principal, body))


@router.delete(
    "/releases/{version}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Withdraw a release",
    operation_id="withdrawRelease",
    responses=errors(ReleaseNotFound),
)
async def withdraw_release(version: Annotated[VersionText, Path()], principal: Admin, session: WriteSession) -> None:
    """It stays listed as withdrawn, no upgrade leads to it, and servers that run it become `UpdateRequired`."""
    await service.withdraw(session, principal, version)


@router.get(
    "/version-compatibility",
    summary="Compare two versions",
    operation_id="compareVersions",
    responses=errors(),
)
async def compare_versions(
    _: Reader,
    session: ReadSession,
    configuration_server: Annotated[VersionText, Query(alias="configurationServer")],
    process_server: Annotated[VersionText, Query(alias="processServer")],
) -> VersionCompatibility:
    """The verdict, the support of both, the way of each to the newest release, and the order of upgrades."""
    return await service.compare(session, configuration_server, process_server)
