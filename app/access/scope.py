"""Finding the vault that a path names, within what the caller may see."""

import uuid
from typing import Annotated, Any

from fastapi import Path
from sqlalchemy import ColumnElement, false, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.principals import Principal
from app.core.errors import VaultNotFound
from app.models import Vault

VaultRef = Annotated[str, Path(max_length=64, description="Name or id of the vault.", examples=["contoso-dr"])]


def named(id_column: Any, name_column: Any, ref: str) -> ColumnElement[bool]:
    """Matches a row by id or, for anything that is not an id, by name."""
    if "\x00" in ref:
        return false()  # PostgreSQL refuses the character; nothing has it in its name
    try:
        matched: ColumnElement[bool] = id_column == uuid.UUID(ref)
    except ValueError:
        matched = name_column == ref.lower()
    return matched


async def vault_in_scope(session: AsyncSession, principal: Principal, ref: str, *, for_update: bool = False) -> Vault:
    """The vault called `ref`, locked when it is about to change.

    Raises VaultNotFound, also when it is out of the caller's scope: a token never learns of other vaults.
    """
    statement = select(Vault).where(named(Vault.id, Vault.name, ref))
    if for_update:
        statement = statement.with_for_update(key_share=True)
    vault = (await session.execute(statement)).scalar_one_or_none()
    if vault is None or not principal.sees(vault.id):
        raise VaultNotFound(f"there is no vault '{ref}'")
    return vault
