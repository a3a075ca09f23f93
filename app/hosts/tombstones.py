"""Tombstones: what the agent of a removed server learns, and who may not come back."""

import uuid
from datetime import datetime
from typing import NamedTuple

from app.core.errors import Purged
from app.core.wire import Moment, WireOut, rfc3339
from app.events.service import Resource
from app.models import Host, Tombstone


class PurgedMembers(WireOut):
    """What a removed server's agent learns."""

    purged_at: Moment
    purged_by: str
    reason: str


class Removal(NamedTuple):
    """Who removed a server, when and why."""

    actor: str
    at: datetime
    reason: str


def purged(tombstone: Tombstone) -> Purged:
    """The error that tells an agent when, by whom and why its server was removed."""
    members = PurgedMembers(
        purged_at=tombstone.purged_at, purged_by=tombstone.purged_by, reason=tombstone.reason
    ).model_dump(mode="json", by_alias=True)
    return Purged(
        f"{tombstone.resource_kind.replace('-', ' ')} '{tombstone.name}' was removed at "
        f"{rfc3339(tombstone.purged_at)} by {tombstone.purged_by}: {tombstone.reason}",
        **members,
    )


def entomb(
    host: Host,
    resource: Resource,
    configuration_server_id: uuid.UUID,
    hashes: list[str],
    removal: Removal,
    *,
    blocks_registration: bool,
) -> Tombstone:
    """The tombstone of a host's server. `hashes` are the digests of the credentials that are valid until now."""
    return Tombstone(
        host_row_id=host.id,
        vault_id=host.vault_id,
        configuration_server_id=configuration_server_id,
        resource_kind=resource.kind.value,
        resource_id=resource.id,
        name=resource.name,
        host_id=host.host_id,
        credential_hashes=hashes,
        purged_at=removal.at,
        purged_by=removal.actor,
        reason=removal.reason,
        ip_addresses=list(host.ip_addresses),
        blocks_registration=blocks_registration,
    )
