"""What the portal's "+ Process server" shows (domain sections 3 and 5): pure, no database, no clock.

Source: the seed document, "Downloading the Scale-out Process Server software" and "Installing and registering a
Scale-out Process Server using command-line"; its version rule: equal to or lower than the configuration server's.
"""

import ipaddress
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from app.vocabulary import CONTROL_PORT, DEFAULT_DATA_TRANSFER_PORT, Placement, ServerKind

LINUX_FOLDER = "/opt/muster"
LINUX_PASSPHRASE_FILE = "/root/passphrase.txt"
WINDOWS_FOLDER = "D:\\"
WINDOWS_PASSPHRASE_FILE = "C:\\Users\\Administrator\\Desktop\\Passphrase.txt"


class Plan(NamedTuple):
    """A process server to be added."""

    configuration_server: str
    address: str
    kind: ServerKind
    url: str
    download_url: str
    file_name: str
    sha256: str


class Commands(NamedTuple):
    """The command lines of one operating system, in their order; the last two are alternatives."""

    download: str
    verify: str
    unified_setup: str
    register_only: str


PREREQUISITES: Sequence[str] = (
    "At least 4 cores and 8 GB of memory; 8 cores and 16 GB are recommended",
    "Three disks: operating system, cache, retention for failback; 600 GB free for the cache and 600 GB for retention",
    "At least 5 GB free on the drive to install on",
    "Windows Server 2012 R2 or 2016 with an en-* locale, or Linux; Python 3.10 or newer",
    "A static IPv4 address without NAT",
    f"Ports {CONTROL_PORT} (control) and {DEFAULT_DATA_TRANSFER_PORT} (data) free",
    "On Windows none of the roles AD DS, IIS and Hyper-V",
    "A clock in sync with the control plane's",
)


def kind_at(placement: Placement) -> ServerKind:
    """In Azure a process server serves failback; on-premises it scales out."""
    return ServerKind.FAILBACK if placement is Placement.AZURE else ServerKind.SCALE_OUT


def address_of(ip_addresses: Iterable[str], name: str) -> str:
    """The address for /CSIP: the first of IPv4, else the first; what to fill in where none is known."""
    known = [ipaddress.ip_address(text) for text in ip_addresses]
    chosen = next((address for address in known if address.version == 4), known[0] if known else None)
    return f"<IP address of {name}>" if chosen is None else str(chosen)


def linux_commands(plan: Plan) -> Commands:
    """For a shell of root."""
    file, url = shlex.quote(plan.file_name), shlex.quote(plan.download_url)
    failback = " /Kind failback" if plan.kind is ServerKind.FAILBACK else ""
    return Commands(
        download=f"curl --fail --location --output {file} {url}",
        verify=f"echo '{plan.sha256}  {plan.file_name}' | sha256sum --check",
        unified_setup=(
            f"python3 {file} setup /AcceptThirdpartyEULA /ServerMode PS /InstallLocation {LINUX_FOLDER} "
            f'/EnvType VMware /CSIP "{plan.address}" /PassphraseFilePath {LINUX_PASSPHRASE_FILE} '
            f"/ControlPlaneUrl {shlex.quote(plan.url)}{failback}"
        ),
        register_only=(
            f'python3 {file} register --server-mode PS --kind {plan.kind.value} --cs "{plan.address}" '
            f"--passphrase-file {LINUX_PASSPHRASE_FILE} --url {shlex.quote(plan.url)}"
        ),
    )


def windows_commands(plan: Plan) -> Commands:
    """For a PowerShell of an administrator."""
    file, url = f'"{plan.file_name}"', _powershell(plan.download_url)
    failback = " /Kind failback" if plan.kind is ServerKind.FAILBACK else ""
    return Commands(
        download=f"Invoke-WebRequest -UseBasicParsing -Uri {url} -OutFile {file}",
        verify=f'(Get-FileHash {file} -Algorithm SHA256).Hash -eq "{plan.sha256}"',
        unified_setup=(
            f'py -3 {file} setup /AcceptThirdpartyEULA /ServerMode "PS" /InstallLocation "{WINDOWS_FOLDER}" '
            f'/EnvType "VMWare" /CSIP "{plan.address}" /PassphraseFilePath "{WINDOWS_PASSPHRASE_FILE}" '
            f"/ControlPlaneUrl {_powershell(plan.url)}{failback}"
        ),
        register_only=(
            f'py -3 {file} register --server-mode PS --kind {plan.kind.value} --cs "{plan.address}" '
            f'--passphrase-file "{WINDOWS_PASSPHRASE_FILE}" --url {_powershell(plan.url)}'
        ),
    )


def steps(plan: Plan, version: str) -> list[str]:
    """What to do, one after the other."""
    name = plan.configuration_server
    where = "in Azure, in the network that the failed-over machines are in" if _is_failback(plan) else "on-premises"
    texts = [
        f"Prepare a machine {where} that meets the prerequisites; the sizing table tells how large it has to be.",
        _download_step(plan, version),
        f"Verify the package: its SHA-256 is {plan.sha256}.",
        _passphrase_step(name),
        _RUN_STEP,
        f"Wait until the process server is Connected below {name}, with its first heartbeat.",
    ]
    if _is_failback(plan):
        return [*texts, "Let the failed-over machines use it for their way back; remove it when that is done."]
    return [*texts, f"Move source machines to it, by load balancing or by switching, to take load off {name}."]


_RUN_STEP = (
    "Run the command line for its operating system, with the folders and the file as they are there. /WhatIf at its "
    "end checks everything and changes nothing; a proxy is named with /ProxySettingsFilePath."
)


def _download_step(plan: Plan, version: str) -> str:
    return (
        f"Download the agent package {plan.file_name}. Its version {version} is that of {plan.configuration_server}: "
        "a process server's must be equal to or lower than its configuration server's."
    )


def _passphrase_step(name: str) -> str:
    return (
        f"Save the passphrase of {name} in a file on that machine. It was shown when {name} registered; a new one is "
        f"made with `muster configuration-server new-passphrase {name}`."
    )


def _is_failback(plan: Plan) -> bool:
    return plan.kind is ServerKind.FAILBACK


def _powershell(text: str) -> str:
    # Double quotes are right in cmd.exe too, but there and in PowerShell some characters mean something inside.
    if re.fullmatch(r"[A-Za-z0-9:/._~\[\]-]+", text):
        return f'"{text}"'
    return "'" + text.replace("'", "''") + "'"
