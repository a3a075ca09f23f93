"""Who may do what: tokens, registration keys, credentials not yet used, failures, answers to repeated requests."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import NAME_LENGTH, Base, Identified, one_of, short_string
from app.vocabulary import Role


class ApiToken(Identified, Base):
    """An operator's or portal's token: `id.secret`, of which the secret's SHA-256 is stored."""

    __tablename__ = "api_tokens"

    name: Mapped[str] = mapped_column(short_string(NAME_LENGTH), unique=True)
    role: Mapped[str] = mapped_column(short_string(16))
    vault_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("vaults.id", ondelete="CASCADE"))
    """The only vault the token sees; NULL for all."""
    secret_hash: Mapped[bytes]
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(short_string())
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]

    __table_args__ = (one_of("role", Role),)


class RegistrationKey(Identified, Base):
    """Vault credentials with which configuration servers register; good for several until it expires."""

    __tablename__ = "registration_keys"

    vault_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("vaults.id", ondelete="CASCADE"))
    secret_hash: Mapped[bytes]
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(short_string())
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    use_count: Mapped[int] = mapped_column(default=0)

    __table_args__ = (Index(None, "vault_id", "id"),)


class IssuedCredential(Identified, Base):
    """An agent credential that was handed out and has not been used yet.

    The first heartbeat with one makes it the host's credential and forgets the others: an answer that was
    lost on its way, or a hundred parallel registrations, leave no agent locked out.
    """

    __tablename__ = "issued_credentials"

    host_row_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("hosts.id", ondelete="CASCADE"))
    secret_hash: Mapped[bytes]
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "host_row_id", "secret_hash"),)


class FailedRegistration(Base):
    """Failed registrations in the present window, per address and per configuration server."""

    __tablename__ = "failed_registrations"

    key: Mapped[str] = mapped_column(short_string(300), primary_key=True)
    window_started_at: Mapped[datetime]
    failures: Mapped[int]

    __table_args__ = (Index(None, "window_started_at"),)


class IdempotentAnswer(Base):
    """The answer to a POST with an `Idempotency-Key`.

    `sealed` is encrypted under a key made from the caller's own secret, of which only a hash is stored here:
    an answer that handed out a secret can be repeated to the one who asked, and read by nobody else.
    """

    __tablename__ = "idempotent_answers"

    id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    fingerprint: Mapped[bytes]
    sealed: Mapped[bytes | None]
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "created_at"),)
