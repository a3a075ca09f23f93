"""Process servers on the wire."""

import uuid
from typing import Annotated, Literal

from fastapi import Path
from pydantic import Field

from app.core.wire import EXAMPLE_ID, EXAMPLE_TIME, LongText, Moment, Storable, Text, WireIn, WireOut, with_example
from app.hosts.schemas import EXAMPLE_REGISTRATION, EXAMPLE_SERVER, HostRegister, Registered, ServerView
from app.vocabulary import ServerKind

MAX_TAKEOVER_HOURS = 30 * 24

ProcessServerRef = Annotated[
    str, Path(max_length=64, description="Name or id of the process server.", examples=["ps-ams-01"])
]


class ProcessServerRegister(HostRegister):
    """A process server registers with its configuration server's passphrase."""

    model_config = with_example(
        {
            "configurationServer": "10.150.24.119",
            "passphrase": "abcd-efgh-ijkl-mnop-qrst-uvwx-yz23-4567",
            **EXAMPLE_REGISTRATION,
            "kind": "scaleOut",
        }
    )

    configuration_server: Annotated[Text, Field(min_length=1, description="Its IP address, FQDN or name.")]
    passphrase: Annotated[str, Storable, Field(min_length=1, max_length=1_000)]
    kind: Literal[ServerKind.SCALE_OUT, ServerKind.FAILBACK] = ServerKind.SCALE_OUT


class ProcessServerRegistered(Registered):
    """The answer to a process server's registration."""

    model_config = with_example(
        {
            "id": EXAMPLE_ID,
            "vault": "contoso-dr",
            "configurationServer": "cs-ams-01",
            "name": "ps-ams-01",
            "credential": "0192f0c17b1e7cc398c4dc0c0c07398f.<43 characters>",
            "heartbeat": {"intervalSeconds": 30, "timeoutSeconds": 900},
            "notices": [],
        }
    )


class MaintenanceUpdate(WireIn):
    """Drain a process server: it takes no new machines and its alerts are muted until a time."""

    is_enabled: Annotated[bool, Field(strict=True)] = True
    until: Moment | None = None
    reason: LongText | None = None


class ProcessServerUpdate(WireIn):
    """What can be changed of a process server; fields left out stay, `maintenance: null` ends it."""

    model_config = with_example(
        {
            "friendlyName": "Amsterdam, rack 4",
            "maintenance": {"isEnabled": True, "until": "2026-11-25T06:00:00Z", "reason": "disk exchange"},
        }
    )

    friendly_name: Annotated[Text, Field(min_length=1)] | None = None
    maintenance: MaintenanceUpdate | None = None


class TakeoverApproval(WireIn):
    """A rebuilt machine may take this process server's place: the one with `hostId`, or whichever comes first."""

    model_config = with_example({"hostId": "0192f0c9-1d2e-7cc3-98c4-dc0c0c07398f", "validHours": 24})

    host_id: Annotated[Text, Field(min_length=1, max_length=64, description="The new host id, if known.")] | None = None
    valid_hours: Annotated[int, Field(ge=1, le=MAX_TAKEOVER_HOURS, strict=True)] = 24


class TakeoverView(WireOut):
    """An approval that is waiting for its machine; it is used up by the first registration that fits."""

    model_config = with_example(
        {
            "id": EXAMPLE_ID,
            "name": "ps-ams-01",
            "configurationServer": "cs-ams-01",
            "presentHostId": "0192f0c1-7b1e-7cc3-98c4-dc0c0c07398f",
            "hostId": "0192f0c9-1d2e-7cc3-98c4-dc0c0c07398f",
            "until": EXAMPLE_TIME,
        }
    )

    id: uuid.UUID
    name: str
    configuration_server: str
    present_host_id: str
    host_id: str | None
    until: Moment


class MaintenanceView(WireOut):
    """Whether the server is drained, until when (null: until ended) and why."""

    is_enabled: bool
    until: Moment | None
    reason: str | None


class ProcessServerView(ServerView):
    """A process server. Sizes are binary bytes; times UTC."""

    model_config = with_example(
        {
            "id": EXAMPLE_ID,
            "name": "ps-ams-01",
            "friendlyName": "Amsterdam, rack 4",
            "kind": "scaleOut",
            "vault": "contoso-dr",
            "configurationServer": "cs-ams-01",
            "dataTransferPort": 9443,
            **EXAMPLE_SERVER,
            "sourceMachineCount": 85,
            "maintenance": {"isEnabled": False, "until": None, "reason": None},
        }
    )

    id: uuid.UUID
    name: str
    friendly_name: str
    kind: ServerKind
    vault: str
    configuration_server: str
    data_transfer_port: int
    source_machine_count: int
    maintenance: MaintenanceView
