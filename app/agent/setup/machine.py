"""Finding out about the machine what the prerequisites ask. Changes nothing."""

import asyncio
import ctypes
import email.utils
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

from app.agent import host
from app.agent.clock import Clock, SystemClock
from app.agent.deadlines import within
from app.agent.state import Settings
from app.agent.telemetry import read_memory
from app.agent.wire import REQUEST_TIMEOUT_SECONDS, describe_failure, open_client

from .prerequisites import FREE, NOT_ALLOWED, TAKEN, Facts

if sys.platform == "win32":
    import winreg

_IP_TIMEOUT_SECONDS = 5
_ROLES = {"NTDS": "AD DS", "W3SVC": "IIS", "vmms": "Hyper-V"}


def look_at_machine(
    settings: Settings, *, cache_folder: Path, install_folder: Path, ports: Iterable[int], is_registered: bool
) -> Facts:
    """Return the facts, the answer of the control plane among them."""
    system = host.operating_system()
    address = next(iter(settings.ip_addresses or host.routed_addresses(settings.url)), None)
    failure, skew = asyncio.run(ask_control_plane(settings))
    return Facts(
        cpu_count=os.cpu_count(),
        memory_bytes=(read_memory() or (None,))[0],
        cache_free_bytes=free_space(cache_folder),
        install_free_bytes=free_space(install_folder),
        ports={port: port_state(port) for port in ports},
        address=address,
        is_address_static=None if address is None else is_address_static(address),
        clock_skew_seconds=skew,
        control_plane_failure=failure,
        locale=locale_name(),
        os_type=system.get("type"),
        os_version=system.get("version", ""),
        roles=windows_roles(),
        is_registered=is_registered,
    )


def nearest_folder(folder: Path) -> Path:
    """Return the folder, or the nearest above it that exists: its disk will be the same."""
    return next((place for place in (folder, *folder.parents) if place.is_dir()), folder)


def free_space(folder: Path) -> int | None:
    """Return the free bytes of the disk that the folder is or will be on, None if that is not known."""
    try:
        return shutil.disk_usage(nearest_folder(folder)).free
    except OSError:
        return None


def port_state(port: int) -> str:
    """Return whether a server could listen on the port, tried by doing so for a moment."""
    states = [_try_port(socket.AF_INET, "0.0.0.0", port)]  # noqa: S104 - where a server would listen
    if socket.has_ipv6:
        states.append(_try_port(socket.AF_INET6, "::", port))
    return next((state for state in (TAKEN, NOT_ALLOWED) if state in states), FREE)


def _try_port(family: socket.AddressFamily, address: str, port: int) -> str:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if sys.platform == "win32":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                # Connections that ended a moment ago do not count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE or getattr(error, "winerror", None) in {10048, 10013}:
            return TAKEN
        # Any other fault, such as no IPv6 on this machine, says nothing about the port.
        return NOT_ALLOWED if error.errno in {errno.EACCES, errno.EPERM} else FREE
    return FREE


async def ask_control_plane(settings: Settings, clock: Clock | None = None) -> tuple[str | None, float | None]:
    """Return why the control plane does not answer (None if it does), and this clock's lead in seconds.

    The request goes the way that the agent's will go, proxy and CA included.
    """
    clock = clock or SystemClock()
    try:
        async with open_client(settings.url, ca_file=settings.ca_file, proxy=settings.proxy) as client:
            before = clock.now()
            response = await within(REQUEST_TIMEOUT_SECONDS, client.get("/healthz"))
            after = clock.now()
    except (httpx.HTTPError, OSError, asyncio.TimeoutError) as error:
        return f"{settings.url} can not be reached: {describe_failure(error)}", None
    failure = None if response.status_code == 200 else f"{settings.url} answers {response.status_code}, not 200"
    try:
        told = email.utils.parsedate_to_datetime(response.headers.get("date", ""))
        skew = (before + (after - before) / 2 - told).total_seconds()
    except (TypeError, ValueError):
        return failure, None
    # The header is cut to whole seconds.
    return failure, skew - 0.5


def is_address_static(address: str) -> bool | None:
    """Return whether the address was set by hand rather than by DHCP, None where that can not be told."""
    if sys.platform == "win32":
        return _is_static_on_windows(address)
    try:
        finished = subprocess.run(
            ["ip", "-json", "address", "show"],  # noqa: S607 - where ip lies differs by distribution
            capture_output=True,
            timeout=_IP_TIMEOUT_SECONDS,
            check=False,
        )
        return read_ip_addresses(json.loads(finished.stdout), address)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def read_ip_addresses(document: Any, address: str) -> bool | None:
    """Return whether an address is static by the document of ``ip -json address``: one of DHCP has an end."""
    for interface in document if isinstance(document, list) else []:
        for entry in interface.get("addr_info", []):
            if entry.get("local") == address:
                return not entry.get("dynamic", False)
    return None


def locale_name() -> str | None:
    """Return the system's locale, None where it is not known."""
    if sys.platform == "win32":
        name = ctypes.create_unicode_buffer(85)
        return name.value if ctypes.windll.kernel32.GetSystemDefaultLocaleName(name, 85) else None
    # What POSIX takes for nothing said is C.
    return next((value for key in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(key))), "C")


def windows_roles() -> tuple[str, ...]:
    """Return the roles of this Windows machine that a process server can not live with."""
    found: list[str] = []
    if sys.platform == "win32":
        for service, role in _ROLES.items():
            try:
                winreg.CloseKey(
                    winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, rf"SYSTEM\CurrentControlSet\Services\{service}")
                )
            except OSError:
                continue
            found.append(role)
    return tuple(found)


def _is_static_on_windows(address: str) -> bool | None:
    if sys.platform == "win32":
        path = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces"
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as interfaces:
                for index in range(winreg.QueryInfoKey(interfaces)[0]):
                    with winreg.OpenKey(interfaces, winreg.EnumKey(interfaces, index)) as interface:
                        values = {}
                        for number in range(winreg.QueryInfoKey(interface)[1]):
                            name, value, _ = winreg.EnumValue(interface, number)
                            values[name] = value
                    if values.get("DhcpIPAddress") == address and values.get("EnableDHCP"):
                        return False
                    if address in (values.get("IPAddress") or []):
                        return True
        except OSError:
            return None
    return None
