"""The choice of a proxy: made at registration or setup, changed later, kept in the state, its password never shown."""

import argparse
import dataclasses
from pathlib import Path

from .credential_files import read_small_text
from .exit_codes import ExitCode
from .heartbeat import NotRegisteredError
from .lock import StateLock
from .request import UsageError
from .setup.proxy_settings import ProxyFile, read_proxy_settings
from .state import Proxy
from .store import FileStateStore


def read_proxy_file(path: Path) -> ProxyFile:
    """Return what a proxy settings file says. Raises ValueError if it can not be read at all."""
    return read_proxy_settings(read_small_text(path))


def chosen_proxy(options: argparse.Namespace) -> Proxy | None:
    """Return the proxy that the arguments choose, None if they choose none. Raises UsageError with every problem."""
    if options.direct:
        return Proxy(mode="direct")
    if options.existing:
        return Proxy(mode="existing")
    if options.custom_file is None:
        return None
    try:
        file = read_proxy_file(options.custom_file)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if file.proxy is None:
        raise UsageError(f"{options.custom_file}: " + "; ".join(file.problems))
    return file.proxy


def set_proxy(options: argparse.Namespace, prog: str) -> ExitCode:
    """Put another proxy into the state; identity and assignments stay.

    Raises UsageError, NotRegisteredError, StateError, and AlreadyRunningError while the agent runs.
    """
    proxy = chosen_proxy(options)
    store = FileStateStore(options.state_dir)
    if store.load() is None:
        raise NotRegisteredError(f"this server is not registered (no {store.path}): run the register command first")
    with StateLock(store.folder):
        state = store.load()
        if state is None or state.settings is None:
            raise NotRegisteredError(f"{store.path} holds no registration: run the register command first")
        store.save(dataclasses.replace(state, settings=dataclasses.replace(state.settings, proxy=proxy)))
    print(f"The agent connects {describe_proxy(proxy)} from its next start on")
    print(f"Next: {prog} once to try it, then start the agent again")
    return ExitCode.OK


def describe_proxy(proxy: Proxy | None) -> str:
    """Return the way to the control plane in words, without a secret."""
    if proxy is None or proxy.mode == "existing":
        return "through the machine's own proxy, if it has one"
    if proxy.mode == "direct":
        return "directly"
    how = "with" if proxy.user_name else "without"
    return f"through the proxy {proxy.address}:{proxy.port}, {how} credentials"
