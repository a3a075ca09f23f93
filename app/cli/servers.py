"""What a configuration server and a process server have in common when they are shown."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from app.cli.formatting import NOTHING, age, gigabytes, number, percentage, plain, rate, relative, share, size
from app.cli.screen import Column, Section

View = Mapping[str, Any]


def reference(value: Any) -> str:
    """A parent as the API names it: by name, or as an object with one."""
    if isinstance(value, Mapping):
        return plain(value.get("name") or value.get("id"))
    return plain(value)


def memory_used(server: View) -> str:
    """Used memory in percent."""
    telemetry = _object(server, "telemetry")
    total, available = (
        number(telemetry.get("totalMemoryInBytes")),
        number(telemetry.get("availableMemoryInBytes")),
    )
    if total is None or available is None:
        return NOTHING
    return share(total - available, total)


def cache_free(server: View) -> str:
    """Free space of the cache disk in percent."""
    telemetry = _object(server, "telemetry")
    return share(telemetry.get("availableSpaceInBytes"), telemetry.get("totalSpaceInBytes"))


def heartbeat_column(now: datetime | None) -> Column:
    """When the server last said something."""
    return Column(
        "Heartbeat",
        lambda server: "never" if not server.get("lastHeartbeat") else relative(server["lastHeartbeat"], now),
        rank=2,
    )


STATE_COLUMNS = (
    Column("Connection", lambda server: plain(server.get("connectionState")), is_state=True),
    Column("Health", lambda server: plain(server.get("health")), is_state=True),
)

VERSION_COLUMN = Column("Version", lambda server: plain(server.get("agentVersion")), rank=3)
SUPPORT_COLUMN = Column("Support", lambda server: plain(server.get("versionStatus")), rank=8, is_state=True)


def state_section(server: View, now: datetime | None, extra: Iterable[tuple[str, str]] = ()) -> Section:
    """Liveness, health, version: what an operator looks for first."""
    return Section(
        "",
        [
            ("Connection", plain(server.get("connectionState"))),
            (
                "Last heartbeat",
                "never" if not server.get("lastHeartbeat") else age(server["lastHeartbeat"], now),
            ),
            ("Health", plain(server.get("health"))),
            ("Version", _version(server)),
            ("Support", plain(server.get("versionStatus"))),
            *extra,
        ],
    )


def detail_sections(server: View, now: datetime | None) -> list[Section]:
    """The rest of a server: alerts, telemetry, services, the machine, the record."""
    telemetry, hardware, system = (_object(server, name) for name in ("telemetry", "hardware", "os"))
    return [
        *_alerts(server, now),
        Section(
            "Telemetry",
            [
                ("CPU", percentage(telemetry.get("cpuPercentage"))),
                ("Memory used", _of(memory_used(server), telemetry.get("totalMemoryInBytes"))),
                ("Cache disk free", _of(cache_free(server), telemetry.get("totalSpaceInBytes"))),
                ("Upload", rate(telemetry.get("throughputInBytes"))),
                ("Pending upload", size(telemetry.get("throughputUploadPendingDataInBytes"))),
            ],
        ),
        Section("Services", [(plain(name), plain(state)) for name, state in _object(server, "services").items()]),
        Section(
            "Machine",
            [
                ("FQDN", plain(server.get("fqdn"))),
                ("IP addresses", plain(server.get("ipAddresses"))),
                ("Data port", plain(server.get("dataTransferPort"))),
                (
                    "Operating system",
                    f"{plain(system.get('type'))} {plain(system.get('version'))}" if system else "-",
                ),
                ("CPUs", plain(hardware.get("cpuCount"))),
                ("Memory", gigabytes(hardware.get("totalMemoryInBytes"))),
                ("Cache disk", size(hardware.get("cacheDiskSizeInBytes"))),
                ("Host id", plain(server.get("hostId"))),
            ],
        ),
        Section(
            "Record",
            [
                ("Id", plain(server.get("id"))),
                ("Vault", reference(server.get("vault"))),
                ("Created", age(server.get("createdAt"), now)),
                ("Changed", age(server.get("updatedAt"), now)),
            ],
        ),
    ]


def _alerts(server: View, now: datetime | None) -> list[Section]:
    return [
        Section(
            f"Alert {plain(alert.get('code'))}",
            [
                ("Severity", plain(alert.get("severity"))),
                ("Since", age(alert.get("since"), now)),
                ("Value", plain(alert.get("value"))),
                ("Threshold", plain(alert.get("threshold"))),
                ("Muted", "yes" if alert.get("muted") is True else NOTHING),
                ("Possible causes", plain(alert.get("possibleCauses"))),
                ("Do", plain(alert.get("recommendedAction"))),
            ],
        )
        for alert in server.get("healthErrors") or []
    ]


def _version(server: View) -> str:
    newer = " (an update is available)" if server.get("updateAvailable") is True else ""
    return f"{plain(server.get('agentVersion'))}{newer}"


def _of(part: str, whole: Any) -> str:
    return part if part == NOTHING else f"{part} of {size(whole)}"


def _object(server: View, name: str) -> Mapping[str, Any]:
    value = server.get(name)
    return value if isinstance(value, Mapping) else {}
