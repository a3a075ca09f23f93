"""The commands: ``register``, ``run``, ``once``, ``status``, ``unit``, ``set-proxy``, ``decommission``, ``setup``.

They end with the codes of ``exit_codes.ExitCode``:

0  done, or stopped cleanly by a signal
1  failed: refused by the control plane, or it can not be reached
2  wrong arguments, or a file that was named can not be read
3  not registered, or the state file can not be read
4  the control plane does not know this credential: register again
5  the server was purged from the control plane: have it readmitted, register again
6  another agent works on this state folder
7  setup: this machine does not meet a prerequisite

What was asked for goes to standard output; log lines and errors go to standard error.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import ssl
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from . import registration
from .arguments import SETUP_COMMAND, build_parser
from .clock import SystemClock
from .decommission import decommission
from .departure import Departure
from .executor import DaemonExecutor
from .exit_codes import ExitCode
from .heartbeat import Agent, NotRegisteredError, PurgedError
from .host import routed_addresses
from .lock import AlreadyRunningError, StateLock, is_locked
from .logs import set_up_logging
from .notify import ServiceNotifier
from .outcomes import Beat, ExitReason, Outcome
from .proxy_choice import chosen_proxy, set_proxy
from .request import UsageError, choose_settings, read_request, warn_of_risks
from .services import service_reader
from .state import Identity, Proxy, Settings, StateError
from .status import status_document, status_lines
from .store import FileStateStore, write_private_file
from .telemetry import HostTelemetry
from .uninstall import Machine, remove_state, uninstall
from .unit import own_command, render_unit
from .version import installed_agent_version

_Result = TypeVar("_Result")

_log = logging.getLogger("muster.agent")

_EXIT_CODE_OF_REASON = {
    ExitReason.STOPPED: ExitCode.OK,
    ExitReason.CREDENTIAL_REFUSED: ExitCode.CREDENTIAL_REFUSED,
    ExitReason.PURGED: ExitCode.PURGED,
    ExitReason.DECOMMISSIONED: ExitCode.OK,
}
_EXIT_CODE_OF_OUTCOME = {
    Outcome.ACKNOWLEDGED: ExitCode.OK,
    Outcome.REFUSED: ExitCode.FAILURE,
    Outcome.FAILED: ExitCode.FAILURE,
    Outcome.CREDENTIAL_REFUSED: ExitCode.CREDENTIAL_REFUSED,
    Outcome.PURGED: ExitCode.PURGED,
}


def main(argv: list[str] | None = None, prog: str = "muster agent") -> int:
    """Run one command and return its exit code; ``argv`` are the arguments after the program's name."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == [SETUP_COMMAND]:
        from .setup import main as set_up

        return set_up(arguments[1:], f"{prog} {SETUP_COMMAND}")
    try:
        options = build_parser(prog).parse_args(arguments)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else ExitCode.USAGE
    set_up_logging(options.log_level, options.log_format)
    commands: dict[str, Callable[[], ExitCode]] = {
        "register": lambda: register_server(
            options, chosen_proxy(options), f"{prog} run, or {prog} unit for a service"
        ),
        "run": lambda: _run(options),
        "once": lambda: _once(options),
        "status": lambda: _status(options),
        "unit": lambda: _unit(options, prog),
        "set-proxy": lambda: set_proxy(options, prog),
        "decommission": lambda: decommission(options, prog),
    }
    return guarded(commands[options.command], f"{prog} {options.command}")


def guarded(work: Callable[[], ExitCode], what: str) -> ExitCode:
    """Return how ``work`` ends; an error is explained on standard error and has its exit code."""
    try:
        return work()
    except UsageError as error:
        return _fail(ExitCode.USAGE, f"{what}: {error}")
    except (NotRegisteredError, StateError) as error:
        return _fail(ExitCode.UNUSABLE_STATE, str(error))
    except (PurgedError, registration.RegistrationPurgedError) as error:
        return _fail(ExitCode.PURGED, str(error))
    except AlreadyRunningError as error:
        return _fail(ExitCode.ALREADY_RUNNING, str(error))
    except registration.RegistrationError as error:
        return _fail(ExitCode.FAILURE, str(error))
    except KeyboardInterrupt:
        return _fail(ExitCode.FAILURE, "interrupted")


def register_server(options: argparse.Namespace, proxy: Proxy | None, next_step: str | None = None) -> ExitCode:
    """Register this server; without ``proxy`` the way to the control plane stays as it was chosen before.

    ``next_step`` is what the operator is told to do next.

    Raises UsageError, StateError, AlreadyRunningError and what ``registration.register`` raises.
    """
    store = FileStateStore(options.state_dir)
    request = read_request(options, proxy or kept_proxy(store))
    warn_of_risks(request)
    store.create_folder()
    output: Path = options.passphrase_output_file or store.folder / "passphrase"

    def keep_passphrase(passphrase: str) -> None:
        try:
            write_private_file(output, passphrase + "\n")
        except OSError as error:
            raise registration.RegistrationError(
                f"registered, but the passphrase can not be saved in {output}: {error.strerror}. "
                "Mend that and run the same command again: it gets the passphrase once more"
            ) from error

    with _locked(store.folder):
        if options.force:
            _set_damaged_state_aside(store)
        done = _in_event_loop(
            registration.register(
                request,
                store,
                keep_passphrase=keep_passphrase,
                force=options.force,
                attempts=options.attempts,
            )
        )
    identity = done.state.identity
    if identity is None:
        raise StateError(f"{store.path} holds no identity after the registration")
    verb = "Registered" if done.is_new else "Registered again"
    what = "configuration server" if identity.server_mode == "CS" else "process server"
    print(f"{verb}: {what} {identity.name} ({identity.id}) in vault {identity.vault}")
    print(f"Heartbeats every {identity.interval_seconds:g} s; state in {store.path}")
    if done.passphrase is not None:
        print(f"The passphrase for its process servers is saved in {output}")
        if options.show_passphrase:
            print(f"Passphrase: {done.passphrase}")
    elif options.show_passphrase:
        print("The passphrase was handed out before; the control plane can make a new one")
    for notice in done.notices:
        print(f"Notice: {notice}")
    if next_step is not None:
        print(f"Next: {next_step}")
    return ExitCode.OK


def kept_proxy(store: FileStateStore) -> Proxy | None:
    """Return the proxy that was chosen before; None too where the state can not be read, which others report."""
    try:
        state = store.load()
    except StateError:
        return None
    return None if state is None or state.settings is None else state.settings.proxy


def _set_damaged_state_aside(store: FileStateStore) -> None:
    try:
        store.load()
    except StateError:
        aside = store.set_aside(time.strftime("damaged-%Y%m%dT%H%M%S", time.gmtime()))
        print(f"The damaged state file is kept as {aside}", file=sys.stderr)


def _run(options: argparse.Namespace) -> ExitCode:
    notifier = ServiceNotifier.from_environment()
    store = _existing_store(options)
    with _locked(store.folder):
        agent = _agent(options, store, on_status=notifier.status, leaves=True)
        _log.info("agent started, boot %s", agent.boot_id)
        reason = _in_event_loop(_run_until_signal(agent, notifier))
        _log.info("agent ended: %s", reason.value)
    if reason is ExitReason.DECOMMISSIONED:
        _log.info("%s", remove_state(store.folder))
    return _EXIT_CODE_OF_REASON[reason]


async def _run_until_signal(agent: Agent, notifier: ServiceNotifier) -> ExitReason:
    loop = asyncio.get_running_loop()
    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is None:
            continue
        try:
            loop.add_signal_handler(number, agent.stop)
        except NotImplementedError:
            # Event loops on Windows have no signal handlers of their own.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(agent.stop))
    # Ready means started, not connected: a start must not fail because the control plane is down.
    notifier.ready()
    watchdog = asyncio.create_task(notifier.feed_watchdog())
    try:
        return await agent.run()
    finally:
        notifier.stopping()
        watchdog.cancel()


def _once(options: argparse.Namespace) -> ExitCode:
    store = _existing_store(options)
    with _locked(store.folder):
        agent = _agent(options, store)
        beat = _in_event_loop(_beat_once(agent))
    if beat.answer is None:
        print(json.dumps({"outcome": beat.outcome.value, "detail": beat.detail}, indent=2, ensure_ascii=False))
        return _EXIT_CODE_OF_OUTCOME[beat.outcome]
    answer = dict(beat.answer)
    if answer.get("credential") is not None:
        answer["credential"] = "(new, saved)"
    print(json.dumps(answer, indent=2, ensure_ascii=False))
    return _EXIT_CODE_OF_OUTCOME[beat.outcome]


async def _beat_once(agent: Agent) -> Beat:
    try:
        return await agent.beat()
    finally:
        await agent.aclose()


def _status(options: argparse.Namespace) -> ExitCode:
    store = FileStateStore(options.state_dir)
    state = store.load()
    if state is None:
        raise NotRegisteredError(f"this server is not registered: there is no {store.path}")
    version = (state.settings.agent_version if state.settings else None) or _installed_version()
    document = status_document(
        state,
        path=store.path,
        agent_version=version,
        is_running=is_locked(store.folder),
        now=SystemClock().now(),
    )
    if options.json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print("\n".join(status_lines(document, state)))
    return ExitCode.OK if state.identity is not None else ExitCode.UNUSABLE_STATE


def _unit(options: argparse.Namespace, prog: str) -> ExitCode:
    folder = PurePosixPath(options.state_dir.as_posix())
    print(render_unit(own_command(prog), folder), end="")
    return ExitCode.OK


def _existing_store(options: argparse.Namespace) -> FileStateStore:
    store = FileStateStore(options.state_dir)
    if store.load() is None:
        raise NotRegisteredError(f"this server is not registered (no {store.path}): run the register command first")
    return store


def _locked(folder: Path) -> StateLock:
    if not os.access(folder, os.W_OK):
        raise StateError(f"the state folder {folder} is not writable for this user")
    return StateLock(folder)


def _agent(
    options: argparse.Namespace,
    store: FileStateStore,
    on_status: Callable[[str], None] | None = None,
    *,
    leaves: bool = False,
) -> Agent:
    state = store.load()
    if state is None or state.settings is None or state.identity is None:
        raise NotRegisteredError(f"{store.path} holds no registration: run the register command first")
    settings = choose_settings(options, state.settings)
    _check_ca_file(settings)
    version = settings.agent_version or _installed_version()
    return Agent(
        store,
        host_telemetry(state.identity, settings, store.folder),
        settings=settings,
        agent_version=version,
        on_status=on_status,
        departure=Departure(lambda: uninstall(Machine().components(settings.services))) if leaves else None,
    )


def host_telemetry(identity: Identity, settings: Settings, state_folder: Path) -> HostTelemetry:
    """Return the telemetry source of this machine for a registered server."""
    return HostTelemetry(
        cache_folder=Path(settings.cache_folder) if settings.cache_folder else state_folder,
        telemetry_file=Path(settings.telemetry_file) if settings.telemetry_file else None,
        read_services=service_reader(identity.server_mode, identity.kind, settings.services),
        read_addresses=lambda: routed_addresses(settings.url),
    )


def _check_ca_file(settings: Settings) -> None:
    if settings.ca_file is None:
        return
    try:
        ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise UsageError(f"{settings.ca_file} holds no CA certificate: {error.strerror or error}") from None


def _installed_version() -> str:
    try:
        return installed_agent_version()
    except ValueError as error:
        raise UsageError(str(error)) from None


def _in_event_loop(work: Coroutine[Any, Any, _Result]) -> _Result:
    async def with_daemon_threads() -> _Result:
        asyncio.get_running_loop().set_default_executor(DaemonExecutor())
        return await work

    return asyncio.run(with_daemon_threads())


def _fail(code: ExitCode, message: str) -> ExitCode:
    print(message, file=sys.stderr)
    return code
