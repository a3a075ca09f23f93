"""Whether a machine is fit for its part. Pure: facts in, judgement out.

Source: the prerequisites of configuration and scale-out process servers that the seed's page includes, and its
sizing table: the smallest process server has 4 cores and 8 GB. Sizes are binary: 1 GB = 2^30 bytes.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

GIB = 2**30
RECOMMENDED_CORES = 8
RECOMMENDED_MEMORY_BYTES = 16 * GIB
MINIMUM_CORES = {"CS": 8, "PS": 4}
MINIMUM_MEMORY_BYTES = {"CS": 16 * GIB, "PS": 8 * GIB}
CACHE_BYTES = 600 * GIB
INSTALL_BYTES = 5 * GIB
CONTROL_PORT = 443
SKEW_WARNING_SECONDS = 60
SKEW_LIMIT_SECONDS = 300
# Firmware and kernel keep some for themselves: a machine of 8 GB shows less.
_RESERVED_SHARE = 0.07

PASS, WARN, FAIL, SKIPPED = "pass", "warn", "fail", "skipped"
_WINDOWS_SERVERS = {"6.3.9600": "2012 R2", "10.0.14393": "2016"}
FREE, TAKEN, NOT_ALLOWED = "free", "taken", "not allowed"


@dataclass(frozen=True)
class Check:
    """One prerequisite and how the machine meets it."""

    name: str
    status: str
    detail: str


@dataclass(frozen=True)
class Facts:
    """What was found out about the machine; None is not known, never bad."""

    cpu_count: int | None = None
    memory_bytes: int | None = None
    cache_free_bytes: int | None = None
    install_free_bytes: int | None = None
    ports: dict[int, str] = field(default_factory=dict)
    address: str | None = None
    is_address_static: bool | None = None
    clock_skew_seconds: float | None = None  # this machine's clock ahead of the control plane's
    control_plane_failure: str | None = None
    locale: str | None = None
    os_type: str | None = None
    os_version: str = ""
    roles: tuple[str, ...] = ()  # of Windows, that must not be there
    is_registered: bool = False


def judge(facts: Facts, server_mode: str, *, skips_space: bool) -> list[Check]:
    """Return every prerequisite of a CS or PS with its judgement."""
    return [
        _operating_system(facts),
        _locale(facts),
        _cores(facts, server_mode),
        _memory(facts, server_mode),
        *_space(facts, skips_space=skips_space),
        *_ports(facts),
        _address(facts),
        _control_plane(facts),
        _clock(facts),
        *_roles(facts),
    ]


def is_fit(checks: Iterable[Check]) -> bool:
    """Return whether nothing failed."""
    return all(check.status != FAIL for check in checks)


def _operating_system(facts: Facts) -> Check:
    name = "operating system"
    if facts.os_type == "Windows":
        for version, edition in _WINDOWS_SERVERS.items():
            if facts.os_version.startswith(version):
                return Check(name, PASS, f"Windows Server {edition} ({facts.os_version})")
        return Check(name, WARN, f"Windows {facts.os_version}; Windows Server 2012 R2 or 2016 is what is supported")
    if facts.os_type == "Linux":
        return Check(name, PASS, f"{facts.os_version}; Muster's agent runs on Linux too")
    return Check(name, WARN, f"{facts.os_version or 'unknown'}; use Windows Server 2012 R2 or 2016, or Linux")


def _locale(facts: Facts) -> Check:
    name = "locale"
    if facts.locale is None:
        return Check(name, WARN, "not known; en-* is needed")
    plain = facts.locale.replace("_", "-").lower()
    if plain.split(".")[0] in {"c", "posix"} or plain.split("-")[0] == "en":
        return Check(name, PASS, facts.locale)
    # Linux has no components that read localised output.
    status = FAIL if facts.os_type == "Windows" else WARN
    return Check(name, status, f"{facts.locale}; en-* is needed")


def _cores(facts: Facts, server_mode: str) -> Check:
    minimum = MINIMUM_CORES[server_mode]
    if facts.cpu_count is None:
        return Check("cores", WARN, f"not known; {minimum} are needed")
    if facts.cpu_count < minimum:
        return Check("cores", FAIL, f"{facts.cpu_count}; {minimum} are needed")
    if facts.cpu_count < RECOMMENDED_CORES:
        return Check("cores", WARN, f"{facts.cpu_count}; {RECOMMENDED_CORES} are recommended")
    return Check("cores", PASS, str(facts.cpu_count))


def _memory(facts: Facts, server_mode: str) -> Check:
    minimum = MINIMUM_MEMORY_BYTES[server_mode]
    if facts.memory_bytes is None:
        return Check("memory", WARN, f"not known; {_gigabytes(minimum)} are needed")
    shown = _gigabytes(facts.memory_bytes)
    installed = facts.memory_bytes / (1 - _RESERVED_SHARE)
    if installed < minimum:
        return Check("memory", FAIL, f"{shown}; {_gigabytes(minimum)} are needed")
    if installed < RECOMMENDED_MEMORY_BYTES:
        return Check("memory", WARN, f"{shown}; {_gigabytes(RECOMMENDED_MEMORY_BYTES)} are recommended")
    return Check("memory", PASS, shown)


def _space(facts: Facts, *, skips_space: bool) -> Iterable[Check]:
    for name, free, wanted, status in (
        ("cache space", facts.cache_free_bytes, CACHE_BYTES, WARN),
        ("install space", facts.install_free_bytes, INSTALL_BYTES, FAIL),
    ):
        if skips_space:
            yield Check(name, SKIPPED, "/SkipSpaceCheck")
        elif free is None:
            yield Check(name, WARN, f"not known; {_gigabytes(wanted)} free are needed")
        elif free < wanted:
            yield Check(name, status, f"{_gigabytes(free)} free; {_gigabytes(wanted)} are needed")
        else:
            yield Check(name, PASS, f"{_gigabytes(free)} free")


def _ports(facts: Facts) -> Iterable[Check]:
    for port, state in sorted(facts.ports.items()):
        use = "control" if port == CONTROL_PORT else "data transfer"
        name = f"port {port}"
        if state == FREE:
            yield Check(name, PASS, f"free, for {use}")
        elif state == NOT_ALLOWED:
            yield Check(name, WARN, f"not tried: this user may not open it; it is needed for {use}")
        elif facts.is_registered:
            yield Check(name, WARN, f"in use, as is to be expected of a registered server; it is needed for {use}")
        else:
            yield Check(name, FAIL, f"in use by another program; it is needed for {use}")


def _address(facts: Facts) -> Check:
    name = "static address"
    if facts.address is None:
        return Check(name, WARN, "this machine has no address that routes to the control plane")
    if facts.is_address_static is None:
        return Check(name, WARN, f"{facts.address}: can not be told; make sure that it is static")
    if facts.is_address_static:
        return Check(name, PASS, facts.address)
    return Check(name, WARN, f"{facts.address} was given by DHCP; a static one is needed")


def _control_plane(facts: Facts) -> Check:
    name = "control plane"
    if facts.control_plane_failure is not None:
        return Check(name, FAIL, facts.control_plane_failure)
    return Check(name, PASS, "answers")


def _clock(facts: Facts) -> Check:
    name, skew = "clock", facts.clock_skew_seconds
    if skew is None:
        return Check(name, WARN, "not compared: the control plane tells no time")
    way = "ahead of" if skew > 0 else "behind"
    text = f"{math.ceil(abs(skew))} s {way} the control plane's"
    if abs(skew) > SKEW_LIMIT_SECONDS:
        return Check(name, FAIL, f"{text}; synchronise it (limit: {SKEW_LIMIT_SECONDS} s)")
    if abs(skew) > SKEW_WARNING_SECONDS:
        return Check(name, WARN, f"{text}; synchronise it")
    return Check(name, PASS, "agrees with the control plane's" if abs(skew) <= 2 else text)


def _roles(facts: Facts) -> Iterable[Check]:
    if facts.os_type != "Windows":
        return
    if facts.roles and not facts.is_registered:
        yield Check("roles", FAIL, f"{', '.join(facts.roles)} installed; they must not be on this machine")
    else:
        yield Check("roles", PASS, "no AD DS, IIS or Hyper-V" if not facts.roles else ", ".join(facts.roles))


def _gigabytes(number: float) -> str:
    return f"{number / GIB:.1f} GB".replace(".0 GB", " GB")
