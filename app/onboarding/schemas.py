"""Onboarding on the wire."""

from app.core.wire import WireOut, with_example
from app.vocabulary import Placement, ServerKind, VersionStatus

_URL = "https://muster.example"
_FILE = "muster-agent-9.62.7096.1.pyz"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class CommandLines(WireOut):
    """The command lines of one operating system. `unifiedSetup` checks the machine, registers and installs the
    service; `registerOnly` does only that.
    """

    download: str
    verify: str
    unified_setup: str
    register_only: str


class CommandLinesByOs(WireOut):
    """Ready to paste; folders and the passphrase's file are to be adapted."""

    linux: CommandLines
    windows: CommandLines


class Onboarding(WireOut):
    """What "+ Process server" shows."""

    model_config = with_example(
        {
            "configurationServer": "cs-ams-01",
            "placement": "onPremises",
            "kind": "scaleOut",
            "version": "9.62.7096.1",
            "versionStatus": "Supported",
            "fileName": _FILE,
            "downloadUrl": f"{_URL}/downloads/agent/9.62.7096.1",
            "sha256": _SHA256,
            "sizeInBytes": 2097152,
            "commandLines": {
                "linux": {
                    "download": f"curl --fail --location --output {_FILE} {_URL}/downloads/agent/9.62.7096.1",
                    "verify": f"echo '{_SHA256}  {_FILE}' | sha256sum --check",
                    "unifiedSetup": f"python3 {_FILE} setup /AcceptThirdpartyEULA /ServerMode PS ...",
                    "registerOnly": f"python3 {_FILE} register --server-mode PS ...",
                },
                "windows": {
                    "download": f'Invoke-WebRequest -UseBasicParsing -Uri "{_URL}/downloads/agent/9.62.7096.1" ...',
                    "verify": f'(Get-FileHash "{_FILE}" -Algorithm SHA256).Hash -eq "{_SHA256}"',
                    "unifiedSetup": f'py -3 "{_FILE}" setup /AcceptThirdpartyEULA /ServerMode "PS" ...',
                    "registerOnly": f'py -3 "{_FILE}" register --server-mode PS ...',
                },
            },
            "steps": ["Prepare a machine on-premises that meets the prerequisites."],
            "prerequisites": ["At least 4 cores and 8 GB of memory; 8 cores and 16 GB are recommended"],
        }
    )

    configuration_server: str
    placement: Placement
    kind: ServerKind
    version: str
    version_status: VersionStatus
    file_name: str
    download_url: str
    sha256: str
    size_in_bytes: int
    command_lines: CommandLinesByOs
    steps: list[str]
    prerequisites: list[str]
