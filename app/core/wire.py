"""Conventions of the wire: camelCase, strict input, RFC 3339 UTC with `Z`, shared field types."""

import re
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

import uuid_utils.compat
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)
from pydantic.alias_generators import to_camel

NAME_PATTERN = re.compile(r"[a-z0-9-]{1,63}")
MAX_LIST_ITEMS = 64

Item = TypeVar("Item")


def new_id() -> uuid.UUID:
    """A UUIDv7: rises with time, so that rows and pages keep the order of creation."""
    return uuid_utils.compat.uuid7()


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds and `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_uuid(text: str) -> bool:
    """Whether `text` is an identifier rather than a name."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _name(value: str) -> str:
    lowered = value.lower()
    if not NAME_PATTERN.fullmatch(lowered):
        raise ValueError(f"'{value[:80]}' is not a name: use 1 to 63 of a-z, 0-9 and -")
    if is_uuid(lowered):
        raise ValueError(f"'{value}' has the form of an identifier; choose another name")
    return lowered


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("has no time zone; write it as 2026-11-24T12:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999 in UTC") from None


def _storable(value: Any) -> Any:
    # PostgreSQL can't store U+0000, UTF-8 can't write half a surrogate pair; said here, it names its field.
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("contains the character U+0000")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("contains half of a surrogate pair")
    return value


Storable = BeforeValidator(_storable)
Name = Annotated[str, Storable, AfterValidator(_name), Field(description="1 to 63 of a-z 0-9 -; capitals are folded.")]
Text = Annotated[str, Storable, StringConstraints(max_length=255)]
LongText = Annotated[str, Storable, StringConstraints(max_length=2000)]
Moment = Annotated[datetime, AfterValidator(_aware), PlainSerializer(rfc3339, when_used="json")]
Bytes = Annotated[int, Field(strict=True, ge=0, le=2**60)]
Port = Annotated[int, Field(strict=True, ge=1, le=65_535)]


def with_example(example: dict[str, Any]) -> ConfigDict:
    """Model configuration that shows `example` in the OpenAPI pages."""
    return ConfigDict(json_schema_extra={"examples": [example]})


EXAMPLE_ID = "0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f"
EXAMPLE_TIME = "2026-11-24T12:00:00.000Z"


class WireIn(BaseModel):
    """What a client sends. Unknown fields are refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", validate_by_name=False, validate_by_alias=True)


class WireOut(BaseModel):
    """What a client reads. Views have no defaults: each value is stated where the view is made."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
    )


class Page(WireOut, Generic[Item]):
    """One page of a list; `nextCursor` is null on the last."""

    items: list[Item]
    next_cursor: str | None
