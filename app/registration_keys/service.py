"""What can be done with registration keys."""

import uuid
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.access.scope import vault_in_scope
from app.core import secrets
from app.core.errors import RegistrationKeyNotFound, RegistrationKeyRefused
from app.core.pagination import PageRequest
from app.core.wire import Page, new_id, rfc3339
from app.events.service import Resource, record
from app.models import RegistrationKey, Vault
from app.registration_keys import queries
from app.registration_keys.schemas import RegistrationKeyIssued, RegistrationKeyView, VaultCredentials
from app.vocabulary import REGISTRATION_KEY_VALID_DAYS, EventType, ResourceKind


async def create(
    session: AsyncSession, principal: Principal, ref: str, now: datetime, *, file_url: str | None = None
) -> RegistrationKeyIssued | VaultCredentials:
    """Issue a key, valid for five days; its secret is in this answer alone.

    With `file_url` (the URL agents reach Muster under) the answer is the content of a `.vaultcredentials` file.
    """
    vault = await vault_in_scope(session, principal, ref)
    issued = secrets.issue(new_id())
    key = RegistrationKey(
        id=issued.id,
        vault_id=vault.id,
        secret_hash=issued.digest,
        created_at=now,
        created_by=principal.actor,
        expires_at=now + timedelta(days=REGISTRATION_KEY_VALID_DAYS),
        use_count=0,
    )
    session.add(key)
    record(
        session,
        vault.id,
        now,
        EventType.REGISTRATION_KEY_CREATED,
        Resource(ResourceKind.REGISTRATION_KEY, key.id, vault.name),
        actor=principal.actor,
        message=f"a registration key for vault {vault.name} was handed out; it expires at {rfc3339(key.expires_at)}",
    )
    if file_url is not None:
        return VaultCredentials(vault=vault.name, url=file_url, expires_at=key.expires_at, registration_key=issued.text)
    return RegistrationKeyIssued(**view_of(key, vault).model_dump(by_alias=False), registration_key=issued.text)


async def list_keys(
    session: AsyncSession, principal: Principal, ref: str, paging: PageRequest
) -> Page[RegistrationKeyView]:
    """A vault's keys, also expired and revoked ones."""
    vault = await vault_in_scope(session, principal, ref)
    rows, cursor = await queries.list_keys(session, vault.id, paging)
    return Page[RegistrationKeyView](items=[view_of(row.RegistrationKey, vault) for row in rows], next_cursor=cursor)


async def revoke(session: AsyncSession, principal: Principal, ref: str, key_id: uuid.UUID, now: datetime) -> None:
    """Make a key useless at once. Servers that registered with it stay. Repeating it changes nothing."""
    vault = await vault_in_scope(session, principal, ref)
    key = await queries.find(session, vault.id, key_id)
    if key is None:
        raise RegistrationKeyNotFound(f"vault '{vault.name}' has no registration key {key_id}")
    if key.revoked_at is not None:
        return
    key.revoked_at = now
    record(
        session,
        vault.id,
        now,
        EventType.REGISTRATION_KEY_REVOKED,
        Resource(ResourceKind.REGISTRATION_KEY, key.id, vault.name),
        actor=principal.actor,
        message=f"a registration key of vault {vault.name} was revoked",
    )


async def redeem(session: AsyncSession, text: str, now: datetime) -> tuple[RegistrationKey, Vault]:
    """The key that an agent shows, and its vault.

    Raises RegistrationKeyRefused when it is unknown, expired or revoked; which of these is said only to
    whoever holds the right secret.
    """
    presented = secrets.parse(text.strip())
    found = await queries.with_vault(session, presented.id) if presented else None
    if presented is None or found is None or not secrets.same(found[0].secret_hash, presented.digest):
        raise RegistrationKeyRefused("the registration key is unknown; create one for the vault and use its file")
    key, vault = found
    if key.revoked_at is not None:
        raise RegistrationKeyRefused(
            f"the registration key of vault '{vault.name}' was revoked at {rfc3339(key.revoked_at)}; create a new one"
        )
    if key.expires_at <= now:
        raise RegistrationKeyRefused(
            f"the registration key of vault '{vault.name}' expired at {rfc3339(key.expires_at)} "
            f"({REGISTRATION_KEY_VALID_DAYS} days after it was made); create a new one"
        )
    return key, vault


def view_of(key: RegistrationKey, vault: Vault) -> RegistrationKeyView:
    """The wire form of a row."""
    return RegistrationKeyView(
        id=key.id,
        vault=vault.name,
        created_at=key.created_at,
        created_by=key.created_by,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
        use_count=key.use_count,
    )
