"""Facts about the machine that a registration carries. What can not be found out is left out."""

import os
import platform
import re
import shutil
import socket
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .telemetry import read_memory

if sys.platform == "win32":
    import winreg

_NAME = re.compile(r"[a-z0-9-]{1,63}", re.ASCII)
# Reserved by RFC 5737: never a neighbour, so it is always routed like the rest of the world.
_DOCUMENTATION_ADDRESS = "192.0.2.1"
_NIL_IDS = {"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}


def is_name(text: str) -> bool:
    """Return whether ``text`` is fit as the name of a server: 1 to 63 of ``a-z``, ``0-9``, ``-``."""
    return _NAME.fullmatch(text) is not None


def clean_name(host_name: str) -> str:
    """Return the first label of a host name as a name of a server; empty if nothing of it is fit."""
    label = host_name.partition(".")[0].lower()
    return re.sub(r"[^a-z0-9-]+", "-", label, flags=re.ASCII).strip("-")[:63].rstrip("-")


def fqdn() -> str:
    """Return the fully qualified name of this machine, as far as it knows it itself."""
    name = socket.getfqdn()
    # Without a domain getfqdn answers with whatever line of the hosts file comes first.
    return socket.gethostname() if name.startswith("localhost") or ":" in name else name


def instance_id() -> str:
    """Return what identifies this installation of the operating system, or else its hardware."""
    if sys.platform == "win32":
        found = _machine_guid()
    else:
        found = next(filter(None, map(_id_in_file, ("/etc/machine-id", "/sys/class/dmi/id/product_uuid"))), None)
    # The address of a network interface; the last resort, as it changes with the hardware.
    return found or f"{uuid.getnode():012x}"


def _id_in_file(path: str) -> str | None:
    try:
        text = Path(path).read_text(encoding="ascii", errors="replace").strip().lower()
    except OSError:
        return None
    return text if re.fullmatch(r"[0-9a-f-]{16,64}", text) and text not in _NIL_IDS else None


def _machine_guid() -> str | None:
    if sys.platform == "win32":
        try:
            access = winreg.KEY_READ | winreg.KEY_WOW64_64KEY
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\Microsoft\Cryptography", 0, access) as key:
                return str(winreg.QueryValueEx(key, "MachineGuid")[0]).lower()
        except OSError:
            return None
    return None


def operating_system() -> dict[str, str]:
    """Return ``{type: Windows|Linux, version}``; without the type on any other system."""
    if sys.platform == "win32":
        return {"type": "Windows", "version": platform.version()}
    if not sys.platform.startswith("linux"):
        return {"version": f"{platform.system()} {platform.release()}"}
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return {"type": "Linux", "version": platform.release()}
    return {"type": "Linux", "version": f"{release['NAME']} {release.get('VERSION_ID', '')}".strip()}


def hardware(cache_folder: Path) -> dict[str, int]:
    """Return the sizes of this machine, and of the disk of the cache folder, in bytes."""
    sizes: dict[str, Any] = {
        "cpuCount": os.cpu_count(),
        "cpuSockets": _cpu_sockets(),
        "totalMemoryInBytes": (read_memory() or (None,))[0],
        "cacheDiskSizeInBytes": _disk_size(cache_folder),
    }
    return {name: size for name, size in sizes.items() if size}


def _disk_size(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).total
    except OSError:
        return None


def _cpu_sockets() -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return count_sockets(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def count_sockets(cpuinfo: str) -> int | None:
    """Return the number of processor sockets in the text of ``/proc/cpuinfo``, None if it does not tell."""
    return len(set(re.findall(r"^physical id\s*:\s*(\d+)", cpuinfo, re.MULTILINE))) or None


def routed_addresses(url: str) -> tuple[str, ...]:
    """Return the address of this machine from which packets go to the host of ``url``.

    Nothing is sent: connecting a UDP socket only asks the routing table. Where the name can not be resolved,
    as behind a proxy, it is the address of the default route; empty if there is none.
    """
    parts = urlsplit(url)
    address = _source_address(parts.hostname, parts.port or 443) or _source_address(_DOCUMENTATION_ADDRESS, 443)
    return () if address is None else (address,)


def _source_address(host: str | None, port: int) -> str | None:
    try:
        candidates = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return None
    for family, kind, protocol, _, address in candidates:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(address)
                return str(probe.getsockname()[0]).partition("%")[0]
        except OSError:  # noqa: PERF203 - a handful of addresses at most
            continue
    return None
