"""Configuration servers on the wire."""

import uuid
from typing import Annotated

from fastapi import Path
from pydantic import Field

from app.core.wire import EXAMPLE_ID, Moment, Storable, Text, WireIn, WireOut, with_example
from app.hosts.schemas import EXAMPLE_REGISTRATION, EXAMPLE_SERVER, HostRegister, Registered, ServerView

ConfigurationServerRef = Annotated[
    str, Path(max_length=64, description="Name or id of the configuration server.", examples=["cs-ams-01"])
]
_KEY = "0192f0c17b1e7cc398c4dc0c0c07398f.<43 characters>"
_PASSPHRASE = "abcd-efgh-ijkl-mnop-qrst-uvwx-yz23-4567"


class ConfigurationServerRegister(HostRegister):
    """A configuration server registers with the vault's registration key."""

    model_config = with_example({**EXAMPLE_REGISTRATION, "name": "cs-ams-01", "registrationKey": _KEY})

    registration_key: Annotated[str, Storable, Field(min_length=1, max_length=4_000)]


class ConfigurationServerRegistered(Registered):
    """`passphrase` is in the first registration's answer alone: process servers prove it."""

    model_config = with_example(
        {
            "id": EXAMPLE_ID,
            "vault": "contoso-dr",
            "configurationServer": "cs-ams-01",
            "name": "cs-ams-01",
            "credential": _KEY,
            "passphrase": _PASSPHRASE,
            "heartbeat": {"intervalSeconds": 30, "timeoutSeconds": 900},
            "notices": [],
        }
    )

    passphrase: str | None = Field(exclude_if=lambda value: value is None)


class ConfigurationServerUpdate(WireIn):
    """What can be changed of a configuration server; fields left out stay."""

    model_config = with_example({"friendlyName": "Amsterdam"})

    friendly_name: Annotated[Text, Field(min_length=1)] | None = None


class ConfigurationServerView(ServerView):
    """A configuration server. Sizes are binary bytes; times UTC."""

    model_config = with_example(
        {
            "id": EXAMPLE_ID,
            "name": "cs-ams-01",
            "friendlyName": "Amsterdam",
            "vault": "contoso-dr",
            **EXAMPLE_SERVER,
            "processServerCount": 3,
            "sourceMachineCount": 120,
            "sslCertExpiryDate": "2029-11-23T12:00:00.000Z",
        }
    )

    id: uuid.UUID
    name: str
    friendly_name: str
    vault: str
    process_server_count: int
    source_machine_count: int
    ssl_cert_expiry_date: Moment


class PassphraseIssued(WireOut):
    """A new passphrase: the one answer that shows it."""

    model_config = with_example({"configurationServer": "cs-ams-01", "passphrase": _PASSPHRASE})

    configuration_server: str
    passphrase: str
