"""From a valid command line to what it needs: files read, folders looked at, the control plane known."""

import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from app.agent.arguments import URL_VARIABLE
from app.agent.credential_files import read_passphrase, read_registration_key, read_small_text
from app.agent.proxy_choice import read_proxy_file
from app.agent.state import Proxy, Settings
from app.agent.wire import check_url

from .command_line import CommandLine, Problem
from .mysql_credentials import check_mysql_credentials

_Result = TypeVar("_Result")

WINDOWS_FOLDER = "Muster"
_WINDOWS_PATH = re.compile(r"[A-Za-z]:(?:[\\/]|$)|\\\\")


@dataclass(frozen=True)
class Preparation:
    """What the command line leads to, or what stands against it."""

    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    url: str = ""
    install_folder: Path = Path()
    proxy: Proxy | None = None
    ca_file: Path | None = None
    cache_folder: Path | None = None
    passphrase_file: Path | None = None
    vault_credentials_file: Path | None = None


def prepare(line: CommandLine, stored: Settings | None) -> Preparation:
    """Read what the line names. ``stored`` are the settings of an earlier registration on this machine."""
    found = _Findings(line.values)
    passphrase = found.file("PassphraseFilePath")
    if passphrase is not None:
        found.attempt("PassphraseFilePath", lambda: read_passphrase(passphrase))
    credentials = found.file("VaultCredsFilePath")
    key = None
    if credentials is not None:
        key = found.attempt("VaultCredsFilePath", lambda: read_registration_key(credentials))
    mysql = found.file("MySQLCredsFilePath")
    if mysql is not None:
        text = found.attempt("MySQLCredsFilePath", lambda: read_small_text(mysql))
        for defect in check_mysql_credentials(text) if text is not None else ():
            found.problem("MySQLCredsFilePath", f"{mysql}: {defect}")
    url = line.values.get("ControlPlaneUrl") or os.environ.get(URL_VARIABLE) or (key.url if key else None)
    return Preparation(
        url=found.url(url or (stored.url if stored else None)),
        install_folder=found.install_folder(),
        proxy=found.proxy(line),
        ca_file=found.ca_file(stored),
        cache_folder=found.folder("CacheFolder"),
        passphrase_file=passphrase,
        vault_credentials_file=credentials,
        problems=tuple(found.problems),
        warnings=tuple(found.warnings),
    )


class _Findings:
    """Looks at one thing after the other and remembers everything that is wrong."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def problem(self, parameter: str, detail: str) -> None:
        self.problems.append(Problem(parameter, detail))

    def attempt(self, parameter: str, read: Callable[[], _Result]) -> _Result | None:
        try:
            return read()
        except ValueError as error:
            self.problem(parameter, f"is not usable: {error}")
            return None

    def path(self, parameter: str) -> Path | None:
        value = self.values.get(parameter)
        if value is None:
            return None
        if os.name == "posix" and _WINDOWS_PATH.match(value):
            self.problem(parameter, f"is '{value}', a path of Windows; name one of this system, such as /opt/muster")
            return None
        return Path(value).expanduser().absolute()

    def file(self, parameter: str) -> Path | None:
        path = self.path(parameter)
        if path is None or path.is_file():
            return path
        # What is no path at all may be the secret itself, typed in place of the file that holds it.
        value = self.values[parameter]
        names = f"is {path}" if any(letter in value for letter in "/\\.") else "has a value"
        self.problem(parameter, f"{names}, which is not a file; give the path of one")
        return None

    def folder(self, parameter: str) -> Path | None:
        path = self.path(parameter)
        if path is not None and not path.is_dir():
            self.problem(parameter, f"is {path}, which is not a folder; make it first")
            return None
        return path

    def ca_file(self, stored: Settings | None) -> Path | None:
        if "CAFile" not in self.values:
            return Path(stored.ca_file) if stored is not None and stored.ca_file else None
        path = self.file("CAFile")
        if path is None:
            return None
        try:
            ssl.create_default_context(cafile=str(path))
        except (OSError, ValueError):
            self.problem("CAFile", f"is {path}, which holds no certificate in PEM form")
            return None
        return path

    def install_folder(self) -> Path:
        drive = self.values.get("InstallDrive")
        if drive is not None:
            if os.name == "posix":
                self.problem("InstallDrive", f"is {drive}, but this system has no drives; give /InstallLocation")
                return Path()
            return Path(f"{drive}\\") / WINDOWS_FOLDER
        value = self.values.get("InstallLocation", "")
        path = self.path("InstallLocation")
        if path is None:
            return Path()
        if not Path(value).expanduser().is_absolute():
            self.problem("InstallLocation", f"is '{value}'; give the whole path of the folder")
        elif path.exists() and not path.is_dir():
            self.problem("InstallLocation", f"is {path}, which is not a folder")
        return path

    def proxy(self, line: CommandLine) -> Proxy | None:
        if "BypassProxy" in line.switches:
            return Proxy(mode="direct")
        path = self.file("ProxySettingsFilePath")
        if path is None:
            return None
        file = self.attempt("ProxySettingsFilePath", lambda: read_proxy_file(path))
        if file is None:
            return None
        for defect in file.problems:
            self.problem("ProxySettingsFilePath", f"{path}: {defect}")
        self.warnings += [f"/ProxySettingsFilePath: {warning}" for warning in file.warnings]
        return file.proxy

    def url(self, url: str | None) -> str:
        if "ControlPlaneUrl" not in self.values and not url:
            self.problem(
                "ControlPlaneUrl",
                f"is missing; give the control plane's URL, or set {URL_VARIABLE} (/CSIP names the configuration "
                "server, not the control plane)",
            )
            return ""
        try:
            return check_url(url or "")
        except ValueError as error:
            self.problem("ControlPlaneUrl", f"is not usable: {error}")
            return ""
