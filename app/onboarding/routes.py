"""Onboarding and downloads over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response

from app.access.principals import Reader
from app.access.scope import VaultRef
from app.configuration_servers.schemas import ConfigurationServerRef
from app.core.db import database_of
from app.core.documentation import errors
from app.core.errors import AgentPackageNotFound, ConfigurationServerNotFound, RangeNotSatisfiable, VaultNotFound
from app.core.public_url import public_url
from app.onboarding import service
from app.onboarding.answers import answer
from app.onboarding.depot import Packages
from app.onboarding.schemas import Onboarding
from app.vocabulary import Placement

router = APIRouter(prefix="/api/v1/vaults/{vault}/configuration-servers", tags=["configuration servers"])
downloads_router = APIRouter(prefix=service.DOWNLOADS, tags=["downloads"])

MEDIA_TYPE = "application/octet-stream"
"""And not a zip archive's: some browsers unpack those on their own."""
_FILE = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}, "example": "PK..."}}
_HEADERS = {
    "ETag": {"description": "Changes with the content.", "schema": {"type": "string"}},
    "X-Checksum-SHA256": {"description": "Of the whole file, in hex.", "schema": {"type": "string"}},
}


@router.get(
    "/{cs}/onboarding",
    summary="Show how to add a process server",
    operation_id="readOnboarding",
    responses=errors(VaultNotFound, ConfigurationServerNotFound),
)
async def read_onboarding(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    request: Request,
    principal: Reader,
    packages: Packages,
    placement: Annotated[
        Placement, Query(description="`azure`: a temporary one for failback.")
    ] = Placement.ON_PREMISES,
) -> Onboarding:
    """The version to install (the configuration server's own), the download, command lines and steps."""
    return await service.read(database_of(request), packages, principal, vault, cs, placement, public_url(request))


@downloads_router.get(
    "/{version}",
    response_class=Response,
    summary="Download the agent package",
    operation_id="downloadAgentPackage",
    responses={
        200: {"description": "The whole file.", "content": _FILE, "headers": _HEADERS},
        206: {"description": "The part that `Range` asks for.", "content": _FILE, "headers": _HEADERS},
        304: {"description": "`If-None-Match` names the present file.", "content": {MEDIA_TYPE: {"example": ""}}},
        **errors(AgentPackageNotFound, RangeNotSatisfiable, token=False),
    },
)
@downloads_router.head("/{version}", include_in_schema=False)
async def download_agent_package(
    version: Annotated[str, Path(max_length=64, description="Four numbers.", examples=["9.62.7096.1"])],
    request: Request,
    packages: Packages,
    if_none_match: Annotated[str | None, Header()] = None,
    byte_range: Annotated[str | None, Header(alias="Range", description="`bytes=0-1023`; one part.")] = None,
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    """One file that a plain Python 3.10 or newer runs, stamped with the version, which must be an offered release or
    a configuration server's. It holds no secret, so nobody has to prove who they are. HEAD answers without the file.
    """
    package = await service.package(database_of(request), packages, version)
    return answer(package, MEDIA_TYPE, if_none_match, byte_range, if_range)
