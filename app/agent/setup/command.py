"""``muster-setup``: one command line of Unified Setup, carried out.

Everything is looked at before anything is changed: the line, the files it names, the machine. It ends with the
codes of the agent's commands:

0  installed; or nothing to do: /WhatIf, /ShowThirdpartyEULA, help
1  failed: refused by the control plane, or a step of the installation
2  the command line or a file it names is wrong; every problem is told
3, 5, 6  as the agent's: unusable state, purged, another agent at work
7  the machine does not meet a prerequisite, and there was no /IgnorePrerequisites
"""

import argparse
import contextlib
import json
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from app.agent.arguments import build_parser, exit_code_text
from app.agent.command import guarded, kept_proxy, register_server
from app.agent.exit_codes import ExitCode
from app.agent.logs import set_up_logging
from app.agent.proxy_choice import describe_proxy
from app.agent.state import Json, Proxy, Settings, StateError
from app.agent.store import FileStateStore
from app.agent.unit import running_package

from .command_line import CONTROL_PORT, CommandLine, Problem, parse, usage_text
from .eula import eula_text
from .installation import Installation, InstallationError, Systemd, manual_steps
from .machine import look_at_machine
from .preparation import Preparation, prepare
from .prerequisites import Check, is_fit, judge
from .words import only_unpacks


@dataclass
class Report:
    """What is told at the end, as text or as one JSON document."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    prerequisites: list[Check] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    manual_steps: list[str] = field(default_factory=list)

    def document(self, code: ExitCode, *, is_what_if: bool) -> Json:
        """Return the report as JSON."""
        return {
            "exitCode": int(code),
            "whatIf": is_what_if,
            "problems": [{"parameter": problem.parameter, "detail": problem.detail} for problem in self.problems],
            "warnings": self.warnings,
            "prerequisites": [
                {"name": check.name, "status": check.status, "detail": check.detail} for check in self.prerequisites
            ],
            "steps": self.steps,
            "manualSteps": self.manual_steps,
        }


def main(argv: Sequence[str] | None = None, prog: str = "muster-setup", systemd: Systemd | None = None) -> int:
    """Carry out a command line and return its exit code; ``argv`` are the arguments after the program's name."""
    set_up_logging("info", "console")
    arguments = sys.argv[1:] if argv is None else list(argv)
    if only_unpacks(arguments):
        print("There is nothing to unpack: this program is one file. Go on with the next line.")
        return ExitCode.OK
    line = parse(arguments)
    if line.wants_help:
        print(f"{usage_text(prog)}\n\n{exit_code_text()}")
        return ExitCode.OK
    if line.shows_eula:
        print(eula_text())
        return ExitCode.OK
    as_json = "Json" in line.switches
    report = Report()
    # Whatever the steps print on their way is no part of the document.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        code = guarded(lambda: _set_up(line, report, prog, systemd or Systemd()), prog)
    if as_json:
        document = report.document(code, is_what_if="WhatIf" in line.switches)
        print(json.dumps(document, indent=2, ensure_ascii=False))
    return code


def _set_up(line: CommandLine, report: Report, prog: str, systemd: Systemd) -> ExitCode:
    store = FileStateStore(_state_folder(prog))
    stored = _stored_settings(store)
    prepared = prepare(line, stored)
    report.problems += [*line.problems, *prepared.problems]
    report.warnings += [*line.warnings, *prepared.warnings]
    _say(report.warnings, "Warning: ")
    if report.problems:
        print(f"{prog}: {len(report.problems)} problem(s) with the command line", file=sys.stderr)
        for problem in report.problems:
            print(f"  {problem}", file=sys.stderr)
        return ExitCode.USAGE
    proxy = prepared.proxy or kept_proxy(store)
    report.prerequisites = _check_machine(line, prepared, proxy, is_registered=stored is not None)
    _print_checks(report.prerequisites, line.server_mode)
    is_ready = is_fit(report.prerequisites) or "IgnorePrerequisites" in line.switches
    installation = Installation(running_package(), prepared.install_folder)
    report.steps = _steps(line, prepared, proxy, installation, systemd, store.folder)
    if not systemd.can_install:
        report.manual_steps = manual_steps(installation.command, store.folder)
    if "WhatIf" in line.switches:
        print("\n/WhatIf: nothing is changed. What would be done:")
        _say([f"{number}. {step}" for number, step in enumerate(report.steps, start=1)], "  ")
        _say(report.manual_steps, "  then by hand: ")
        return ExitCode.OK if is_ready else ExitCode.PREREQUISITE_NOT_MET
    if not is_ready:
        print("A prerequisite is not met. Mend it, or go on all the same with /IgnorePrerequisites", file=sys.stderr)
        return ExitCode.PREREQUISITE_NOT_MET
    try:
        return _carry_out(line, prepared, proxy, installation, systemd, prog)
    except InstallationError as error:
        print(f"{prog}: {error}. Run the same line again when that is mended", file=sys.stderr)
        return ExitCode.FAILURE


def _carry_out(
    line: CommandLine,
    prepared: Preparation,
    proxy: Proxy | None,
    installation: Installation,
    systemd: Systemd,
    prog: str,
) -> ExitCode:
    options = _register_options(line, prepared, prog)
    installation.copy()
    was_active = systemd.is_active()
    if was_active:
        systemd.stop()
    try:
        code = register_server(options, proxy)
    except BaseException:
        if was_active:
            systemd.start()
        raise
    _warn_of_lost_proxy(prepared.url, proxy)
    if systemd.can_install:
        systemd.install(installation.command, options.state_dir)
        print(f"Installed: {systemd.unit} runs")
    else:
        print("No service was installed (that needs root and systemd). To keep the agent running:")
        _say(manual_steps(installation.command, options.state_dir), "  ")
    return code


def _state_folder(prog: str) -> Path:
    folder: Path = build_parser(prog).parse_args(["status"]).state_dir
    return folder


def _stored_settings(store: FileStateStore) -> Settings | None:
    try:
        state = store.load()
    except StateError:
        # The registration tells what to do about it.
        return None
    return None if state is None or state.identity is None else state.settings


def _register_options(line: CommandLine, prepared: Preparation, prog: str) -> argparse.Namespace:
    given = {
        "server-mode": line.server_mode,
        "url": prepared.url,
        "cs": line.values.get("CSIP"),
        "passphrase-file": prepared.passphrase_file,
        "registration-key-file": prepared.vault_credentials_file,
        "kind": line.values.get("Kind"),
        "name": line.values.get("Name"),
        "ip-address": line.values.get("PSIP"),
        "data-transfer-port": line.data_transfer_port,
        "ca-file": prepared.ca_file,
        "cache-folder": prepared.cache_folder,
    }
    words = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return build_parser(prog).parse_args(["register", *words])


def _check_machine(
    line: CommandLine, prepared: Preparation, proxy: Proxy | None, *, is_registered: bool
) -> list[Check]:
    facts = look_at_machine(
        Settings(
            url=prepared.url,
            ca_file=None if prepared.ca_file is None else str(prepared.ca_file),
            ip_addresses=(line.values["PSIP"],) if "PSIP" in line.values else (),
            proxy=proxy,
        ),
        cache_folder=prepared.cache_folder or prepared.install_folder,
        install_folder=prepared.install_folder,
        ports={CONTROL_PORT, line.data_transfer_port},
        is_registered=is_registered,
    )
    return judge(facts, line.server_mode, skips_space="SkipSpaceCheck" in line.switches)


def _steps(
    line: CommandLine,
    prepared: Preparation,
    proxy: Proxy | None,
    installation: Installation,
    systemd: Systemd,
    state_folder: Path,
) -> list[str]:
    what = "configuration server" if line.server_mode == "CS" else "process server"
    below = f" of configuration server {line.values['CSIP']}" if "CSIP" in line.values else ""
    steps = [
        *installation.steps(),
        f"register this machine as a {what}{below} at {prepared.url}, {describe_proxy(proxy)}",
        f"keep its identity in {state_folder}",
    ]
    return [*steps, *systemd.steps(state_folder)] if systemd.can_install else steps


def _print_checks(checks: Sequence[Check], server_mode: str) -> None:
    print("Prerequisites of a " + ("configuration server" if server_mode == "CS" else "process server"))
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"  {check.status:<7}  {check.name:<{width}}  {check.detail}")


def _warn_of_lost_proxy(url: str, proxy: Proxy | None) -> None:
    if proxy is not None and proxy.mode != "existing":
        return
    if sys.platform != "win32" and urlsplit(url).scheme in urllib.request.getproxies_environment():
        print(
            "Warning: a service does not see this shell's proxy variables; "
            "name the proxy in a file and give it with /ProxySettingsFilePath",
            file=sys.stderr,
        )


def _say(lines: Sequence[str], prefix: str) -> None:
    for line in lines:
        print(f"{prefix}{line}")
