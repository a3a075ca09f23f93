"""Registering a server: once, however often the answer gets lost on the way.

Before anything is sent, the host id, the request and an idempotency key are made durable. A later try with
the same choices sends the same request under the same key, and the control plane gives the same answer again,
the passphrase of a new configuration server included. The key is dropped when an answer has come.
"""

import asyncio
import dataclasses
import hashlib
import hmac
import json
import logging
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from . import schedule
from .answers import describe_purge, read_notice, read_purge
from .clock import Clock, SystemClock, rfc3339
from .deadlines import within
from .state import Identity, Json, PendingRegistration, Purge, Settings, State
from .store import StateStore
from .wire import (
    REQUEST_TIMEOUT_SECONDS,
    describe_answer,
    describe_failure,
    is_credential,
    open_client,
    printable,
    read_object,
    read_problem,
)

REGISTER_PATHS = {
    "CS": "/agent/v1/configuration-servers/register",
    "PS": "/agent/v1/process-servers/register",
}
SERVER_MODES = tuple(REGISTER_PATHS)
KINDS = ("scaleOut", "failback")
DEFAULT_ATTEMPTS = 6
_BACKOFF_LIMIT_SECONDS = 30.0

_log = logging.getLogger("muster.agent.registration")

_TRY_AGAIN_STATUSES = {408, 425, 429}


class RegistrationError(Exception):
    """The server could not be registered; the message says why."""


class RegistrationPurgedError(RegistrationError):
    """The control plane refuses this server because it was purged."""

    def __init__(self, purge: Purge) -> None:
        """Take what the control plane told."""
        super().__init__(describe_purge(purge))


class OtherIdentityError(RegistrationError):
    """The state folder belongs to another server than the one to be registered."""


@dataclass(frozen=True, kw_only=True)
class RegistrationRequest:
    """What to register, as the operator chose it and the machine is."""

    server_mode: str  # CS or PS
    settings: Settings
    name: str
    fqdn: str
    instance_id: str
    ip_addresses: tuple[str, ...]
    agent_version: str
    os: dict[str, str]
    hardware: dict[str, int]
    data_transfer_port: int = 9443
    configuration_server: str | None = None  # PS: address, FQDN or name
    kind: str | None = None  # PS: scaleOut or failback
    host_id: str | None = None  # None: the one in the state, else a new one
    secret: str = field(repr=False)  # CS: the registration key; PS: the passphrase

    def body(self, host_id: str) -> Json:
        """Return the request's body without the secret."""
        body: Json = {
            "hostId": host_id,
            "instanceId": self.instance_id,
            "name": self.name,
            "fqdn": self.fqdn,
            "ipAddresses": list(self.ip_addresses),
            "dataTransferPort": self.data_transfer_port,
            "agentVersion": self.agent_version,
            "os": self.os,
            "hardware": self.hardware,
        }
        if self.server_mode == "PS":
            body["configurationServer"] = self.configuration_server
            body["kind"] = self.kind
        return body

    def fingerprint(self, host_id: str, idempotency_key: str) -> str:
        """Return a digest of the operator's choices, the secret included, that reveals none of them.

        What the machine measures is left out: a changed address must not make a lost answer unreachable.
        """
        choices = [
            self.server_mode,
            self.settings.url,
            self.configuration_server,
            self.secret,
            self.name,
            self.kind,
            self.data_transfer_port,
            list(self.settings.ip_addresses),
            self.agent_version,
            host_id,
        ]
        return hmac.new(idempotency_key.encode(), json.dumps(choices).encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Registered:
    """A registration that the control plane has taken."""

    state: State
    is_new: bool
    notices: tuple[str, ...]
    passphrase: str | None = field(repr=False)


async def register(
    request: RegistrationRequest,
    store: StateStore,
    *,
    connect: Callable[[], httpx.AsyncClient] | None = None,
    keep_passphrase: Callable[[str], None] | None = None,
    force: bool = False,
    attempts: int = DEFAULT_ATTEMPTS,
    clock: Clock | None = None,
    chance: Callable[[], float] = random.random,
) -> Registered:
    """Register a server and save its identity; safe to repeat after any failure.

    ``keep_passphrase`` gets the passphrase of a new configuration server before the registration counts as
    done: if it raises, a repeated call gets the passphrase again. ``force`` allows a state folder to change
    its server. No answer, 5xx and 429 are tried again, ``attempts`` times in all.

    Raises OtherIdentityError, RegistrationPurgedError or RegistrationError, StateError as the store does, and
    whatever ``keep_passphrase`` raises.
    """
    clock = clock or SystemClock()
    present = store.load()
    if present is not None and not force:
        _check_same_server(present, request)
    host_id = request.host_id or (present.host_id if present is not None else str(uuid.uuid4()))
    state = dataclasses.replace(
        present or State(host_id=host_id, instance_id=request.instance_id),
        host_id=host_id,
        instance_id=request.instance_id,
    )
    pending = _pending(state, request)
    state = dataclasses.replace(state, pending=pending)
    store.save(state)
    registration = _Registration(request, pending, connect, clock, chance)
    try:
        response, answer = await registration.send(attempts)
    except (_RefusedError, RegistrationPurgedError) as refusal:
        # An answer has come, so the key has done its work; the next try is to be judged afresh.
        store.save(dataclasses.replace(present or state, pending=None))
        if isinstance(refusal, _RefusedError):
            raise RegistrationError(str(refusal)) from None
        raise
    identity = _identity(request, pending, answer, rfc3339(clock.now()))
    passphrase = answer.get("passphrase")
    if isinstance(passphrase, str) and passphrase and keep_passphrase is not None:
        keep_passphrase(passphrase)
    is_same = state.identity is not None and state.identity.id == identity.id
    registered = State(
        host_id=host_id,
        instance_id=request.instance_id,
        settings=request.settings,
        identity=identity,
        desired=state.desired if is_same else None,
        last_heartbeat=state.last_heartbeat if is_same else None,
    )
    store.save(registered)
    notices = answer.get("notices")
    texts = [read_notice(notice)[1] for notice in notices] if isinstance(notices, list) else []
    return Registered(
        registered,
        is_new=response.status_code == 201,
        notices=tuple(filter(None, texts)),
        passphrase=passphrase if isinstance(passphrase, str) and passphrase else None,
    )


def _check_same_server(state: State, request: RegistrationRequest) -> None:
    if request.host_id is not None and request.host_id != state.host_id:
        raise OtherIdentityError(
            f"this state folder belongs to host {state.host_id}; --force makes it host {request.host_id}"
        )
    identity = state.identity
    if identity is None:
        return
    if identity.server_mode != request.server_mode:
        raise OtherIdentityError(
            f"this state folder belongs to {identity.name}, registered as {identity.server_mode}; "
            f"--force registers it as {request.server_mode}"
        )
    if identity.name != request.name:
        raise OtherIdentityError(
            f"this state folder belongs to {identity.name}; --force registers it as {request.name}"
        )


def _pending(state: State, request: RegistrationRequest) -> PendingRegistration:
    before = state.pending
    if before is not None:
        fingerprint = request.fingerprint(state.host_id, before.idempotency_key)
        if hmac.compare_digest(fingerprint, before.fingerprint):
            _log.info("asking again for the answer to an earlier registration that was lost")
            return before
    key = str(uuid.uuid4())
    return PendingRegistration(
        idempotency_key=key,
        fingerprint=request.fingerprint(state.host_id, key),
        body=request.body(state.host_id),
    )


def _identity(request: RegistrationRequest, pending: PendingRegistration, answer: Json, registered_at: str) -> Identity:
    beat = answer.get("heartbeat")
    beat = beat if isinstance(beat, dict) else {}
    addresses = pending.body.get("ipAddresses")
    return Identity(
        id=answer["id"],
        vault=printable(answer.get("vault")),
        configuration_server=printable(answer.get("configurationServer")) or None,
        name=printable(answer.get("name")) or request.name,
        server_mode=request.server_mode,
        kind=request.kind if request.server_mode == "PS" else None,
        interval_seconds=schedule.positive_number(beat.get("intervalSeconds")) or schedule.DEFAULT_INTERVAL_SECONDS,
        timeout_seconds=schedule.positive_number(beat.get("timeoutSeconds")) or schedule.DEFAULT_TIMEOUT_SECONDS,
        registered_at=registered_at,
        ip_addresses=tuple(str(item) for item in addresses) if isinstance(addresses, list) else (),
        credential=answer["credential"],
    )


class _RefusedError(Exception):
    """The control plane has answered that it will not register this server."""


class _Registration:
    """The tries of one registration."""

    def __init__(
        self,
        request: RegistrationRequest,
        pending: PendingRegistration,
        connect: Callable[[], httpx.AsyncClient] | None,
        clock: Clock,
        chance: Callable[[], float],
    ) -> None:
        settings = request.settings
        self._connect = connect or (lambda: open_client(settings.url, ca_file=settings.ca_file, proxy=settings.proxy))
        self._url = settings.url
        self._path = REGISTER_PATHS[request.server_mode]
        secret_member = "registrationKey" if request.server_mode == "CS" else "passphrase"
        self._body = {secret_member: request.secret, **pending.body}
        self._headers = {"Idempotency-Key": pending.idempotency_key}
        self._clock = clock
        self._chance = chance

    async def send(self, attempts: int) -> tuple[httpx.Response, Json]:
        """Send until there is an answer that counts; raises RegistrationError after the last attempt."""
        attempt = 1
        while True:
            retry_after = None
            try:
                response = await within(REQUEST_TIMEOUT_SECONDS, self._post())
            except (httpx.HTTPError, OSError, asyncio.TimeoutError) as error:
                failure = describe_failure(error)
            else:
                answer = self._read(response)
                if answer is not None:
                    return response, answer
                failure = describe_answer(response)
                retry_after = schedule.parse_retry_after(response.headers.get("retry-after"), self._clock.now())
            if attempt >= attempts:
                raise RegistrationError(
                    f"not registered after {attempt} tries; the last one: {failure}. "
                    "Run the same command again: it asks for the same answer, nothing is registered twice"
                )
            delay = schedule.retry_delay_seconds(
                attempt, self._chance(), limit_seconds=_BACKOFF_LIMIT_SECONDS, retry_after_seconds=retry_after
            )
            _log.warning("%s: %s; try %d of %d in %.1f s", self._url, failure, attempt + 1, attempts, delay)
            await self._clock.sleep(delay)
            attempt += 1

    async def _post(self) -> httpx.Response:
        async with self._connect() as client:
            return await client.post(self._path, json=self._body, headers=self._headers)

    def _read(self, response: httpx.Response) -> Json | None:
        """Return the answer of a registration, None if it is worth another try."""
        status = response.status_code
        if status in {200, 201}:
            answer = read_object(response)
            if answer is not None and printable(answer.get("id")) and is_credential(answer.get("credential")):
                return answer
            return None
        if not 400 <= status < 500 or status in _TRY_AGAIN_STATUSES:
            return None
        problem = read_problem(response)
        if problem is None:
            raise RegistrationError(f"{self._url} answered {describe_answer(response)}")
        if status == 409 and ("retry-after" in response.headers or problem.code.endswith("in-progress")):
            # The first try is still being worked on; its answer, which has the passphrase, is yet to come.
            return None
        if status == 410:
            raise RegistrationPurgedError(read_purge(problem.members, rfc3339(self._clock.now())))
        raise _RefusedError(f"the control plane refused the registration: {problem}")
