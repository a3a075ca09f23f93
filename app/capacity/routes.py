"""Capacity over HTTP."""

from fastapi import APIRouter

from app.access.principals import Reader
from app.access.scope import VaultRef
from app.capacity import service
from app.capacity.schemas import CapacityView, StatedChurn, StatedMachines
from app.configuration_servers.schemas import ConfigurationServerRef
from app.core.clock import Now
from app.core.db import ReadSession
from app.core.documentation import errors
from app.core.errors import ConfigurationServerNotFound, VaultNotFound

router = APIRouter(prefix="/api/v1/vaults/{vault}/configuration-servers/{cs}", tags=["configuration servers"])


@router.get(
    "/capacity",
    summary="Judge a configuration server's capacity",
    operation_id="readCapacity",
    responses=errors(VaultNotFound, ConfigurationServerNotFound),
)
async def read_capacity(
    vault: VaultRef,
    cs: ConfigurationServerRef,
    principal: Reader,
    session: ReadSession,
    now: Now,
    source_machines: StatedMachines = None,
    churn_in_bytes_per_day: StatedChurn = None,
) -> CapacityView:
    """Machines and churn against the limits, spare capacity of each process server, and which ones are missing.

    The load is that of the registered source machines; a total stated in the query stands in for theirs.
    """
    return await service.read(session, principal, vault, cs, now, source_machines, churn_in_bytes_per_day)
