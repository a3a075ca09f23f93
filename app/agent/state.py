"""What an agent remembers between starts, and its JSON form.

The document carries a schema version. Reading is strict: a member of a wrong type, or a version this agent
does not know, is an error, never a guess; members it does not know are left out.
"""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1

Json = dict[str, Any]


class StateError(Exception):
    """The state can not be read or written; the message names the file and says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """The way to the control plane that the operator chose."""

    mode: str  # existing: what the machine has; direct: none; custom: the one named here
    address: str | None = None
    port: int | None = None
    user_name: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator chose at registration and every later start uses."""

    url: str
    ca_file: str | None = None
    cache_folder: str | None = None
    telemetry_file: str | None = None
    services: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()  # empty: find the address that routes to the control plane
    agent_version: str | None = None  # None: the version of the installed package, at every start
    proxy: Proxy | None = None  # None: what the machine has


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the control plane says this server is."""

    id: str
    vault: str
    configuration_server: str | None
    name: str
    server_mode: str
    kind: str | None
    interval_seconds: float
    timeout_seconds: float
    registered_at: str
    ip_addresses: tuple[str, ...] = ()  # as registered: what is reported while they can not be found out
    credential: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRegistration:
    """A registration that was sent and not answered yet: resent word for word under the same key."""

    idempotency_key: str
    fingerprint: str
    body: Json  # without the registration key or passphrase


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    """What the control plane wants of this server, at a generation."""

    generation: int
    document: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class LastHeartbeat:
    """The last heartbeat that the control plane acknowledged."""

    acknowledged_at: str  # this machine's clock
    server_time: str | None  # the control plane's
    boot_id: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Since when heartbeats fail, and how the first one did."""

    since: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """The end of this server, as the control plane tells it."""

    told_at: str
    purged_at: str | None
    purged_by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything an agent remembers. Immutable: a change is a new state, saved before it is used."""

    host_id: str
    instance_id: str
    settings: Settings | None = None
    identity: Identity | None = None
    pending: PendingRegistration | None = None
    desired: DesiredState | None = None
    last_heartbeat: LastHeartbeat | None = None
    outage: Outage | None = None
    purge: Purge | None = None

    def to_document(self) -> Json:
        """Return the JSON document of this state."""
        return {"schemaVersion": SCHEMA_VERSION, **_to_json(self)}

    @classmethod
    def from_document(cls, document: object) -> "State":
        """Return the state a JSON document describes. Raises ValueError saying which member is wrong."""
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004 - one error type for every defect of a file
        version = document.get("schemaVersion")
        if isinstance(version, bool) or not isinstance(version, int):
            raise ValueError("schemaVersion is missing or not a whole number")  # noqa: TRY004
        if version > SCHEMA_VERSION:
            raise ValueError(f"schemaVersion {version} was written by a newer agent; this one knows {SCHEMA_VERSION}")
        if version < 1:
            raise ValueError(f"schemaVersion {version} does not exist")
        state = _from_json(cls, document, "state")
        return typing.cast("State", state)


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def _to_json(record: Any) -> Json:
    document: Json = {}
    for member in dataclasses.fields(record):
        value = getattr(record, member.name)
        if dataclasses.is_dataclass(value):
            value = _to_json(value)
        elif isinstance(value, tuple):
            value = list(value)
        document[_camel(member.name)] = value
    return document


def _from_json(cls: type, document: Json, where: str) -> object:
    hints = typing.get_type_hints(cls)
    values: dict[str, object] = {}
    for member in dataclasses.fields(cls):
        key = _camel(member.name)
        if key in document:
            values[member.name] = _value(hints[member.name], document[key], f"{where}.{key}")
        elif member.default is dataclasses.MISSING:
            raise ValueError(f"{where}.{key} is missing")
    return cls(**values)


def _value(wanted: Any, value: object, where: str) -> object:
    if isinstance(wanted, types.UnionType):
        if value is None:
            return None
        wanted = next(kind for kind in typing.get_args(wanted) if kind is not types.NoneType)
    if dataclasses.is_dataclass(wanted) and isinstance(value, dict):
        return _from_json(typing.cast("type", wanted), value, where)
    if typing.get_origin(wanted) is tuple and isinstance(value, list):
        return tuple(_value(str, item, f"{where}[{index}]") for index, item in enumerate(value))
    if typing.get_origin(wanted) is dict and isinstance(value, dict):
        return value
    if isinstance(value, bool):
        raise ValueError(f"{where} has the wrong type")  # noqa: TRY004
    if wanted is float and isinstance(value, (int, float)):
        return float(value)
    if wanted in {str, int} and isinstance(value, wanted):
        return value
    raise ValueError(f"{where} has the wrong type")
