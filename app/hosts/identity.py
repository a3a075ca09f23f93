"""Who an agent is: its credential names the host's row and proves it."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import secrets
from app.core.errors import CredentialRefused, Unauthenticated
from app.hosts import queries
from app.models import Host, Tombstone


def refused() -> CredentialRefused:
    """The error for a credential that is nobody's."""
    return CredentialRefused("the agent credential is unknown or was replaced; register the server again")


async def is_valid(session: AsyncSession, host: Host, digest: bytes) -> bool:
    """Whether this is the host's credential, or one that was handed out to it and not used yet."""
    if host.credential_hash is not None and secrets.same(host.credential_hash, digest):
        return True
    return await queries.unused_credential(session, host.id, digest)


async def identify(session: AsyncSession, credential: str | None) -> Host | Tombstone:
    """The host that shows `credential`, or the tombstone of the one that had it; neither is locked.

    Raises Unauthenticated without a credential, CredentialRefused for an unknown one.
    """
    if credential is None:
        raise Unauthenticated("send the agent credential as 'Authorization: Bearer <id.secret>'")
    presented = secrets.parse(credential)
    if presented is None:
        raise refused()
    host = await queries.by_row_id(session, presented.id)
    if host is not None and await is_valid(session, host, presented.digest):
        return host
    tombstone = None if host is not None else await queries.tombstone_of(session, presented.id)
    # Only the holder of a credential that was valid learns what became of the server.
    if tombstone is not None and presented.digest.hex() in tombstone.credential_hashes:
        return tombstone
    raise refused()
