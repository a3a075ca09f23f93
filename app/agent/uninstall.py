"""The three uninstall steps of a decommission, in their order; what each means on this operating system.

The order is the seed document's (Control Panel > Programs): the server, its dependencies, the Recovery Services
agent. A component that is not installed is skipped, and after a step that failed nothing else is touched.
"""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .lock import LOCK_FILE_NAME
from .state import Json
from .store import STATE_FILE_NAME
from .unit import UNIT_FILE_NAME

SERVER = "Microsoft Azure Site Recovery Configuration Server/Process Server"
DEPENDENCIES = "Microsoft Azure Site Recovery Configuration Server Dependencies"
RECOVERY_SERVICES_AGENT = "Microsoft Azure Recovery Services Agent"

DONE, SKIPPED, FAILED = "done", "skipped", "failed"

_UNINSTALL_KEYS = (
    r"SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall",
    r"SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall",
)
_PRODUCT_CODE = re.compile(r"\{[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}")
_TASK_NAME = "Muster agent"
_UNINSTALL_SECONDS = 30 * 60
_SYSTEMCTL_SECONDS = 120
# Windows Installer's own: done and a restart began or is needed; the product is not installed.
_RESTART_CODES = (1641, 3010)
_NOT_INSTALLED_CODE = 1605
_KEPT_FILES = (STATE_FILE_NAME, "passphrase")

_log = logging.getLogger("muster.agent.uninstall")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Step:
    """What became of one component."""

    name: str
    status: str
    detail: str

    def to_json(self) -> Json:
        """Return the step as the control plane takes it."""
        return {"name": self.name, "status": self.status, "detail": self.detail[:2000]}


@dataclass(frozen=True)
class Product:
    """An entry of Windows' list of installed programs."""

    name: str
    quiet_command: str | None
    command: str | None


@dataclass(frozen=True)
class Component:
    """One of the three components on this machine: what removing it means, and the way to do it."""

    name: str
    plan: str
    remove: Callable[[], tuple[str, str]]


@dataclass(frozen=True)
class Machine:
    """What uninstalling touches; tests bring another one."""

    is_windows: bool = sys.platform == "win32"
    unit_folder: Path = Path("/etc/systemd/system")
    run: Run = subprocess.run
    process_id: int = field(default_factory=os.getpid)
    list_products: Callable[[], list[Product]] = field(default_factory=lambda: installed_products)

    @property
    def unit(self) -> Path:
        """The agent's unit file."""
        return self.unit_folder / UNIT_FILE_NAME

    def components(self, services: Sequence[str]) -> list[Component]:
        """Return the components in the order in which they are removed; ``services`` are the systemd units."""
        return self._windows_components() if self.is_windows else self._linux_components(services)

    def _linux_components(self, services: Sequence[str]) -> list[Component]:
        units = ", ".join(services)
        return [
            Component(
                SERVER,
                f"stop and disable {units}" if units else "nothing: no --service was named at registration",
                lambda: self._disable_all(services),
            ),
            Component(
                DEPENDENCIES,
                "nothing: on Linux they are packages of the system",
                lambda: (SKIPPED, "on Linux they are packages of the system, which stay"),
            ),
            Component(
                RECOVERY_SERVICES_AGENT,
                f"disable and remove {self.unit}" if self.unit.is_file() else f"nothing: there is no {self.unit}",
                self._remove_own_unit,
            ),
        ]

    def _disable_all(self, services: Sequence[str]) -> tuple[str, str]:
        if not services:
            return SKIPPED, "no service was named at registration"
        told: list[str] = []
        is_any_done = False
        for service in services:
            known = self._systemctl("show", "--property=LoadState", "--value", "--", service)
            if known is None:
                return SKIPPED, "this machine has no systemd"
            if known.returncode != 0 or known.stdout.strip() in {"", "not-found"}:
                told.append(f"{service} is not installed")
                continue
            finished = self._systemctl("disable", "--now", "--", service)
            if finished is None or finished.returncode != 0:
                return FAILED, "; ".join([*told, f"{service}: {_why(finished)}"])
            told.append(f"{service} stopped and disabled")
            is_any_done = True
        return (DONE if is_any_done else SKIPPED), "; ".join(told)

    def _remove_own_unit(self) -> tuple[str, str]:
        if not self.unit.is_file():
            return SKIPPED, f"there is no {self.unit}"
        words = ["disable", UNIT_FILE_NAME] if self._is_own_service() else ["disable", "--now", UNIT_FILE_NAME]
        finished = self._systemctl(*words)
        if finished is None or finished.returncode != 0:
            return FAILED, f"{UNIT_FILE_NAME}: {_why(finished)}"
        try:
            # `disable` removes a unit that is a link to a file elsewhere.
            self.unit.unlink(missing_ok=True)
        except OSError as error:
            # Inside its own sandbox the agent can't write there.
            return DONE, f"disabled; remove {self.unit} by hand ({error.strerror})"
        self._systemctl("daemon-reload")
        return DONE, f"disabled, and {self.unit} removed"

    def _is_own_service(self) -> bool:
        """Whether this process is the service: stopping it now would end it before its goodbye."""
        shown = self._systemctl("show", "--property=MainPID", "--value", UNIT_FILE_NAME)
        return shown is not None and shown.stdout.strip() == str(self.process_id)

    def has_running_service(self) -> bool:
        """Return whether the agent runs as this machine's service, which the last step stops."""
        if self.is_windows or not self.unit.is_file():
            return False
        active = self._systemctl("is-active", "--quiet", UNIT_FILE_NAME)
        return active is not None and active.returncode == 0

    def _systemctl(self, *words: str) -> "subprocess.CompletedProcess[str] | None":
        return self._finished(["systemctl", *words], _SYSTEMCTL_SECONDS)

    def _finished(self, command: "list[str] | str", seconds: float) -> "subprocess.CompletedProcess[str] | None":
        try:
            return self.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        except (OSError, subprocess.SubprocessError) as error:
            _log.debug("%s: %s", command, type(error).__name__)
            return None

    def _windows_components(self) -> list[Component]:
        products = self.list_products()
        components = []
        for name in (SERVER, DEPENDENCIES, RECOVERY_SERVICES_AGENT):
            product = find_product(products, name)
            plan = "nothing: it is not installed" if product is None else f"run {quiet_command(product) or 'nothing'}"
            components.append(Component(name, plan, self._remover(name, product)))
        return components

    def _remover(self, name: str, product: Product | None) -> Callable[[], tuple[str, str]]:
        def remove() -> tuple[str, str]:
            status, detail = self._uninstall(product)
            if name == RECOVERY_SERVICES_AGENT and status != FAILED:
                deleted = self._finished(["schtasks", "/Delete", "/TN", _TASK_NAME, "/F"], _SYSTEMCTL_SECONDS)
                if deleted is not None and deleted.returncode == 0:
                    return DONE, f"{detail}; the task '{_TASK_NAME}' removed"
            return status, detail

        return remove

    def _uninstall(self, product: Product | None) -> tuple[str, str]:
        if product is None:
            return SKIPPED, "not installed"
        command = quiet_command(product)
        if command is None:
            return FAILED, "it has no quiet uninstall; uninstall it in Control Panel > Programs, then try again"
        finished = self._finished(command, _UNINSTALL_SECONDS)
        if finished is None:
            return FAILED, f"{command} could not be run to its end"
        if finished.returncode == _NOT_INSTALLED_CODE:
            return SKIPPED, "not installed"
        if finished.returncode in _RESTART_CODES:
            return DONE, "uninstalled; the machine has to be restarted"
        return (DONE, "uninstalled") if finished.returncode == 0 else (FAILED, f"{command}: {_why(finished)}")


def uninstall(components: Iterable[Component], on_step: Callable[[Step], None] = lambda _: None) -> list[Step]:
    """Remove the components in order; what comes after a failure is skipped. ``on_step`` gets each as it ends."""
    steps: list[Step] = []
    has_failed = False
    for component in components:
        status, detail = (SKIPPED, "not tried: an earlier step failed") if has_failed else component.remove()
        has_failed = has_failed or status == FAILED
        steps.append(Step(component.name, status, detail))
        on_step(steps[-1])
    return steps


def find_product(products: Iterable[Product], name: str) -> Product | None:
    """Return the installed program with this name, in any case."""
    return next((product for product in products if product.name.strip().casefold() == name.casefold()), None)


def quiet_command(product: Product) -> str | None:
    """Return the command line that uninstalls without asking; None where there is none."""
    if product.quiet_command:
        return product.quiet_command
    command = product.command or ""
    code = _PRODUCT_CODE.search(command)
    if code is not None and "msiexec" in command.casefold():
        # The listed command is often /I, which would open the repair dialogue.
        return f"msiexec.exe /x {code.group()} /quiet /norestart"
    return None


def installed_products() -> list[Product]:
    """Return Windows' list of installed programs; empty elsewhere."""
    return [product for path in _UNINSTALL_KEYS for product in _products_under(path)]


def _products_under(path: str) -> list[Product]:
    found: list[Product] = []
    if sys.platform == "win32":
        import winreg

        def text(key: winreg.HKEYType, value: str) -> str | None:
            try:
                return str(winreg.QueryValueEx(key, value)[0])
            except OSError:
                return None

        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as folder:
                for index in range(winreg.QueryInfoKey(folder)[0]):
                    with winreg.OpenKey(folder, winreg.EnumKey(folder, index)) as key:
                        name = text(key, "DisplayName")
                        if name:
                            found.append(Product(name, text(key, "QuietUninstallString"), text(key, "UninstallString")))
        except OSError as error:
            _log.debug("%s can not be read: %s", path, error)
    return found


def remove_state(folder: Path) -> str:
    """Remove what the agent keeps, and its folder if nothing else is in it. Return what was done, for people."""
    try:
        for name in _KEPT_FILES:
            (folder / name).unlink(missing_ok=True)
            (folder / f".{name}.tmp").unlink(missing_ok=True)
        for aside in folder.glob(f"{STATE_FILE_NAME}.*"):
            aside.unlink(missing_ok=True)
        # Last: whoever holds the lock has ended, and nothing is left that it would keep apart.
        (folder / LOCK_FILE_NAME).unlink(missing_ok=True)
    except OSError as error:
        return f"the state in {folder} can not be removed: {error.strerror}; remove it by hand"
    try:
        folder.rmdir()
    except OSError:
        return f"the state in {folder} is removed; the folder stays"
    return f"the state folder {folder} is removed"


def _why(finished: "subprocess.CompletedProcess[str] | None") -> str:
    if finished is None:
        return "it could not be run to its end"
    return (finished.stderr or "").strip() or f"exit code {finished.returncode}"
