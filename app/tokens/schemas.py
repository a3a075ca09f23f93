"""API tokens on the wire."""

import uuid
from typing import Annotated

from pydantic import Field

from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, Moment, Name, Text, WireIn, WireOut, with_example
from app.vocabulary import Role

_EXAMPLE = {
    "id": EXAMPLE_ID,
    "name": "portal",
    "role": "reader",
    "vault": "contoso-dr",
    "createdAt": EXAMPLE_TIME,
    "createdBy": "token:admin",
    "expiresAt": "2027-11-24T12:00:00.000Z",
    "lastUsedAt": None,
}


class TokenCreate(WireIn):
    """A new token. Without `vault` it sees all vaults; without an expiry it lasts until it is deleted."""

    model_config = with_example({"name": "portal", "role": "reader", "vault": "contoso-dr", "expiresInDays": 365})

    name: Name
    role: Role
    vault: Text | None = None
    expires_in_days: Annotated[int, Field(strict=True, ge=1, le=3_650)] | None = None
    expires_at: Moment | None = None


class TokenView(WireOut):
    """A token without its secret."""

    model_config = with_example(_EXAMPLE)

    id: uuid.UUID
    name: str
    role: Role
    vault: str | None
    created_at: Moment
    created_by: str
    expires_at: Moment | None
    last_used_at: Moment | None


class TokenIssued(TokenView):
    """A new token: the one answer that shows it."""

    model_config = with_example({**_EXAMPLE, "token": "0192f0c17b1e7cc398c4dc0c0c07398f.<43 characters>"})

    token: str
