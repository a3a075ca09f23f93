"""The arguments of the agent's commands."""

import argparse
import ipaddress
import os
import sys
from pathlib import Path

from . import host
from .exit_codes import EXIT_CODE_MEANINGS
from .registration import DEFAULT_ATTEMPTS, KINDS, SERVER_MODES
from .version import MUSTER_VERSION, is_agent_version
from .wire import check_url

DEFAULT_DATA_TRANSFER_PORT = 9443
CONTROL_PORT = 443
SETUP_COMMAND = "setup"
STATE_DIR_VARIABLE = "MUSTER_AGENT_STATE_DIR"
URL_VARIABLE = "MUSTER_URL"
LOG_FORMAT_VARIABLE = "MUSTER_LOG_FORMAT"
_LOG_FORMATS = ("console", "json")


def build_parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of all commands; the chosen one is in ``command``."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Reports this configuration server or process server to its control plane.",
        epilog=exit_code_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"muster-agent {MUSTER_VERSION}")
    common = _common_options()
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            parents=[common],
            epilog=exit_code_text(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    _add_register_options(add("register", "register this server; safe to repeat"))
    _add_overrides(add("run", "send heartbeats until stopped"))
    _add_overrides(add("once", "send one heartbeat and print the answer"))
    status = add("status", "show what is registered and the last acknowledged heartbeat")
    status.add_argument("--json", action="store_true", help="print a JSON object")
    add("unit", "print a systemd unit that runs this agent")
    set_proxy = add("set-proxy", "choose another way to the control plane; stop the agent first")
    group = set_proxy.add_mutually_exclusive_group(required=True)
    _add_proxy_options(group)
    group.add_argument("--clear", action="store_true", help="forget the choice, and the credentials with it")
    leave = add("decommission", "uninstall this process server and remove it from the control plane")
    leave.add_argument("--switch-to", metavar="SERVER", help="process server that takes its source machines")
    leave.add_argument("--yes", action="store_true", help="do not ask for a confirmation")
    leave.add_argument("--what-if", action="store_true", help="check, and show the steps, but change nothing")
    commands.add_parser(
        SETUP_COMMAND,
        help="check this machine, register it and install the service: Unified Setup's command line",
        add_help=False,
    ).add_argument("words", nargs=argparse.REMAINDER)
    return parser


def exit_code_text() -> str:
    """Return the table of exit codes for the help texts."""
    rows = [f"  {code.value}  {meaning}" for code, meaning in EXIT_CODE_MEANINGS.items()]
    return "\n".join(["exit codes:", *rows])


def default_state_dir() -> Path:
    """Return the folder of the state where none was chosen: the system's for root, else the user's own."""
    if sys.platform == "win32":
        return Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData")) / "Muster" / "agent"
    if sys.platform.startswith("linux") and os.geteuid() == 0:
        return Path("/var/lib/muster-agent")
    return Path.home() / ".local" / "state" / "muster-agent"


def _common_options() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--state-dir",
        type=_path,
        default=_path(os.environ.get(STATE_DIR_VARIABLE) or str(default_state_dir())),
        metavar="FOLDER",
        help=f"where the agent keeps its state (environment: {STATE_DIR_VARIABLE}; default: %(default)s)",
    )
    common.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="default: %(default)s",
    )
    log_format = os.environ.get(LOG_FORMAT_VARIABLE, "").lower()
    common.add_argument(
        "--log-format",
        choices=_LOG_FORMATS,
        default=log_format if log_format in _LOG_FORMATS else "console",
        help=f"environment: {LOG_FORMAT_VARIABLE}; default: %(default)s",
    )
    return common


def _add_register_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server-mode",
        required=True,
        type=str.upper,
        choices=SERVER_MODES,
        help="CS: configuration server, with its inbuilt process server; PS: process server",
    )
    parser.add_argument(
        "--url",
        type=_url,
        help=f"the control plane (environment: {URL_VARIABLE}; or as the registration key file says)",
    )
    for_cs = parser.add_argument_group("configuration server (--server-mode CS)")
    for_cs.add_argument(
        "--registration-key-file",
        type=_path,
        metavar="FILE",
        help="registration key, or a .vaultcredentials file",
    )
    for_cs.add_argument(
        "--passphrase-output-file",
        type=_path,
        metavar="FILE",
        help="where the passphrase for its process servers is saved (default: in the state folder)",
    )
    for_cs.add_argument("--show-passphrase", action="store_true", help="print the passphrase too")
    for_ps = parser.add_argument_group("process server (--server-mode PS)")
    for_ps.add_argument("--cs", metavar="SERVER", help="address, FQDN or name of its configuration server")
    for_ps.add_argument("--passphrase-file", type=_path, metavar="FILE", help="that server's passphrase")
    for_ps.add_argument("--kind", type=_kind, help="scaleOut (default) or failback")
    server = parser.add_argument_group("this server")
    server.add_argument("--name", type=_name, help="default: first label of the host name")
    server.add_argument(
        "--ip-address",
        dest="ip_addresses",
        action="append",
        type=_ip_address,
        default=[],
        metavar="ADDRESS",
        help="repeatable; default: the address that routes to the control plane, asked anew each time",
    )
    server.add_argument(
        "--data-transfer-port",
        type=_port,
        default=DEFAULT_DATA_TRANSFER_PORT,
        metavar="PORT",
        help="where replication data comes in; not 443, which is for control (default: %(default)s)",
    )
    server.add_argument(
        "--agent-version",
        type=_agent_version,
        metavar="VERSION",
        help="default: that of the installed package",
    )
    server.add_argument("--host-id", metavar="ID", help="default: made once and kept")
    _add_overrides(parser, url=False)
    _add_proxy_options(parser.add_mutually_exclusive_group())
    parser.add_argument(
        "--attempts",
        type=_attempts,
        default=DEFAULT_ATTEMPTS,
        metavar="N",
        help="how often to try while there is no answer (default: %(default)s)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="let the state folder change its server; a damaged state file is kept aside",
    )


def _add_proxy_options(group: "argparse._MutuallyExclusiveGroup") -> None:
    group.add_argument("--existing", action="store_true", help="connect through the machine's own proxy (default)")
    group.add_argument("--direct", action="store_true", help="connect directly, whatever proxy the machine has")
    group.add_argument(
        "--custom-file",
        type=_path,
        metavar="FILE",
        help="connect through the proxy of this file's [ProxySettings]",
    )


def _add_overrides(parser: argparse.ArgumentParser, *, url: bool = True) -> None:
    if url:
        parser.add_argument("--url", type=_url, help="the control plane, if not the registered one")
    group = parser.add_argument_group("what is trusted and measured" if not url else "in place of what was registered")
    group.add_argument(
        "--ca-file", type=_path, metavar="FILE", help="trust only this CA (PEM), not those of the system"
    )
    group.add_argument(
        "--cache-folder",
        type=_path,
        metavar="FOLDER",
        help="its disk is measured (default: the state folder)",
    )
    group.add_argument(
        "--telemetry-file",
        type=_path,
        metavar="FILE",
        help="JSON of the replication engine with throughputInBytes (per second) and "
        "throughputUploadPendingDataInBytes; read while it is younger than 5 minutes",
    )
    group.add_argument(
        "--service",
        dest="services",
        action="append",
        default=[],
        type=_service,
        metavar="NAME",
        help="report whether this service (Linux: systemd unit) runs; repeatable",
    )


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return Path(text).expanduser().absolute()


def _url(text: str) -> str:
    try:
        return check_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _kind(text: str) -> str:
    for kind in KINDS:
        if text.lower() == kind.lower():
            return kind
    raise argparse.ArgumentTypeError(f"{text!r} is neither of {', '.join(KINDS)}")


def _name(text: str) -> str:
    name = text.lower()
    if not host.is_name(name):
        raise argparse.ArgumentTypeError(f"{text!r} is not made of 1 to 63 letters, digits and hyphens")
    return name


def _ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address") from None


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (1 to 65535)")
    return int(text)


def _attempts(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return int(text)


def _agent_version(text: str) -> str:
    if not is_agent_version(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version of four numbers, like 9.62.7096.1")
    return text


def _service(text: str) -> str:
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a service")
    return text
