"""Putting the agent in its place: the package copied, the service installed.

On Linux the service is a systemd unit. On Windows it is a task that starts with the machine, given as PowerShell
to run: the service manager of Windows ends programs that do not speak its protocol, as Python does not.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from app.agent.store import write_private_file
from app.agent.unit import UNIT_FILE_NAME, render_unit

_SYSTEMCTL_TIMEOUT_SECONDS = 60


class InstallationError(Exception):
    """A step could not be done; the message says which and why."""


@dataclass(frozen=True)
class Installation:
    """What starts the agent: the interpreter, and the package or the module."""

    package: Path | None  # the single-file package that runs now; None: installed in an environment
    folder: Path

    @property
    def target(self) -> Path | None:
        """Where the package is to lie."""
        return None if self.package is None else self.folder / self.package.name

    @property
    def command(self) -> list[str]:
        """The words that start the agent, the program first."""
        if self.target is None:
            return [sys.executable, "-m", "app.agent"]
        return [sys.executable, str(self.target)]

    def steps(self) -> list[str]:
        """Return what ``copy`` does, for people."""
        return [] if self.target is None else [f"copy {self.package} to {self.target}"]

    def copy(self) -> None:
        """Put the package into the folder, whole or not at all. Raises InstallationError."""
        if self.package is None or self.target is None or self.target == self.package:
            return
        partial = self.target.with_name(self.target.name + ".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(self.package.read_bytes())
            partial.replace(self.target)
        except OSError as error:
            raise InstallationError(f"can not copy the package to {self.target}: {error.strerror}") from error


@dataclass(frozen=True)
class Systemd:
    """The service manager of a Linux machine."""

    unit_folder: Path = Path("/etc/systemd/system")
    runtime_folder: Path = Path("/run/systemd/system")
    is_root: bool = field(default_factory=lambda: hasattr(os, "geteuid") and os.geteuid() == 0)
    run: Callable[..., "subprocess.CompletedProcess[str]"] = subprocess.run

    @property
    def unit(self) -> Path:
        """The agent's unit file."""
        return self.unit_folder / UNIT_FILE_NAME

    @property
    def can_install(self) -> bool:
        """Whether this user, on this machine, can install a unit."""
        return self.is_root and self.runtime_folder.is_dir()

    def is_active(self) -> bool:
        """Return whether the agent's service runs."""
        if not self.can_install or not self.unit.is_file():
            return False
        return self._systemctl("is-active", "--quiet", UNIT_FILE_NAME).returncode == 0

    def stop(self) -> None:
        """Stop the service. Raises InstallationError."""
        self._must("stop", UNIT_FILE_NAME)

    def start(self) -> None:
        """Start the service. Raises InstallationError."""
        self._must("start", UNIT_FILE_NAME)

    def steps(self, state_folder: Path) -> list[str]:
        """Return what ``install`` does, for people."""
        return [
            f"write {self.unit} for the state folder {state_folder}",
            "systemctl daemon-reload",
            f"systemctl enable {UNIT_FILE_NAME}",
            f"systemctl restart {UNIT_FILE_NAME}",
        ]

    def install(self, command: Sequence[str], state_folder: Path) -> None:
        """Write the unit, enable and start it. Raises InstallationError."""
        try:
            write_private_file(self.unit, render_unit(command, PurePosixPath(state_folder.as_posix())))
            self.unit.chmod(0o644)
        except OSError as error:
            raise InstallationError(f"can not write {self.unit}: {error.strerror}") from error
        self._must("daemon-reload")
        self._must("enable", UNIT_FILE_NAME)
        self._must("restart", UNIT_FILE_NAME)

    def _systemctl(self, *words: str) -> "subprocess.CompletedProcess[str]":
        try:
            return self.run(
                ["systemctl", *words], capture_output=True, text=True, timeout=_SYSTEMCTL_TIMEOUT_SECONDS, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise InstallationError(f"systemctl {' '.join(words)} failed: {type(error).__name__}") from error

    def _must(self, *words: str) -> None:
        finished = self._systemctl(*words)
        if finished.returncode != 0:
            said = finished.stderr.strip() or f"exit code {finished.returncode}"
            raise InstallationError(f"systemctl {' '.join(words)} failed: {said}")


def manual_steps(command: Sequence[str], state_folder: Path) -> list[str]:
    """Return the commands that keep the agent running where this program can not install a service."""
    if sys.platform == "win32":
        return windows_task(command, state_folder)
    start = shlex.join([*command, "run", "--state-dir", str(state_folder)])
    write = shlex.join([*command, "unit", "--state-dir", str(state_folder)])
    return [
        f"{write} > /etc/systemd/system/{UNIT_FILE_NAME}",
        "systemctl daemon-reload",
        f"systemctl enable --now {UNIT_FILE_NAME}",
        f"or, without systemd: {start}",
    ]


def windows_task(command: Sequence[str], state_folder: Path) -> list[str]:
    """Return PowerShell that makes the agent a task of the system which starts with the machine and is restarted."""

    def quoted(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    program, words = command[0], [*command[1:], "run", "--state-dir", str(state_folder)]
    arguments = " ".join(f'"{word}"' if " " in word else word for word in words)
    return [
        f"$action = New-ScheduledTaskAction -Execute {quoted(program)} -Argument {quoted(arguments)}",
        "$trigger = New-ScheduledTaskTrigger -AtStartup",
        (
            "$settings = New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) "
            "-RestartCount 999 -RestartInterval (New-TimeSpan -Minutes 1)"
        ),
        (
            "Register-ScheduledTask -TaskName 'Muster agent' -Action $action -Trigger $trigger -Settings $settings "
            "-User 'SYSTEM' -RunLevel Highest -Force"
        ),
        "Start-ScheduledTask -TaskName 'Muster agent'",
    ]
