"""Every answer that a test gets is held against the API's own document.

An answer of an operation has a status the document lists; an error is a problem+json whose code is among the
examples of that status. So an operation can't learn a new error without saying so.
"""

import functools
import json
import re
from typing import Any, NamedTuple

import httpx
from fastapi import FastAPI

from app.core.problems import MEDIA_TYPE

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "requestId"}
# What the layers before the operations answer: reading the body, routing.
OUTSIDE_OPERATIONS = {"body-too-large", "method-not-allowed"}


class Operation(NamedTuple):
    """An entry of the document."""

    method: str
    path: re.Pattern[str]
    statuses: dict[str, set[str]]
    """Documented statuses, each with its error codes."""
    id: str


def operations(document: dict[str, Any]) -> list[Operation]:
    """The operations of an OpenAPI document; a path without parameters comes before one with them."""
    found = []
    for path in sorted(document["paths"], key=lambda path: path.count("{")):
        for method, operation in document["paths"][path].items():
            statuses = {
                status: set(answer.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {}))
                for status, answer in operation["responses"].items()
            }
            pattern = re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path))
            found.append(Operation(method.upper(), pattern, statuses, operation["operationId"]))
    return found


_documents: list[dict[str, Any]] = []


def document_of(api: FastAPI) -> dict[str, Any]:
    """The API's document, made once for all applications of a test process: it takes seconds."""
    if not _documents:
        _documents.append(api.openapi())
    return _documents[0]


@functools.cache
def _operations() -> list[Operation]:
    return operations(_documents[0])


class DocumentedTransport(httpx.ASGITransport):
    """Calls the application and checks each answer."""

    def __init__(self, app: Any, api: FastAPI) -> None:
        super().__init__(app, raise_app_exceptions=False)
        self._api = api

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises AssertionError for an answer that is not documented."""
        answer = await super().handle_async_request(request)
        document_of(self._api)
        body = await answer.aread()
        problem = _problem(request, answer, body) if answer.status_code >= 400 else None
        operation = next(
            (
                entry
                for entry in _operations()
                if entry.method == request.method and entry.path.fullmatch(request.url.path)
            ),
            None,
        )
        if operation is not None:
            _check(operation, answer.status_code, problem)
        return answer


def _problem(request: httpx.Request, answer: httpx.Response, body: bytes) -> dict[str, Any]:
    seen = f"{request.method} {request.url} answered {answer.status_code} {body[:300]!r}"
    assert answer.headers["content-type"] == MEDIA_TYPE, seen
    if request.method == "HEAD":
        return {"code": "method-not-allowed"}
    problem: dict[str, Any] = json.loads(body)
    assert set(problem) >= MEMBERS, seen
    assert problem["status"] == answer.status_code, seen
    assert problem["type"] == f"urn:muster:error:{problem['code']}", seen
    assert problem["title"], seen
    assert problem["detail"], seen
    assert problem["requestId"], seen
    return problem


def _check(operation: Operation, status: int, problem: dict[str, Any] | None) -> None:
    code = problem["code"] if problem else None
    if code in OUTSIDE_OPERATIONS:
        return
    documented = operation.statuses.get(str(status))
    assert documented is not None, f"{operation.id} answered {status} {code}, which its documentation does not list"
    assert code is None or code in documented, f"{operation.id} answered the undocumented code {code} ({status})"
