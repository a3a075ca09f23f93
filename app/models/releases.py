"""The release catalogue: Unified Setup's versions, as data that operators extend."""

from datetime import date

from sqlalchemy import Date
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Identified, short_string


class Release(Identified, Base):
    """A release of Unified Setup. Who runs a withdrawn one, or one with a known hole, is asked to update."""

    __tablename__ = "releases"

    version: Mapped[str] = mapped_column(short_string(32), unique=True)
    name: Mapped[str] = mapped_column(short_string())
    released_on: Mapped[date | None] = mapped_column(Date())
    support_ends_on: Mapped[date | None] = mapped_column(Date())
    is_withdrawn: Mapped[bool] = mapped_column(default=False)
    needs_security_update: Mapped[bool] = mapped_column(default=False)
