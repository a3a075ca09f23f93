"""The command that takes this server out of service: check, uninstall, say goodbye."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import httpx

from .answers import read_purge
from .clock import SystemClock, rfc3339
from .deadlines import within
from .departure import DECOMMISSION_PATH, goodbye
from .exit_codes import ExitCode
from .heartbeat import NotRegisteredError, PurgedError
from .lock import AlreadyRunningError, StateLock, is_locked
from .request import UsageError
from .state import Identity, Json, Settings, State
from .store import FileStateStore
from .uninstall import FAILED, Machine, Step, remove_state, uninstall
from .wire import REQUEST_TIMEOUT_SECONDS, describe_answer, describe_failure, open_client, read_object, read_problem

_GOODBYE_TRIES = 5
_PAUSE_SECONDS = 2.0

Connect = Callable[[Settings], httpx.AsyncClient]


class GoodbyeError(Exception):
    """The control plane refused, or could not be asked; ``exit_code`` says how the command ends."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILURE) -> None:
        """Take what people are told."""
        super().__init__(message)
        self.exit_code = exit_code


def decommission(
    options: argparse.Namespace, prog: str, machine: "Machine | None" = None, connect: "Connect | None" = None
) -> ExitCode:
    """Uninstall this server and have it removed from the control plane; nothing is touched before that agrees.

    Raises NotRegisteredError, PurgedError, StateError, UsageError, and AlreadyRunningError while an agent runs that
    is not this machine's service.
    """
    machine = machine or Machine()
    store = FileStateStore(options.state_dir)
    _, settings, identity = _registration(store)
    exchange = _Exchange(connect or _open, settings, store)
    try:
        asyncio.run(exchange.send({"dryRun": True, "steps": [], **_target(options)}))
    except GoodbyeError as refusal:
        print(f"{prog} decommission: nothing was changed: {refusal}", file=sys.stderr)
        return refusal.exit_code
    components = machine.components(settings.services)
    print(f"{identity.name} of vault {identity.vault} may leave. The steps:")
    for number, component in enumerate(components, 1):
        print(f"  {number}. {component.name}: {component.plan}")
    if options.what_if:
        print("Nothing was changed (--what-if)")
        return ExitCode.OK
    if is_locked(store.folder) and not machine.has_running_service():
        raise AlreadyRunningError(f"an agent that is not a service works on {store.folder}: stop it first")
    _confirm(identity, options)
    steps = uninstall(components, _tell)
    return _say_goodbye(options, prog, exchange, store.folder, steps)


def _registration(store: FileStateStore) -> tuple[State, Settings, Identity]:
    state = store.load()
    if state is None or state.settings is None or state.identity is None:
        raise NotRegisteredError(f"this server is not registered (no identity in {store.path}): there is nothing to do")
    if state.purge is not None:
        raise PurgedError(state.purge)
    return state, state.settings, state.identity


def _target(options: argparse.Namespace) -> Json:
    return {"switchTo": options.switch_to} if options.switch_to else {}


def _confirm(identity: Identity, options: argparse.Namespace) -> None:
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: add --yes")
    answer = input(f"Uninstall {identity.name} and remove it from the control plane? [y/N] ")
    if answer.strip().lower() not in {"y", "yes"}:
        raise UsageError("not confirmed: nothing was changed")


def _tell(step: Step) -> None:
    print(f"{step.status:>7}  {step.name}: {step.detail}")


def _say_goodbye(
    options: argparse.Namespace, prog: str, exchange: "_Exchange", folder: Path, steps: list[Step]
) -> ExitCode:
    has_failed = any(step.status == FAILED for step in steps)
    body = goodbye(steps, switch_to=options.switch_to)
    try:
        if has_failed:
            asyncio.run(exchange.send(body, tries=_GOODBYE_TRIES))
            print(f"{prog} decommission: a step failed, so this server stays registered; mend it and run this again")
            return ExitCode.FAILURE
        with StateLock(folder):
            asyncio.run(exchange.send(body, tries=_GOODBYE_TRIES))
    except GoodbyeError as refusal:
        print(
            f"{prog} decommission: the steps are done, but the goodbye failed: {refusal}. "
            "Run the same command again: what is gone is skipped",
            file=sys.stderr,
        )
        return refusal.exit_code
    print("Gone from the control plane")
    told = remove_state(folder)
    print(told[0].upper() + told[1:])
    return ExitCode.OK


def _open(settings: Settings) -> httpx.AsyncClient:
    return open_client(settings.url, ca_file=settings.ca_file, proxy=settings.proxy)


class _Exchange:
    """Calls the control plane with the credential that is valid at the moment."""

    def __init__(self, connect: Connect, settings: Settings, store: FileStateStore) -> None:
        self._connect = connect
        self._settings = settings
        self._store = store

    async def send(self, body: Json, tries: int = 1) -> Json:
        """Return the answer. Raises GoodbyeError; what may pass is tried again."""
        for number in range(1, tries + 1):
            try:
                return await self._send_once(body)
            except (httpx.HTTPError, OSError, asyncio.TimeoutError) as error:
                if number == tries:
                    where = self._settings.url
                    raise GoodbyeError(f"{where} can not be reached: {describe_failure(error)}") from None
            await asyncio.sleep(_PAUSE_SECONDS)
        raise GoodbyeError("it was not tried")

    async def _send_once(self, body: Json) -> Json:
        # Read anew: a running agent may have taken over a new credential meanwhile.
        _, _, identity = _registration(self._store)
        headers = {"Authorization": f"Bearer {identity.credential}"}
        async with self._connect(self._settings) as client:
            response = await within(REQUEST_TIMEOUT_SECONDS, client.post(DECOMMISSION_PATH, json=body, headers=headers))
        answer = read_object(response)
        if response.status_code == 200 and answer is not None:
            return answer
        if response.status_code >= 500 or response.status_code in {408, 425, 429}:
            raise httpx.RemoteProtocolError(describe_answer(response))
        if response.status_code == 401 and answer is not None:
            raise GoodbyeError(describe_answer(response), ExitCode.CREDENTIAL_REFUSED)
        if response.status_code == 410 and answer is not None:
            raise PurgedError(read_purge(answer, rfc3339(SystemClock().now())))
        problem = read_problem(response)
        blockers = problem.members.get("blockers") if problem is not None else None
        codes = [str(entry["code"]) for entry in blockers or [] if isinstance(entry, dict) and "code" in entry]
        raise GoodbyeError(describe_answer(response) + (f" (blockers: {', '.join(codes)})" if codes else ""))
