"""problem+json (RFC 9457) for every error whatever its cause."""

import json
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import (
    FieldProblem,
    Internal,
    Invalid,
    MalformedJson,
    MalformedRequest,
    MethodNotAllowed,
    MusterError,
    NotFound,
    TooLarge,
    UnsupportedMediaType,
)

MEDIA_TYPE = "application/problem+json"
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
SURROGATES = "surrogates not allowed"
MOUNTED_METHODS = {"GET", "HEAD"}
SHOWN_INPUT_LENGTH = 80
_SECRET_FIELDS = {"passphrase", "credential", "registrationKey", "token", "secret", "authorization"}
log = structlog.get_logger("muster.http")
REPLAYED_HEADER = "Idempotent-Replayed"


class Replay(Exception):
    """Carries the stored answer past the handler; nothing is written."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__()
        self.status = status
        self.headers = {**headers, REPLAYED_HEADER: "true"}
        self.body = body


class Problem(BaseModel):
    """An error as RFC 9457 describes it. `code` is stable; some codes add members of their own."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    requestId: str  # noqa: N815 - the wire's name; this model only documents


def problem_document(error: MusterError, path: str, request_id: str) -> dict[str, Any]:
    """The members of the problem for `error`."""
    return {
        "type": f"urn:muster:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": path,
        "code": error.code,
        "requestId": request_id,
        **error.members,
    }


def problem_response(error: MusterError, path: str, request_id: str) -> Response:
    """The answer for `error`."""
    document = problem_document(error, path, request_id)
    return Response(json.dumps(document).encode(), error.status, error.headers, MEDIA_TYPE)


def request_id_of(request: Request) -> str:
    """The id that the outermost layer gave to this request."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def install(app: FastAPI) -> None:
    """Make every exception of `app` a problem+json."""

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, MusterError)
        return problem_response(error, request.url.path, request_id_of(request))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return await known(request, explain(error))

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return await known(request, _translate(request, error))

    async def unwritable(request: Request, error: Exception) -> Response:
        assert isinstance(error, UnicodeEncodeError)
        if error.reason != SURROGATES:
            raise error
        return await known(request, MalformedJson("the body contains half of a surrogate pair, which is no character"))

    async def replay(_request: Request, answer: Exception) -> Response:
        assert isinstance(answer, Replay)
        return Response(answer.body, answer.status, answer.headers, "application/json")

    app.add_exception_handler(MusterError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(Replay, replay)
    # JSON can escape half a surrogate pair; pydantic's own messages can't be written with one.
    app.add_exception_handler(UnicodeEncodeError, unwritable)
    app.add_middleware(FaultNet)


class FaultNet:
    """Answers unhandled faults before the framework does: its own answer is plain text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def noted_send(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self._app(scope, receive, noted_send)
        except Exception as error:
            if is_started:
                raise
            request_id = str(scope.get("state", {}).get("request_id", ""))
            await unhandled(error, scope["path"], request_id)(scope, receive, send)


def unhandled(error: Exception, path: str, request_id: str) -> Response:
    """The answer for a fault of ours: the log has it all, the client only the id."""
    log.error("unhandled fault", path=path, request_id=request_id, exc_info=error)
    detail = f"the fault is in the log under request id {request_id}; nothing was changed"
    return problem_response(Internal(detail), path, request_id)


def explain(error: RequestValidationError) -> MusterError:
    """Pydantic's findings as an error that names each value and never a secret."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        position = first["loc"][-1]
        return MalformedJson(f"the body is not valid JSON at position {position}: {first['ctx']['error']}")
    if first["type"] in {"model_attributes_type", "dict_type"} and first["loc"] == ("body",):
        if isinstance(first["input"], bytes):
            return UnsupportedMediaType("send the body as JSON with 'Content-Type: application/json'")
        return Invalid("the body must be a JSON object", [{"pointer": "#", "detail": "must be a JSON object"}])
    return from_findings(error.errors())


def from_findings(findings: Any) -> Invalid:
    """Field problems from pydantic's list of findings."""
    problems = [_field_problem(finding) for finding in findings]
    listed = "; ".join(f"{entry['pointer']}: {entry['detail']}" for entry in problems[:3])
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return Invalid(f"{listed}{more}", problems)


def _field_problem(finding: Any) -> FieldProblem:
    location = [str(part) for part in finding["loc"]]
    if location and location[0] == "body":
        location = location[1:]
    escaped = [part.replace("~", "~0").replace("/", "~1") for part in location]
    pointer = "#" + "".join(f"/{part}" for part in escaped)
    kind, message = finding["type"], finding["msg"].removeprefix("Value error, ")
    if kind == "missing":
        return {"pointer": pointer, "detail": "is required"}
    if kind == "extra_forbidden":
        return {"pointer": pointer, "detail": "is not a known field; remove it"}
    is_secret = any(part in _SECRET_FIELDS for part in location)
    shown = "" if is_secret or kind == "value_error" else _shown(finding.get("input"))
    return {"pointer": pointer, "detail": f"{shown}{message[:1].lower()}{message[1:]}"}


def _shown(value: Any) -> str:
    if isinstance(value, str | int | float | bool) or value is None:
        text = json.dumps(value, ensure_ascii=False)
        return f"{text[:SHOWN_INPUT_LENGTH]}{'…' if len(text) > SHOWN_INPUT_LENGTH else ''}: "
    return ""


def _translate(request: Request, error: HTTPException) -> MusterError:
    path, method = request.url.path, request.method
    if error.status_code == 405:
        allowed = allowed_methods(request.app.routes, request.scope)
        return MethodNotAllowed(
            f"{path} takes {', '.join(allowed)}, not {method}", headers={"Allow": ", ".join(allowed)}
        )
    if error.status_code == 404:
        return NotFound(f"there is nothing at {path}; /docs lists what there is")
    if error.status_code == 413:
        return TooLarge("the body is too large")
    if error.status_code == 400:
        return MalformedJson("the body can't be read as UTF-8 JSON")
    return MalformedRequest(str(error.detail))


def allowed_methods(routes: list[BaseRoute], scope: Any) -> list[str]:
    """Every method that some route takes at this path; the framework names only the first route's."""
    # A mount has moved its prefix into root_path by now.
    here = {**scope, "root_path": scope.get("app_root_path", scope.get("root_path", ""))}
    found: set[str] = set()
    for route in routes:
        for method in MOUNTED_METHODS if isinstance(route, Mount) else METHODS:
            matched, _ = route.matches({**here, "method": method})
            if matched is Match.FULL:
                found.add(method)
    return sorted(found)
