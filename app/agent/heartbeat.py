"""The agent itself: one heartbeat after the other, through outages of any length.

A heartbeat keeps its sequence number and its body until the control plane has answered it, so what gets
acknowledged is never ambiguous. Only two answers end an agent: the credential is unknown (401), or the server
was purged (410). Both count only where the control plane itself gives them; a proxy that answers 401 in front
of a dead control plane is an outage like any other.
"""

import asyncio
import dataclasses
import logging
import random
import uuid
from collections.abc import Callable
from typing import Any

import httpx

from . import schedule
from .answers import describe_purge, read_notice, read_purge
from .clock import Clock, SystemClock, rfc3339
from .deadlines import within
from .departure import Departure
from .outcomes import Beat, ExitReason, Outcome
from .state import DesiredState, Identity, Json, LastHeartbeat, Outage, Purge, Settings, State, StateError
from .store import StateStore
from .telemetry import Reading, TelemetrySource
from .version import installed_agent_version
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

HEARTBEAT_PATH = "/agent/v1/heartbeat"

_log = logging.getLogger("muster.agent.heartbeat")

_CLOSE_TIMEOUT_SECONDS = 2.0
_TRY_AGAIN_STATUSES = {408, 425, 429}


class NotRegisteredError(Exception):
    """There is no registered identity to send heartbeats with."""


class PurgedError(Exception):
    """This server was purged and has not been registered again."""

    def __init__(self, purge: Purge) -> None:
        """Take what the control plane told."""
        super().__init__(describe_purge(purge))
        self.purge = purge


class Agent:
    """Sends the heartbeats of one registered server.

    Everything that ties it to a machine can be replaced, so hundreds of agents run in one process. It writes
    to nothing but its store and the log.
    """

    def __init__(
        self,
        store: StateStore,
        source: TelemetrySource,
        *,
        settings: Settings | None = None,
        agent_version: str | None = None,
        connect: Callable[[], httpx.AsyncClient] | None = None,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
        first_delay_seconds: float = 0.0,
        on_status: Callable[[str], None] | None = None,
        departure: Departure | None = None,
    ) -> None:
        """Load the state and start a new boot.

        ``settings`` replace those of the registration; ``agent_version`` is by default the one they name, or
        that of the installed package. ``connect`` opens a client with an empty connection
        pool, by default to the URL of the settings. ``first_delay_seconds`` is waited before the first
        heartbeat. ``on_status`` gets a line for people whenever the situation changes. Without
        ``departure`` a decommission that is asked for is left alone.

        Raises NotRegisteredError, PurgedError, or StateError as the store does.
        """
        state = store.load()
        if state is None or state.identity is None or state.settings is None:
            raise NotRegisteredError("this server is not registered: run the register command first")
        if state.purge is not None:
            raise PurgedError(state.purge)
        self.boot_id = str(uuid.uuid4())
        self._store = store
        self._source = source
        self._state = state
        self._identity: Identity = state.identity
        self._settings = settings or state.settings
        self._connect = connect or self._connect_to_url
        self._clock = clock or SystemClock()
        self._chance = chance
        self._first_delay_seconds = first_delay_seconds
        self._on_status = on_status or (lambda _: None)
        self._departure = departure
        self._agent_version = agent_version or self._settings.agent_version or installed_agent_version()
        self._ip_addresses = self._settings.ip_addresses or self._identity.ip_addresses
        self._client: httpx.AsyncClient | None = None
        self._stop_asked = asyncio.Event()
        self._sequence = 0
        self._unanswered: Json | None = None
        self._failures = 0
        self._failing_since = 0.0
        self._refusals = 0
        self._source_failures = 0
        self._has_connected = False
        self._seen_notices: set[str] = set()

    @property
    def state(self) -> State:
        """The state as of now."""
        return self._state

    @property
    def sequence(self) -> int:
        """The sequence number of the latest heartbeat composed, 0 before the first."""
        return self._sequence

    @property
    def acknowledged_sequence(self) -> int:
        """The highest sequence number of this boot that the control plane acknowledged, 0 if none."""
        last = self._state.last_heartbeat
        return last.sequence if last is not None and last.boot_id == self.boot_id else 0

    def stop(self) -> None:
        """Make ``run`` return soon, even in the middle of a request or a wait. Call it in the event loop."""
        self._stop_asked.set()

    async def run(self) -> ExitReason:
        """Send heartbeats until told to stop or until the control plane ends this server's life."""
        beating = asyncio.create_task(self._beat_for_ever())
        stop = asyncio.create_task(self._stop_asked.wait())
        try:
            await asyncio.wait({beating, stop}, return_when=asyncio.FIRST_COMPLETED)
            return beating.result() if beating.done() else ExitReason.STOPPED
        finally:
            beating.cancel()
            stop.cancel()
            await asyncio.gather(beating, stop, return_exceptions=True)
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            await within(_CLOSE_TIMEOUT_SECONDS, client.aclose())
        except Exception as error:  # noqa: BLE001 - a broken connection may fail in any way while it is closed
            _log.debug("closing the connection: %s", describe_failure(error))

    async def beat(self) -> Beat:
        """Try one heartbeat: the unanswered one again, or else a new one. Raises nothing it can outlive."""
        if self._unanswered is None:
            body = await self._compose(self._sequence + 1)
            self._sequence += 1
            self._unanswered = body
        # A heartbeat that is tried again tells the time of this try: the control plane compares it with its own.
        body = {**self._unanswered, "agentTime": rfc3339(self._clock.now())}
        try:
            response = await within(REQUEST_TIMEOUT_SECONDS, self._post(HEARTBEAT_PATH, body))
        except (httpx.HTTPError, OSError, asyncio.TimeoutError) as error:
            return await self._failed(describe_failure(error), reconnect=True)
        except Exception as error:  # noqa: BLE001
            # Nothing that goes wrong in one try may end the agent: the next one starts on a new connection.
            _log.exception("unexpected failure while sending a heartbeat")
            return await self._failed(describe_failure(error), reconnect=True)
        return await self._judge(response)

    async def _beat_for_ever(self) -> ExitReason:
        if self._first_delay_seconds > 0:
            await self._clock.sleep(self._first_delay_seconds)
        while True:
            beat = await self.beat()
            if beat.outcome is Outcome.CREDENTIAL_REFUSED:
                return ExitReason.CREDENTIAL_REFUSED
            if beat.outcome is Outcome.PURGED:
                return ExitReason.PURGED
            if self._departure and beat.answer and await self._departure.is_done(self._state.desired, self._post):
                return ExitReason.DECOMMISSIONED
            await self._clock.sleep(beat.delay_seconds)

    async def _compose(self, sequence: int) -> Json:
        reading = await self._read_source()
        self._ip_addresses = self._settings.ip_addresses or reading.ip_addresses or self._ip_addresses
        desired = self._state.desired
        body: Json = {
            "bootId": self.boot_id,
            "sequence": sequence,
            "agentVersion": self._agent_version,
            "ipAddresses": list(self._ip_addresses),
            "observedGeneration": desired.generation if desired is not None else 0,
            "telemetry": reading.telemetry,
        }
        if reading.services is not None:
            body["services"] = reading.services
        return body

    async def _read_source(self) -> Reading:
        try:
            return await self._source.read()
        except Exception:  # noqa: BLE001
            # Telemetry is worth less than the sign of life it travels with.
            self._source_failures += 1
            if schedule.is_worth_a_line(self._source_failures):
                _log.exception("telemetry can not be read; heartbeats go on without it")
            return Reading()

    async def _post(self, path: str, body: Json) -> httpx.Response:
        if self._client is None:
            self._client = self._connect()
        authorization = {"Authorization": f"Bearer {self._identity.credential}"}
        return await self._client.post(path, json=body, headers=authorization)

    def _connect_to_url(self) -> httpx.AsyncClient:
        return open_client(self._settings.url, ca_file=self._settings.ca_file, proxy=self._settings.proxy)

    async def _judge(self, response: httpx.Response) -> Beat:
        status = response.status_code
        answer = read_object(response)
        if status == 200 and answer is not None and "nextHeartbeatSeconds" in answer:
            return self._acknowledged(answer)
        if status == 401 and answer is not None:
            return self._credential_refused(response)
        if status == 410 and answer is not None:
            return self._purged(answer)
        if 400 <= status < 500 and status not in _TRY_AGAIN_STATUSES | {401, 410}:
            return self._refused(response)
        retry_after = schedule.parse_retry_after(response.headers.get("retry-after"), self._clock.now())
        # An address may have moved while the old host still answers; the first 503 is mere overload, though,
        # and new TLS handshakes would add to it.
        return await self._failed(
            describe_answer(response), reconnect=self._failures > 0, retry_after_seconds=retry_after
        )

    def _acknowledged(self, answer: Json) -> Beat:
        sequence = self._sequence
        self._unanswered = None
        self._refusals = 0
        self._adopt_credential(answer.get("credential"))
        has_adopted = self._adopt_desired(answer)
        self._log_notices(answer.get("notices"))
        self._save_acknowledgement(answer)
        delay = self._interval_seconds(answer.get("nextHeartbeatSeconds"))
        if has_adopted:
            # Whoever asked for it waits for the heartbeat that tells that it was observed.
            delay = min(delay, schedule.report_delay_seconds(self._chance()))
        if self._failures or not self._has_connected:
            lost = f" after {self._clock.monotonic() - self._failing_since:.0f} s" if self._failures else ""
            _log.info("connected to %s as %s%s", self._settings.url, self._identity.name, lost)
        else:
            _log.debug("heartbeat %d acknowledged; the next one in %.1f s", sequence, delay)
        self._failures = 0
        self._has_connected = True
        detail = f"heartbeat {sequence} acknowledged; the next one in {delay:.0f} s"
        self._on_status(detail)
        return Beat(Outcome.ACKNOWLEDGED, sequence, delay, detail, answer)

    def _credential_refused(self, response: httpx.Response) -> Beat:
        detail = (
            f"the control plane at {self._settings.url} does not accept the credential of "
            f"{self._identity.name} ({read_problem(response)}): register this server again"
        )
        _log.error("%s", detail)
        self._on_status(detail)
        return Beat(Outcome.CREDENTIAL_REFUSED, self._sequence, 0.0, detail)

    def _purged(self, answer: Json) -> Beat:
        purge = read_purge(answer, rfc3339(self._clock.now()))
        self._remember(purge=purge, outage=None)
        detail = describe_purge(purge)
        _log.error("%s", detail)
        self._on_status(detail)
        return Beat(Outcome.PURGED, self._sequence, 0.0, detail)

    def _refused(self, response: httpx.Response) -> Beat:
        self._unanswered = None
        self._failures = 0
        self._refusals += 1
        detail = f"heartbeat {self._sequence} was refused: {describe_answer(response)}"
        if schedule.is_worth_a_line(self._refusals):
            _log.error("%s", detail)
        if self._state.outage is None:
            self._remember(outage=Outage(since=rfc3339(self._clock.now()), detail=detail))
        self._on_status(detail)
        return Beat(Outcome.REFUSED, self._sequence, self._interval_seconds(None), detail)

    async def _failed(self, detail: str, *, reconnect: bool, retry_after_seconds: float | None = None) -> Beat:
        if self._failures == 0:
            self._failing_since = self._clock.monotonic()
        self._failures += 1
        if self._state.outage is None:
            self._remember(outage=Outage(since=rfc3339(self._clock.now()), detail=detail))
        if reconnect:
            # A new pool resolves the name again and connects to wherever it points by now.
            await self.aclose()
        timeout = self._identity.timeout_seconds
        delay = schedule.retry_delay_seconds(
            self._failures,
            self._chance(),
            limit_seconds=schedule.backoff_limit_seconds(timeout),
            retry_after_seconds=retry_after_seconds,
            retry_after_limit_seconds=schedule.retry_after_limit_seconds(timeout),
        )
        text = f"heartbeat {self._sequence}, try {self._failures}: {detail}; next try in {delay:.1f} s"
        if schedule.is_worth_a_line(self._failures):
            _log.warning("%s", text)
        self._on_status(text)
        return Beat(Outcome.FAILED, self._sequence, delay, detail)

    def _interval_seconds(self, asked: object) -> float:
        return schedule.interval_seconds(asked, self._identity.interval_seconds, self._identity.timeout_seconds)

    def _adopt_credential(self, credential: object) -> None:
        if credential is None:
            return
        if not isinstance(credential, str) or not is_credential(credential):
            _log.error("the control plane sent a credential that can not be used; the present one stays")
            return
        identity = dataclasses.replace(self._identity, credential=credential)
        # A credential that is used before it is kept is lost with the process, and the server with it.
        if self._remember(identity=identity):
            self._identity = identity
            _log.info("took over the new credential that the control plane has sent")

    def _adopt_desired(self, answer: Json) -> bool:
        document, generation = answer.get("desired"), answer.get("generation")
        if not isinstance(document, dict) or isinstance(generation, bool) or not isinstance(generation, int):
            return False
        # Kept first, reported after: an observed generation that was lost would never be sent again.
        if not self._remember(desired=DesiredState(generation=generation, document=document)):
            return False
        _log.info("took over the desired state of generation %d", generation)
        return True

    def _save_acknowledgement(self, answer: Json) -> None:
        last = LastHeartbeat(
            acknowledged_at=rfc3339(self._clock.now()),
            server_time=printable(answer.get("serverTime")) or None,
            boot_id=self.boot_id,
            sequence=self._sequence,
        )
        if not self._remember(last_heartbeat=last, outage=None):
            self._state = dataclasses.replace(self._state, last_heartbeat=last, outage=None)

    def _remember(self, **changes: Any) -> bool:
        changed = dataclasses.replace(self._state, **changes)
        try:
            self._store.save(changed)
        except StateError as error:
            # A full disk must not make a living server look dead.
            _log.error("%s; heartbeats go on", error)
            return False
        self._state = changed
        return True

    def _log_notices(self, notices: object) -> None:
        for notice in notices if isinstance(notices, list) else []:
            code, text = read_notice(notice)
            if code and code not in self._seen_notices:
                self._seen_notices.add(code)
                _log.warning("notice of the control plane: %s", text)
