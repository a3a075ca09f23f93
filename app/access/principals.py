"""Who is calling: API tokens of operators and portals, and what they may do."""

import uuid
from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select

from app.core import secrets
from app.core.db import database_of
from app.core.errors import Forbidden, Unauthenticated
from app.models import ApiToken
from app.vocabulary import Role

operator_scheme = HTTPBearer(
    scheme_name="apiToken", description="An API token of the form `id.secret`.", auto_error=False
)
agent_scheme = HTTPBearer(
    scheme_name="agentCredential",
    description="The credential an agent got at registration.",
    auto_error=False,
)


class Principal(NamedTuple):
    """An authenticated operator or portal."""

    token_id: uuid.UUID
    name: str
    role: Role
    vault_id: uuid.UUID | None
    secret: str
    """Only to seal answers to repeated requests; it is never stored or logged."""

    @property
    def actor(self) -> str:
        """How events name the caller."""
        return f"token:{self.name}"

    def sees(self, vault_id: uuid.UUID) -> bool:
        """Whether a vault is in scope."""
        return self.vault_id is None or self.vault_id == vault_id

    def __repr__(self) -> str:
        return f"Principal({self.name!r}, {self.role.value})"


def bearer(request: Request) -> str | None:
    """The bearer token of the Authorization header, if there is one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


async def authenticate(
    request: Request,
    _: Annotated[HTTPAuthorizationCredentials | None, Depends(operator_scheme)],
) -> Principal:
    """The caller. Raises Unauthenticated when there is no token or it is unknown or expired."""
    text = bearer(request)
    if text is None:
        raise Unauthenticated("send an API token as 'Authorization: Bearer <id.secret>'")
    presented = secrets.parse_any(text)
    # A session of its own, ended here: a request that kept it would hold one connection while it waits for
    # another, and a pool full of such requests serves nobody.
    async with database_of(request).read() as session:
        token = (await session.execute(select(ApiToken).where(ApiToken.id == presented.id))).scalar_one_or_none()
    if token is None or not secrets.same(token.secret_hash, presented.digest):
        raise Unauthenticated("the API token is unknown or was deleted; ask an admin for a new one")
    if token.expires_at is not None and token.expires_at <= request.app.state.clock.now():
        raise Unauthenticated(f"the API token '{token.name}' has expired; ask an admin for a new one")
    request.app.state.token_usage.note(token.id)
    return Principal(token.id, token.name, Role(token.role), token.vault_id, text)


def _require(principal: Principal, role: Role) -> Principal:
    if not principal.role.includes(role):
        raise Forbidden(f"this needs the role '{role}'; the token '{principal.name}' has '{principal.role}'")
    return principal


async def _reader(principal: Annotated[Principal, Depends(authenticate)]) -> Principal:
    return _require(principal, Role.READER)


async def _operator(principal: Annotated[Principal, Depends(authenticate)]) -> Principal:
    return _require(principal, Role.OPERATOR)


async def _admin(principal: Annotated[Principal, Depends(authenticate)]) -> Principal:
    return _require(principal, Role.ADMIN)


Reader = Annotated[Principal, Depends(_reader)]
Operator = Annotated[Principal, Depends(_operator)]
Admin = Annotated[Principal, Depends(_admin)]


def require_admin(principal: Principal, what: str) -> None:
    """Raises Forbidden unless the caller is an admin; `what` says what was tried."""
    if principal.role is not Role.ADMIN:
        raise Forbidden(f"{what} needs the role 'admin'; the token '{principal.name}' has '{principal.role}'")


def require_all_vaults(principal: Principal, what: str) -> None:
    """Raises Forbidden when the token is limited to one vault."""
    if principal.vault_id is not None:
        raise Forbidden(f"{what} needs a token for all vaults; '{principal.name}' is limited to one")
