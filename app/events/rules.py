"""Which events a client asks for, and whether what follows a number is still there. Pure."""

import uuid
from dataclasses import dataclass, field


def _identifier(text: str | None) -> uuid.UUID | None:
    try:
        return None if text is None else uuid.UUID(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class Selection:
    """A filter over a vault's record; a member that is empty selects all.

    `types` are whole types, or prefixes that end in `.`; `resource` is the name or id of what an event speaks of.
    The database has the same rule as SQL (`queries.conditions`).
    """

    types: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    resource: str | None = None
    _whole: frozenset[str] = field(init=False, repr=False, compare=False)
    _prefixes: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _resource_id: uuid.UUID | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Worked out once: a stream asks for each event.
        object.__setattr__(self, "_whole", frozenset(entry for entry in self.types if not entry.endswith(".")))
        object.__setattr__(self, "_prefixes", tuple(entry for entry in self.types if entry.endswith(".")))
        object.__setattr__(self, "_resource_id", _identifier(self.resource))

    def matches(self, event_type: str, severity: str, resource_id: uuid.UUID, resource_name: str) -> bool:
        """Whether an event with these members is asked for."""
        if self.types and event_type not in self._whole and not event_type.startswith(self._prefixes):
            return False
        if self.severities and severity not in self.severities:
            return False
        if self.resource is None:
            return True
        if self._resource_id is not None:
            return resource_id == self._resource_id
        return resource_name == self.resource.lower()


EVERYTHING = Selection()


def is_expired(after: int, oldest_kept: int) -> bool:
    """Whether some event after number `after` was deleted, so that what is left is not all that followed it."""
    return after + 1 < oldest_kept
