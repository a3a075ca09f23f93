"""A lane of its own for heartbeats, in front of FastAPI.

FastAPI's routing, dependencies and response models cost three quarters of the throughput on this path. The
operation is declared in `routes.py` all the same, so that OpenAPI and the error catalogue know it.
"""

import asyncio
import json
import random
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core import secrets
from app.core.asgi import REQUEST_ID_HEADER, read_body, request_id_for
from app.core.errors import CredentialRefused, MalformedJson, MusterError, TooLarge, Unauthenticated
from app.core.metrics import HEARTBEATS_REFUSED
from app.core.problems import from_findings, problem_response, unhandled
from app.core.settings import Settings
from app.heartbeats.beats import beat_of
from app.heartbeats.committer import Answer, Committer, Reply
from app.heartbeats.heads import Heads
from app.heartbeats.rules import JITTER_SHARE, next_interval_seconds
from app.heartbeats.schemas import MAX_BODY_BYTES, READ_HEARTBEAT

PATH = "/agent/v1/heartbeat"
_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()


class Fleet:
    """How many agents there are, as last counted; it stretches the interval of a large fleet."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.count(0)

    def count(self, agents: int) -> None:
        """Take note of how many agents there are. `interval_seconds` is the longest they are asked to wait."""
        self.agents = agents
        self.interval_seconds = next_interval_seconds(
            self._settings.heartbeat_interval_seconds,
            self._settings.heartbeat_timeout_seconds,
            agents,
            self._settings.heartbeats_per_second,
            0,
        )


class HeartbeatLane:
    """Serves `POST /agent/v1/heartbeat`; everything else goes on to `app`."""

    def __init__(self, app: ASGIApp, committer: Committer, fleet: Fleet) -> None:
        self._app = app
        self._committer = committer
        self._fleet = fleet
        self.heads = Heads()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not is_heartbeat(scope):
            await self._app(scope, receive, send)
            return
        authorization, request_id = presented_with(scope["headers"])
        reply: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        try:
            body = await _body_of(receive)
            self.take(credential_in(authorization), body, reply)
            answer = self.body(await reply)
        except Exception as error:  # noqa: BLE001 - whatever it is, the agent gets a problem and the log the rest
            await send_problem(error, request_id, scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        if request_id is not None:
            headers.append((_REQUEST_ID, request_id.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def take(self, presented: secrets.Presented, body: bytes, reply: Reply) -> None:
        """Queue a heartbeat; `reply` gets its answer. Raises a MusterError for what can't be queued."""
        try:
            heartbeat = READ_HEARTBEAT(body)
        except ValidationError as error:
            HEARTBEATS_REFUSED.labels("invalid").inc()
            raise _explained(error) from None
        self._committer.submit(beat_of(presented, heartbeat), reply)

    def body(self, answer: Answer) -> bytes:
        """An answer as it is sent."""
        interval = self._fleet.interval_seconds * (1 - JITTER_SHARE * random.random())  # noqa: S311 - no secret
        if answer.desired is None and not answer.notices:
            return (
                f'{{"serverTime":"{answer.server_time}","nextHeartbeatSeconds":{interval:.3f},'
                f'"generation":{answer.generation},"notices":[]}}'
            ).encode()
        document: dict[str, Any] = {
            "serverTime": answer.server_time,
            "nextHeartbeatSeconds": round(interval, 3),
            "generation": answer.generation,
        }
        if answer.desired is not None:
            document["desired"] = answer.desired.model_dump(mode="json", by_alias=True)
        document["notices"] = [notice.model_dump(mode="json", by_alias=True) for notice in answer.notices]
        return json.dumps(document, separators=(",", ":")).encode()


def credential_in(authorization: bytes) -> secrets.Presented:
    """The agent credential of an Authorization header. Raises Unauthenticated or CredentialRefused without one."""
    scheme, _, credential = authorization.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not credential:
        HEARTBEATS_REFUSED.labels("unauthenticated").inc()
        raise Unauthenticated("send the agent credential as 'Authorization: Bearer <id.secret>'")
    presented = secrets.parse(credential.strip())
    if presented is None:
        HEARTBEATS_REFUSED.labels(CredentialRefused.code).inc()
        raise CredentialRefused("the agent credential does not have the form <id.secret>; register the server again")
    return presented


async def _body_of(receive: Receive) -> bytes:
    body = await read_body(receive, MAX_BODY_BYTES)
    if body is None:
        # The rest of the body was not read, so the connection is of no more use.
        raise TooLarge(f"a heartbeat has at most {MAX_BODY_BYTES} bytes; send less", headers={"Connection": "close"})
    return body


def _explained(error: ValidationError) -> MusterError:
    findings = error.errors(include_url=False)
    if findings[0]["type"] == "json_invalid":
        return MalformedJson(f"the body is not valid JSON: {findings[0]['ctx']['error']}")
    return from_findings(findings)


def is_heartbeat(scope: Mapping[str, Any]) -> bool:
    """Whether an HTTP request is for this lane."""
    return bool(scope["path"] == PATH and scope["method"] == "POST")


def presented_with(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, str | None]:
    """The Authorization header of a request, empty without one, and its request id when it brought one."""
    authorization, request_id = b"", None
    for name, value in headers:
        if name == b"authorization":
            authorization = value
        elif name == _REQUEST_ID:
            request_id = request_id_for(value.decode("latin-1"))
    return authorization, request_id


async def send_problem(error: Exception, request_id: str | None, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the problem that `error` is; of an unforeseen one the log gets the details."""
    identifier = request_id or request_id_for(None)
    if isinstance(error, MusterError):
        response = problem_response(error, PATH, identifier)
    else:
        response = unhandled(error, PATH, identifier)
    response.headers[REQUEST_ID_HEADER] = identifier
    await response(scope, receive, send)
