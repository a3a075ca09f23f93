"""What all tables share: naming of constraints, column types, who and when."""

import uuid
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Double, Integer, LargeBinary, MetaData, String, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.core.db import UtcDateTime
from app.core.wire import new_id

JsonValue = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# SQLite only numbers rows by itself in a column that is exactly INTEGER.
BigIdentity = BigInteger().with_variant(Integer(), "sqlite")
NAME_LENGTH = 63
TEXT_LENGTH = 255


class Base(DeclarativeBase):
    """The metadata, with names for all constraints so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        datetime: UtcDateTime(),
        dict[str, Any]: JsonValue,
        list[str]: JsonValue,
        list[dict[str, Any]]: JsonValue,
        uuid.UUID: Uuid(),
        bytes: LargeBinary(),
        int: BigInteger(),
        float: Double(),
    }


def one_of(column: str, kind: Iterable[StrEnum]) -> CheckConstraint:
    """Enums are strings with a CHECK: readable in SQL, and a new member is a plain migration.

    `kind` is an enum, or those of its members that the column takes.
    """
    values = ", ".join(f"'{member.value}'" for member in kind)
    return CheckConstraint(f"{column} IN ({values})", name=column)


class Identified:
    """A UUIDv7 primary key."""

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)


class Revised:
    """A resource that operators read and change. `revision` is its ETag."""

    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    revision: Mapped[int] = mapped_column(default=1)


def short_string(length: int = TEXT_LENGTH) -> String:
    """A bounded string column."""
    return String(length)
