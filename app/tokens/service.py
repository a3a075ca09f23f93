"""What admins can do with API tokens."""

import uuid
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal, require_all_vaults
from app.access.scope import vault_in_scope
from app.core import secrets
from app.core.db import Database, add_unique
from app.core.errors import Invalid, LastAdminToken, MusterError, NameTaken, TokenNotFound
from app.core.pagination import PageRequest
from app.core.wire import Page, new_id, rfc3339
from app.models import ApiToken
from app.tokens import queries
from app.tokens.schemas import TokenCreate, TokenIssued, TokenView
from app.vocabulary import Role

FIRST_TOKEN_NAME = "admin"
log = structlog.get_logger("muster.tokens")


async def create(session: AsyncSession, principal: Principal, body: TokenCreate, now: datetime) -> TokenIssued:
    """Issue a token; its secret is in this answer alone.

    Raises NameTaken, VaultNotFound, Invalid for an expiry that is over or given twice, and Forbidden for an
    admin of one vault: tokens reach beyond it.
    """
    require_all_vaults(principal, "creating tokens")
    vault = None if body.vault is None else await vault_in_scope(session, principal, body.vault)
    issued = secrets.issue(new_id())
    token = ApiToken(
        id=issued.id,
        name=body.name,
        role=body.role.value,
        vault_id=None if vault is None else vault.id,
        secret_hash=issued.digest,
        created_at=now,
        created_by=principal.actor,
        expires_at=_expiry(body, now),
    )
    await add_unique(session, token, NameTaken(f"there is already a token '{body.name}'"))
    log.info("token created", name=token.name, role=token.role, vault=vault and vault.name, by=principal.actor)
    view = view_of(token, None if vault is None else vault.name)
    return TokenIssued(**view.model_dump(by_alias=False), token=issued.text)


def _expiry(body: TokenCreate, now: datetime) -> datetime | None:
    if body.expires_at is not None and body.expires_in_days is not None:
        detail = "give expiresAt or expiresInDays, not both"
        raise Invalid(detail, [{"pointer": "#/expiresAt", "detail": detail}])
    if body.expires_in_days is not None:
        return now + timedelta(days=body.expires_in_days)
    if body.expires_at is not None and body.expires_at <= now:
        detail = f"{rfc3339(body.expires_at)} is over; name a time after {rfc3339(now)}"
        raise Invalid(detail, [{"pointer": "#/expiresAt", "detail": detail}])
    return body.expires_at


async def list_tokens(
    session: AsyncSession, principal: Principal, paging: PageRequest, order_by: str
) -> Page[TokenView]:
    """All tokens, without their secrets."""
    require_all_vaults(principal, "listing tokens")
    rows, cursor = await queries.list_tokens(session, paging, order_by)
    return Page[TokenView](items=[view_of(row.ApiToken, row.vault) for row in rows], next_cursor=cursor)


async def delete(session: AsyncSession, principal: Principal, token_id: uuid.UUID, now: datetime) -> None:
    """Delete a token; it stops working at once. Raises LastAdminToken when nobody could administer Muster then."""
    require_all_vaults(principal, "deleting tokens")
    admins = await queries.lock_admins(session, now)
    token = await queries.find(session, token_id)
    if token is None:
        raise TokenNotFound(f"there is no token {token_id}")
    if [admin.id for admin in admins] == [token.id]:
        raise LastAdminToken(f"'{token.name}' is the last admin token for all vaults; create another one first")
    await session.delete(token)
    log.info("token deleted", name=token.name, by=principal.actor)


async def create_first(database: Database, preset: str | None, now: datetime) -> str | None:
    """The first admin token when no token exists yet: `preset`, or a new one. Returns its text, else None.

    Replicas that start at once agree on one: the name is unique.
    """
    issued = secrets.issue(new_id())
    text = preset or issued.text
    presented = secrets.parse_any(text)
    taken = MusterError("taken")
    async with database.write() as session:
        if await queries.count(session):
            return None
        token = ApiToken(
            id=presented.id,
            name=FIRST_TOKEN_NAME,
            role=Role.ADMIN.value,
            secret_hash=presented.digest,
            created_at=now,
            created_by="bootstrap",
        )
        try:
            await add_unique(session, token, taken)
        except MusterError as error:
            if error is taken:
                return None
            raise
    return text


async def create_locally(database: Database, name: str, now: datetime) -> str:
    """An admin token made on the machine itself, for whoever lost the last one. Raises NameTaken."""
    issued = secrets.issue(new_id())
    async with database.write() as session:
        token = ApiToken(
            id=issued.id,
            name=name,
            role=Role.ADMIN.value,
            secret_hash=issued.digest,
            created_at=now,
            created_by="command line",
        )
        await add_unique(session, token, NameTaken(f"there is already a token '{name}'; choose another name"))
    return issued.text


def view_of(token: ApiToken, vault: str | None) -> TokenView:
    """The wire form of a row."""
    return TokenView(
        id=token.id,
        name=token.name,
        role=Role(token.role),
        vault=vault,
        created_at=token.created_at,
        created_by=token.created_by,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
    )
