"""Mass-disconnect brakes: which site fell silent at once, since when, and how far letting go has come."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import NAME_LENGTH, Base, Identified, one_of, short_string
from app.vocabulary import BrakeRelease, ResourceKind

SCOPES = (ResourceKind.VAULT, ResourceKind.CONFIGURATION_SERVER)


class Brake(Identified, Base):
    """One engagement. `brakes.rules` has the meaning of its times, `brakes.holding` writes them.

    The servers that it holds are the hosts that are `Unknown` with its id as `brake_id`. It outlives its configuration
    server as a record, and goes with its vault.
    """

    __tablename__ = "brakes"

    vault_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("vaults.id", ondelete="CASCADE"))
    scope_kind: Mapped[str] = mapped_column(short_string(32))
    scope_id: Mapped[uuid.UUID]
    scope_name: Mapped[str] = mapped_column(short_string(NAME_LENGTH))
    silent_count: Mapped[int]
    """Servers that fell silent in the window in which it engaged."""
    connected_count: Mapped[int]
    """Servers that were connected in that window, those included."""
    held_count: Mapped[int] = mapped_column(default=0)
    """Servers that it has held so far; a server that returned and fell silent again counts twice."""
    released_count: Mapped[int] = mapped_column(default=0)
    """Of these, the ones that it let go to `Disconnected`."""
    engaged_at: Mapped[datetime]
    joins_until: Mapped[datetime]
    until: Mapped[datetime]
    let_go_at: Mapped[datetime | None]
    release: Mapped[str | None] = mapped_column(short_string(16))
    acknowledged_by: Mapped[str | None] = mapped_column(short_string())
    next_release_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(f"scope_kind IN ({', '.join(repr(kind.value) for kind in SCOPES)})", name="scope_kind"),
        one_of("release", BrakeRelease),
        Index(None, "vault_id", "id"),
        # At most one holds a scope at a time, whatever monitors do at once.
        Index(
            "uq_brakes_holding",
            "scope_id",
            unique=True,
            postgresql_where=text("let_go_at IS NULL"),
            sqlite_where=text("let_go_at IS NULL"),
        ),
        Index(
            "ix_brakes_open",
            "id",
            postgresql_where=text("ended_at IS NULL"),
            sqlite_where=text("ended_at IS NULL"),
        ),
    )
