"""Whether the services of a process server run. What can not be found out is not reported."""

import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

try:
    import psutil
except ImportError:
    psutil = None  # type: ignore[assignment]

RUNNING = "Running"
STOPPED = "Stopped"

_FAILBACK = ("ProcessServer", "ProcessServerMonitor", "cxprocessserver", "InMage PushInstall", "LogUpload")
_SCALE_OUT = (*_FAILBACK, "InMage Scout Application Service", "obengine", "svagents", "tmansvc")
_INBUILT = (*_SCALE_OUT, "W3SVC", "MySQL", "dra")

_SYSTEMCTL_TIMEOUT_SECONDS = 5
_SYSTEMD_STATES = {
    "active": RUNNING,
    "reloading": RUNNING,
    "refreshing": RUNNING,
    "inactive": STOPPED,
    "failed": STOPPED,
    "activating": STOPPED,
    "deactivating": STOPPED,
    "maintenance": STOPPED,
}

_log = logging.getLogger("muster.agent.services")


def required_services(server_mode: str, kind: str | None) -> tuple[str, ...]:
    """Return the Windows services that a server needs: all of a configuration server, or by kind."""
    if server_mode == "CS":
        return _INBUILT
    return _FAILBACK if kind == "failback" else _SCALE_OUT


def service_reader(server_mode: str, kind: str | None, names: Sequence[str]) -> Callable[[], dict[str, str] | None]:
    """Return a function that tells the state of each service by name, or None while nothing is known.

    On Windows it looks at the required services and at ``names``, on Linux at the systemd units ``names``.
    """
    if sys.platform == "win32":
        required = required_services(server_mode, kind)
        return lambda: read_windows_services(required, names)
    return lambda: read_systemd_units(names)


def read_systemd_units(names: Sequence[str]) -> dict[str, str] | None:
    """Return the states of systemd units; None if none were asked for or systemd does not tell."""
    if not names:
        return None
    try:
        finished = subprocess.run(  # noqa: S603 - the names are operands, after the end of options
            ["systemctl", "is-active", "--", *names],  # noqa: S607 - where systemctl lies differs by distribution
            capture_output=True,
            text=True,
            timeout=_SYSTEMCTL_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        _log.debug("systemctl can not be asked: %s", type(error).__name__)
        return None
    return parse_is_active(names, finished.stdout)


def parse_is_active(names: Sequence[str], output: str) -> dict[str, str] | None:
    """Return the states from the lines of ``systemctl is-active``, one for each name; None if they differ."""
    lines = output.split()
    if len(lines) != len(names):
        return None
    states = {name: _SYSTEMD_STATES[line] for name, line in zip(names, lines, strict=True) if line in _SYSTEMD_STATES}
    return states or None


def read_windows_services(required: Sequence[str], extra: Sequence[str]) -> dict[str, str] | None:
    """Return the states of Windows services by name; None without psutil or where none are installed.

    A machine with some of the required services has the product, so one that is missing is reported as
    stopped. A machine with none of them is not judged.
    """
    iterate: Any = getattr(psutil, "win_service_iter", None)
    if iterate is None:
        return None
    found: dict[str, str] = {}
    try:
        for service in iterate():
            state = _windows_state(service)
            for name in (service.name(), service.display_name()):
                found[name.casefold()] = state
    except (OSError, psutil.Error) as error:
        _log.debug("the services can not be listed: %s", type(error).__name__)
        return None
    states = {name: found[name.casefold()] for name in extra if name.casefold() in found}
    if any(name.casefold() in found for name in required):
        states.update({name: found.get(name.casefold(), STOPPED) for name in required})
    return states or None


def _windows_state(service: Any) -> str:
    try:
        return RUNNING if service.status() == "running" else STOPPED
    except psutil.Error:
        # Uninstalled between the listing and the question.
        return STOPPED
