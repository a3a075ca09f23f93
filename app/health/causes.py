"""What an alert says in words: the sentence of its event, possible causes, the recommended action. Pure.

The causes and actions of the classic alerts follow domain section 4: don't add machines, check the limits, add a
process server, check services and connectivity.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from app.vocabulary import AlertCode, Severity

SERVICES = "services"
AGENT_VERSION = "agentVersion"
CONFIGURATION_SERVER = "configurationServer"
CONFIGURATION_SERVER_VERSION = "configurationServerVersion"
LATEST_RELEASE = "latestRelease"
EXPIRES_AT = "expiresAt"

Details = Mapping[str, Any]


class Advice(NamedTuple):
    """What may be the cause, and what to do."""

    possible_causes: list[str]
    recommended_action: str


_OVERLOADED = "the server carries more source machines, or more churn, than its size is made for"
_SPREAD = (
    "don't add source machines to it, compare its load with its limits, and move machines to another process server"
)

_ADVICE: dict[AlertCode, Advice] = {
    AlertCode.CPU_UTILISATION: Advice(
        [_OVERLOADED, "another program uses the processors: an antivirus scan, a backup, an update"],
        f"{_SPREAD} or add one; keep the processors below 70 %",
    ),
    AlertCode.MEMORY_USAGE: Advice(
        [_OVERLOADED, "another program uses the memory, or a service of the server leaks it"],
        f"{_SPREAD} or add one; keep the memory below 70 %",
    ),
    AlertCode.CACHE_FREE_SPACE: Advice(
        [
            "data comes in faster than it is uploaded: too much churn, or too little bandwidth",
            "the upload to the cache storage account is blocked or slow",
            "something else fills the disk of the cache folder",
        ],
        f"{_SPREAD}, check the bandwidth and the proxy, free or enlarge the cache disk; keep 25 % free",
    ),
    AlertCode.REPLICATION_THROTTLED: Advice(
        ["less than 20 % of the cache folder's disk is free, so replication data is taken in slowly"],
        "free or enlarge the cache disk and see to the upload; replication goes on at full speed above 20 %",
    ),
    AlertCode.PENDING_UPLOAD: Advice(
        [
            "the bandwidth is too small for the churn, or is limited by a throttling policy",
            "the network, a proxy or a firewall blocks or slows the upload",
            "a source machine changes much more data than usual",
        ],
        f"check the bandwidth, the proxy and the storage account; {_SPREAD}",
    ),
    AlertCode.SERVICES_STOPPED: Advice(
        ["a service failed or was stopped", "an update or a restart of the server did not end"],
        "start the services on the server, and look into their logs if they stop again",
    ),
    AlertCode.CLOCK_SKEW: Advice(
        ["the server does not synchronise its clock, or with a wrong source", "a virtual machine was resumed"],
        "synchronise the server's clock (NTP); a wrong clock makes TLS and registration fail",
    ),
    AlertCode.HEARTBEAT_MISSING: Advice(
        [
            "the server is off, or cut off from the control plane on port 443",
            "the agent service is stopped",
            "the agent's credential was replaced",
        ],
        "check the server, its network path and the agent service; purge it if it can't come back",
    ),
    AlertCode.CONNECTION_UNKNOWN: Advice(
        [
            "the site is cut off from the control plane: its link, a firewall or a proxy",
            "the site has lost its power",
        ],
        "check the site's link and power; acknowledge the brake once it is certain that its servers are down",
    ),
}


def advice_for(code: AlertCode, details: Details) -> Advice:
    """Possible causes and action of an alert; `details` are those of its row."""
    if code is AlertCode.VERSION_ABOVE_CONFIGURATION_SERVER:
        own, other = details.get(AGENT_VERSION), details.get(CONFIGURATION_SERVER_VERSION)
        return Advice(
            [
                f"the process server was upgraded to {own} ahead of its configuration server",
                f"the configuration server was brought back to {other}",
            ],
            "the process server gets no new machines until this ends: upgrade the configuration server from "
            f"{other} to {own} or newer, or bring the process server back to {other}",
        )
    if code is AlertCode.VERSION_NOT_SUPPORTED:
        own, latest = details.get(AGENT_VERSION), details.get(LATEST_RELEASE)
        return Advice(
            [f"version {own} is more than 4 releases behind the newest one, {latest}"],
            "plan the upgrade (muster configuration-server upgrade-plan): the configuration server first, then its "
            "process servers",
        )
    if code is AlertCode.CERTIFICATE_EXPIRING:
        return Advice(
            [f"the certificate is valid until {details.get(EXPIRES_AT)} and was not renewed"],
            "renew the certificate while all components are connected and current",
        )
    return _ADVICE[code]


def sentence_of(
    code: AlertCode, who: str, severity: Severity, value: float | None, threshold: float | None, details: Details
) -> str:
    """What an alert says of `who` (kind and name), with the value and the threshold that it is above or below."""
    limit = "-" if threshold is None else f"{threshold:g}"
    match code:
        case AlertCode.CPU_UTILISATION:
            return f"CPU utilisation of {who} is {_percent(value)}, above {limit} %"
        case AlertCode.MEMORY_USAGE:
            return f"memory usage of {who} is {_percent(value)}, above {limit} %"
        case AlertCode.CACHE_FREE_SPACE:
            return f"{_percent(value)} of the cache folder's disk of {who} is free, below {limit} %"
        case AlertCode.REPLICATION_THROTTLED:
            return (
                f"{_percent(value)} of the cache folder's disk of {who} is free, below {limit} %: replication is slowed"
            )
        case AlertCode.PENDING_UPLOAD:
            needs = (
                "is uploaded by nothing at present" if value is None else f"needs {value:.0f} min at this throughput"
            )
            return f"what {who} has to upload {needs}, above {limit} min"
        case AlertCode.SERVICES_STOPPED:
            return f"required services of {who} are not running: {', '.join(details.get(SERVICES, ()))}"
        case AlertCode.CLOCK_SKEW:
            off = "more than that" if value is None else f"{value:.0f} s off"
            return f"the clock of {who} is {off}, above {limit} s"
        case AlertCode.HEARTBEAT_MISSING | AlertCode.CONNECTION_UNKNOWN:
            return f"no heartbeat from {who}" + ("" if value is None else f" for {value:.0f} s")
        case AlertCode.VERSION_ABOVE_CONFIGURATION_SERVER:
            return _compared(who, "is above", details)
        case AlertCode.VERSION_NOT_SUPPORTED:
            return (
                f"version {details.get(AGENT_VERSION)} of {who} is out of support; the newest release is "
                f"{details.get(LATEST_RELEASE)}"
            )
        case AlertCode.CERTIFICATE_EXPIRING:
            has = "has expired" if severity is Severity.CRITICAL else "expires"
            return f"the certificate of {who} {has}: it is valid until {details.get(EXPIRES_AT)}"


def sentence_of_end(code: AlertCode, who: str, details: Details) -> str:
    """What the end of an alert says of `who`."""
    match code:
        case AlertCode.SERVICES_STOPPED:
            return f"the required services of {who} are running"
        case AlertCode.VERSION_ABOVE_CONFIGURATION_SERVER:
            return _compared(who, "is no longer above", details)
        case _:
            return f"{_SUBJECTS[code]} of {who} {'are' if code is AlertCode.PENDING_UPLOAD else 'is'} back in range"


_SUBJECTS: dict[AlertCode, str] = {
    AlertCode.CPU_UTILISATION: "CPU utilisation",
    AlertCode.MEMORY_USAGE: "memory usage",
    AlertCode.CACHE_FREE_SPACE: "the free space in the cache folder",
    AlertCode.REPLICATION_THROTTLED: "the free space in the cache folder, which slowed replication,",
    AlertCode.PENDING_UPLOAD: "the minutes of pending upload",
    AlertCode.CLOCK_SKEW: "the clock",
    AlertCode.HEARTBEAT_MISSING: "the heartbeat",
    AlertCode.CONNECTION_UNKNOWN: "the connection",
    AlertCode.VERSION_NOT_SUPPORTED: "the version",
    AlertCode.CERTIFICATE_EXPIRING: "the certificate",
}


def _compared(who: str, stands: str, details: Details) -> str:
    own, other = details.get(AGENT_VERSION), details.get(CONFIGURATION_SERVER_VERSION)
    return (
        f"version {own} of {who} {stands} version {other} of configuration server {details.get(CONFIGURATION_SERVER)}"
    )


def _percent(value: float | None) -> str:
    return "more" if value is None else f"{value:g} %"
