"""Registration keys on the wire."""

import uuid

from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, Moment, WireOut, with_example

_EXAMPLE = {
    "id": EXAMPLE_ID,
    "vault": "contoso-dr",
    "createdAt": EXAMPLE_TIME,
    "createdBy": "token:alice",
    "expiresAt": "2026-11-29T12:00:00.000Z",
    "revokedAt": None,
    "lastUsedAt": None,
    "useCount": 0,
}


class RegistrationKeyView(WireOut):
    """A registration key without its secret."""

    model_config = with_example(_EXAMPLE)

    id: uuid.UUID
    vault: str
    created_at: Moment
    created_by: str
    expires_at: Moment
    revoked_at: Moment | None
    last_used_at: Moment | None
    use_count: int


class RegistrationKeyIssued(RegistrationKeyView):
    """A new registration key: the one answer that shows it."""

    model_config = with_example({**_EXAMPLE, "registrationKey": "0192f0c17b1e7cc398c4dc0c0c07398f.<43 characters>"})

    registration_key: str


class VaultCredentials(WireOut):
    """The `.vaultcredentials` file that Unified Setup takes as /VaultCredsFilePath."""

    model_config = with_example(
        {
            "vault": "contoso-dr",
            "url": "https://muster.example",
            "expiresAt": "2026-11-29T12:00:00.000Z",
            "registrationKey": "0192f0c17b1e7cc398c4dc0c0c07398f.<43 characters>",
        }
    )

    vault: str
    url: str
    expires_at: Moment
    registration_key: str
