"""From the arguments of ``register`` to the request: files read, the machine looked at, defaults found."""

import argparse
import dataclasses
import logging
import os
import socket
from pathlib import Path

from . import host
from .arguments import CONTROL_PORT, URL_VARIABLE
from .credential_files import read_passphrase, read_registration_key
from .registration import RegistrationRequest
from .state import Proxy, Settings
from .version import installed_agent_version
from .wire import check_url, sends_secrets_in_the_clear

_log = logging.getLogger("muster.agent.registration")


class UsageError(Exception):
    """The arguments do not fit together, or name something that can not be used."""


def read_request(options: argparse.Namespace, proxy: Proxy | None = None) -> RegistrationRequest:
    """Return the registration that the arguments describe. Raises UsageError saying what is missing."""
    try:
        return _read_request(options, proxy)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _read_request(options: argparse.Namespace, proxy: Proxy | None) -> RegistrationRequest:
    secret, url_of_file = _read_secret(options)
    url = options.url or os.environ.get(URL_VARIABLE) or url_of_file
    if not url:
        raise ValueError(f"the control plane is not known: give --url or set {URL_VARIABLE}")
    settings = choose_settings(
        options,
        Settings(
            url=check_url(url),
            ip_addresses=tuple(options.ip_addresses),
            agent_version=options.agent_version,
            proxy=proxy,
        ),
    )
    cache_folder = Path(settings.cache_folder) if settings.cache_folder else options.state_dir
    if settings.cache_folder and not cache_folder.is_dir():
        raise ValueError(f"the cache folder {cache_folder} does not exist")
    addresses = settings.ip_addresses or host.routed_addresses(settings.url)
    if not addresses:
        raise ValueError("this machine has no address that routes to the control plane: give --ip-address")
    name = options.name or host.clean_name(socket.gethostname())
    if not name:
        raise ValueError(f"the host name {socket.gethostname()!r} makes no name for a server: give --name")
    is_process_server = options.server_mode == "PS"
    return RegistrationRequest(
        server_mode=options.server_mode,
        settings=settings,
        secret=secret,
        name=name,
        fqdn=host.fqdn(),
        instance_id=host.instance_id(),
        ip_addresses=addresses,
        agent_version=options.agent_version or installed_agent_version(),
        os=host.operating_system(),
        hardware=host.hardware(_nearest_folder(cache_folder)),
        data_transfer_port=options.data_transfer_port,
        configuration_server=options.cs if is_process_server else None,
        kind=(options.kind or "scaleOut") if is_process_server else None,
        host_id=options.host_id,
    )


def choose_settings(options: argparse.Namespace, registered: Settings) -> Settings:
    """Return the settings with what the arguments give in place of what was registered."""
    return dataclasses.replace(
        registered,
        url=options.url or registered.url,
        ca_file=_text(options.ca_file) or registered.ca_file,
        cache_folder=_text(options.cache_folder) or registered.cache_folder,
        telemetry_file=_text(options.telemetry_file) or registered.telemetry_file,
        services=tuple(options.services) or registered.services,
    )


def warn_of_risks(request: RegistrationRequest) -> None:
    """Log what works but is dangerous: secrets in the clear, replication data on the control port."""
    url = request.settings.url
    if sends_secrets_in_the_clear(url):
        _log.warning("%s is not encrypted: the credential can be read on the network; use https", url)
    if request.data_transfer_port == CONTROL_PORT:
        _log.warning("port %d is for control and should not carry replication data; use 9443", CONTROL_PORT)


def _nearest_folder(folder: Path) -> Path:
    # The state folder may be yet to be made; it will lie on the disk of the nearest folder above it.
    return next((place for place in (folder, *folder.parents) if place.is_dir()), folder)


def _read_secret(options: argparse.Namespace) -> tuple[str, str | None]:
    if options.server_mode == "CS":
        _refuse(options, "CS", {"--cs": "cs", "--passphrase-file": "passphrase_file", "--kind": "kind"})
        if options.registration_key_file is None:
            raise ValueError("--server-mode CS needs --registration-key-file")
        key = read_registration_key(options.registration_key_file)
        return key.key, key.url
    _refuse(
        options,
        "PS",
        {
            "--registration-key-file": "registration_key_file",
            "--passphrase-output-file": "passphrase_output_file",
            "--show-passphrase": "show_passphrase",
        },
    )
    if not options.cs or options.passphrase_file is None:
        raise ValueError("--server-mode PS needs --cs and --passphrase-file")
    return read_passphrase(options.passphrase_file), None


def _refuse(options: argparse.Namespace, mode: str, members: dict[str, str]) -> None:
    for option, member in members.items():
        if getattr(options, member):
            raise ValueError(f"{option} does not go with --server-mode {mode}")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
