"""Unified Setup's parameters: their names, what each takes, and what would be right.

Source: the table of installer parameters that the scale-out process server's page includes, with its names.
Those marked as Muster's own are not in it: a process server's /CSIP names its configuration server, which is not
where the control plane listens.
"""

import difflib
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

from app.agent import host
from app.agent.wire import check_url

SERVER_MODES = ("CS", "PS")
ENVIRONMENT_TYPES = ("VMware", "NonVMware")
KINDS = ("scaleOut", "failback")
_CLOSE_ENOUGH = 0.75


@dataclass(frozen=True)
class Parameter:
    """One parameter. ``read`` returns its value in one spelling, or raises ValueError saying what would be right."""

    name: str
    metavar: str  # empty: a switch
    about: str
    read: Callable[[str], str] | None = None
    is_free_text: bool = False  # a value that may itself begin with a slash

    @property
    def takes_value(self) -> bool:
        """Whether a value follows the name."""
        return self.read is not None


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        for choice in choices:
            if text.casefold() == choice.casefold():
                return choice
        raise ValueError(f"is '{shown(text)}'; use {' or '.join(choices)}")

    return read


def _path(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; name a path")
    if not text.isprintable():
        raise ValueError("holds characters that no path has")
    return text.strip()


def _drive(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]:?[\\/]?", text):
        raise ValueError(f"is '{shown(text)}'; use a drive letter, such as D:")
    return f"{text[0].upper()}:"


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"is '{shown(text)}'; use an IP address, such as 10.150.24.119") from None
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"is {address}, which is no machine's address")
    return str(address)


def _port(text: str) -> str:
    if not text.isascii() or not text.isdecimal() or len(text) > 5 or not 1 <= int(text) <= 65535:
        raise ValueError(f"is '{shown(text)}'; use a port from 1 to 65535 (usual: 9443)")
    return str(int(text))


def _url(text: str) -> str:
    return check_url(text)


def _name(text: str) -> str:
    if not host.is_name(text.lower()):
        raise ValueError(f"is '{shown(text)}'; use 1 to 63 letters, digits and hyphens")
    return text.lower()


def shown(text: str) -> str:
    """Return a value as a message may show it: short and on one line."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in text)
    return printable if len(printable) <= 60 else printable[:59] + "…"


PARAMETERS = (
    Parameter("ServerMode", "CS|PS", "CS: configuration server and process server; PS: process server",
              _one_of(*SERVER_MODES)),
    Parameter("InstallLocation", "FOLDER", "where to install", _path, is_free_text=True),
    Parameter("InstallDrive", "DRIVE", "in place of /InstallLocation on Windows: the folder Muster of that drive",
              _drive),
    Parameter("MySQLCredsFilePath", "FILE", "CS: [MySQLCredentials] with MySQLRootPassword, MySQLUserPassword; "
              "checked, kept nowhere", _path, is_free_text=True),
    Parameter("VaultCredsFilePath", "FILE", "CS: the .vaultcredentials file, or one with the bare registration key",
              _path, is_free_text=True),
    Parameter("EnvType", "VMware|NonVMware", "what is protected", _one_of(*ENVIRONMENT_TYPES)),
    Parameter("PSIP", "ADDRESS", "this server's address for data transfer (default: the one that routes to the "
              "control plane)", _address),
    Parameter("CSIP", "ADDRESS", "PS: the address of its configuration server", _address),
    Parameter("PassphraseFilePath", "FILE", "PS: a file that holds the configuration server's passphrase",
              _path, is_free_text=True),
    Parameter("BypassProxy", "", "connect directly, whatever proxy the machine has"),
    Parameter("ProxySettingsFilePath", "FILE", "connect through the proxy of this file's [ProxySettings]",
              _path, is_free_text=True),
    Parameter("DataTransferSecurePort", "PORT", "where replication data comes in (default: 9443)", _port),
    Parameter("SkipSpaceCheck", "", "do not check the space on disks"),
    Parameter("AcceptThirdpartyEULA", "", "accept the licenses of third-party software; needed"),
    Parameter("ShowThirdpartyEULA", "", "print those licenses and ignore everything else"),
    Parameter("ControlPlaneUrl", "URL", "the control plane (environment: MUSTER_URL; a .vaultcredentials file names "
              "it too)", _url),
    Parameter("CAFile", "FILE", "trust only this CA (PEM), not those of the system", _path, is_free_text=True),
    Parameter("Kind", "scaleOut|failback", "PS: failback for a temporary one in Azure (default: scaleOut)",
              _one_of(*KINDS)),
    Parameter("Name", "NAME", "the server's name (default: first label of the host name)", _name),
    Parameter("CacheFolder", "FOLDER", "where replication data is cached; its disk is checked and measured",
              _path, is_free_text=True),
    Parameter("IgnorePrerequisites", "", "go on although prerequisites are not met"),
    Parameter("WhatIf", "", "check everything, print what would be done, change nothing"),
    Parameter("Json", "", "print one JSON document in place of text"),
)  # fmt: skip
OWN_PARAMETERS = {"ControlPlaneUrl", "CAFile", "Kind", "Name", "CacheFolder", "IgnorePrerequisites", "WhatIf", "Json"}
"""Muster's own, which Unified Setup does not have."""

_BY_NAME = {parameter.name.casefold(): parameter for parameter in PARAMETERS}


def find(name: str) -> Parameter | None:
    """Return the parameter of this name in any case, None if there is none."""
    return _BY_NAME.get(name.casefold())


def nearest(name: str) -> str | None:
    """Return the name of the parameter that ``name`` was probably meant to be, None if nothing is near."""
    folded = name.casefold()
    begun = [known for known in _BY_NAME if len(folded) > 1 and known.startswith(folded)]
    found = begun or difflib.get_close_matches(folded, _BY_NAME, n=1, cutoff=_CLOSE_ENOUGH)
    return _BY_NAME[found[0]].name if found else None
