"""The upgrade plan over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.access.principals import Reader
from app.access.scope import VaultRef
from app.configuration_servers.schemas import ConfigurationServerRef
from app.core.db import ReadSession
from app.core.documentation import errors
from app.core.errors import ConfigurationServerNotFound, CursorUnreadable, VaultNotFound
from app.core.pagination import Paging
from app.upgrades import service
from app.upgrades.schemas import UpgradePlan
from app.versions.schemas import VersionText

router = APIRouter(prefix="/api/v1/vaults/{vault}/configuration-servers/{cs}", tags=["versions"])


@router.get(
    "/upgrade-plan",
    summary="Plan the upgrade of a site",
    operation_id="planUpgrade",
    responses=errors(VaultNotFound, ConfigurationServerNotFound, CursorUnreadable),
)
async def plan_upgrade(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    principal: Reader,
    session: ReadSession,
    paging: Paging,
    target: Annotated[
        VersionText | None, Query(description="A release of the catalogue; the newest when left out.")
    ] = None,
) -> UpgradePlan:
    """The configuration server first, then its process servers, then the mobility agents on source machines.

    `limit` and `cursor` page through the machines that need a reboot; the rest is the same on each page.
    """
    return await service.plan(session, principal, vault, cs, target, paging)
