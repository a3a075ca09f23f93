"""The upgrade plan on the wire."""

import uuid

from app.core.wire import EXAMPLE_ID, WireOut, with_example
from app.vocabulary import ConnectionState, ServerKind, UpgradeComponent, VersionStatus


class ServerUpgrade(WireOut):
    """A server and the releases to install on it, one after the other.

    `upgradePath` is empty where there is nothing to install, and null where `reason` says why there is no way.
    """

    id: uuid.UUID
    name: str
    version: str
    version_status: VersionStatus
    connection_state: ConnectionState
    upgrade_path: list[str] | None
    reason: str | None


class ProcessServerUpgrade(ServerUpgrade):
    """A scale-out or failback process server; an inbuilt one is upgraded with its configuration server."""

    kind: ServerKind


class MobilityAgentUpgrade(WireOut):
    """All source machines with one version of the mobility agent; null is unknown and can't be planned for."""

    version: str | None
    version_status: VersionStatus | None
    machine_count: int
    upgrade_path: list[str] | None
    reason: str | None


class MachineReboot(WireOut):
    """A source machine that has to be rebooted after the installation of each release in `rebootAfter`.

    Where that names the present `agentVersion`, the reboot has been due since an earlier upgrade.
    """

    name: str
    process_server: str
    agent_version: str
    last_reboot_agent_version: str | None
    reboot_after: list[str]


class Reboots(WireOut):
    """Source machines that need a reboot: how many, and one page of them by name.

    `unknownCount` counts those of which it can't be told, since the agent version at the last reboot is unknown.
    """

    machine_count: int
    unknown_count: int
    items: list[MachineReboot]
    next_cursor: str | None


class UpgradePlan(WireOut):
    """What to upgrade, in `upgradeOrder`, through which releases, and which source machines need a reboot.

    `upgradeOrder` names what has something to install. `target` is null while the catalogue has no release.
    """

    model_config = with_example(
        {
            "vault": "contoso-dr",
            "target": "9.62.7096.1",
            "upToDate": False,
            "upgradeOrder": ["configuration-server", "process-server", "mobility-agent"],
            "configurationServer": {
                "id": EXAMPLE_ID,
                "name": "cs-ams-01",
                "version": "9.57.6920.1",
                "versionStatus": "NotSupported",
                "connectionState": "Connected",
                "upgradePath": ["9.61.7016.1", "9.62.7096.1"],
                "reason": None,
            },
            "processServers": [
                {
                    "id": EXAMPLE_ID,
                    "name": "ps-ams-01",
                    "kind": "scaleOut",
                    "version": "9.57.6920.1",
                    "versionStatus": "NotSupported",
                    "connectionState": "Connected",
                    "upgradePath": ["9.61.7016.1", "9.62.7096.1"],
                    "reason": None,
                }
            ],
            "mobilityAgents": [
                {
                    "version": "9.57.6920.1",
                    "versionStatus": "NotSupported",
                    "machineCount": 85,
                    "upgradePath": ["9.61.7016.1", "9.62.7096.1"],
                    "reason": None,
                }
            ],
            "reboots": {
                "machineCount": 1,
                "unknownCount": 0,
                "items": [
                    {
                        "name": "web-01",
                        "processServer": "ps-ams-01",
                        "agentVersion": "9.57.6920.1",
                        "lastRebootAgentVersion": "9.57.6920.1",
                        "rebootAfter": ["9.62.7096.1"],
                    }
                ],
                "nextCursor": None,
            },
        }
    )

    vault: str
    target: str | None
    up_to_date: bool
    upgrade_order: list[UpgradeComponent]
    configuration_server: ServerUpgrade
    process_servers: list[ProcessServerUpgrade]
    mobility_agents: list[MobilityAgentUpgrade]
    reboots: Reboots
